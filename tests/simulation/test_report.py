"""What is told about a seed is enough to see it again."""

from __future__ import annotations

import pytest

from icefloe.simulation import PromiseBroken, Report, Summary, Violation, run_seeds
from icefloe.simulation.__main__ import main

BROKEN = Report(
    seed=7,
    violations=(Violation("it_finishes", 2.5, "agent", "is not done"),),
    figures={"asks": 3, "max.seconds": 4.0},
    trace=(
        "    1.000  agent: asks",
        "    2.500  agent: waits",
        "    9.000  agent: afterwards",
    ),
)
KEPT = Report(seed=8, violations=(), figures={"asks": 2, "max.seconds": 1.0})


def test_a_story_names_the_promise_the_time_and_the_way_back() -> None:
    story = BROKEN.story()
    assert "it_finishes: is not done" in story
    assert "agent: waits" in story
    assert "afterwards" not in story
    assert "simulate(7)" in story
    assert "every promise was kept" in KEPT.story()


def test_a_long_history_is_told_from_its_end() -> None:
    story = BROKEN.story(lines=1)
    assert "agent: waits" in story
    assert "agent: asks" not in story


def test_a_summary_adds_up_and_keeps_what_failed() -> None:
    summary = Summary()
    summary.add(BROKEN)
    summary.add(KEPT)
    assert summary.totals["asks"] == 5
    assert summary.largest["max.seconds"] == 4.0
    assert [report.seed for report in summary.failed] == [7]
    assert any("seed 7" in line for line in summary.lines())
    with pytest.raises(PromiseBroken, match="is not done") as raised:
        summary.raise_if_failed()
    assert raised.value.report is BROKEN


def test_progress_is_told_after_each_seed() -> None:
    seen: list[int] = []
    run_seeds(range(3), progress=lambda report: seen.append(report.seed))
    assert seen == [0, 1, 2]


def test_the_command_runs_seeds_and_tells_a_history(capsys) -> None:
    assert main(["--seeds", "2", "--from", "5"]) == 0
    assert capsys.readouterr().out.startswith("2 seeds, 0 broke a promise")
    assert main(["--trace", "--from", "5"]) == 0
    assert "signer: starts, life 1" in capsys.readouterr().out
