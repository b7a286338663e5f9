"""Connections carry bytes as TCP does: in order, whole or with the tail missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest

from icefloe.simulation.faults import FaultPlan, Faults
from icefloe.simulation.network import End, Face, Network
from icefloe.simulation.timeline import Timeline


@dataclass
class Recorder:
    """A handler that remembers; also whoever accepts."""

    face: Face = field(default_factory=lambda: Face(b"certificate"))
    end: End | None = None
    shown: Face | None = None
    data: bytes = b""
    finished: bool = False
    gone: list[tuple[bool, str]] = field(default_factory=list)
    hears: Callable[[bytes], object] = len

    def accept(self, end: End, face: Face, address: str) -> None:
        del address
        self.take(end, face)

    def take(self, end: End | None, face: Face) -> None:
        self.end, self.shown = end, face
        if end is not None:
            end.start(self)

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.hears(data)

    def peer_finished(self) -> None:
        self.finished = True

    def closed(self, *, clean: bool, reason: str) -> None:
        self.gone.append((clean, reason))


class Joined:
    """Two ends, joined."""

    def __init__(self, plan: FaultPlan | None = None, seed: int = 1) -> None:
        chance = Random(seed)
        self.timeline = Timeline()
        faults = Faults(plan or FaultPlan.none(), chance, self.timeline)
        self.network = Network(self.timeline, chance, faults)
        self.dialler, self.listener = Recorder(), Recorder()
        self.network.listen("there", self.listener)
        self.network.dial("here", "there", Face(b"mine"), self.dialler.take)
        self.wait(20.0)

    def wait(self, seconds: float) -> None:
        self.timeline.run_until(self.timeline.seconds + seconds)

    @property
    def ends(self) -> tuple[End, End]:
        assert self.dialler.end is not None
        assert self.listener.end is not None
        return self.dialler.end, self.listener.end


def test_both_sides_see_what_the_other_shows() -> None:
    joined = Joined()
    assert joined.dialler.shown == Face(b"certificate")
    assert joined.listener.shown == Face(b"mine")


@pytest.mark.parametrize("seed", range(10))
def test_bytes_arrive_in_order_and_whole(seed: int) -> None:
    plan = FaultPlan(fragment=0.5, delay=0.5, notice_late=0.0)
    joined = Joined(plan, seed)
    for number in range(50):
        joined.ends[0].write(f"{number},".encode())
    joined.wait(60.0)
    assert joined.listener.data == b"".join(f"{n},".encode() for n in range(50))


@pytest.mark.parametrize("seed", range(30))
def test_a_cut_loses_the_tail_and_nothing_before_it(seed: int) -> None:
    joined = Joined(seed=seed)
    sent = b""
    for number in range(20):
        sent += f"{number},".encode()
        joined.ends[0].write(f"{number},".encode())
    joined.timeline.run_until(joined.timeline.seconds + 0.01)
    joined.ends[0].connection.break_off()
    joined.ends[0].write(b"too late")
    joined.wait(60.0)
    assert sent.startswith(joined.listener.data)
    assert joined.dialler.gone == joined.listener.gone == [(False, "cut")]
    assert not joined.network.connections


def test_a_drain_delivers_everything_and_both_sides_end_in_order() -> None:
    joined = Joined()
    joined.ends[1].write(b"the answer")
    joined.ends[1].start_drain(10.0)
    assert not joined.ends[1].write(b"nothing more")
    joined.wait(1.0)
    assert joined.dialler.data == b"the answer"
    assert joined.dialler.finished
    assert joined.dialler.gone == joined.listener.gone == [(True, "closed")]


def test_a_draining_side_throws_away_what_still_comes() -> None:
    joined = Joined()
    joined.ends[0].write(b"a question")
    joined.ends[1].start_drain(10.0)
    joined.wait(1.0)
    assert joined.listener.data == b""
    assert joined.listener.gone == [(True, "closed")]


def test_a_drain_ends_at_its_deadline_when_the_peer_is_away() -> None:
    joined = Joined()
    joined.network.separate("here", "there", 60.0)
    joined.ends[1].start_drain(10.0)
    joined.wait(9.0)
    assert joined.listener.gone == []
    joined.wait(2.0)
    assert joined.listener.gone == [(False, "the peer did not close in time")]


def test_whoever_is_separated_cannot_connect_and_is_not_told() -> None:
    joined = Joined()
    joined.network.separate("here", "there", 60.0)
    other = Recorder()
    joined.network.dial("here", "there", Face(None), other.take)
    joined.wait(30.0)
    assert other.shown == Face(None)
    assert other.end is None
    assert joined.dialler.gone == []
    joined.wait(31.0)
    joined.network.dial("here", "there", Face(None), other.take)
    joined.wait(1.0)
    assert other.end is not None


def test_nobody_listens_at_an_address_that_was_given_up() -> None:
    joined = Joined()
    joined.network.stop_listening("there")
    other = Recorder()
    joined.network.dial("here", "there", Face(None), other.take)
    joined.wait(1.0)
    assert other.end is None


@pytest.mark.parametrize("how", ["killed", "power"])
@pytest.mark.parametrize("seed", range(5))
def test_a_dead_owner_hears_nothing_and_the_other_side_learns_of_it(
    seed: int, how: str
) -> None:
    joined = Joined(seed=seed)
    joined.ends[1].write(b"last words")
    joined.ends[1].connection.owner_died(1, power=how == "power")
    joined.ends[0].write(b"anybody there?")
    joined.wait(60.0)
    assert joined.listener.data == b""
    assert joined.listener.gone == []
    assert b"last words".startswith(joined.dialler.data)
    assert [clean for clean, _ in joined.dialler.gone] == [False]
    assert joined.ends[0].connection.faulted


def test_what_a_killed_process_wrote_still_arrives() -> None:
    """The kernel has it; a machine without power has nothing."""
    joined = Joined()
    joined.ends[1].write(b"last words")
    joined.ends[1].connection.owner_died(1, power=False)
    joined.wait(1.0)
    assert joined.dialler.data == b"last words"
    assert joined.dialler.gone == [(False, "reset")]


def test_an_aborted_connection_is_reset() -> None:
    joined = Joined()
    joined.ends[0].abort()
    joined.wait(1.0)
    assert joined.dialler.gone == [(False, "aborted")]
    assert joined.listener.gone == [(False, "reset")]


def test_one_way_bytes_wait_and_the_other_way_they_pass() -> None:
    joined = Joined()
    joined.network.hinder("here", "there", 30.0)
    joined.ends[0].write(b"question")
    joined.ends[1].write(b"announcement")
    joined.wait(29.0)
    assert joined.dialler.data == b"announcement"
    assert joined.listener.data == b""
    joined.wait(5.0)
    assert joined.listener.data == b"question"
    assert joined.ends[0].connection.faulted


@pytest.mark.parametrize("way", [("here", "there"), ("there", "here")])
def test_nobody_connects_while_one_way_is_closed(way: tuple[str, str]) -> None:
    joined = Joined()
    joined.network.hinder(*way, 60.0)
    other = Recorder()
    joined.network.dial("here", "there", Face(None), other.take)
    joined.wait(14.0)
    told_early = other.shown is not None
    joined.wait(2.0)
    assert not told_early
    assert other.shown == Face(None)
    assert other.end is None


def test_whoever_knocks_again_is_heard_when_the_way_is_open_again() -> None:
    joined = Joined()
    joined.network.hinder("there", "here", 5.0)
    other = Recorder()
    joined.network.dial("here", "there", Face(None), other.take)
    joined.wait(6.5)
    before = other.end
    joined.wait(1.0)
    assert (before is None, other.end is None) == (True, False)


def test_whoever_knocks_while_nobody_is_let_in_comes_in_afterwards() -> None:
    joined = Joined()
    joined.network.let_nobody_in("there")
    other = Recorder()
    joined.network.dial("here", "there", Face(None), other.take)
    joined.wait(2.0)
    assert other.gone == []
    joined.network.stop_listening("there")
    joined.network.listen("there", joined.listener)
    joined.wait(1.5)
    assert other.end is not None


def test_a_slow_reader_gets_everything_at_its_pace() -> None:
    joined = Joined()
    joined.network.slow_down("there", 100.0, 60.0)
    joined.ends[0].write(b"x" * 1_000)
    joined.wait(5.0)
    joined.ends[0].write(b"y" * 1_000)
    joined.wait(4.0)
    assert joined.listener.data == b""
    joined.wait(2.0)
    assert joined.listener.data == b"x" * 1_000
    joined.wait(10.0)
    assert joined.listener.data == b"x" * 1_000 + b"y" * 1_000


def test_what_waits_for_a_slow_reader_is_bounded() -> None:
    """As `TLSStream.write`: the connection is ended, the bytes that wait are lost."""
    joined = Joined(FaultPlan(outbound_bytes_max=10_000))
    sender = joined.ends[0]
    sender.bound(1_000_000)
    joined.network.slow_down("there", 10.0, 600.0)
    taken = [sender.write(b"x" * 1_000) for _ in range(30)]
    # What the system takes does not count.
    assert taken == [True] * 14 + [False] * 16
    assert sender.overflowed
    assert joined.dialler.gone == [(False, "outbound-overflow")]


def test_bytes_of_other_connections_overtake_and_those_of_the_same_do_not() -> None:
    plan = FaultPlan(until=100.0, reorder=1.0, reorder_seconds=2.0)
    joined = Joined(plan)
    other = Recorder()
    joined.network.dial("other", "there", Face(None), other.take)
    joined.wait(1.0)
    first = joined.listener
    joined.listener = Recorder()
    joined.network.listen("there", joined.listener)
    second = Recorder()
    joined.network.dial("second", "there", Face(None), second.take)
    joined.wait(1.0)
    assert second.end is not None
    arrived: list[str] = []
    first.hears = lambda data: arrived.append(f"a{data.decode()}")
    joined.listener.hears = lambda data: arrived.append(f"b{data.decode()}")
    assert other.end is not None
    for number in range(10):
        other.end.write(f"{number}".encode())
        second.end.write(f"{number}".encode())
    joined.wait(30.0)
    for name in "ab":
        mine = [each for each in arrived if each[0] == name]
        assert mine == [f"{name}{number}" for number in range(10)]
    assert arrived != [f"{name}{number}" for number in range(10) for name in "ab"]
