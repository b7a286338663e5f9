"""One connection of a simulated process: between its end, its session and its owner.

The twin of `icefloe.node.link`, on the timeline instead of an event loop.
"""

from __future__ import annotations

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
from icefloe.simulation.network import End
from icefloe.simulation.timeline import Action, Timeline, Timer
from icefloe.wire.catalogue import REQUEST_CERTIFICATE
from icefloe.wire.jsonrpc import Message, Response

ASKED_SECONDS: Final = 20.0
"""How long a stranger that asked stays in any case: until the core, perhaps behind a
slow disk, has seen the asking and holds the connection, or not.  As in the daemon."""


class LinkOwner(Protocol):
    """Who hears of a link's life."""

    def enter(self, action: Action) -> None:
        """Take an action that comes from outside; the owner may die in it."""

    def effect_boundary(self) -> None:
        """Between two effects: the owner may die here."""

    def link_opened(self, link: Link) -> None:
        """Messages may be sent."""

    def link_hello(self, link: Link, hello: HelloReceived) -> None:
        """The peer introduced itself."""

    def link_message(self, link: Link, message: Message) -> None:
        """The peer said something that concerns the upper layers."""

    def link_report(self, link: Link, report: Report) -> None:
        """The session has something for the log."""

    def link_ending(self, link: Link) -> None:
        """The session ended."""

    def link_closed(self, link: Link, *, clean: bool) -> None:
        """The connection is gone."""


class Link:
    """One connection; its end's handler.

    Attributes:
        link_id: its name at the owner.
        end: the transport.
        session: the protocol side.
        peer: who is at the other end.
        role: which side we are.
        announced: the core was told of it.
        upstream: the core was told that requests may be forwarded on it.
        begun: when the handshake was done.
        has_asked: a request came on it.
        ended: the session has ended.
        shown: of which certificate ours is the fingerprint that was shown on it.
        on_stays: told once when the peer is heard later than a stranger may stay.
    """

    def __init__(
        self,
        *,
        link_id: LinkId,
        end: End,
        session: Session,
        peer: Peer,
        role: Role,
        owner: LinkOwner,
        clock: Clock,
        timeline: Timeline,
        shown: str = "",
    ) -> None:
        """Join an end and a session; nothing happens before `start`."""
        self.link_id = link_id
        self.end = end
        self.session = session
        self.peer = peer
        self.role = role
        self.announced = False
        self.upstream = False
        self.begun = clock.now().mono
        self.has_asked = False
        self.ended = False
        self.shown = shown
        self._owner = owner
        self._clock = clock
        self._timeline = timeline
        self._timer: Timer | None = None
        self.on_stays: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin the session and the delivery of bytes."""
        self.end.bound(outbound_bytes_max(self.peer))
        self.end.start(self)
        self.step(self.session.start)

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

    def vanish(self, *, power: bool) -> None:
        """The owner died, alone or with its machine."""
        self._disarm()
        self.end.connection.owner_died(self.end.side, power=power)

    # -- from the end -----------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the session."""

        def receive() -> None:
            self.step(lambda now: self.session.receive(data, now))
            self._see_whether_it_stays()

        self._owner.enter(receive)

    def _see_whether_it_stays(self) -> None:
        age, told = self._clock.now().mono - self.begun, self.on_stays
        if told is None or age < confirming.CONFIRMED_AFTER_SECONDS:
            return
        self.on_stays = None

        def look_behind() -> None:
            if not self.ended:
                told()

        self._timeline.after(
            confirming.STILL_THERE_SECONDS, lambda: self._owner.enter(look_behind)
        )

    def peer_finished(self) -> None:
        """The peer closed its side."""
        self._owner.enter(lambda: self.step(self.session.peer_finished))

    def closed(self, *, clean: bool, reason: str) -> None:
        """The connection is gone."""

        def close() -> None:
            self._disarm()
            self._end()
            self._owner.link_closed(self, clean=clean)
            self._carry_out(self.session.lost("closed" if clean else reason))

        self._owner.enter(close)

    # -- effects ------------------------------------------------------------------------

    def _carry_out(self, effects: Iterable[Effect]) -> bool:
        sent = False
        for effect in effects:
            self._owner.effect_boundary()
            match effect:
                case Transmit():
                    sent = self.end.write(effect.data)
                case Deliver():
                    self._deliver(effect.message)
                case Opened():
                    self._owner.link_opened(self)
                case HelloReceived():
                    self._owner.link_hello(self, effect)
                case Finish():
                    self._end()
                    self.end.start_drain(effect.deadline_seconds)
                case Abort():
                    self._end()
                    self.end.abort()
                case Report():
                    self._owner.link_report(self, effect)
        return sent

    def _deliver(self, message: Message) -> None:
        if self.ended:
            return  # closed because of a message before it in the same bytes
        asks = not isinstance(message, Response) and (
            message.method == REQUEST_CERTIFICATE
        )
        if asks and not self.has_asked:
            self.has_asked = True
            until = MonotonicTime(self._clock.now().mono + ASKED_SECONDS)
            self.session.hold(until)
        self._owner.link_message(self, message)

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self._owner.link_ending(self)

    # -- the session's timer --------------------------------------------------------------

    def _arm(self) -> None:
        at = self.session.next_deadline
        if at is None or self.end.is_closed:
            self._disarm()
            return
        if self._timer is not None:
            if self._timer.at <= at:
                return
            self._timer.cancel()
        self._timer = self._timeline.at(at, self._tick)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def _tick(self) -> None:
        self._timer = None
        self._owner.enter(lambda: self.step(self.session.tick))
