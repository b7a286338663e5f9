"""One connection of a node that is not ours: frames, a queue, and how it ends.

The twin of `icefloe.lab.habitual_link`.  What is queued leaves in the next turn, as a
real node's writer takes what the handler has queued after the handler has ended.  So an
answer and a cut of the same turn leave nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from icefloe.cluster.peer import Peer
from icefloe.enrollment.events import LinkId
from icefloe.habits import Habits
from icefloe.simulation.network import End
from icefloe.simulation.timeline import Action, Timeline, Timer
from icefloe.wire.catalogue import (
    ANONYMOUS_MESSAGE_BYTES_MAX,
    HEARTBEAT,
    HELLO,
    NETSTRING_BYTES_MAX,
)
from icefloe.wire.errors import WireError
from icefloe.wire.jsonrpc import Message, decode, encode_notification
from icefloe.wire.netstring import NetstringReader, Payload, encode

HEARTBEAT_SECONDS: Final = 20.0
LIVENESS_SECONDS: Final = 30.0
SILENCE_SECONDS_MAX: Final = 60.0
FIRST_BYTE_SECONDS_MAX: Final = 15.0
CLOSE_SECONDS_MAX: Final = 10.0
"""protocol: the times of Icinga's listener and sessions."""


class HabitualLinkOwner(Protocol):
    """Who hears of a link's life."""

    def enter(self, action: Action) -> None:
        """Take an action that comes from outside; the owner may die in it."""
        ...

    def effect_boundary(self) -> None:
        """Between two effects: the owner may die here."""
        ...

    def link_open(self, link: HabitualLinkOnTimeline) -> None:
        """The peer speaks; our Hello is on its way."""
        ...

    def link_message(self, link: HabitualLinkOnTimeline, message: Message) -> None:
        """The peer said something."""
        ...

    def link_down(self, link: HabitualLinkOnTimeline) -> None:
        """The connection is gone; the last call."""
        ...


class HabitualLinkOnTimeline:
    """One connection; its end's handler.

    Attributes:
        link_id: its number, used once.
        peer: who is at the other end.
        expected: the endpoint that was dialled; None for an accepted connection.
        end: the transport.
    """

    def __init__(
        self,
        *,
        link_id: LinkId,
        end: End,
        peer: Peer,
        expected: str | None,
        habits: Habits,
        owner: HabitualLinkOwner,
        timeline: Timeline,
    ) -> None:
        """Take an end; nothing happens before `start`."""
        self.link_id = link_id
        self.peer = peer
        self.expected = expected
        self.end = end
        self._habits = habits
        self._owner = owner
        self._timeline = timeline
        self._reader = NetstringReader(
            NETSTRING_BYTES_MAX if peer.is_member else ANONYMOUS_MESSAGE_BYTES_MAX
        )
        self._queue: deque[bytes] = deque()
        self._inbox: deque[Message] = deque()
        self._timers: list[Timer] = []
        self._heard_at = timeline.seconds
        self._open = False
        self._closing = False

    def start(self) -> None:
        """Begin: a dialler speaks at once, a listener waits for the first byte."""
        self.end.start(self)
        if self.expected is not None:
            self._begin_session()
        else:
            self._later(FIRST_BYTE_SECONDS_MAX, self._close_if_silent)

    # -- from the owner ---------------------------------------------------------------

    def send(self, payload: bytes) -> None:
        """Queue a message; nothing happens on a closing link."""
        self.send_raw(encode(payload))

    def send_raw(self, data: bytes) -> None:
        """Queue bytes as they are."""
        if self._closing:
            return
        if not self._queue:
            self._later(0.0, self._hand_over)
        self._queue.append(data)

    def close_flushed(self) -> None:
        """Send what is queued, then close."""
        self._hand_over()
        self._close()

    def close_cut(self) -> None:
        """Drop what is queued, and close."""
        self._queue.clear()
        self._close()

    def close_at(self, mono: float) -> None:
        """Close then, if it is still open."""
        self._later(mono - self._timeline.seconds, self.close_flushed)

    def vanish(self, *, power: bool) -> None:
        """The owner died, alone or with its machine."""
        self._disarm()
        self.end.connection.owner_died(self.end.side, power=power)

    # -- from the end -----------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self._owner.enter(lambda: self._received(data))

    def peer_finished(self) -> None:
        """The peer closed its side."""
        self._closing = True

    def closed(self, *, clean: bool, reason: str) -> None:
        """The connection is gone."""
        del clean, reason
        self._closing = True
        self._disarm()
        self._owner.enter(lambda: self._owner.link_down(self))

    # -- inside -------------------------------------------------------------------------

    def _received(self, data: bytes) -> None:
        self._heard_at = self._timeline.seconds
        if self._closing:
            return
        if not self._open:
            if not data[:1].isdigit():
                self._close()
                return
            self._begin_session()
        try:
            for frame in self._reader.feed(data):
                if isinstance(frame, Payload):
                    self._take(decode(frame.data))
        except WireError:
            self.close_flushed()

    def _take(self, message: Message) -> None:
        # Handled after the Hello was handed over, as real nodes do.
        if not self._inbox:
            self._later(0.0, self._handle)
        self._inbox.append(message)

    def _handle(self) -> None:
        while self._inbox:
            self._owner.link_message(self, self._inbox.popleft())

    def _begin_session(self) -> None:
        self._open = True
        self.send(encode_notification(HELLO, self._habits.hello.to_params()))
        if self.peer.is_member or self.peer.verified:
            self._later(HEARTBEAT_SECONDS, self._beat)
            self._later(LIVENESS_SECONDS, self._check_liveness)
        self._owner.link_open(self)

    def _hand_over(self) -> None:
        while self._queue:
            self._owner.effect_boundary()
            self.end.write(self._queue.popleft())

    def _close(self) -> None:
        self._closing = True
        self.end.start_drain(CLOSE_SECONDS_MAX)

    def _close_if_silent(self) -> None:
        if not self._open:
            self._close()

    def _beat(self) -> None:
        self.send(encode_notification(HEARTBEAT, {}))
        self._later(HEARTBEAT_SECONDS, self._beat)

    def _check_liveness(self) -> None:
        """Let a silent member, or a verified stranger, go; others have their 10 s."""
        if self._timeline.seconds - self._heard_at > SILENCE_SECONDS_MAX:
            self.close_flushed()
        self._later(LIVENESS_SECONDS, self._check_liveness)

    def _later(self, seconds: float, work: Action) -> None:
        def act() -> None:
            self._owner.enter(work)

        if len(self._timers) > 8:
            self._timers = [each for each in self._timers if each.action is not None]
        self._timers.append(self._timeline.after(seconds, act))

    def _disarm(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
