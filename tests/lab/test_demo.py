"""`icefloe demo` as a stranger runs it; nothing may be left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.peers.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

GENEROUS_SECONDS = 150
DEMO = [sys.executable, "-m", "icefloe", "demo"]


def environment(temporary: Path) -> dict[str, str]:
    """Let the demo make its directory where the test can see it."""
    return {**os.environ, "TMPDIR": str(temporary)}


def processes_in(directory: Path) -> list[str]:
    """Return the command lines that name a directory."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(directory) in line:
                found.append(line)
    return found


def assert_nothing_is_left(temporary: Path) -> None:
    assert list(temporary.iterdir()) == []
    assert processes_in(temporary) == []


def test_the_story_comes_true_and_nothing_is_left(tmp_path: Path) -> None:
    done = subprocess.run(
        [*DEMO, "--json"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=GENEROUS_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = msgspec.json.decode(done.stdout)
    assert told["differences"] == []
    story = told["story"]
    assert story["agent"]["outcome"] == "signed"
    assert story["agent"]["asks"] == 1
    way = dict.fromkeys((hop["node"], hop["did"]) for hop in story["agent"]["hops"])
    assert list(way) == [
        ("sat1", "received"),
        ("sat1", "forwarded"),
        ("master1", "received"),
        ("master1", "signed"),
        ("sat1", "answered"),
    ]
    firsts = {each["habits"]: each["by_hand"]["first"] for each in story["chapters"]}
    assert firsts == {
        "2.14.3": "pending",
        "2.14.4": "cut-off",
        "2.14.5": "pending",
        None: "signed",
    }
    icefloe = story["chapters"][-1]
    assert icefloe["by_hand"]["attempts"] == 1
    assert icefloe["one_command"]["asks"] == 1
    assert all(each["one_command"]["outcome"] == "signed" for each in story["chapters"])
    assert_nothing_is_left(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_it_in_the_middle_finds_nothing_left(
    number: signal.Signals, tmp_path: Path
) -> None:
    # Started in the background, as CI may be, we would hand SIGINT down as ignored.
    with subprocess.Popen(
        ["env", "--default-signal=INT", *DEMO],
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_until(lambda: processes_in(tmp_path), what="the demo to start a node")
            process.send_signal(number)
            assert process.wait(GENEROUS_SECONDS) == 130
        finally:
            process.kill()
    assert_nothing_is_left(tmp_path)


def test_a_cluster_that_is_kept_can_be_talked_to_and_ended_as_it_says(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [*DEMO, "--keep"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=GENEROUS_SECONDS,
        check=False,
    )
    end = re.search(r"^  (kill [\d ]+; rm -rf \S+)$", done.stdout, re.MULTILINE)
    assert end is not None, done.stdout + done.stderr
    try:
        assert done.returncode == 0
        assert len(processes_in(tmp_path)) == 6
        exports = re.findall(r"^  export (\w+)=(.+)$", done.stdout, re.MULTILINE)
        listed = subprocess.run(
            [sys.executable, "-m", "icefloe", "ca", "list"],
            env={**environment(tmp_path), **dict(exports)},
            capture_output=True,
            text=True,
            timeout=GENEROUS_SECONDS,
            check=False,
        )
        assert listed.returncode == 0, listed.stdout + listed.stderr
        storm = re.search(r"(lab storm .*)  # sat1$", done.stdout, re.MULTILINE)
        assert storm is not None
        stormed = subprocess.run(
            [sys.executable, "-m", "icefloe", *storm[1].split(), "--expect", "signed"],
            capture_output=True,
            text=True,
            timeout=GENEROUS_SECONDS,
            check=False,
        )
        assert stormed.returncode == 0, stormed.stdout + stormed.stderr
    finally:
        subprocess.run(["sh", "-c", end[1]], check=True)
    wait_until(lambda: not processes_in(tmp_path), what="the kept nodes to end")
    assert list(tmp_path.iterdir()) == []
