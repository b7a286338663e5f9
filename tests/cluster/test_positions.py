"""Log positions."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.cluster.positions import Age, LogPositions
from icefloe.doors import WallTime
from tests.cluster.helpers import SETTINGS, WALL, mono

NOW = WallTime(WALL)


def positions(*, may_acknowledge: bool = True, received: float = 0.0) -> LogPositions:
    return LogPositions(
        settings=SETTINGS,
        may_acknowledge=may_acknowledge,
        received=received,
        now=mono(0),
    )


def test_younger_and_equal_times_move_the_position_and_older_ones_are_stale() -> None:
    log = positions()
    assert log.judge(WALL - 10, NOW) is Age.CURRENT
    assert log.judge(WALL - 10, NOW) is Age.CURRENT
    assert log.judge(WALL - 5, NOW) is Age.CURRENT
    assert log.judge(WALL - 6, NOW) is Age.STALE
    assert log.received == WALL - 5


def test_position_of_an_earlier_session_is_carried_on() -> None:
    log = positions(received=WALL - 5)
    assert log.judge(WALL - 6, NOW) is Age.STALE


@pytest.mark.parametrize("ts", [None, math.nan, math.inf, -math.inf])
def test_message_without_a_time_moves_nothing(ts: float | None) -> None:
    log = positions(received=5.0)
    assert log.judge(ts, NOW) is Age.CURRENT
    assert log.received == 5.0


def test_clock_a_little_ahead_is_believed() -> None:
    log = positions()
    assert log.judge(WALL + 60, NOW) is Age.CURRENT
    assert log.received == WALL + 60


def test_message_from_the_future_does_not_mute_its_sender() -> None:
    log = positions()
    assert log.judge(WALL + 86_400, NOW) is Age.FUTURE
    assert log.judge(WALL - 1, NOW) is Age.CURRENT


def test_sender_whose_clock_is_always_ahead_still_gets_acknowledged() -> None:
    log = positions()
    for hours in range(3):
        now = WallTime(WALL + 3600 * hours)
        assert log.judge(now + 86_400, now) is Age.FUTURE
        assert log.received == now - 60


def test_future_message_never_lowers_the_position() -> None:
    log = positions(received=WALL - 1)
    assert log.judge(WALL + 86_400, NOW) is Age.FUTURE
    assert log.received == WALL - 1


def test_peers_acknowledgement_is_never_lowered() -> None:
    log = positions()
    log.record(7.0)
    log.record(5.0)
    assert log.acknowledged == 7.0


def test_acknowledgement_is_not_due_while_there_is_no_position() -> None:
    assert positions().deadline is None


def test_acknowledgement_is_due_every_5_seconds_once_there_is_a_position() -> None:
    log = positions()
    log.judge(WALL, NOW)
    assert log.deadline == mono(5)
    log.announced(mono(6))
    assert log.deadline == mono(11)


def test_child_is_never_acknowledged() -> None:
    log = positions(may_acknowledge=False, received=WALL)
    assert log.deadline is None


@given(st.lists(st.floats(min_value=0, max_value=WALL * 2)))
def test_position_never_falls_and_never_runs_ahead(times: list[float]) -> None:
    log = positions()
    for ts in times:
        before = log.received
        age = log.judge(ts, NOW)
        assert before <= log.received <= WALL + 60
        assert (age is Age.STALE) == (ts < before)
