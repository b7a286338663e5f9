"""`icefloe lab simulate`: what it prints, and its exit codes."""

from __future__ import annotations

import msgspec
import pytest
from tests.simulation import planted

from icefloe.cli.app import run
from icefloe.simulation.coverage import TO_REACH


def simulate(*arguments: str) -> int:
    return run(["lab", "simulate", "--jobs", "1", *arguments])


def test_kept_promises_are_a_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--seeds", "2", "--from", "5") == 0
    assert "2 seeds" in capsys.readouterr().out


def test_one_seed_can_be_told_line_by_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert simulate("--trace", "--from", "5") == 0
    assert "signer: starts, life 1" in capsys.readouterr().out


def test_a_broken_promise_is_a_failure_and_says_how_to_see_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted.waiter_never_woken(monkeypatch)
    assert simulate("--seeds", "12", "--no-shrink") == 1
    told = capsys.readouterr()
    assert "BROKE A PROMISE" in told.out
    assert "icefloe lab simulate --from " in told.out
    assert "with: Icefloe" in told.out
    assert "broke a promise" in told.err


def test_a_few_seeds_do_not_reach_everything(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert simulate("--seeds", "1", "--require-all", "--json") == 1
    told = msgspec.json.decode(capsys.readouterr().out)
    assert told["broken"] == 0
    assert set(told["never_reached"]) < TO_REACH


def test_a_crowd_is_told_with_its_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--agents", "20") == 0
    assert "after return" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [
        ["--seeds", "0"],
        ["--seeds", "two"],
        ["--jobs", "0"],
        ["--trace", "--seeds", "3"],
        ["--agents", "100", "--seeds", "3"],
        ["--agents", "100", "--trace"],
        ["--agents", "100", "--for", "3"],
        ["--no-such-option"],
    ],
)
def test_a_wrong_option_is_told_apart_from_a_broken_promise(wrong: list[str]) -> None:
    assert simulate(*wrong) == 2
