"""How long a session may go on."""

from __future__ import annotations

from icefloe.cluster.liveness import Liveness, later
from tests.cluster.helpers import SETTINGS, mono


def liveness(*, may_stay: bool = False) -> Liveness:
    clockwork = Liveness(settings=SETTINGS, may_stay=may_stay, now=mono(0))
    clockwork.opened(mono(3))
    return clockwork


def test_listener_waits_from_the_beginning_of_the_connection() -> None:
    assert liveness().setup_deadline == mono(15)


def test_heartbeats_count_from_the_hello_and_from_each_other() -> None:
    clockwork = liveness()
    assert clockwork.heartbeat_deadline == mono(23)
    clockwork.beaten(mono(24))
    assert clockwork.heartbeat_deadline == mono(44)


def test_silence_counts_from_the_last_byte() -> None:
    clockwork = liveness()
    assert clockwork.silence_deadline == mono(63)
    clockwork.seen(mono(30))
    assert clockwork.silence_deadline == mono(90)


def test_lifetime_of_a_stranger_counts_from_the_hello() -> None:
    clockwork = liveness()
    clockwork.seen(mono(9))
    assert clockwork.lifetime_deadline == mono(13)


def test_peer_that_may_stay_has_no_lifetime() -> None:
    clockwork = liveness(may_stay=True)
    assert clockwork.lifetime_deadline is None
    clockwork.hold(mono(5))
    clockwork.release(mono(6))
    assert clockwork.lifetime_deadline is None


def test_held_stranger_has_no_lifetime_until_it_is_released() -> None:
    clockwork = liveness()
    clockwork.hold(None)
    assert clockwork.lifetime_deadline is None
    clockwork.release(mono(100))
    assert clockwork.lifetime_deadline == mono(110)


def test_hold_until_a_moment_extends_and_never_shortens_the_lifetime() -> None:
    clockwork = liveness()
    clockwork.hold(mono(5))
    assert clockwork.lifetime_deadline == mono(13)
    clockwork.hold(mono(50))
    assert clockwork.lifetime_deadline == mono(50)
    clockwork.hold(None)
    clockwork.hold(mono(20))
    assert clockwork.lifetime_deadline == mono(20)


def test_later_adds_seconds_to_a_moment() -> None:
    assert later(mono(1), 2.5) == mono(3.5)
