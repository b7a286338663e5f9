"""Who waits, found by request, link and deadline."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icefloe.doors import MonotonicTime
from icefloe.enrollment.events import CallId, LinkId
from icefloe.enrollment.waiters import Waiter, Waiters


def waiter(
    *,
    link: int = 1,
    call: object | None = "c",
    request: str = "r",
    until: float | None = None,
) -> Waiter:
    return Waiter(
        link=LinkId(link),
        call=CallId(call) if call is not None else None,
        request_id=request,
        attempt_id=f"{request}.a",
        fingerprint="f",
        member=False,
        ticketed=True,
        until=MonotonicTime(until) if until is not None else None,
    )


def waiting(*those: Waiter) -> Waiters:
    waiters = Waiters()
    for one in those:
        waiters.add(one)
    return waiters


def test_a_waiter_is_found_by_its_request_attempt_and_link() -> None:
    one, other = waiter(), waiter(link=2, request="other")
    waiters = waiting(one, other)
    assert waiters.of_request("r") == [one]
    assert waiters.of_attempt("r", "r.a") == [one]
    assert waiters.of_attempt("r", "other") == []
    assert waiters.of_link(LinkId(2)) == [other]
    assert sorted(waiters.request_ids()) == ["other", "r"]
    assert len(waiters) == 2


def test_removing_a_waiter_twice_counts_once() -> None:
    one, other = waiter(call="1"), waiter(call="2")
    waiters = waiting(one, other)
    waiters.remove(one)
    waiters.remove(one)
    assert waiters.calls_on(LinkId(1)) == 1
    assert waiters.of_link(LinkId(1)) == [other]


def test_silent_waiters_count_as_waiting_and_not_as_calls() -> None:
    waiters = waiting(waiter(call=None))
    assert waiters.count_on(LinkId(1)) == 1
    assert waiters.calls_on(LinkId(1)) == 0


def test_asking_again_without_an_id_takes_the_earlier_ones_place() -> None:
    first, second = waiter(call=None), waiter(call=None)
    assert waiting(first, second).of_request("r") == [second]
    assert first.gone


def test_two_calls_of_one_attempt_wait_side_by_side() -> None:
    assert len(waiting(waiter(call=1), waiter(call=2))) == 2


def test_a_hold_is_only_ever_shortened() -> None:
    one = waiter(until=5.0)
    waiters = waiting(one)
    waiters.shorten(one, MonotonicTime(9.0))
    assert one.until == 5.0
    waiters.shorten(one, MonotonicTime(2.0))
    assert waiters.next_deadline == 2.0


def test_who_waits_as_long_as_its_connection_lives_can_be_given_an_end() -> None:
    one = waiter()
    waiters = waiting(one)
    assert waiters.next_deadline is None
    waiters.shorten(one, MonotonicTime(2.0))
    assert waiters.expired(MonotonicTime(2.0)) == [one]


def test_who_is_gone_is_reminded_of_no_more() -> None:
    one, other = waiter(until=1.0), waiter(until=2.0)
    waiters = waiting(one, other)
    waiters.remove(one)
    assert waiters.next_deadline == 2.0
    assert waiters.expired(MonotonicTime(3.0)) == [other]


def test_nothing_is_left_to_be_reminded_of_when_all_are_gone() -> None:
    one = waiter(until=1.0)
    waiters = waiting(one)
    waiters.remove(one)
    waiters.remind_again()
    assert waiters.next_deadline is None
    assert waiters.reminders == 0


def test_the_gone_among_the_expired_are_passed_over() -> None:
    one = waiter(until=1.0)
    waiters = waiting(one)
    waiters.remove(one)
    assert waiters.expired(MonotonicTime(3.0)) == []


def test_a_connection_that_ends_takes_its_waiters_along() -> None:
    lost, stays = waiter(), waiter(link=2)
    waiters = waiting(lost, stays)
    assert waiters.remove_link(LinkId(1)) == [lost]
    assert waiters.remove_link(LinkId(1)) == []
    assert waiters.of_request("r") == [stays]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "shorten", "remove_link"]),
        st.integers(min_value=0, max_value=3),
        st.integers(min_value=0, max_value=3),
        st.sampled_from([None, 1.0, 2.0, 3.0]),
    ),
    max_size=40,
)


@given(STEPS)
def test_the_indexes_agree_whatever_happens(
    steps: list[tuple[str, int, int, float | None]],
) -> None:
    waiters = Waiters()
    alive: list[Waiter] = []
    for what, link, request, until in steps:
        if what == "add":
            call = None if request % 2 else "c"
            one = waiter(link=link, call=call, request=str(request), until=until)
            waiters.add(one)
            alive.append(one)
        elif what == "remove_link":
            waiters.remove_link(LinkId(link))
        elif alive:
            one = alive[request % len(alive)]
            if what == "remove":
                waiters.remove(one)
            elif until is not None:
                waiters.shorten(one, MonotonicTime(until))
        alive = [one for one in alive if not one.gone]
        assert len(waiters) == len(alive)
        for number in range(4):
            of_link = [w for w in alive if w.link == LinkId(number)]
            assert waiters.of_link(LinkId(number)) == of_link
            calls = sum(1 for w in of_link if w.call is not None)
            assert waiters.calls_on(LinkId(number)) == calls
        ends = [w.until for w in alive if w.until is not None]
        assert waiters.next_deadline == min(ends, default=None)
    due = waiters.expired(MonotonicTime(2.0))
    assert set(due) == {w for w in alive if w.until is not None and w.until <= 2.0}
    assert len(due) == len(set(due))
