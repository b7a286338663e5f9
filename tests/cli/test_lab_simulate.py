"""`icefloe lab simulate`: what it prints, and its exit codes."""

from __future__ import annotations

import msgspec
import pytest
from tests.simulation import planted

from icefloe.cli import lab_simulate
from icefloe.cli.app import run
from icefloe.enrollment.batch import BatchRunner
from icefloe.simulation import shrink
from icefloe.simulation.coverage import TO_REACH

# Whole histories, with the coverage measured, on a machine that is busy with others.
pytestmark = pytest.mark.timeout(300)


def simulate(*arguments: str) -> int:
    return run(["lab", "simulate", *arguments])


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


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), RuntimeError("no small one")])
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_was_found_is_told_even_if_it_cannot_be_made_smaller(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    options: tuple[str, ...],
) -> None:
    def raises(*_: object, **__: object) -> str:
        raise raised

    planted.refusal_with_a_ca(monkeypatch)
    monkeypatch.setattr(shrink, "small_test", raises)
    assert simulate("--seeds", "2", *options) == 1
    told = capsys.readouterr()
    if options:
        assert msgspec.json.decode(told.out)["broken"] > 0
    else:
        assert "BROKE A PROMISE" in told.out
    assert "interrupted" in told.err or "no small one" in told.err


def test_a_history_that_raises_has_a_summary_and_a_small_test(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(*_: object, **__: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(BatchRunner, "run", raises)
    monkeypatch.setattr(lab_simulate, "SHRINK_SECONDS_MAX", 2.0)
    assert simulate("--seeds", "1", "--json") == 1
    told = msgspec.json.decode(capsys.readouterr().out)
    assert told["failed"][0]["violations"][0]["promise"] == "the_simulator_holds"
    assert told["shrunk"].startswith("def test_the_simulator_holds_in_a_small_world")
    assert simulate("--trace") == 1
    assert "RuntimeError: planted" in capsys.readouterr().out


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
        ["--agents", "100", "--require-all"],
        ["--agents", "100", "--jobs", "1"],
        ["--agents", "100", "--no-shrink"],
        ["--trace", "--for", "3"],
        ["--trace", "--json"],
        ["--trace", "--require-all"],
        ["--trace", "--jobs", "1"],
        ["--trace", "--no-shrink"],
        ["--no-such-option"],
    ],
)
def test_a_wrong_option_is_told_apart_from_a_broken_promise(wrong: list[str]) -> None:
    assert simulate(*wrong) == 2
