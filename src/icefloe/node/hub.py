"""All connections of a node, and the way between them and the core."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from icefloe.cluster.connections import Connections, Refuse, Replace
from icefloe.cluster.duties import child_alarm, decline_command
from icefloe.cluster.effects import HelloReceived
from icefloe.cluster.peer import Peer, PeerRejected, identify
from icefloe.cluster.session import Session
from icefloe.cluster.settings import SessionSettings
from icefloe.cluster.states import Role
from icefloe.cluster.zones import Relation, ZoneTree
from icefloe.doors import Clock, MonotonicTime
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.translate import event_of, malformed_answer, session_effects
from icefloe.node.askings import is_usable_id
from icefloe.node.link import Link
from icefloe.node.logs import Logger
from icefloe.node.tls.listener import Admission
from icefloe.node.tls.stream_interface import CloseReport
from icefloe.node.tls.transport import TLSStream
from icefloe.pki.certificates import is_self_issued, load_der
from icefloe.pki.errors import PKIError
from icefloe.wire.catalogue import EXECUTE_COMMAND
from icefloe.wire.errors import MessageError
from icefloe.wire.jsonrpc import Message, Request, Response

# An orderly close is over by then: the limit of the sessions themselves.
DRAIN_SECONDS_MAX = 10.0

LinkCommand = cmd.Answer | cmd.Push | cmd.Ask | cmd.Hold | cmd.Release | cmd.Drain


@dataclass(frozen=True, slots=True)
class HubSettings:
    """What connections stand on; replaced whole at a reload.

    Attributes:
        tree: zones and endpoints; None without any (a memberless gateway).
        session: times and limits of sessions.
    """

    tree: ZoneTree | None
    session: SessionSettings


class Hub:
    """Owns the links; members one for each endpoint."""

    def __init__(
        self,
        *,
        settings: HubSettings,
        clock: Clock,
        log: Logger,
        submit: Callable[[ev.Event], bool],
    ) -> None:
        """Begin without connections.

        Args:
            settings: see `HubSettings`.
            clock: the real one, or a test's.
            log: where log events go.
            submit: takes the core's events; false when it takes no more.
        """
        self.settings = settings
        self._clock = clock
        self._log = log
        self._submit = submit
        self._links: dict[ev.LinkId, Link] = {}
        self._numbers = itertools.count(1)
        self._connections: Connections[ev.LinkId] = Connections(
            node_name=settings.session.node_name
        )
        # Where the session with a member ended; a new one goes on from there.
        self._log_positions: dict[str, float] = {}
        self._carriers: dict[ev.LinkId, Callable[[LinkCommand], None]] = {}
        self._icinga_children: dict[str, str] = {}
        # Told when a member's place is taken and when it is free again.
        self.on_member_connected: Callable[[str], None] = _tell_nobody
        self.on_member_disconnected: Callable[[str], None] = _tell_nobody

    # -- connections ------------------------------------------------------------------

    def new_link_id(self) -> ev.LinkId:
        """Name a connection."""
        return ev.LinkId(next(self._numbers))

    def add_carrier(self, carrier: Callable[[LinkCommand], None]) -> ev.LinkId:
        """Let somebody else carry out the commands for a link of its own."""
        link_id = self.new_link_id()
        self._carriers[link_id] = carrier
        return link_id

    def remove_carrier(self, link_id: ev.LinkId) -> None:
        """Forget a carrier; commands that still come for its link are dropped."""
        self._carriers.pop(link_id, None)

    def is_connected(self, endpoint: str) -> bool:
        """Whether a member has a connection."""
        return self._connections.link_of(endpoint) is not None

    @property
    def connected(self) -> tuple[str, ...]:
        """The connected members."""
        return tuple(self._connections.links())

    @property
    def icinga_children(self) -> dict[str, str]:
        """Children that are real Icinga nodes, and why that is a problem."""
        return dict(self._icinga_children)

    def take_stream(
        self,
        stream: TLSStream,
        *,
        role: Role,
        expected: str | None = None,
        admission: Admission | None = None,
    ) -> Link | None:
        """Begin a session on an established stream.

        Args:
            stream: not started yet; owned from here on.
            role: which side we are.
            expected: the endpoint we dialled.
            admission: its place among the strangers, given back for a member.

        Returns:
            The link; None when the peer is not to be talked to.
        """
        facts = stream.peer
        address = f"{facts.address}:{facts.port}"
        try:
            peer = identify(
                tree=self.settings.tree,
                certificate_der=facts.certificate,
                verified=facts.verified,
                address=address,
                expected_name=expected,
                presented_root_der=_root_of(facts.chain),
            )
        except PeerRejected as error:
            self._log.log(
                cmd.Level.WARNING,
                "peer rejected",
                address=address,
                reason=error.reason,
                detail=str(error),
            )
            stream.abort()
            return None
        if expected is not None and not peer.is_member:
            self._log.log(
                cmd.Level.WARNING,
                "parent or child not verified, treated as a stranger",
                endpoint=expected,
                address=address,
                detail="; ".join(facts.objections),
            )
        if peer.is_member and admission is not None:
            admission.release()
        return self._begin(stream, peer, role)

    def _begin(self, stream: TLSStream, peer: Peer, role: Role) -> Link:
        name = peer.common_name or ""
        session = Session(
            role=role,
            peer=peer,
            settings=self.settings.session,
            # The time to say something runs from the accepting, not from here.
            now=replace(self._clock.now(), mono=MonotonicTime(stream.opened)),
            log_position=self._log_positions.get(name, 0.0) if peer.is_member else 0.0,
        )
        link = Link(
            link_id=self.new_link_id(),
            stream=stream,
            session=session,
            peer=peer,
            role=role,
            owner=self,
            clock=self._clock,
            log=self._log,
        )
        self._links[link.link_id] = link
        link.start()
        return link

    def drain_members(self, reason: str) -> None:
        """Close every member's connection in order: they are to see our new self."""
        for link in list(self._links.values()):
            if link.peer.is_member:
                link.drain(reason)

    async def drain_all(
        self, reason: str, *, seconds_max: float = DRAIN_SECONDS_MAX
    ) -> None:
        """Close every connection in order and wait for the end of it.

        Args:
            reason: stable code, for logs.
            seconds_max: connections that are still there by then are aborted.
        """
        links = list(self._links.values())
        for link in links:
            link.drain(reason)
        try:
            async with asyncio.timeout(seconds_max):
                for link in links:
                    await link.wait_closed()
        except TimeoutError:
            for link in links:
                link.abort()
                await link.wait_closed()

    # -- from the core -------------------------------------------------------------------

    def carry_out(self, command: LinkCommand) -> None:
        """Carry out a command on its link; one that is gone is told as LinkDown."""
        carrier = self._carriers.get(command.link)
        if carrier is not None:
            carrier(command)
            return
        link = self._links.get(command.link)
        if link is not None:
            link.step(lambda now: session_effects(command, link.session, now))

    # -- from a link -------------------------------------------------------------------------

    def link_opened(self, link: Link) -> None:
        """Admit a member's only connection, and tell the core."""
        if link.peer.is_member and not self._admit(link):
            return
        link.announced = True
        self._submit(
            ev.LinkUp(link.link_id, link.peer, upstream=self._is_upstream(link.peer))
        )
        self._log.log(
            cmd.Level.INFO if link.peer.is_member else cmd.Level.DEBUG,
            "connected",
            peer=link.peer.label,
            address=link.peer.address,
            standing=link.peer.standing.value,
            role=link.role.value,
        )

    def link_hello(self, link: Link, hello: HelloReceived) -> None:
        """Tell the core who understands our additions; see what a child is."""
        if hello.icefloe is not None and link.announced:
            self._submit(ev.PeerIsIcefloe(link.link_id))
        alarm = child_alarm(link.peer, hello)
        if alarm is not None:
            self._icinga_children[alarm.endpoint] = alarm.text
            self._log.log(
                cmd.Level.ERROR,
                "real Icinga node below us: its check results end here",
                endpoint=alarm.endpoint,
                zone=alarm.zone,
                version=alarm.version,
                detail=alarm.text,
            )
        elif link.peer.common_name in self._icinga_children:
            del self._icinga_children[link.peer.common_name]

    def link_message(self, link: Link, message: Message) -> None:
        """Hand a message to whom it concerns."""
        if not link.announced:
            return  # a second connection on its way out
        if isinstance(message, Request) and not is_usable_id(message.id):
            self._unanswerable(link, message)
            return
        if not isinstance(message, Response) and message.method == EXECUTE_COMMAND:
            self._decline(link, message)
            return
        try:
            event = event_of(link.link_id, message)
        except MessageError as error:
            self._malformed(link, message, error)
            return
        if event is not None and not self._submit(event):
            self._overloaded(link, message)

    def link_ending(self, link: Link) -> None:
        """Its place among the members is free."""
        snapshot = link.session.snapshot()
        if link.peer.is_member and link.peer.common_name and snapshot.log_position:
            self._log_positions[link.peer.common_name] = snapshot.log_position
        endpoint = self._connections.forget(link.link_id)
        if endpoint is not None:
            self.on_member_disconnected(endpoint)

    def link_closed(self, link: Link, report: CloseReport) -> None:
        """It is gone: tell the core."""
        self._links.pop(link.link_id, None)
        if link.announced:
            self._submit(ev.LinkDown(link.link_id, clean=report.clean))

    # -- inside ----------------------------------------------------------------------------------

    def _admit(self, link: Link) -> bool:
        name = link.peer.common_name or ""
        other_id = self._connections.link_of(name)
        other = self._links.get(other_id) if other_id is not None else None
        verdict = self._connections.admit(
            link.link_id,
            name,
            role=link.role,
            now=self._clock.now().mono,
            incumbent_seen=other.session.last_seen if other is not None else None,
        )
        if isinstance(verdict, Refuse):
            self._log.log(
                cmd.Level.INFO,
                "second connection closed",
                peer=name,
                reason=verdict.reason,
            )
            link.drain(verdict.reason)
            return False
        if isinstance(verdict, Replace) and other is not None:
            other.drain(verdict.reason)
        self.on_member_connected(name)
        return True

    def _is_upstream(self, peer: Peer) -> bool:
        tree = self.settings.tree
        if tree is None or not peer.is_member:
            return False
        if tree.parent_zone is None:
            return peer.relation is Relation.SAME_ZONE
        return peer.relation is Relation.PARENT

    def _decline(self, link: Link, message: Message) -> None:
        tree = self.settings.tree
        if tree is None or isinstance(message, Response):
            return
        declined = decline_command(
            message, peer=link.peer, tree=tree, now=self._clock.now().wall
        )
        self._log.log(
            cmd.Level.WARNING,
            "command not executed",
            peer=link.peer.label,
            reason=declined.reason,
        )
        reply = declined.reply
        if reply is not None:
            link.step(
                lambda _now: link.session.send_notification(reply.method, reply.params)
            )
        if isinstance(message, Request):
            call = message.id
            link.step(lambda _now: link.session.send_response(None, call=call))

    def _malformed(self, link: Link, message: Message, error: MessageError) -> None:
        self._log.log(
            cmd.Level.WARNING,
            "unreadable message",
            peer=link.peer.label,
            address=link.peer.address,
            reason=error.reason.value,
            detail=str(error),
        )
        if isinstance(message, Request):
            result = malformed_answer(self.settings.session.node_name, error)
            call = message.id
            link.step(lambda _now: link.session.send_response(result, call=call))
            if not link.peer.is_member:
                link.drain("answered")

    def _unanswerable(self, link: Link, message: Request) -> None:
        self._log.log(
            cmd.Level.WARNING,
            "call with an unusable id ignored",
            peer=link.peer.label,
            address=link.peer.address,
            method=message.method[:64],
        )
        if not link.peer.is_member:
            link.drain("unusable-id")

    def _overloaded(self, link: Link, message: Message) -> None:
        self._log.log(
            cmd.Level.WARNING,
            "too many requests wait",
            peer=link.peer.label,
            address=link.peer.address,
        )
        if isinstance(message, Request):
            name = self.settings.session.node_name
            result = {
                "status_code": 1,
                "error": f"{name} has too many requests waiting; ask again later.",
                "icefloe": {"hop": name, "reason": "limit", "retry_after": 10},
            }
            call = message.id
            link.step(lambda _now: link.session.send_response(result, call=call))
        if not link.peer.is_member:
            link.drain("overloaded")


def _tell_nobody(_endpoint: str) -> None:
    pass


def _root_of(chain: Iterable[bytes]) -> bytes | None:
    """Return the self-issued certificate among those a peer sent along."""
    for der in chain:
        try:
            if is_self_issued(load_der(der)):
                return der
        except PKIError:
            continue
    return None
