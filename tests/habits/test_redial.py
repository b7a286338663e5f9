from __future__ import annotations

from icefloe.doors import MonotonicTime
from icefloe.habits.redial import Redial


def test_nothing_is_due_before_the_start() -> None:
    redial = Redial(["one"])
    assert redial.due(MonotonicTime(5.0)) == []
    assert redial.next_tick is None


def test_everybody_is_dialled_at_the_start_and_once_only() -> None:
    redial = Redial(["one", "two"])
    redial.start(MonotonicTime(5.0))
    assert redial.due(MonotonicTime(5.0)) == ["one", "two"]
    assert redial.due(MonotonicTime(5.0)) == []
    assert redial.due(MonotonicTime(15.0)) == []


def test_a_free_endpoint_is_dialled_at_the_next_tick_of_ten_seconds() -> None:
    redial = Redial(["one"])
    redial.start(MonotonicTime(5.0))
    redial.due(MonotonicTime(5.0))
    redial.is_free("one")
    assert redial.due(MonotonicTime(14.9)) == []
    assert redial.next_tick == 15.0
    assert redial.due(MonotonicTime(15.0)) == ["one"]


def test_missed_ticks_are_not_made_up_for() -> None:
    redial = Redial(["one"])
    redial.start(MonotonicTime(0.0))
    redial.due(MonotonicTime(37.0))
    redial.is_free("one")
    assert redial.next_tick == 40.0


def test_an_endpoint_that_connected_by_itself_is_not_dialled() -> None:
    redial = Redial(["one"])
    redial.start(MonotonicTime(0.0))
    redial.is_busy("one")
    assert redial.due(MonotonicTime(0.0)) == []


def test_a_new_start_forgets_the_connections() -> None:
    redial = Redial(["one"])
    redial.start(MonotonicTime(0.0))
    redial.is_busy("one")
    redial.start(MonotonicTime(3.0))
    assert redial.due(MonotonicTime(3.0)) == ["one"]


def test_who_dials_nobody_has_no_tick() -> None:
    redial = Redial([])
    redial.start(MonotonicTime(0.0))
    assert redial.next_tick is None
