"""What is told about a seed is enough to see it again."""

from __future__ import annotations

import pytest

from icefloe.simulation import (
    PromiseBroken,
    Report,
    Summary,
    Violation,
    run_seeds,
    running,
)
from icefloe.simulation.report import FAILED_KEPT_MAX, replay

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


def broken(seed: int) -> Report:
    return Report(seed=seed, violations=BROKEN.violations, figures={})


def test_a_story_names_the_promise_the_time_and_the_way_back() -> None:
    story = BROKEN.story()
    assert "it_finishes: is not done" in story
    assert "agent: waits" in story
    assert "afterwards" not in story
    assert replay(7) in story
    assert "every promise was kept" in KEPT.story()


def test_a_long_history_is_told_from_its_end() -> None:
    story = BROKEN.story(lines=1)
    assert "agent: waits" in story
    assert "agent: asks" not in story


def test_a_summary_adds_up_and_keeps_what_failed() -> None:
    summary = Summary()
    summary.add(BROKEN)
    summary.add(KEPT)
    assert (summary.seeds, summary.broken) == (2, 1)
    assert summary.totals["asks"] == 5
    assert summary.largest["max.seconds"] == 4.0
    assert [failure.seed for failure in summary.failed] == [7]
    with pytest.raises(PromiseBroken, match="is not done") as raised:
        summary.raise_if_failed()
    assert raised.value.failure.seed == 7


def test_summaries_of_parts_make_the_summary_of_the_whole() -> None:
    whole, one, other = Summary(), Summary(), Summary()
    for report in (KEPT, BROKEN, broken(3)):
        whole.add(report)
    one.add(BROKEN)
    other.add(KEPT)
    other.add(broken(3))
    one.merge(other)
    assert (one.seeds, one.broken) == (whole.seeds, whole.broken) == (3, 2)
    assert one.totals == whole.totals
    assert one.largest == whole.largest
    assert [each.seed for each in one.failed] == [3, 7]


def test_a_summary_of_many_failures_does_not_grow() -> None:
    summary = Summary()
    for seed in reversed(range(10 * FAILED_KEPT_MAX)):
        summary.add(broken(seed))
    assert summary.broken == 10 * FAILED_KEPT_MAX
    assert [each.seed for each in summary.failed] == list(range(FAILED_KEPT_MAX))


def test_progress_is_told_after_each_seed() -> None:
    seen: list[int] = []
    run_seeds(range(3), progress=lambda report: seen.append(report.seed))
    assert seen == [0, 1, 2]


def test_a_seed_that_breaks_the_simulator_is_told_like_a_broken_promise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(running, "play", break_down)
    summary = run_seeds(range(2))
    assert summary.broken == 2
    assert "ZeroDivisionError: planted" in summary.failed[0].story
