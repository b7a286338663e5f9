"""Bytes on their way in: frames, messages, and who acts on each.

Hello, heartbeat and log position end here.  What the upper layers act on, and this peer
may say, is delivered.  All else is counted; with an id it is answered as a real node
answers what its handler declines.

Source: Icinga 2's framing and JSON-RPC layers.
"""

from __future__ import annotations

from typing import NamedTuple

from icefloe.cluster.counters import Counters
from icefloe.cluster.effects import Deliver, Effect, HelloReceived, Level
from icefloe.cluster.outbox import Outbox
from icefloe.cluster.peer import Peer, printable
from icefloe.cluster.positions import Age, LogPositions
from icefloe.cluster.reporting import Reporter
from icefloe.cluster.rules import (
    Treatment,
    concerns_enrollment,
    is_worth_holding,
    treat,
    treat_response,
)
from icefloe.cluster.settings import (
    KEPT_BYTES_MAX,
    STREAM_BYTES_MIN,
    SessionSettings,
    message_bytes_max,
)
from icefloe.cluster.states import Role
from icefloe.doors import Now
from icefloe.wire.catalogue import (
    HELLO,
    SET_LOG_POSITION,
    Hello,
    SetLogPosition,
    is_known,
)
from icefloe.wire.errors import FramingError, MessageError, WireError
from icefloe.wire.jsonrpc import (
    Notification,
    Request,
    Response,
    decode,
    encode_empty_response,
    encode_response,
)
from icefloe.wire.netstring import Discarded, Frame, NetstringReader
from icefloe.wire.peek import peek_method, peek_ts


class Intake(NamedTuple):
    """What came of some bytes.

    Attributes:
        effects: to be carried out.
        fault: why the session must end, after the effects; None if it goes on.
    """

    effects: list[Effect]
    fault: WireError | None = None


class Inbox:
    """The receiving half of a session.

    Attributes:
        hello: the peer's Hello, once it came.
    """

    def __init__(
        self,
        *,
        role: Role,
        peer: Peer,
        settings: SessionSettings,
        counters: Counters,
        reporter: Reporter,
        positions: LogPositions,
        outbox: Outbox,
    ) -> None:
        """Take the other parts of the session."""
        self._role = role
        self._peer = peer
        self._settings = settings
        self._counters = counters
        self._reporter = reporter
        self._positions = positions
        self._outbox = outbox
        self._reader = _reader_for(peer, settings)
        self.hello: HelloReceived | None = None

    @property
    def is_inside_frame(self) -> bool:
        """Whether the bytes so far end within a frame."""
        return bool(self._reader.bytes_held)

    def take(self, data: bytes, now: Now) -> Intake:
        """Take the next bytes of the stream; not to be called after a fault."""
        effects: list[Effect] = []
        frames: list[Frame] | tuple[Frame, ...]
        fault: WireError | None = None
        try:
            frames = self._reader.feed(data)
        except FramingError as error:
            frames, fault = error.frames, error
        for frame in frames:
            self._counters.frames_in += 1
            if isinstance(frame, Discarded):
                effects += self._note_discarded(frame, now)
                continue
            try:
                effects += self._handle_payload(frame.data, now)
            except MessageError as error:
                return Intake(effects, error)
        return Intake(effects, fault)

    # -- frames ----------------------------------------------------------------

    def _note_discarded(self, frame: Discarded, now: Now) -> list[Effect]:
        method = peek_method(frame.head)
        self._counters.discarded_frames += 1
        self._counters.discarded_bytes += frame.size
        self._count_method(method or "")
        effects = self._judge_ts(peek_ts(frame.tail), now)[1]
        if method is None or not is_worth_holding(method):
            return effects
        # No real node sends one this large; its sender waits for an answer in vain.
        return effects + self._warn(
            "session.oversized", now, method=printable(method), size=frame.size
        )

    def _handle_payload(self, payload: bytes, now: Now) -> list[Effect]:
        """Handle one message; lets a `MessageError` pass that ends the session."""
        try:
            message = decode(payload, depth_max=self._settings.nesting_depth_max)
        except MessageError as error:
            self._counters.malformed += 1
            if not self._peer.is_member:
                raise
            return self._warn("session.bad_message", now, **describe(error))
        if isinstance(message, Response):
            return self._handle_response(message, now)
        self._count_method(message.method)
        stale, effects = self._judge_ts(message.ts, now)
        if stale and not concerns_enrollment(message.method):
            # As real nodes do: no answer, even if it has an id.
            self._counters.stale += 1
            return effects
        return effects + self._handle_call(message, now)

    # -- messages ----------------------------------------------------------------

    def _handle_response(self, message: Response, now: Now) -> list[Effect]:
        self._counters.responses += 1
        if treat_response(peer=self._peer, role=self._role) is Treatment.DELIVER:
            return [Deliver(message)]
        self._counters.denied += 1
        return self._warn("session.unexpected_response", now)

    def _handle_call(self, message: Notification | Request, now: Now) -> list[Effect]:
        method = message.method
        treatment = treat(
            method, peer=self._peer, role=self._role, settings=self._settings
        )
        effects: list[Effect] = []
        if treatment is Treatment.DELIVER:
            return [Deliver(message)]
        if treatment is Treatment.SESSION:
            effects += self._handle_own(message, now)
        elif treatment is Treatment.DENY:
            self._counters.denied += 1
            effects += self._warn("session.denied", now, method=method)
        elif treatment is Treatment.UNKNOWN:
            effects += self._reporter.maybe_report(
                Level.DEBUG,
                "session.unknown_method",
                now.mono,
                method=printable(method),
            )
        return effects + self._answer_unhandled(message, treatment, now)

    def _answer_unhandled(
        self, message: Notification | Request, treatment: Treatment, now: Now
    ) -> list[Effect]:
        if isinstance(message, Notification):
            return []
        if treatment is Treatment.UNKNOWN:
            payload = encode_empty_response(message.id)
        else:
            payload = encode_response(message.id, None)
        return [*self._outbox.transmit(payload, now.mono)]

    def _handle_own(self, message: Notification | Request, now: Now) -> list[Effect]:
        try:
            if message.method == HELLO:
                return self._handle_hello(Hello.parse(message.params))
            if message.method == SET_LOG_POSITION:
                acknowledged = SetLogPosition.parse(message.params)
                self._positions.record(acknowledged.log_position)
        except MessageError as error:
            self._counters.malformed += 1
            fields = {"method": message.method, **describe(error)}
            return self._warn("session.bad_params", now, **fields)
        return []

    def _handle_hello(self, hello: Hello) -> list[Effect]:
        if self.hello is not None:
            # Once is what the protocol has; a second one changes nothing.
            return []
        self.hello = HelloReceived(
            version=hello.version,
            capabilities=hello.capabilities,
            icefloe=hello.icefloe,
        )
        return [self.hello]

    # -- helpers -----------------------------------------------------------------

    def _judge_ts(self, ts: float | None, now: Now) -> tuple[bool, list[Effect]]:
        """Say whether a message is stale, and report one from the future."""
        if not self._peer.is_member:
            return False, []
        age = self._positions.judge(ts, now.wall)
        if age is not Age.FUTURE:
            return age is Age.STALE, []
        self._counters.future += 1
        return False, self._warn("session.future_ts", now, ts=ts, wall=now.wall)

    def _count_method(self, method: str) -> None:
        known = is_known(method) or method in self._settings.delivered_methods
        self._counters.count_method(method, known=known)

    def _warn(self, event: str, now: Now, **fields: object) -> list[Effect]:
        return [*self._reporter.maybe_report(Level.WARNING, event, now.mono, **fields)]


def describe(error: WireError) -> dict[str, object]:
    """Return the facts of what is wrong with a peer's bytes, as log fields."""
    return {"reason": error.reason.value, "size": error.size, "detail": str(error)}


def _reader_for(peer: Peer, settings: SessionSettings) -> NetstringReader:
    if not peer.is_member:
        return NetstringReader(settings.anonymous_message_bytes_max)
    return NetstringReader(
        message_bytes_max(peer),
        discard_above=STREAM_BYTES_MIN,
        should_keep=lambda head: is_worth_holding(peek_method(head)),
        kept_bytes_max=KEPT_BYTES_MAX,
    )
