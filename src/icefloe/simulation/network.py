"""The network: connections that carry bytes in order until they are cut.

As TCP and TLS behave for the owner of a `TLSStream`: what was written arrives in order
and whole, or its tail is lost and the connection with it.  Each side learns of that on
its own, soon, late, or never.  A drain flushes, says that it is finished, and reads on
until the other side has finished too or its time is over.

Packets that are lost are sent again, so their loss is a stall.  Whoever reads slowly
makes the other side keep what it wrote; there is a bound to that, and whoever reaches
it loses the connection.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final, Protocol

from icefloe.simulation.faults import Faults
from icefloe.simulation.timeline import Place, Timeline, Timer

ANSWER_SECONDS: Final = 10.0
"""After the peer has finished: as `TransportLimits.answer_seconds_max`."""

CONNECT_SECONDS_MAX: Final = 15.0
"""As `TransportLimits.connect_seconds_max`."""

KNOCKS: Final = (0.0, 1.0, 3.0, 7.0)
"""When a kernel sends the first packet of a connection, until somebody answers."""

OUTBOUND_BYTES_MAX: Final = 4 * 1024 * 1024
"""As `TransportLimits.outbound_bytes_max`; the owner knows better."""

KERNEL_BYTES: Final = 4_096
"""What is on its way in buffers of the system and in packets: it does not count as
unsent.  Small as the loads here are."""

SPREAD_SECONDS_HARMLESS: Final = 0.3
"""Bytes that come so late excuse nothing."""

_Side = int
DIALLER: Final[_Side] = 0
LISTENER: Final[_Side] = 1


class _Mark(enum.Enum):
    FINISHED = "finished"
    RESET = "reset"


class _Phase(enum.Enum):
    OPEN = enum.auto()
    DRAINING = enum.auto()
    CLOSED = enum.auto()


class Handler(Protocol):
    """Who gets the bytes of one side."""

    def data_received(self, data: bytes) -> None:
        """Take the next bytes."""
        ...

    def peer_finished(self) -> None:
        """The peer closed its side."""
        ...

    def closed(self, *, clean: bool, reason: str) -> None:
        """The connection is gone; the last call."""
        ...


@dataclass(frozen=True, slots=True)
class Face:
    """What a side shows in the handshake.

    Attributes:
        certificate: DER, or None.
    """

    certificate: bytes | None


class Acceptor(Protocol):
    """Who listens at an address."""

    @property
    def face(self) -> Face:
        """What is shown to those who dial."""
        ...

    def accept(self, end: End, face: Face, address: str) -> None:
        """Take a connection."""
        ...


class End:
    """One side of a connection, for its owner: what `TLSStream` is in the daemon.

    Attributes:
        connection: the whole.
        side: which of its two.
        overflowed: it was ended because its peer did not read.
    """

    __slots__ = (
        "_deadline",
        "_deaf",
        "_finished",
        "_handler",
        "_outbound_bytes_max",
        "_peer_finished",
        "_phase",
        "connection",
        "overflowed",
        "side",
    )

    def __init__(self, connection: Connection, side: _Side) -> None:
        self.connection = connection
        self.side = side
        self._outbound_bytes_max = OUTBOUND_BYTES_MAX
        self.overflowed = False
        self._deaf = False
        self._phase = _Phase.OPEN
        self._handler: Handler | None = None
        self._deadline: Timer | None = None
        self._finished = False
        self._peer_finished = False

    @property
    def is_open(self) -> bool:
        """Whether `write` still takes bytes."""
        return self._phase is _Phase.OPEN

    @property
    def is_closed(self) -> bool:
        """Whether it is gone on this side."""
        return self._phase is _Phase.CLOSED

    def bound(self, outbound_bytes_max: int) -> None:
        """Say how much may wait for a peer that does not read."""
        planned = self.connection.outbound_bytes_max
        self._outbound_bytes_max = min(outbound_bytes_max, planned)

    def start(self, handler: Handler) -> None:
        """Begin delivery."""
        self._handler = handler

    def hear_no_more(self) -> None:
        """Leave what comes unread until the close."""
        self._deaf = True

    def write(self, data: bytes) -> bool:
        """Send bytes; whether they were taken."""
        if self._phase is not _Phase.OPEN:
            return False
        waiting = self.connection.unsent_bytes(self.side) + len(data)
        if waiting > self._outbound_bytes_max:
            self.overflowed = True
            self.connection.overflowed()
            self.connection.send(self.side, _Mark.RESET)
            self._close(clean=False, reason="outbound-overflow")
            return False
        self.connection.send(self.side, data)
        return True

    def start_drain(self, seconds: float) -> None:
        """Close in order; in at most so many seconds."""
        if self._phase is not _Phase.OPEN:
            return
        self._phase = _Phase.DRAINING
        timeline = self.connection.timeline
        self._deadline = timeline.after(seconds, self._expired)
        self._finished = True
        self.connection.send(self.side, _Mark.FINISHED)
        self._close_if_done()

    def abort(self) -> None:
        """Close at once."""
        if self._phase is not _Phase.CLOSED:
            self.connection.send(self.side, _Mark.RESET)
            self._close(clean=False, reason="aborted")

    def vanish(self) -> None:
        """The owner died: nobody is told."""
        self._handler = None
        self._close(clean=False, reason="died")

    # -- from the connection ------------------------------------------------------

    def arrived(self, item: bytes | _Mark) -> None:
        """Something came from the other side."""
        if self._phase is _Phase.CLOSED:
            if item is not _Mark.RESET:
                self.connection.send(self.side, _Mark.RESET)
        elif item is _Mark.RESET:
            self.lost("reset")
        elif self._deaf and self._phase is _Phase.OPEN:
            # Unread until the drain, which throws it away.
            self._peer_finished |= item is _Mark.FINISHED
        elif item is _Mark.FINISHED:
            self._peer_closed()
        elif self._phase is _Phase.OPEN and self._handler is not None:
            self._handler.data_received(item)

    def lost(self, reason: str) -> None:
        """This side learns that the connection is broken."""
        self._close(clean=False, reason=reason)

    # -- inside ---------------------------------------------------------------------

    def _peer_closed(self) -> None:
        self._peer_finished = True
        if self._phase is _Phase.OPEN and self._handler is not None:
            self._handler.peer_finished()
        self.start_drain(ANSWER_SECONDS)
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._finished and self._peer_finished:
            self._close(clean=True, reason="closed")

    def _expired(self) -> None:
        self.connection.send(self.side, _Mark.RESET)
        self._close(clean=False, reason="the peer did not close in time")

    def _close(self, *, clean: bool, reason: str) -> None:
        if self._phase is _Phase.CLOSED:
            return
        self._phase = _Phase.CLOSED
        if self._deadline is not None:
            self._deadline.cancel()
        handler, self._handler = self._handler, None
        self.connection.end_closed()
        if handler is not None:
            handler.closed(clean=clean, reason=reason)


class _Chunk:
    __slots__ = ("item", "timer")

    def __init__(self, item: bytes | _Mark) -> None:
        self.item = item
        self.timer: Timer | None = None


class Connection:
    """Two ends and what is on its way between them.

    Attributes:
        ends: the dialler's and the listener's.
        between: names of the two, the dialler's first.
        faulted: something happened to it that may lose or keep back an answer.
    """

    __slots__ = (
        "_arrives_at",
        "_broken",
        "_chance",
        "_faults",
        "_latency",
        "_network",
        "_number",
        "_on_the_way",
        "_places",
        "_spread",
        "_unread",
        "between",
        "ends",
        "faulted",
        "timeline",
    )

    def __init__(self, network: Network, between: tuple[str, str]) -> None:
        self.between = between
        self.faulted = False
        self.timeline = network.timeline
        self._network = network
        self._faults = network.faults
        self._chance = network.chance
        self._latency = network.chance.uniform(0.0002, 0.02)
        # So far apart may its chunks come, while those of others overtake them.
        self._spread = network.faults.spread_seconds()
        if self._spread > SPREAD_SECONDS_HARMLESS:
            self.faulted = True
        self._broken = False
        self._unread = [0, 0]
        self._number = network.connections_made
        # By sending side: where its chunks arrive.
        self._places = tuple(
            Place(between[1 - side], f"{self._number}.{side}") for side in (0, 1)
        )
        self._on_the_way: tuple[deque[_Chunk], deque[_Chunk]] = (deque(), deque())
        self._arrives_at = [0.0, 0.0]
        self.ends = (End(self, DIALLER), End(self, LISTENER))

    def send(self, side: _Side, item: bytes | _Mark) -> None:
        """Carry something from one side to the other."""
        if self._broken:
            return
        if isinstance(item, bytes):
            number, self._network.chunks = (
                self._network.chunks,
                self._network.chunks + 1,
            )
            if self._faults.cut_here(number):
                kept = item[: self._chance.randrange(len(item) + 1)]
                if kept:
                    self._carry(side, kept)
                self.break_off()
                return
            if len(item) > 1 and self._faults.strikes(
                "fragment", self._faults.plan.fragment
            ):
                at = self._chance.randrange(1, len(item))
                self._carry(side, item[:at])
                item = item[at:]
        self._carry(side, item)

    def break_off(self, *, silently: bool = False) -> None:
        """Cut it: tails are lost, each side notices in its own time or never."""
        if self._broken:
            return
        self._broken = self.faulted = True
        for side, chunks in enumerate(self._on_the_way):
            self._lose_tail(chunks)
            self._unread[side] = sum(_size(chunk.item) for chunk in chunks)
        for end in self.ends:
            notice = None if silently else self._faults.notice_seconds()
            if notice is not None:
                self.timeline.after(notice, partial(end.lost, "cut"))

    def owner_died(self, side: _Side, *, power: bool) -> None:
        """The process of one side was killed, or its machine lost power."""
        self.faulted = True
        self.ends[side].vanish()
        if self._broken:
            return
        if power:
            self.break_off()
            return
        # The kernel delivers what was written, then resets.
        self._carry(side, _Mark.RESET)

    @property
    def outbound_bytes_max(self) -> int:
        """The plan's bound on what waits for a peer that does not read."""
        planned = self._faults.plan.outbound_bytes_max
        return OUTBOUND_BYTES_MAX * 1_000 if planned is None else planned

    def unsent_bytes(self, side: _Side) -> int:
        """How much a side has written that even the system did not take."""
        return max(0, self._unread[side] - KERNEL_BYTES)

    def overflowed(self) -> None:
        """A side's bound on unsent bytes was reached."""
        self.faulted = True
        self._faults.counts["reader-too-slow"] += 1

    def end_closed(self) -> None:
        """One side is gone."""
        if self.ends[DIALLER].is_closed and self.ends[LISTENER].is_closed:
            self._network.forget(self)

    # -- inside ---------------------------------------------------------------------

    def _carry(self, side: _Side, item: bytes | _Mark) -> None:
        delay = self._latency * self._chance.uniform(0.8, 1.5)
        if self._spread:
            delay += self._chance.uniform(0.0, self._spread)
        late = self._faults.late_seconds()
        if late:
            self.faulted = True
            delay += late
        now = self.timeline.seconds
        at = max(self._arrives_at[side], now + delay)
        source, target = self.between[side], self.between[1 - side]
        hindered = self._network.hindered_until(source, target, now)
        if hindered > now:
            self.faulted = True
            at = max(at, hindered + self._chance.uniform(0.2, 3.0))
        if self._network.slow_readers:
            at = self._read_at(at, target, item)
        self._arrives_at[side] = at
        self._unread[side] += _size(item)
        chunk = _Chunk(item)
        self._on_the_way[side].append(chunk)
        chunk.timer = self.timeline.at(
            at, partial(self._deliver, side), place=self._places[side]
        )

    def _read_at(self, at: float, target: str, item: bytes | _Mark) -> float:
        """Say when a slow reader has read what could be there at a moment."""
        slow = self._network.reading(target)
        if slow is None:
            return at
        rate, until = slow
        self.faulted = True
        # When the spell is over it reads at once whatever has piled up.
        return max(at, min(at + _size(item) / rate, until))

    def _deliver(self, side: _Side) -> None:
        chunk = self._on_the_way[side].popleft()
        self._unread[side] -= _size(chunk.item)
        self.ends[1 - side].arrived(chunk.item)

    def _lose_tail(self, chunks: deque[_Chunk]) -> None:
        kept = self._chance.randrange(len(chunks) + 1)
        while len(chunks) > kept:
            chunk = chunks.pop()
            if chunk.timer is not None:
                chunk.timer.cancel()
        if chunks and isinstance(chunks[-1].item, bytes):
            item = chunks[-1].item
            chunks[-1].item = item[: self._chance.randrange(len(item)) + 1]


def _size(item: bytes | _Mark) -> int:
    return len(item) if isinstance(item, bytes) else 0


Dialled = Callable[[End | None, Face], None]


class Network:
    """Who listens where, and all connections.

    Attributes:
        timeline: the world's.
        chance: the world's.
        faults: the world's.
        connections: the live ones.
        connections_made: how many there were.
        chunks: how many chunks of bytes were sent.
        slow_readers: how many bytes a second somebody reads, and until when.
    """

    def __init__(self, timeline: Timeline, chance: Random, faults: Faults) -> None:
        """Begin with nobody there."""
        self.timeline = timeline
        self.chance = chance
        self.faults = faults
        self.connections: dict[Connection, None] = {}
        self.connections_made = 0
        self.chunks = 0
        self._listening: dict[str, Acceptor] = {}
        self.slow_readers: dict[str, tuple[float, float]] = {}
        # Directed: from one name to another.
        self._away_until: dict[tuple[str, str], float] = {}
        self._hindered_until: dict[tuple[str, str], float] = {}
        self._shut: set[str] = set()
        self._dials = 0

    def listen(self, address: str, acceptor: Acceptor) -> None:
        """Take connections at an address."""
        self._listening[address] = acceptor

    def stop_listening(self, address: str) -> None:
        """Take no more; who comes is told at once that nobody is there."""
        self._listening.pop(address, None)
        self._shut.discard(address)

    def let_nobody_in(self, address: str) -> None:
        """Take no more; who comes waits in their own kernel and knocks again."""
        if address in self._listening:
            self._shut.add(address)

    def dial(self, source: str, target: str, face: Face, on_done: Dialled) -> None:
        """Connect; `on_done` gets the dialler's end and the other's face, or None."""
        self._dials += 1
        here = Place(source, f"dial {self._dials}")
        there = Place(target, f"dialled {self._dials}", source)
        seconds = self.chance.uniform(0.001, 0.06)
        heard = self._heard_after(source, target)
        if heard is None:
            self.timeline.after(CONNECT_SECONDS_MAX, lambda: on_done(None, Face(None)))
            return
        if self.faults.strikes("dial-failed", self.faults.plan.dial_fails):
            seconds += self.chance.choice((0.0, 1.0, CONNECT_SECONDS_MAX))
            self.timeline.after(seconds, lambda: on_done(None, Face(None)), place=here)
            return
        self.timeline.after(
            heard + seconds,
            lambda: self._knock(source, target, face, on_done, heard),
            place=there,
        )

    def separate(self, one: str, other: str, seconds: float) -> None:
        """Let nothing pass between two names for a while, and tell nobody.

        What was between them is forgotten on the way, as by a firewall.
        """
        until = self.timeline.seconds + seconds
        self._away_until[one, other] = self._away_until[other, one] = until
        for connection in list(self.connections):
            if set(connection.between) == {one, other}:
                connection.break_off(silently=True)

    def hinder(self, source: str, target: str, seconds: float) -> None:
        """Let nothing pass one way; TCP sends it again and again, until it passes.

        Nobody can connect either way: each side has to hear the other.
        """
        until = self.timeline.seconds + seconds
        self._hindered_until[source, target] = until
        for connection in self.connections:
            if set(connection.between) == {source, target}:
                connection.faulted = True

    def hindered_until(self, source: str, target: str, now: float) -> float:
        """Return the moment from which bytes pass from one name to another."""
        if not self._hindered_until:
            return now
        return max(now, self._hindered_until.get((source, target), now))

    def slow_down(self, reader: str, bytes_a_second: float, seconds: float) -> None:
        """Let somebody read little by little for a while, on all its connections."""
        self.slow_readers[reader] = (bytes_a_second, self.timeline.seconds + seconds)

    def reading(self, reader: str) -> tuple[float, float] | None:
        """Return how many bytes a second somebody reads, and until when; None: all."""
        rate, until = self.slow_readers.get(reader, (0.0, 0.0))
        return (rate, until) if self.timeline.seconds < until else None

    def forget(self, connection: Connection) -> None:
        """Both sides of a connection are gone."""
        self.connections.pop(connection, None)

    def _heard_after(self, source: str, target: str) -> float | None:
        """After how many seconds a knock is heard; None: by none of them."""
        now = self.timeline.seconds
        ways = ((source, target), (target, source))
        blocked = max(
            *(self._away_until.get(way, 0.0) for way in ways),
            *(self._hindered_until.get(way, 0.0) for way in ways),
        )
        return next((knock for knock in KNOCKS if now + knock >= blocked), None)

    def _knock(
        self, source: str, target: str, face: Face, on_done: Dialled, knocked: float
    ) -> None:
        if target not in self._shut:
            self._connect(source, target, face, on_done)
            return
        later = [knock for knock in KNOCKS if knock > knocked]
        if not later:
            rest = CONNECT_SECONDS_MAX - knocked
            self.timeline.after(rest, lambda: on_done(None, Face(None)))
            return
        self.timeline.after(
            later[0] - knocked,
            lambda: self._knock(source, target, face, on_done, later[0]),
        )

    def _connect(self, source: str, target: str, face: Face, on_done: Dialled) -> None:
        acceptor = self._listening.get(target)
        if acceptor is None:
            on_done(None, Face(None))
            return
        connection = Connection(self, (source, target))
        self.connections[connection] = None
        self.connections_made += 1
        theirs = acceptor.face
        acceptor.accept(connection.ends[LISTENER], face, source)
        on_done(connection.ends[DIALLER], theirs)
