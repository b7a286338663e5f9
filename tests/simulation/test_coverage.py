"""The summary knows all there is to reach, and says what was not."""

from __future__ import annotations

from typing import get_args

from icefloe.enrollment.events import Event
from icefloe.enrollment.model import TRANSITIONS, RequestState
from icefloe.enrollment.reasons import Reason
from icefloe.simulation import run_seeds
from icefloe.simulation.coverage import (
    AREAS,
    TO_REACH,
    UNREACHABLE,
    never_reached,
)
from icefloe.simulation.faults import FAULT_KINDS
from icefloe.simulation.reached import Reached, moved

SOME = run_seeds(range(25)).totals


def test_there_is_a_name_for_each_fault_step_event_and_reason() -> None:
    every = TO_REACH | UNREACHABLE.keys()
    assert {f"fault.{kind}" for kind in FAULT_KINDS} <= every
    assert {f"event.{event.__name__}" for event in get_args(Event)} <= every
    assert {f"reason.{reason.value}" for reason in Reason} <= every
    for old, following in TRANSITIONS.items():
        for new in following:
            either = {moved(signs=signs, old=old, new=new) for signs in (True, False)}
            assert either & every, f"{old} -> {new}"


def test_a_step_belongs_to_whoever_may_make_it() -> None:
    decides = (RequestState.RECEIVED, RequestState.DECIDED)
    assert moved(signs=True, old=decides[0], new=decides[1]) in TO_REACH
    assert moved(signs=False, old=decides[0], new=decides[1]) not in TO_REACH
    settles = (RequestState.ISSUED, RequestState.DELIVERED)
    assert moved(signs=True, old=settles[0], new=settles[1]) in TO_REACH
    assert moved(signs=False, old=settles[0], new=settles[1]) not in TO_REACH


def test_what_is_said_to_be_unreachable_is_unknown_otherwise_and_has_a_reason() -> None:
    assert not UNREACHABLE.keys() & TO_REACH
    assert all(UNREACHABLE.values())
    assert len(UNREACHABLE) <= 13, "make it reachable, or argue for it"


def test_a_few_seeds_reach_most_of_it_and_nothing_unreachable() -> None:
    missing = never_reached(SOME)
    assert len(missing) < len(TO_REACH) / 2
    assert not {name for name in UNREACHABLE if SOME.get(name)}


def test_what_was_reached_once_is_not_missing() -> None:
    name = min(TO_REACH)
    assert name in never_reached({})
    assert name not in never_reached({name: 1})


def test_every_name_stands_in_an_area_that_is_told() -> None:
    assert {name.partition(".")[0] for name in TO_REACH} <= AREAS.keys()


def test_the_core_is_counted_by_class_and_reason() -> None:
    reached = Reached()
    reached.heard("limit")
    reached.heard("")
    assert reached.named() == {"reason.limit": 1}
