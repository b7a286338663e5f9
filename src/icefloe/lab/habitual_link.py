"""One connection of a habitual node: its queue, its clockwork, its end.

What is queued here has not been handed to TLS yet.  That is what makes a close faithful:

    CloseFlushed   what is queued goes out, then close_notify
    CloseCut       what is queued is dropped, then close_notify

The queue is handed over in the loop's next turn, as a real node's writer takes its own
after the handler that filled it has ended.  So an answer and a cut of the same turn
leave nothing, and the Hello of an earlier turn is out by then (protocol: a client of
2.14.4 sees the Hello and the end).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from icefloe.cluster.peer import Peer
from icefloe.enrollment.events import LinkId
from icefloe.habits import Habits
from icefloe.lab.conversation import Conversation
from icefloe.node.errors import ConnectionLost
from icefloe.node.tls.transport import TLSStream
from icefloe.wire.catalogue import (
    ANONYMOUS_MESSAGE_BYTES_MAX,
    HEARTBEAT,
    HELLO,
    NETSTRING_BYTES_MAX,
    SET_LOG_POSITION,
    SetLogPosition,
)
from icefloe.wire.errors import WireError
from icefloe.wire.jsonrpc import Message, Notification, encode_notification
from icefloe.wire.netstring import encode

HEARTBEAT_SECONDS: Final = 20.0
LOG_POSITION_SECONDS: Final = 5.0
LIVENESS_SECONDS: Final = 30.0
SILENCE_SECONDS_MAX: Final = 60.0
FIRST_BYTE_SECONDS_MAX: Final = 15.0
CLOSE_SECONDS_MAX: Final = 10.0
"""protocol: the times of Icinga's listener and sessions."""

_DIGITS: Final = frozenset(b"0123456789")


class HabitualLinkOwner(Protocol):
    """Who hears of a link's life."""

    def link_open(self, link: HabitualLinkOnWire) -> None:
        """The peer speaks JSON-RPC; our Hello is on its way."""
        ...

    def link_message(self, link: HabitualLinkOnWire, message: Message) -> None:
        """The peer said something."""
        ...

    def link_down(self, link: HabitualLinkOnWire) -> None:
        """The connection is gone; the last call."""
        ...


class HabitualLinkOnWire:
    """One connection.

    Attributes:
        link_id: Its number, used once.
        peer: Who is at the other end.
        expected: The endpoint that was dialled; None for an accepted connection.
        position: The newest `ts` this peer ever sent, unix seconds; 0 for none.
    """

    def __init__(
        self,
        *,
        link_id: LinkId,
        stream: TLSStream,
        peer: Peer,
        expected: str | None,
        habits: Habits,
        owner: HabitualLinkOwner,
        position: float,
    ) -> None:
        """Take a stream that is not started.

        Args:
            link_id: Its number.
            stream: Owned from here on.
            peer: As `identify` decided.
            expected: The endpoint that was dialled, or None.
            habits: The release.
            owner: Who hears of it.
            position: Where an earlier session with this member ended, or 0.
        """
        self.link_id = link_id
        self.peer = peer
        self.expected = expected
        self.position = position
        self._stream = stream
        self._habits = habits
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._queue: deque[bytes] = deque()
        self._inbox: deque[Message] = deque()
        self._timers: list[asyncio.TimerHandle] = []
        self._open = False
        self._closing = False
        self._conversation = Conversation(
            on_message=self._take,
            on_garbage=self._garbage,
            on_finished=self._finished,
            on_lost=self._lost,
            payload_bytes_max=(
                NETSTRING_BYTES_MAX if peer.is_member else ANONYMOUS_MESSAGE_BYTES_MAX
            ),
        )

    def start(self) -> None:
        """Begin: a dialler speaks at once, a listener waits for a digit."""
        self._stream.outbound_bytes_max = NETSTRING_BYTES_MAX
        if self.expected is not None:
            self._begin_session()
        else:
            self._later(FIRST_BYTE_SECONDS_MAX, self._close_if_silent)
        self._stream.start(self)

    # From the owner.

    def send(self, payload: bytes) -> None:
        """Queue a message; nothing happens on a closing link."""
        if self._closing:
            return
        if not self._queue:
            self._loop.call_soon(self._hand_over)
        self._queue.append(encode(payload))

    def close_flushed(self) -> None:
        """Send what is queued, then close."""
        self._hand_over()
        self._close()

    def close_cut(self) -> None:
        """Drop what is queued, and close."""
        self._queue.clear()
        self._close()

    def close_at(self, mono: float) -> None:
        """Close then, if it is still open; what is queued has long gone out."""
        # The loop's clock is the monotonic one.
        self._timers.append(self._loop.call_at(mono, self.close_flushed))

    async def wait_closed(self) -> None:
        """Wait until the connection is gone."""
        await self._stream.wait_closed()

    # From the stream.

    def data_received(self, data: bytes) -> None:
        """Take bytes; the first one decides what is spoken."""
        if not self._open:
            if data[0] not in _DIGITS:  # HTTP, which is not imitated
                self._close()
                return
            self._begin_session()
        self._conversation.data_received(data)

    def peer_finished(self) -> None:
        """Take the peer's close_notify."""
        self._conversation.peer_finished()

    def connection_lost(self, error: ConnectionLost | None) -> None:
        """Take the end."""
        self._conversation.connection_lost(error)

    # Inside.

    def _begin_session(self) -> None:
        self._open = True
        self.send(encode_notification(HELLO, self._habits.hello.to_params()))
        self._later(HEARTBEAT_SECONDS, self._beat)
        self._later(LIVENESS_SECONDS, self._check_liveness)
        if self.peer.is_member:
            self._later(LOG_POSITION_SECONDS, self._acknowledge)
        self._owner.link_open(self)

    def _take(self, message: Message) -> None:
        # Handled after the Hello was handed over, see above.
        if not self._inbox:
            self._loop.call_soon(self._handle)
        self._inbox.append(message)

    def _handle(self) -> None:
        while self._inbox:
            message = self._inbox.popleft()
            self._owner.link_message(self, message)
            if isinstance(message, Notification) and message.ts is not None:
                self.position = max(self.position, message.ts)

    def _garbage(self, _error: WireError) -> None:
        self.close_flushed()

    def _finished(self) -> None:
        self._closing = True

    def _lost(self, _error: ConnectionLost | None) -> None:
        self._closing = True
        for timer in self._timers:
            timer.cancel()
        self._owner.link_down(self)

    def _hand_over(self) -> None:
        while self._queue:
            self._stream.write(self._queue.popleft())

    def _close(self) -> None:
        self._closing = True
        self._stream.start_drain(CLOSE_SECONDS_MAX)

    # The clockwork.

    def _later(self, seconds: float, work: Callable[[], None]) -> None:
        now = self._loop.time()
        self._timers = [
            *(timer for timer in self._timers if _is_ahead(timer, now)),
            self._loop.call_later(seconds, work),
        ]

    def _close_if_silent(self) -> None:
        if not self._open:
            self._close()

    def _beat(self) -> None:
        self.send(encode_notification(HEARTBEAT, {}))
        self._later(HEARTBEAT_SECONDS, self._beat)

    def _check_liveness(self) -> None:
        """Let a silent member, or a verified stranger, go; others have their 10 s."""
        if self._loop.time() - self._stream.last_received > SILENCE_SECONDS_MAX:
            self.close_flushed()
        self._later(LIVENESS_SECONDS, self._check_liveness)

    def _acknowledge(self) -> None:
        """Acknowledge what came from above; what a child sends is handed to nobody."""
        relation = self.peer.relation
        if self.position and relation is not None and relation.is_upward:
            params = SetLogPosition(self.position).to_params()
            self.send(encode_notification(SET_LOG_POSITION, params))
        self._later(LOG_POSITION_SECONDS, self._acknowledge)


def _is_ahead(timer: asyncio.TimerHandle, now: float) -> bool:
    return timer.when() > now and not timer.cancelled()
