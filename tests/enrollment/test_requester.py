"""The requester: whom it asks, when, and when it stops."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
from tests.enrollment.playbook import CountingEntropy

from icefloe.doors import MonotonicTime, Now, WallTime
from icefloe.enrollment.requester import (
    ANSWER_DEADLINE,
    AskParent,
    AskResult,
    Came,
    Ended,
    Parent,
    Pause,
    Requester,
)

FIRST, SECOND = Parent("sat1", 5665), Parent("sat2", 5665)
SIGNED = AskResult(Came.SIGNED, certificate="cert")
PENDING = AskResult(Came.PENDING, "pending")
CUT = AskResult(Came.CUT_OFF, "cut")
DOWN = AskResult(Came.UNREACHABLE, "no route")
REFUSED = AskResult(Came.REFUSED, "wrong ticket")
UNTRUSTED = AskResult(Came.UNTRUSTED, "other certificate")
LATER = AskResult(Came.REFUSED, "disk full", facts={"retry_after": 5.0}, temporary=True)


class Run:
    """Drives a requester against scripted parents in virtual time."""

    def __init__(
        self,
        *answers: AskResult,
        parents: tuple[Parent, ...] = (FIRST,),
        wait: float = 120.0,
    ) -> None:
        self.now = Now(wall=WallTime(0.0), mono=MonotonicTime(100.0))
        self.asked: list[tuple[Parent, float]] = []
        self._answers = list(answers)
        self._requester = Requester(parents, now=self.now, wait=wait)

    def go(self, otherwise: Callable[[Parent], AskResult] = lambda _p: CUT) -> Ended:
        entropy = CountingEntropy()
        while True:
            step = self._requester.next_step(self.now)
            if isinstance(step, Ended):
                return step
            if isinstance(step, Pause):
                assert step.until > self.now.mono
                self.now = Now(wall=self.now.wall, mono=step.until)
                continue
            assert isinstance(step, AskParent)
            assert step.timeout > 0
            self.asked.append((step.parent, self.now.mono - 100.0))
            answer = self._answers.pop(0) if self._answers else otherwise(step.parent)
            self._requester.report(answer, self.now, entropy)


def test_a_signed_answer_ends_it() -> None:
    ended = Run(SIGNED).go()
    assert (ended.outcome, ended.asks, ended.parent) == (SIGNED, 1, FIRST)


def test_a_cut_is_asked_again_at_the_same_parent_within_a_second() -> None:
    run = Run(CUT, SIGNED, parents=(FIRST, SECOND))
    assert run.go().outcome is SIGNED
    assert [parent for parent, _ in run.asked] == [FIRST, FIRST]
    assert 0 < run.asked[1][1] < 1.0


def test_a_parent_that_only_cuts_gives_way_to_the_next() -> None:
    run = Run(CUT, CUT, CUT, SIGNED, parents=(FIRST, SECOND))
    run.go()
    assert run.asked[-1][0] == SECOND


def test_an_unreachable_parent_is_passed_over_at_once() -> None:
    run = Run(DOWN, SIGNED, parents=(FIRST, SECOND))
    run.go()
    assert run.asked == [(FIRST, 0.0), (SECOND, 0.0)]


def test_all_parents_unreachable_are_tried_until_the_answer_deadline() -> None:
    run = Run(parents=(FIRST, SECOND), wait=0.0)
    ended = run.go(otherwise=lambda _p: DOWN)
    assert ended.outcome is DOWN
    assert run.now.mono - 100.0 >= ANSWER_DEADLINE
    assert len(run.asked) > 4


def test_pauses_grow_and_stay_bounded() -> None:
    run = Run(wait=300.0)
    run.go(otherwise=lambda _p: PENDING)
    times = [at for _, at in run.asked]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] < gaps[3] < gaps[5]
    assert max(gaps) <= 12.5


def test_a_refusal_ends_it_at_once() -> None:
    run = Run(REFUSED, parents=(FIRST, SECOND))
    assert run.go().outcome is REFUSED
    assert len(run.asked) == 1


def test_a_temporary_refusal_is_asked_again_no_sooner_than_it_says() -> None:
    run = Run(LATER, SIGNED)
    assert run.go().outcome is SIGNED
    assert run.asked[1][1] >= 5.0


def test_pending_without_waiting_ends_it() -> None:
    run = Run(PENDING, wait=0.0)
    ended = run.go()
    assert (ended.outcome, ended.asks) == (PENDING, 1)


def test_a_cut_is_no_answer_even_without_waiting() -> None:
    run = Run(CUT, PENDING, wait=0.0)
    ended = run.go()
    assert (ended.outcome, ended.asks) == (PENDING, 2)


def test_pending_goes_on_until_the_deadline() -> None:
    run = Run(wait=60.0)
    ended = run.go(otherwise=lambda _p: PENDING)
    assert ended.outcome is PENDING
    assert 60.0 <= run.now.mono - 100.0 <= 75.0


def test_a_pending_answer_outweighs_later_cuts() -> None:
    run = Run(PENDING, wait=30.0)
    assert run.go(otherwise=lambda _p: CUT).outcome is PENDING


def test_a_parent_with_another_certificate_ends_it_when_it_is_the_only_one() -> None:
    run = Run(UNTRUSTED)
    assert run.go().outcome is UNTRUSTED
    assert len(run.asked) == 1


def test_an_untrusted_parent_gives_way_to_the_next() -> None:
    run = Run(UNTRUSTED, SIGNED, parents=(FIRST, SECOND))
    assert run.go().outcome is SIGNED


def test_a_certificate_that_does_not_verify_is_not_the_end() -> None:
    run = Run(AskResult(Came.INVALID, "other key"), SIGNED)
    assert run.go().outcome is SIGNED


def test_certificates_that_never_verify_end_it() -> None:
    run = Run()
    ended = run.go(otherwise=lambda _p: AskResult(Came.INVALID, "another CA"))
    assert ended.outcome.came is Came.INVALID
    assert ended.asks == 3


@pytest.mark.parametrize("wait", [math.nan, math.inf, -1.0])
def test_a_wait_that_is_no_time_still_ends(wait: float) -> None:
    run = Run(wait=wait)
    assert run.go(otherwise=lambda _p: DOWN).outcome is DOWN
    assert run.now.mono <= 100.0 + 8 * 86_400


def test_nothing_to_do_ends_it() -> None:
    nothing = AskResult(Came.NOTHING_TO_DO, "up to date")
    assert Run(nothing).go().outcome is nothing


def test_without_a_parent_there_is_nothing_to_ask() -> None:
    with pytest.raises(ValueError, match="parent"):
        Run(parents=())


def test_a_report_without_an_ask_is_a_bug() -> None:
    now = Now(wall=WallTime(0.0), mono=MonotonicTime(0.0))
    requester = Requester([FIRST], now=now, wait=1.0)
    with pytest.raises(AssertionError):
        requester.report(SIGNED, now, CountingEntropy())


def test_the_best_answer_so_far_is_there_for_progress() -> None:
    now = Now(wall=WallTime(0.0), mono=MonotonicTime(0.0))
    requester = Requester([FIRST], now=now, wait=1.0)
    assert requester.last is None
    requester.next_step(now)
    requester.report(PENDING, now, CountingEntropy())
    assert requester.last is PENDING


def test_a_parent_reads_as_people_write_it() -> None:
    assert str(FIRST) == "sat1:5665"


def test_a_certificate_or_ticket_is_not_in_the_repr() -> None:
    assert "cert" not in repr(SIGNED).replace("certificate", "")
