"""Real daemons, real files, real icinga2: everything is killed, cut and stopped.

Each test is a short run of `icefloe lab chaos`; `make chaos` lets it go on for longer.
What is judged at the end is in `icefloe.lab.chaos_verdict`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from icefloe.lab.chaos_schedule import Trouble
from icefloe.lab.faked_clock import find_library
from icefloe.lab.small_disk import why_no_small_disk
from tests.peer_gate import peers_are_required

pytestmark = pytest.mark.timeout(580)

COMMAND_SECONDS = 540.0
"""Blows, four minutes to settle, and a busy machine."""


def chaos(tmp_path: Path, *words: str) -> dict[str, Any]:
    """Let chaos happen; fail with what it complains of."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "icefloe", "lab", "chaos", "--json", *words],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.stdout, done.stderr
    report = msgspec.json.decode(done.stdout, type=dict[str, Any])
    wrong = report["complaints"]
    # Said once more below the logs: of a long report, a CI may keep the end only.
    assert wrong == [], f"{done.stderr}\n{_logs(tmp_path)}\nWrong: {wrong}"
    assert done.returncode == 0, done.stderr
    assert report["signed"] == sum(report["agents"].values()) > 0
    assert list(tmp_path.iterdir()) == []
    return report


def _logs(tmp_path: Path) -> str:
    """Return the end of each log that a failed run left."""
    found = sorted(tmp_path.glob("*/*/log"))
    return "\n".join(f"--- {log}\n{log.read_text()[-3000:]}" for log in found)


def test_twenty_processes_are_killed_under_load_and_every_agent_is_signed_once(
    tmp_path: Path,
) -> None:
    """`make chaos` kills 200."""
    words = ("--trouble", "kill", "--blows", "20", "--seed", "20", "--daemons", "1")
    report = chaos(tmp_path, *words)
    assert report["blows"] == 20
    assert {"kill signer", "kill relay"} < set(report["kinds"])


@pytest.mark.parametrize(
    "seed, troubles",
    [
        (50, (Trouble.SILENCE, Trouble.REFUSE, Trouble.BREAK, Trouble.NOISE)),
        (52, (Trouble.PAUSE, Trouble.TERM, Trouble.HUP)),
    ],
    ids=["network", "operators"],
)
def test_bad_networks_and_busy_operators_cost_nobody_a_certificate(
    tmp_path: Path, seed: int, troubles: tuple[Trouble, ...]
) -> None:
    """The seeds are those whose first ten blows are of every kind."""
    words = [word for each in troubles for word in ("--trouble", each)]
    report = chaos(tmp_path, *words, "--blows", "10", "--seed", str(seed))
    assert report["blows"] == 10
    assert {kind.split()[0] for kind in report["kinds"]} == set(troubles)


@pytest.mark.skipif(
    find_library() is None and not peers_are_required(),
    reason="libfaketime is not installed (Debian: faketime)",
)
def test_clocks_that_step_cost_nobody_a_certificate(tmp_path: Path) -> None:
    words = ("--trouble", "clock", "--blows", "8", "--seed", "8")
    report = chaos(tmp_path, *words)
    assert set(report["kinds"]) == {"clock signer", "clock relay"}


@pytest.mark.skipif(
    why_no_small_disk() is not None and not peers_are_required(),
    reason=str(why_no_small_disk()),
)
def test_disks_that_are_full_for_a_while_cost_nobody_a_certificate(
    tmp_path: Path,
) -> None:
    words = ("--trouble", "disk", "--trouble", "kill", "--blows", "8", "--seed", "10")
    report = chaos(tmp_path, *words)
    assert {"disk signer", "disk relay"} < set(report["kinds"])


@pytest.mark.real_peer
@pytest.mark.parametrize("seat", ["signer", "relay"])
def test_debians_icinga2_in_a_seat_is_killed_and_every_agent_is_signed(
    tmp_path: Path, seat: str
) -> None:
    """And so is an agent that is Debian's: it shares the cluster with ours."""
    words = ("--trouble", "kill", "--blows", "6", "--seed", "6", "--icinga2s", "1")
    report = chaos(tmp_path, f"--{seat}", "icinga2", *words)
    assert report["agents"]["icinga2"] > 0


def test_a_relay_that_cuts_its_answers_off_is_killed_and_every_agent_is_signed(
    tmp_path: Path,
) -> None:
    """2.14.4, which answers "pending" and closes before it is sent."""
    words = ("--trouble", "kill", "--blows", "6", "--seed", "6")
    chaos(tmp_path, "--relay", "2.14.4", *words)
