"""One connection's session: Hello, heartbeat, liveness, log position, drain.

Bytes and moments go in; `effects` come out, to be carried out in order.  A session
reads no clock and writes to no socket, so the simulator runs the very same one.

The owner of the connection

1. makes a `Session` once TLS is up and the peer is identified, and calls `start`;
2. calls `receive` with whatever comes, `peer_finished` when the peer closes its side,
   and `lost`, once, when TCP is gone, for whatever reason;
3. calls `tick` at `next_deadline`, which may change with every call of anything;
4. carries out the effects.  After `Finish` it flushes, closes TLS, reads on until the
   peer's close or the deadline (feeding `receive`) and closes TCP.

The upper layers send, hold and drain.  They never ask in which state a session is:
what comes too late is dropped and counted, and they learn of the end from the owner.

The states and their moves are the table in `icefloe.cluster.states`; what is received
is handled in `inbox`, what is sent in `outbox`.  Source of the behaviour: Icinga 2's
cluster protocol, with the deviations that `positions` and `rules` explain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final, TypeAlias

from icefloe.cluster.counters import Counters
from icefloe.cluster.effects import Abort, Effect, Finish, HelloReceived, Level, Opened
from icefloe.cluster.inbox import Inbox, describe
from icefloe.cluster.liveness import Liveness
from icefloe.cluster.outbox import Outbox
from icefloe.cluster.peer import Peer
from icefloe.cluster.positions import LogPositions
from icefloe.cluster.refusal import HTTP_REFUSAL
from icefloe.cluster.reporting import Reporter
from icefloe.cluster.rules import may_acknowledge
from icefloe.cluster.settings import SessionSettings
from icefloe.cluster.states import TRANSITIONS, Action, Role, Signal, State
from icefloe.doors import MonotonicTime, Now
from icefloe.wire.catalogue import HEARTBEAT, HELLO, SET_LOG_POSITION, Hello
from icefloe.wire.catalogue import SetLogPosition as Position
from icefloe.wire.errors import WireError
from icefloe.wire.jsonrpc import (
    encode_notification,
    encode_request,
    encode_response,
)

_DIGITS: Final = frozenset(b"0123456789")

_Handler: TypeAlias = Callable[["Session", bytes, str], list[Effect]]


class SessionMisused(AssertionError):
    """A session was called in an order that its owner must not use: a bug of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSnapshot:
    """How a session stands, for status pages and metrics; changing it changes nothing.

    Attributes:
        role: which side we are.
        peer: the other side.
        state: value of its state, such as ``open``.
        began_at: when the connection was accepted or dialled.
        last_seen: when the peer was last heard.
        hello: the peer's Hello, if it came.
        log_position: the youngest `ts` received, unix seconds; 0 for none.
        acknowledged_position: what the peer acknowledged, unix seconds; 0 for nothing.
        counters: a copy.
    """

    role: Role
    peer: Peer
    state: str
    began_at: MonotonicTime
    last_seen: MonotonicTime
    hello: HelloReceived | None
    log_position: float
    acknowledged_position: float
    counters: Counters


class Session:
    """The protocol side of one connection."""

    def __init__(
        self,
        *,
        role: Role,
        peer: Peer,
        settings: SessionSettings,
        now: Now,
        log_position: float = 0.0,
    ) -> None:
        """Make a session; nothing happens before `start`.

        Args:
            role: which side of the connection we are.
            peer: as `identify` decided after the handshake.
            settings: times and limits.
            now: when the connection was accepted or dialled; a listener waits
                `setup_seconds` from here for the first byte.
            log_position: where an earlier session with the same member ended
                (`SessionSnapshot.log_position`), unix seconds.
        """
        self._role = role
        self._peer = peer
        self._settings = settings
        self._now = now
        self._state = State.NEW
        self._discarded_bytes = 0
        self._counters = Counters()
        self._reporter = Reporter(peer=peer, period_seconds=settings.report_seconds)
        self._liveness = Liveness(
            settings=settings,
            may_stay=peer.is_member or peer.verified,
            now=now.mono,
        )
        self._positions = LogPositions(
            settings=settings,
            may_acknowledge=may_acknowledge(peer),
            received=log_position,
            now=now.mono,
        )
        self._outbox = Outbox(
            peer=peer, counters=self._counters, reporter=self._reporter
        )
        self._inbox = Inbox(
            role=role,
            peer=peer,
            settings=settings,
            counters=self._counters,
            reporter=self._reporter,
            positions=self._positions,
            outbox=self._outbox,
        )

    # -- from the owner of the connection --------------------------------------

    def start(self, now: Now) -> list[Effect]:
        """TLS is up.  A dialler says Hello at once, a listener waits to be spoken to.

        Raises:
            SessionMisused: it was called before.
        """
        self._now = now
        dialled = self._role is Role.DIALLER
        return self._step(Signal.START_DIALLER if dialled else Signal.START_LISTENER)

    def receive(self, data: bytes, now: Now) -> list[Effect]:
        """Bytes came, cut anywhere.

        Raises:
            SessionMisused: the session was not started.
        """
        self._now = now
        if not data:
            return []
        self._liveness.seen(now.mono)
        self._counters.bytes_in += len(data)
        effects: list[Effect] = []
        if self._state is State.AWAITING:
            speaks_rpc = data[0] in _DIGITS
            first = Signal.FIRST_DIGIT if speaks_rpc else Signal.FIRST_OTHER
            effects += self._step(first)
        return effects + self._step(Signal.BYTES, data)

    def tick(self, now: Now) -> list[Effect]:
        """Time passed.  Harmless at any moment, due at `next_deadline`."""
        self._now = now
        effects: list[Effect] = []
        before = self._state
        for signal, deadline in self._deadlines():
            # Nothing else is due once the session has ended.
            if self._state is before and deadline <= now.mono:
                effects += self._step(signal, reason=signal.value)
        return effects

    def peer_finished(self, now: Now) -> list[Effect]:
        """The peer closed its side (TLS close_notify, or the end of the stream)."""
        self._now = now
        return self._step(Signal.PEER_FINISHED, reason="peer-finished")

    def lost(self, reason: str) -> list[Effect]:
        """The TCP connection is gone; the last call of all.

        Args:
            reason: stable code; `outbound-overflow` when the peer did not read.
        """
        return self._step(Signal.LOST, reason=reason)

    @property
    def next_deadline(self) -> MonotonicTime | None:
        """When to call `tick`; None while nothing is due by itself."""
        return min((deadline for _, deadline in self._deadlines()), default=None)

    @property
    def last_seen(self) -> MonotonicTime:
        """When the peer was last heard."""
        return self._liveness.last_seen

    def snapshot(self) -> SessionSnapshot:
        """Say how the session stands."""
        return SessionSnapshot(
            role=self._role,
            peer=self._peer,
            state=self._state.value,
            began_at=self._liveness.began_at,
            last_seen=self._liveness.last_seen,
            hello=self._inbox.hello,
            log_position=self._positions.received,
            acknowledged_position=self._positions.acknowledged,
            counters=self._counters.copy(),
        )

    # -- from the upper layers -------------------------------------------------

    def send_notification(
        self,
        method: str,
        params: object,
        *,
        ts: float | None = None,
        origin_zone: str | None = None,
    ) -> list[Effect]:
        """Send a message that wants no answer.

        Before `Opened`, after the end, or larger than the peer accepts, it is dropped,
        counted and reported.  The same holds for the other three.

        Args:
            method: its name.
            params: JSON object.
            ts: unix seconds for a relayed message; never from the future.
            origin_zone: the zone it comes from, for peers of our own zone.
        """
        return self._send(
            encode_notification(method, params, ts=ts, origin_zone=origin_zone)
        )

    def send_request(
        self, method: str, params: object, *, call: object
    ) -> list[Effect]:
        """Send a message that wants an answer, which comes as `Deliver(Response)`.

        Args:
            method: its name.
            params: JSON object.
            call: the id, any JSON value; the answer bears the same.
        """
        return self._send(encode_request(method, params, call))

    def send_response(self, result: object, *, call: object) -> list[Effect]:
        """Answer a request.

        Args:
            result: JSON value.
            call: the request's id.
        """
        return self._send(encode_response(call, result))

    def hold(self, until: MonotonicTime | None = None) -> None:
        """Let a stranger stay beyond its lifetime because it waits for an answer.

        It stays while it is alive, or until the given moment; the last call counts.
        Means nothing for a peer that may stay anyway.
        """
        self._liveness.hold(until)

    def release(self, now: Now) -> None:
        """End a hold; the stranger has one more lifetime from now."""
        self._liveness.release(now.mono)

    def drain(self, reason: str, now: Now) -> list[Effect]:
        """End the session in order: what was sent is flushed, what comes is ignored.

        Args:
            reason: stable code, for logs.
            now: the time.
        """
        self._now = now
        return self._step(Signal.DRAIN, reason=reason)

    # -- the machine -----------------------------------------------------------

    def _step(
        self, signal: Signal, data: bytes = b"", *, reason: str = ""
    ) -> list[Effect]:
        """Make one move of the table; the only place where the state changes."""
        move = TRANSITIONS.get((self._state, signal))
        if move is None:
            raise SessionMisused(f"{signal.value} in state {self._state.value}")
        self._state = move.state
        return self._ACTIONS[move.action](self, data, reason)

    def _send(self, payload: bytes) -> list[Effect]:
        return self._step(Signal.SEND, payload)

    def _deadlines(self) -> list[tuple[Signal, MonotonicTime]]:
        """List what the clock will signal in this state, the endings first."""
        if self._state is State.AWAITING:
            return [(Signal.SETUP_DEADLINE, self._liveness.setup_deadline)]
        if self._state is not State.OPEN:
            return []
        candidates = (
            (Signal.SILENCE_DEADLINE, self._liveness.silence_deadline),
            (Signal.LIFETIME_DEADLINE, self._liveness.lifetime_deadline),
            (Signal.HEARTBEAT_DEADLINE, self._liveness.heartbeat_deadline),
            (Signal.POSITION_DEADLINE, self._positions.deadline),
        )
        return [(signal, at) for signal, at in candidates if at is not None]

    # -- actions -----------------------------------------------------------------

    def _do_nothing(self, _data: bytes, _reason: str) -> list[Effect]:
        return []

    def _greet(self, _data: bytes, _reason: str) -> list[Effect]:
        self._liveness.opened(self._now.mono)
        # Our time goes along, for a node that is being set up to see how far its own
        # clock is off; real nodes pass over the whole key.
        facts = self._settings.hello_facts
        hello = Hello(icefloe={**facts, "time": round(self._now.wall, 3)})
        payload = encode_notification(HELLO, hello.to_params())
        return [*self._outbox.transmit(payload, self._now.mono), Opened()]

    def _refuse_http(self, _data: bytes, _reason: str) -> list[Effect]:
        answer = self._outbox.transmit_raw(HTTP_REFUSAL)
        return [answer, *self._finish_briefly(b"", "speaks-http")]

    def _handle(self, data: bytes, _reason: str) -> list[Effect]:
        effects, fault = self._inbox.take(data, self._now)
        return effects if fault is None else effects + self._end_over(fault)

    def _end_over(self, fault: WireError) -> list[Effect]:
        report = self._reporter.report(
            Level.WARNING, "session.bad_bytes", **describe(fault)
        )
        reason = fault.reason.value
        return [report, *self._step(Signal.PEER_FAULT, reason=reason)]

    def _transmit(self, payload: bytes, _reason: str) -> list[Effect]:
        return [*self._outbox.transmit(payload, self._now.mono)]

    def _refuse_send(self, payload: bytes, _reason: str) -> list[Effect]:
        state = self._state.value
        return [*self._outbox.refuse(payload, self._now.mono, state)]

    def _beat(self, _data: bytes, _reason: str) -> list[Effect]:
        self._liveness.beaten(self._now.mono)
        return self._transmit(encode_notification(HEARTBEAT, {}), "")

    def _acknowledge(self, _data: bytes, _reason: str) -> list[Effect]:
        # Repeated although unchanged, as real nodes do.
        self._positions.announced(self._now.mono)
        params = Position(self._positions.received).to_params()
        return self._transmit(encode_notification(SET_LOG_POSITION, params), "")

    def _finish(self, _data: bytes, reason: str) -> list[Effect]:
        seconds = self._settings.drain_seconds
        return [*self._end(b"", reason), Finish(seconds, reason)]

    def _finish_briefly(self, _data: bytes, reason: str) -> list[Effect]:
        seconds = self._settings.brief_drain_seconds
        return [*self._end(b"", reason), Finish(seconds, reason)]

    def _end(self, _data: bytes, reason: str) -> list[Effect]:
        """Sum the session up: one line for each, when its end begins."""
        return [
            self._reporter.report(
                Level.INFO,
                "session.ended",
                reason=reason,
                seconds=round(self._now.mono - self._liveness.began_at, 3),
                role=self._role.value,
                standing=self._peer.standing.value,
                inside_frame=self._inbox.is_inside_frame,
                **self._counters.summary(),
            )
        ]

    def _discard(self, data: bytes, _reason: str) -> list[Effect]:
        self._discarded_bytes += len(data)
        limit = self._settings.drain_discard_bytes_max
        if self._peer.is_member or self._discarded_bytes <= limit:
            return []
        return self._step(Signal.FLOODED, reason="flooded-drain")

    def _abort(self, _data: bytes, reason: str) -> list[Effect]:
        report = self._reporter.report(
            Level.WARNING, "session.flooded", bytes=self._discarded_bytes
        )
        return [report, Abort(reason)]

    # One table for all sessions: one in each would make each a reference cycle.
    _ACTIONS: ClassVar[Mapping[Action, _Handler]] = MappingProxyType(
        {
            Action.NOTHING: _do_nothing,
            Action.GREET: _greet,
            Action.REFUSE_HTTP: _refuse_http,
            Action.HANDLE: _handle,
            Action.DISCARD: _discard,
            Action.TRANSMIT: _transmit,
            Action.REFUSE_SEND: _refuse_send,
            Action.BEAT: _beat,
            Action.ACKNOWLEDGE: _acknowledge,
            Action.FINISH: _finish,
            Action.FINISH_BRIEFLY: _finish_briefly,
            Action.END: _end,
            Action.ABORT: _abort,
        }
    )
