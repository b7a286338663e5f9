"""The network: connections that carry bytes in order until they are cut.

As TCP and TLS behave for the owner of a `TLSStream`: what was written arrives in order
and whole, or its tail is lost and the connection with it.  Each side learns of that on
its own, soon, late, or never.  A drain flushes, says that it is finished, and reads on
until the other side has finished too or its time is over.
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
from icefloe.simulation.timeline import Timeline, Timer

ANSWER_SECONDS: Final = 10.0
"""After the peer has finished: as `TransportLimits.answer_seconds_max`."""

CONNECT_SECONDS_MAX: Final = 15.0
"""As `TransportLimits.connect_seconds_max`."""

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
    """One side of a connection, for its owner: what `TLSStream` is in the daemon."""

    __slots__ = (
        "_deadline",
        "_finished",
        "_handler",
        "_peer_finished",
        "_phase",
        "connection",
        "side",
    )

    def __init__(self, connection: Connection, side: _Side) -> None:
        self.connection = connection
        self.side = side
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

    def start(self, handler: Handler) -> None:
        """Begin delivery."""
        self._handler = handler

    def write(self, data: bytes) -> bool:
        """Send bytes; whether they were taken."""
        if self._phase is not _Phase.OPEN:
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
        "_on_the_way",
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
        self._broken = False
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
        for chunks in self._on_the_way:
            self._lose_tail(chunks)
        for end in self.ends:
            notice = None if silently else self._faults.notice_seconds()
            if notice is not None:
                self.timeline.after(notice, partial(end.lost, "cut"))

    def owner_died(self, side: _Side) -> None:
        """The process of one side was killed, or its machine lost power."""
        self.faulted = True
        self.ends[side].vanish()
        if self._broken:
            return
        if self._chance.random() < 0.5:
            # Killed: the kernel delivers what was written, then resets.
            self._carry(side, _Mark.RESET)
            return
        self.break_off()

    def end_closed(self) -> None:
        """One side is gone."""
        if self.ends[DIALLER].is_closed and self.ends[LISTENER].is_closed:
            self._network.forget(self)

    # -- inside ---------------------------------------------------------------------

    def _carry(self, side: _Side, item: bytes | _Mark) -> None:
        delay = self._latency * self._chance.uniform(0.8, 1.5)
        if self._faults.strikes("delay", self._faults.plan.delay):
            self.faulted = True
            delay += self._chance.uniform(0.0, self._faults.plan.delay_seconds)
        at = max(self._arrives_at[side], self.timeline.seconds + delay)
        self._arrives_at[side] = at
        chunk = _Chunk(item)
        self._on_the_way[side].append(chunk)
        chunk.timer = self.timeline.at(at, lambda: self._deliver(side))

    def _deliver(self, side: _Side) -> None:
        chunk = self._on_the_way[side].popleft()
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
        self._away_until: dict[frozenset[str], float] = {}

    def listen(self, address: str, acceptor: Acceptor) -> None:
        """Take connections at an address."""
        self._listening[address] = acceptor

    def stop_listening(self, address: str) -> None:
        """Take no more."""
        self._listening.pop(address, None)

    def dial(self, source: str, target: str, face: Face, on_done: Dialled) -> None:
        """Connect; `on_done` gets the dialler's end and the other's face, or None."""
        seconds = self.chance.uniform(0.001, 0.06)
        if self._is_away(source, target):
            self.timeline.after(CONNECT_SECONDS_MAX, lambda: on_done(None, Face(None)))
            return
        if self.faults.strikes("dial-failed", self.faults.plan.dial_fails):
            seconds += self.chance.choice((0.0, 1.0, CONNECT_SECONDS_MAX))
            self.timeline.after(seconds, lambda: on_done(None, Face(None)))
            return
        self.timeline.after(
            seconds, lambda: self._connect(source, target, face, on_done)
        )

    def separate(self, one: str, other: str, seconds: float) -> None:
        """Let nothing pass between two names for a while, and tell nobody."""
        self._away_until[frozenset((one, other))] = self.timeline.seconds + seconds
        for connection in list(self.connections):
            if set(connection.between) == {one, other}:
                connection.break_off(silently=True)

    def forget(self, connection: Connection) -> None:
        """Both sides of a connection are gone."""
        self.connections.pop(connection, None)

    def _is_away(self, one: str, other: str) -> bool:
        until = self._away_until.get(frozenset((one, other)), 0.0)
        return self.timeline.seconds < until

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
