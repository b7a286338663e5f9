"""Time, peers, frames, a playbook for one session, and two sessions joined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

from icefloe.cluster.effects import (
    Abort,
    Deliver,
    Effect,
    Finish,
    HelloReceived,
    Opened,
    Report,
    Transmit,
)
from icefloe.cluster.peer import Peer, Standing
from icefloe.cluster.session import Session
from icefloe.cluster.settings import SessionSettings
from icefloe.cluster.states import Role
from icefloe.cluster.zones import Relation
from icefloe.doors import MonotonicTime, Now, WallTime
from icefloe.wire import netstring
from icefloe.wire.catalogue import HELLO
from icefloe.wire.jsonrpc import (
    Message,
    Notification,
    decode,
    encode_notification,
    encode_request,
    encode_response,
)
from icefloe.wire.netstring import NetstringReader, Payload

WALL = 1_700_000_000.0
MONO = 5_000.0
FACTS = {"version": "0.0.1"}
SETTINGS = SessionSettings(node_name="here", hello_facts=FACTS)


def our_facts(seconds: float = 0.0) -> dict[str, object]:
    """What we tell of ourselves, so many seconds into the test."""
    return {**FACTS, "time": WALL + seconds}


def our_hello(seconds: float = 0.0) -> Notification:
    facts = our_facts(seconds)
    return Notification(HELLO, {"version": 21405, "capabilities": 0, "icefloe": facts})


def at(seconds: float) -> Now:
    """Both clocks, so many seconds into the test."""
    return Now(wall=WallTime(WALL + seconds), mono=mono(seconds))


def mono(seconds: float) -> MonotonicTime:
    return MonotonicTime(MONO + seconds)


def member(relation: Relation = Relation.PARENT, name: str = "sat1") -> Peer:
    return Peer(
        standing=Standing.MEMBER,
        common_name=name,
        certificate=b"der",
        key_id="ab",
        verified=True,
        relation=relation,
        zone=f"zone-of-{name}",
        address="192.0.2.1:5665",
    )


def stranger(*, verified: bool = False, name: str | None = "agent1") -> Peer:
    return Peer(
        standing=Standing.ANONYMOUS,
        common_name=name,
        verified=verified,
        address="192.0.2.2:40000",
    )


def notification(
    method: str, params: object = None, *, ts: float | None = None
) -> bytes:
    """A framed notification; `ts` in seconds into the test."""
    moment = None if ts is None else WALL + ts
    return netstring.encode(encode_notification(method, params, ts=moment))


def request(method: str, params: object = None, *, call: object = "u1") -> bytes:
    return netstring.encode(encode_request(method, params, call))


def response(result: object, *, call: object = "u1") -> bytes:
    return netstring.encode(encode_response(call, result))


def real_hello(version: int = 21605) -> bytes:
    return notification(HELLO, {"version": version, "capabilities": 7})


def messages_in(data: bytes) -> list[Message]:
    reader = NetstringReader(999_999_999)
    frames = reader.feed(data)
    reader.finish()
    return [decode(frame.data) for frame in frames if isinstance(frame, Payload)]


@dataclass
class Playbook:
    """One session and what became of it, to be read from top to bottom.

    Inputs queue their effects; the `says...` and `ends...` lines take them from the
    queue, in order.  Reports are kept apart, in `reports`.
    """

    peer: Peer
    role: Role = Role.LISTENER
    settings: SessionSettings = SETTINGS
    log_position: float = 0.0
    seconds: float = 0.0
    effects: list[Effect] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = Session(
            role=self.role,
            peer=self.peer,
            settings=self.settings,
            now=at(self.seconds),
            log_position=self.log_position,
        )

    # -- inputs ------------------------------------------------------------------

    def take(self, effects: list[Effect]) -> Self:
        for effect in effects:
            if isinstance(effect, Report):
                self.reports.append(effect)
            else:
                self.effects.append(effect)
        return self

    def starts(self) -> Self:
        return self.take(self.session.start(at(self.seconds)))

    def hears(self, *frames: bytes) -> Self:
        return self.take(self.session.receive(b"".join(frames), at(self.seconds)))

    def waits(self, seconds: float) -> Self:
        """Let time pass without anybody looking at the session."""
        self.seconds += seconds
        return self

    def passes(self, seconds: float) -> Self:
        """Let time pass, with a tick at each deadline."""
        end = self.seconds + seconds
        while True:
            deadline = self.session.next_deadline
            if deadline is None or deadline > mono(end):
                break
            self.seconds = max(self.seconds, deadline - MONO)
            self.take(self.session.tick(at(self.seconds)))
        self.seconds = end
        return self.take(self.session.tick(at(end)))

    def is_told(self, call: Callable[[Session], list[Effect]]) -> Self:
        return self.take(call(self.session))

    def drains(self, reason: str = "test") -> Self:
        return self.take(self.session.drain(reason, at(self.seconds)))

    def sees_peer_finish(self) -> Self:
        return self.take(self.session.peer_finished(at(self.seconds)))

    def opens(self) -> Self:
        """Get it open, with the Hello out of the way."""
        self.starts()
        if self.role is Role.LISTENER:
            self.hears(real_hello()).says_hello().hears_hello()
        else:
            self.says_hello()
        return self.does_nothing_more()

    # -- what comes of it ----------------------------------------------------------

    def next(self) -> Effect:
        assert self.effects, "nothing more was ordered"
        return self.effects.pop(0)

    def says(self, *expected: Message) -> Self:
        for message in expected:
            effect = self.next()
            assert isinstance(effect, Transmit), effect
            assert messages_in(effect.data) == [message]
        return self

    def says_hello(self) -> Self:
        self.says(our_hello(self.seconds))
        assert self.next() == Opened()
        return self

    def says_bytes(self, data: bytes) -> Self:
        assert self.next() == Transmit(data)
        return self

    def hears_hello(self, version: int = 21605) -> Self:
        assert self.next() == HelloReceived(version, 7, None)
        return self

    def delivers(self, *expected: Message) -> Self:
        for message in expected:
            assert self.next() == Deliver(message)
        return self

    def finishes(self, reason: str, seconds: float | None = None) -> Self:
        effect = self.next()
        assert isinstance(effect, Finish), effect
        assert effect.reason == reason
        assert seconds in {None, effect.deadline_seconds}
        return self

    def aborts(self, reason: str) -> Self:
        assert self.next() == Abort(reason)
        return self

    def does_nothing_more(self) -> Self:
        assert self.effects == []
        return self

    def reported(self, event: str) -> Report:
        """The latest report of a kind."""
        found = [report for report in self.reports if report.event == event]
        assert found, [report.event for report in self.reports]
        return found[-1]

    def times_reported(self, event: str) -> int:
        return sum(report.event == event for report in self.reports)

    @property
    def counters(self) -> dict[str, object]:
        counters = self.session.snapshot().counters
        return {**counters.summary(), "methods": counters.methods}


@dataclass
class Side:
    """One end of a pair: a session and the transport under it."""

    session: Session
    inbound: list[bytes] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    finishing: bool = False
    peer_closed: bool = False
    gone: bool = False

    def of(self, kind: type[Effect]) -> list[Effect]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def delivered(self) -> list[Message]:
        return [e.message for e in self.effects if isinstance(e, Deliver)]


class ConnectionPair:
    """Two sessions joined in memory by what a transport does, without loss.

    Bytes arrive in pieces of `piece` bytes.  A side that finished says so to the other
    after all its bytes; when both did, the connection is gone.
    """

    def __init__(
        self,
        *,
        dialler_sees: Peer,
        listener_sees: Peer,
        settings: SessionSettings = SETTINGS,
        piece: int = 1_000_000,
    ) -> None:
        self.seconds = 0.0
        self.piece = piece
        self.dialler = Side(
            Session(
                role=Role.DIALLER,
                peer=dialler_sees,
                settings=replace(settings, node_name="dialler"),
                now=at(0),
            )
        )
        self.listener = Side(
            Session(
                role=Role.LISTENER,
                peer=listener_sees,
                settings=replace(settings, node_name="listener"),
                now=at(0),
            )
        )
        for side in self.sides:
            self.carry_out(side, side.session.start(at(0)))
        self.settle()

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.dialler, self.listener

    def other(self, side: Side) -> Side:
        return self.listener if side is self.dialler else self.dialler

    def carry_out(self, side: Side, effects: list[Effect]) -> None:
        side.effects += effects
        for effect in effects:
            if isinstance(effect, Transmit):
                assert not side.finishing, "sent after the end"
                self.other(side).inbound.append(effect.data)
            elif isinstance(effect, Finish):
                assert not side.finishing, "finished twice"
                side.finishing = True

    def do(self, side: Side, call: Callable[[Session, Now], list[Effect]]) -> None:
        self.carry_out(side, call(side.session, at(self.seconds)))
        self.settle()

    def settle(self) -> None:
        """Move bytes and closes until nothing moves any more."""
        while any(side.inbound for side in self.sides):
            for side in self.sides:
                data, side.inbound = b"".join(side.inbound), []
                for start in range(0, len(data), self.piece):
                    chunk = data[start : start + self.piece]
                    now = at(self.seconds)
                    self.carry_out(side, side.session.receive(chunk, now))
        for side in self.sides:
            if self.other(side).finishing and not side.peer_closed:
                side.peer_closed = True
                now = at(self.seconds)
                self.carry_out(side, side.session.peer_finished(now))
                self.settle()
        if all(side.finishing and not side.gone for side in self.sides):
            for side in self.sides:
                side.gone = True
                self.carry_out(side, side.session.lost("closed"))

    def pass_seconds(self, seconds: float) -> None:
        """Jump from deadline to deadline."""
        end = self.seconds + seconds
        while True:
            deadlines = [side.session.next_deadline for side in self.sides]
            due = min((d for d in deadlines if d is not None), default=None)
            if due is None or due > mono(end):
                break
            self.seconds = max(self.seconds, due - MONO)
            for side in self.sides:
                self.carry_out(side, side.session.tick(at(self.seconds)))
            self.settle()
        self.seconds = end
