"""Connections carry bytes as TCP does: in order, whole or with the tail missing."""

from __future__ import annotations

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

    def accept(self, end: End, face: Face, address: str) -> None:
        del address
        self.take(end, face)

    def take(self, end: End | None, face: Face) -> None:
        self.end, self.shown = end, face
        if end is not None:
            end.start(self)

    def data_received(self, data: bytes) -> None:
        self.data += data

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


@pytest.mark.parametrize("seed", range(10))
def test_a_dead_owner_hears_nothing_and_the_other_side_learns_of_it(seed: int) -> None:
    joined = Joined(seed=seed)
    joined.ends[1].write(b"last words")
    joined.ends[1].connection.owner_died(1)
    joined.ends[0].write(b"anybody there?")
    joined.wait(60.0)
    assert joined.listener.data == b""
    assert joined.listener.gone == []
    assert b"last words".startswith(joined.dialler.data)
    assert [clean for clean, _ in joined.dialler.gone] == [False]
    assert joined.ends[0].connection.faulted


def test_an_aborted_connection_is_reset() -> None:
    joined = Joined()
    joined.ends[0].abort()
    joined.wait(1.0)
    assert joined.dialler.gone == [(False, "aborted")]
    assert joined.listener.gone == [(False, "reset")]
