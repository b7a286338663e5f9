"""Virtual time jumps, in order, and nothing else moves it."""

from __future__ import annotations

from functools import partial
from random import Random

from icefloe.simulation.timeline import (
    WALL_START,
    SimulatedClock,
    SimulatedEntropy,
    Timeline,
)


def test_actions_happen_in_the_order_of_their_times() -> None:
    timeline, seen = Timeline(), list[object]()
    timeline.after(2.0, lambda: seen.append(timeline.seconds))
    timeline.after(1.0, lambda: seen.append(timeline.seconds))
    timeline.run_until(5.0)
    assert seen == [1.0, 2.0]
    assert timeline.seconds == 5.0


def test_actions_of_one_moment_happen_in_the_order_they_were_planned() -> None:
    timeline, seen = Timeline(), list[object]()
    for name in "abc":
        timeline.at(1.0, partial(seen.append, name))
    timeline.run_until(1.0)
    assert seen == ["a", "b", "c"]


def test_an_action_may_plan_another_one_for_now() -> None:
    timeline, seen = Timeline(), list[object]()
    timeline.after(1.0, lambda: timeline.at(0.5, lambda: seen.append("late")))
    timeline.run_until(1.0)
    assert seen == ["late"]
    assert timeline.seconds == 1.0


def test_an_action_called_off_does_not_happen() -> None:
    timeline, seen = Timeline(), list[object]()
    timeline.after(1.0, lambda: seen.append("no")).cancel()
    timeline.run_until(2.0)
    assert seen == []


def test_running_stops_when_all_is_done() -> None:
    timeline, seen = Timeline(), list[object]()
    for second in range(1, 5):
        timeline.at(second, partial(seen.append, second))
    timeline.run_until(10.0, done=lambda: len(seen) == 2)
    assert seen == [1, 2]
    assert timeline.seconds == 2.0


def test_clocks_agree_about_durations_and_not_about_the_date() -> None:
    timeline = Timeline()
    right = SimulatedClock(timeline, skew_seconds=0.0)
    wrong = SimulatedClock(timeline, skew_seconds=-20.0)
    timeline.run_until(7.0)
    assert right.now().mono == wrong.now().mono == 7.0
    assert right.now().wall == WALL_START + 7.0
    assert wrong.now().wall == WALL_START - 13.0


def test_the_same_seed_gives_the_same_entropy() -> None:
    one, other = SimulatedEntropy(Random(1)), SimulatedEntropy(Random(1))
    assert one.bytes(20) == other.bytes(20)
    assert one.uniform(0.0, 1.0) == other.uniform(0.0, 1.0)
