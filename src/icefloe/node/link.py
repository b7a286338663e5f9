"""One connection: between its TLS stream, its session and the hub.

The stream moves bytes, the session knows the protocol, the core decides; the
link only carries effects from one to the other and keeps the session's timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

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
from icefloe.cluster.peer import Peer
from icefloe.cluster.session import Session
from icefloe.cluster.settings import outbound_bytes_max
from icefloe.cluster.states import Role
from icefloe.doors import Clock, MonotonicTime, Now
from icefloe.enrollment import confirming
from icefloe.enrollment.events import LinkId
from icefloe.node.errors import (
    CERTIFICATE_ALERTS,
    ConnectionLost,
    ReaderTooSlow,
    TLSViolated,
)
from icefloe.node.logs import Logger
from icefloe.node.tls.stream_interface import CloseReport
from icefloe.node.tls.transport import TLSStream
from icefloe.wire.catalogue import REQUEST_CERTIFICATE
from icefloe.wire.jsonrpc import Message, Response

ASKED_SECONDS: Final = 20.0
"""How long a stranger that asked stays in any case: until the core, perhaps behind a
slow disk, has seen the asking and holds the connection, or not."""


class LinkOwner(Protocol):
    """Who hears of a link's life; all calls come from the event loop."""

    def link_opened(self, link: Link) -> None:
        """The peer speaks JSON-RPC; messages may be sent."""

    def link_hello(self, link: Link, hello: HelloReceived) -> None:
        """The peer introduced itself."""

    def link_message(self, link: Link, message: Message) -> None:
        """The peer said something that concerns the upper layers."""

    def link_ending(self, link: Link) -> None:
        """The session ended; the stream is being drained or aborted."""

    def link_closed(self, link: Link, report: CloseReport) -> None:
        """The connection is gone; the last call."""


class Link:
    """One connection. It is the stream's handler.

    Attributes:
        link_id: its name, never reused.
        peer: who is at the other end.
        role: which side we are.
        session: its protocol side.
        announced: the core was told of it.
        upstream: the core was told that requests may be forwarded on it.
        begun: when the handshake was done.
        has_asked: a request came on it.
        ended: the session has ended; nothing more is sent or heard.
        shown: hex SHA-256 of the certificate that we showed on it.
        alert: what the peer said in TLS about our certificate when it ended the
            connection, or "".
        on_stays: told once when the peer is heard later than a stranger may stay.
    """

    def __init__(
        self,
        *,
        link_id: LinkId,
        stream: TLSStream,
        session: Session,
        peer: Peer,
        role: Role,
        owner: LinkOwner,
        clock: Clock,
        log: Logger,
        shown: str = "",
    ) -> None:
        """Join a stream and a session; nothing happens before `start`."""
        self.link_id = link_id
        self.peer = peer
        self.role = role
        self.session = session
        self.announced = False
        self.upstream = False
        self.begun = clock.now().mono
        self.has_asked = False
        self.ended = False
        self.shown = shown
        self.alert = ""
        self._stream = stream
        self._owner = owner
        self._clock = clock
        self._log = log
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self.on_stays: Callable[[], object] | None = None

    def start(self) -> None:
        """Begin the session and the delivery of bytes."""
        self._stream.outbound_bytes_max = outbound_bytes_max(self.peer)
        self._stream.on_closed(self._closed)
        self.step(self.session.start)
        self._stream.start(self)

    # -- from the owner ---------------------------------------------------------

    def step(self, move: Callable[[Now], Iterable[Effect]]) -> bool:
        """Make a move of the session and carry out its effects.

        Returns:
            Whether something was sent.
        """
        sent = self._carry_out(move(self._clock.now()))
        self._arm()
        return sent

    def drain(self, reason: str) -> None:
        """Close in order."""
        self.step(lambda now: self.session.drain(reason, now))

    def poll(self) -> None:
        """Hear what has come already."""
        self._stream.poll()

    def hear_no_more(self) -> None:
        """Leave what comes unread until the close."""
        self._stream.pause_reading()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone."""
        await self._stream.wait_closed()

    def abort(self) -> None:
        """Close at once."""
        self._stream.abort()

    # -- from the stream ----------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the session."""
        self.step(lambda now: self.session.receive(data, now))
        age = self._clock.now().mono - self.begun
        if self.on_stays is not None and age >= confirming.CONFIRMED_AFTER_SECONDS:
            told, self.on_stays = self.on_stays, None
            loop = asyncio.get_running_loop()
            loop.call_later(confirming.STILL_THERE_SECONDS, self._look_behind, told)

    def peer_finished(self) -> None:
        """The peer closed its side."""
        self.step(self.session.peer_finished)

    def connection_lost(self, error: ConnectionLost | None) -> None:
        """The stream is closed."""
        reason = "closed"
        if isinstance(error, ReaderTooSlow):
            reason = "outbound-overflow"
        elif error is not None:
            reason = type(error).__name__
        self._carry_out(self.session.lost(reason))
        self._disarm()

    def _look_behind(self, told: Callable[[], object]) -> None:
        """See that no close came behind what was heard."""
        if not self.ended:
            self._stream.poll()
            # If that found the end, it is told before this.
            asyncio.get_running_loop().call_soon(self._tell_unless_ended, told)

    def _tell_unless_ended(self, told: Callable[[], object]) -> None:
        if not self.ended:
            told()

    def _closed(self, report: CloseReport) -> None:
        self._disarm()
        error = report.error
        if isinstance(error, TLSViolated) and error.alert in CERTIFICATE_ALERTS:
            # In TLS 1.3 a certificate of ours is refused after the handshake.
            self.alert = str(error)
        self._end()
        self._owner.link_closed(self, report)

    # -- effects --------------------------------------------------------------------

    def _carry_out(self, effects: Iterable[Effect]) -> bool:
        sent = False
        for effect in effects:
            match effect:
                case Transmit():
                    sent = self._stream.write(effect.data)
                case Deliver():
                    self._deliver(effect.message)
                case Opened():
                    self._owner.link_opened(self)
                case HelloReceived():
                    self._owner.link_hello(self, effect)
                case Finish():
                    self._end()
                    self._stream.start_drain(effect.deadline_seconds)
                case Abort():
                    self._end()
                    self._stream.abort()
                case Report():
                    fields = {"standing": self.peer.standing.value, **effect.fields}
                    self._log.log(effect.level, effect.event, **fields)
        return sent

    def _deliver(self, message: Message) -> None:
        if self.ended:
            return  # closed because of a message before it in the same bytes
        asks = not isinstance(message, Response) and (
            message.method == REQUEST_CERTIFICATE
        )
        # Once: a stranger that asks again and again does not stay for ever.
        if asks and not self.has_asked:
            self.has_asked = True
            until = MonotonicTime(self._clock.now().mono + ASKED_SECONDS)
            self.session.hold(until)
        self._owner.link_message(self, message)

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self._owner.link_ending(self)

    # -- the session's timer ------------------------------------------------------------

    def _arm(self) -> None:
        """Wake at the session's next deadline.

        Deadlines move at every byte; a timer that fires early only looks again,
        which is cheaper than setting it anew each time.
        """
        at = self.session.next_deadline
        if at is None:
            self._disarm()
            return
        if self._timer_at is not None and self._timer_at <= at:
            return
        self._disarm()
        delay = max(0.0, at - self._clock.now().mono)
        self._timer_at = at
        self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timer_at = None

    def _tick(self) -> None:
        self._timer = self._timer_at = None
        try:
            self.step(self.session.tick)
        except Exception:
            self.abort()  # without its timer it would stay for ever
            raise  # to the loop's handler, which logs it
