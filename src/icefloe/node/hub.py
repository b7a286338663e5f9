"""All connections of a node, and the way between them and the core."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from icefloe.cluster.connections import Connections, Refuse, Replace
from icefloe.cluster.duties import child_alarm
from icefloe.cluster.effects import HelloReceived
from icefloe.cluster.peer import Peer, PeerRejected, identify
from icefloe.cluster.session import Session
from icefloe.cluster.settings import SessionSettings
from icefloe.cluster.standing import Change, changes, is_upstream, objections
from icefloe.cluster.states import Role
from icefloe.cluster.zones import ZoneTree
from icefloe.doors import Clock, MonotonicTime
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.answers import parked, refused
from icefloe.enrollment.open_calls import OpenCalls
from icefloe.enrollment.shunned import is_over_rate
from icefloe.enrollment.translate import event_of, session_effects
from icefloe.enrollment.unrecorded import ledger_fault
from icefloe.node.askings import is_usable_id
from icefloe.node.link import Link
from icefloe.node.logs import Logger
from icefloe.node.replies import Replies
from icefloe.node.shunning import Shunning
from icefloe.node.tls.listener import Admission
from icefloe.node.tls.stream_interface import CloseReport
from icefloe.node.tls.transport import TLSStream
from icefloe.pki.certificates import root_among
from icefloe.pki.trust import TrustAnchor
from icefloe.wire.catalogue import EXECUTE_COMMAND
from icefloe.wire.errors import MessageError
from icefloe.wire.jsonrpc import Message, Request, Response

ASK_SOON_SECONDS: Final = 1.0
"""A stranger asks this soon after its handshake, or has not come to ask."""

LEAVE_AT_ONCE_MAX: Final = 128
"""Connections closed in one turn of the loop."""

LinkCommand = cmd.Answer | cmd.Push | cmd.Ask | cmd.Hold | cmd.Release | cmd.Drain


@dataclass(frozen=True, slots=True)
class HubSettings:
    """What connections stand on; replaced whole at a reload.

    Attributes:
        tree: zones and endpoints; None without any (a memberless gateway).
        session: times and limits of sessions.
        anchor: whom the node trusts; None trusts nobody.
        shown: hex SHA-256 of our own certificate, shown on connections from now on.
    """

    tree: ZoneTree | None
    session: SessionSettings
    anchor: TrustAnchor | None = None
    shown: str = ""


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
        self._replies = Replies(settings.session.node_name, clock=clock, log=log)
        self._open_calls = OpenCalls()
        self.shunning = Shunning(
            settings.session.node_name, clock=clock, log=log, leave=self.leave
        )
        # Connections that close once nothing is owed to them, and why.
        self._leaving: dict[ev.LinkId, str] = {}
        self._core_hangs = False
        self._changed_at = MonotonicTime(float("-inf"))
        # When our own certificate became another one, and the one before.
        self._shown_since = MonotonicTime(float("-inf"))
        self._shown_before = ""
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
        judged_since: float | None = None,
    ) -> Link | None:
        """Begin a session on an established stream.

        Args:
            stream: not started yet; owned from here on.
            role: which side we are.
            expected: the endpoint we dialled.
            admission: its place among the strangers, given back for a member.
            judged_since: from when the trust is by which TLS verified it; default:
                when the connection was opened.

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
                presented_root_der=root_among(facts.chain),
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
        since = stream.opened if judged_since is None else judged_since
        if self._is_outdated(peer, since):
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
        is_new = since >= self._shown_since
        shown = self.settings.shown if is_new else self._shown_before
        return self._begin(stream, peer, role, shown)

    def _begin(self, stream: TLSStream, peer: Peer, role: Role, shown: str) -> Link:
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
            shown=shown,
        )
        self._links[link.link_id] = link
        link.start()
        return link

    # -- a reload ---------------------------------------------------------------------

    async def reconfigure(self, settings: HubSettings) -> None:
        """Stand on new settings, and close the connections that no longer stand.

        New connections are judged by them at once. The open ones are judged again in
        a thread (a signature each); whoever stands as before is not touched.
        """
        before, self.settings = self.settings, settings
        now = self._clock.now()
        self._changed_at = now.mono
        if settings.shown != before.shown:
            self._shown_since, self._shown_before = now.mono, before.shown
        peers = {each.link_id: each.peer for each in self._links.values()}
        judge = partial(
            changes,
            peers,
            before=before.tree,
            tree=settings.tree,
            anchor=settings.anchor,
            at=now.wall,
        )
        for link_id, change in (await asyncio.to_thread(judge)).items():
            self._close_changed(link_id, change)

    def _close_changed(self, link_id: ev.LinkId, change: Change) -> None:
        link = self._links.get(link_id)
        if link is None or link.ended:
            return
        self._log.log(
            cmd.Level.WARNING if link.peer.is_member else cmd.Level.INFO,
            "connection closed by a reload",
            peer=link.peer.label,
            address=link.peer.address,
            reason=change.reason,
            detail=change.detail,
        )
        if change.reason == "standing-changed":
            self.leave(link, change.reason)
        else:
            link.drain(change.reason)

    def _is_outdated(self, peer: Peer, since: float) -> bool:
        """Whether a handshake by the trust of before a reload verified too much."""
        if since >= self._changed_at or not peer.verified:
            return False
        doubts = objections(
            peer.certificate or b"", self.settings.anchor, self._clock.now().wall
        )
        if doubts:
            self._log.log(
                cmd.Level.WARNING,
                "connection closed by a reload",
                peer=peer.label,
                address=peer.address,
                reason="certificate-not-valid",
                detail="; ".join(doubts),
            )
        return bool(doubts)

    def leave_members(self, reason: str, *, upstream_only: bool = False) -> None:
        """Close members' connections in order: they are to see our new self.

        Args:
            reason: for the log.
            upstream_only: only the parents', on which another certificate was shown.
        """
        for link in list(self._links.values()):
            outdated = link.upstream and link.shown != self.settings.shown
            if outdated if upstream_only else link.peer.is_member:
                self.leave(link, reason)

    # -- the end ------------------------------------------------------------------------

    @property
    def owed(self) -> int:
        """How many askers still get an answer on their connection."""
        return len(self._open_calls)

    @property
    def told(self) -> Counter[str]:
        """How many askers were told what so far; see `OpenCalls.told`."""
        return Counter(self._open_calls.told)

    @property
    def open_links(self) -> int:
        """How many connections there are, those that are closing included."""
        return len(self._links)

    @property
    def expects_askers(self) -> bool:
        """Whether a stranger is here that has only just come and not asked yet."""
        late = self._clock.now().mono - ASK_SOON_SECONDS
        return any(
            link.role is Role.LISTENER
            and not (link.peer.is_member or link.has_asked or link.ended)
            and link.begun > late
            for link in self._links.values()
        )

    def leave(self, link: Link, reason: str) -> None:
        """Close a connection in order as soon as no answer is owed on it.

        What has come already is heard before, so that no asking is overlooked; what
        comes after it is not, for a busy relay would go on for ever. (It asks again
        on its next connection.)
        """
        if link.ended or link.link_id in self._leaving:
            return
        link.poll()
        if self._open_calls.is_owed(link.link_id):
            self._leaving[link.link_id] = reason
            link.hear_no_more()
        else:
            link.drain(reason)

    def leave_all(self, reason: str) -> None:
        """Close connections in order as soon as no answer is owed on them.

        Some at a time, to be called again: between the last look at what has come
        on a connection and its close there shall be no time for an asking.
        """
        staying = (
            link
            for link in self._links.values()
            if not link.ended and link.link_id not in self._leaving
        )
        for link in list(itertools.islice(staying, LEAVE_AT_ONCE_MAX)):
            self.leave(link, reason)

    def answer_all(self, unrecorded: Iterable[ev.Event]) -> None:
        """Answer everyone who is still owed an answer, in place of a core that hangs.

        Args:
            unrecorded: events that the core has not concluded: nothing is known to
                be kept of these.
        """
        name, anchor = self.settings.session.node_name, self.settings.anchor
        fault = refused(ledger_fault(name)).to_params()
        kept = parked(name, anchor.pem if anchor is not None else "", "").to_params()
        doubtful = {id(event) for event in unrecorded}
        self._core_hangs = True
        for asked in self._open_calls.all():
            assert asked.call is not None, "only calls are owed an answer"
            result = fault if id(asked) in doubtful else kept
            self.carry_out(cmd.Answer(asked.link, asked.call, result))

    def abort_all(self) -> None:
        """Close what is still there, at once."""
        for link in list(self._links.values()):
            link.abort()

    # -- from the core -------------------------------------------------------------------

    def carry_out(self, command: LinkCommand | cmd.Shun) -> None:
        """Carry out a command on its link; one that is gone is told as LinkDown."""
        if isinstance(command, cmd.Shun):
            self.shunning.heed(command)
            return
        carrier = self._carriers.get(command.link)
        if carrier is not None:
            carrier(command)
            return
        link = self._links.get(command.link)
        if link is None or self._was_answered_for(command):
            return
        if isinstance(command, cmd.Drain):
            # Behind the asking that was answered another one may be on its way.
            self.leave(link, command.reason)
            return
        sent = link.step(lambda now: session_effects(command, link.session, now))
        if isinstance(command, cmd.Ask) and not sent:
            detail = "the connection is closing, or the message is too large"
            self._submit(ev.ParentFailed(command.link, command.call, detail))
        elif isinstance(command, cmd.Answer):
            self._answered(link, command)
            if is_over_rate(command.result):
                self.shunning.end_soon(link)

    # -- from a link -------------------------------------------------------------------------

    def link_opened(self, link: Link) -> None:
        """Admit a member's only connection, and tell the core."""
        if link.peer.is_member and not self._admit(link):
            return
        link.announced = True
        link.upstream = is_upstream(link.peer, self.settings.tree)
        self._submit(
            ev.LinkUp(link.link_id, link.peer, upstream=link.upstream, shown=link.shown)
        )
        if link.upstream:
            stays = ev.ParentStays(link.link_id)
            link.on_stays = partial(self._submit, stays)
        if link.upstream and link.shown != self.settings.shown:
            # Its handshake had begun when our certificate became another one.
            self.leave(link, "own-certificate-new")
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
            self._replies.unanswerable(link, message)
            return
        if not isinstance(message, Response) and message.method == EXECUTE_COMMAND:
            self._replies.decline(link, message, self.settings.tree)
            return
        try:
            event = event_of(link.link_id, message)
        except MessageError as error:
            self._replies.malformed(link, message, error)
            return
        if event is None:
            return
        if isinstance(event, ev.CertificateAsked) and self.shunning.refuses(
            link, event
        ):
            return
        if not self._submit(event):
            self._replies.overloaded(link, message)
        elif isinstance(event, ev.CertificateAsked):
            self._open_calls.asked(event)

    def link_ending(self, link: Link) -> None:
        """Its place among the members is free; nothing is sent on it any more."""
        self._open_calls.gone(link.link_id)
        self._leaving.pop(link.link_id, None)
        if link.announced and link.upstream:
            self._submit(ev.LinkEnding(link.link_id, detail=link.alert))
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

    def _was_answered_for(self, command: LinkCommand) -> bool:
        """Whether a core that hung has come to answer what was answered for it."""
        return (
            self._core_hangs
            and isinstance(command, cmd.Answer)
            and not self._open_calls.is_open(command)
        )

    def _answered(self, link: Link, answer: cmd.Answer) -> None:
        self._open_calls.answered(answer)
        if not self._open_calls.is_owed(link.link_id):
            reason = self._leaving.pop(link.link_id, None)
            if reason is not None:
                link.drain(reason)


def _tell_nobody(_endpoint: str) -> None:
    pass
