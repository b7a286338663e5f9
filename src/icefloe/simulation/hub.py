"""All connections of a simulated process, and the way between them and the core.

The twin of `icefloe.node.hub`, `dialer` and `shunning`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from icefloe.cluster.connections import Connections, Refuse, Replace
from icefloe.cluster.effects import HelloReceived, Report
from icefloe.cluster.pacing import DialPacer
from icefloe.cluster.peer import PeerRejected, identify
from icefloe.cluster.session import Session
from icefloe.cluster.settings import SessionSettings
from icefloe.cluster.standing import changes, is_upstream
from icefloe.cluster.states import Role
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.answers import parked, refused
from icefloe.enrollment.open_calls import OpenCalls
from icefloe.enrollment.shunned import STAYS_SECONDS, Shunned, is_over_rate
from icefloe.enrollment.translate import event_of, malformed_answer, session_effects
from icefloe.enrollment.unrecorded import ledger_fault
from icefloe.simulation.identities import read_der
from icefloe.simulation.link import Link
from icefloe.simulation.network import End, Face
from icefloe.simulation.timeline import Action, Timer
from icefloe.simulation.world import World
from icefloe.wire.errors import MessageError
from icefloe.wire.jsonrpc import Message, Request

if TYPE_CHECKING:
    from icefloe.simulation.machine import Machine
    from icefloe.simulation.process import Process

ASK_SOON_SECONDS: Final = 1.0
"""As in the daemon: a stranger asks this soon, or has not come to ask."""

LinkCommand = cmd.Answer | cmd.Push | cmd.Ask | cmd.Hold | cmd.Release | cmd.Drain


class Hub:
    """Owns the links; members one for each endpoint.

    Attributes:
        links: its connections.
    """

    def __init__(self, process: Process, machine: Machine, world: World) -> None:
        """Begin without connections."""
        self.links: dict[ev.LinkId, Link] = {}
        self._process = process
        self._machine = machine
        self._world = world
        self._clock = machine.clock
        self._connections: Connections[ev.LinkId] = Connections(node_name=machine.name)
        self._pacer = DialPacer(entropy=world.entropy)
        self._session_settings = SessionSettings(
            node_name=machine.name, hello_facts={"version": "simulated"}
        )
        self._shunned = Shunned(machine.name)
        self._tree, self._anchor = machine.tree, machine.anchor
        self._shown = machine.shown
        self._open_calls = OpenCalls()
        self._leaving: dict[ev.LinkId, str] = {}
        self._ending_soon: set[ev.LinkId] = set()
        self._core_hangs = False
        self._dials = True
        self._dial_timer: Timer | None = None

    # -- life -------------------------------------------------------------------------

    def start(self) -> None:
        """Listen and dial."""
        if self._machine.listens:
            self._world.network.listen(self._machine.name, self)
        self._set_targets()
        self._process.enter(self._dial_due)

    def stop_dialling(self) -> None:
        """Begin no connections any more."""
        self._dials = False
        self._pacer.set_targets((), self._clock.now().mono)
        self._arm_dialler()

    def vanish(self, *, power: bool) -> None:
        """The process died."""
        self._dials = False
        if self._dial_timer is not None:
            self._dial_timer.cancel()
        for link in list(self.links.values()):
            link.vanish(power=power)
        self.links.clear()

    def reconfigure(self) -> None:
        """Stand on what the files say now; close what no longer stands."""
        before, self._tree = self._tree, self._machine.tree
        self._anchor = self._machine.anchor
        self._shown = self._machine.shown
        self._set_targets()
        self._arm_dialler()
        found = changes(
            {each.link_id: each.peer for each in self.links.values()},
            before=before,
            tree=self._tree,
            anchor=self._anchor,
            at=self._clock.now().wall,
        )
        for link_id, change in found.items():
            link = self.links.get(link_id)
            if link is None or link.ended:
                continue
            self._note(f"closes {link.peer.label} at a reload: {change.reason}")
            if change.reason == "standing-changed":
                self.leave(link, change.reason)
            else:
                link.drain(change.reason)

    def leave_members(self, reason: str, *, upstream_only: bool = False) -> None:
        """Close members' connections in order: they are to see our new self."""
        for link in list(self.links.values()):
            outdated = link.upstream and link.shown != self._shown
            if outdated if upstream_only else link.peer.is_member:
                self.leave(link, reason)

    # -- the end ------------------------------------------------------------------------

    @property
    def owed(self) -> int:
        """How many askers still get an answer on their connection."""
        return len(self._open_calls)

    @property
    def expects_askers(self) -> bool:
        """Whether a stranger is here that has only just come and not asked yet."""
        late = self._clock.now().mono - ASK_SOON_SECONDS
        return any(
            link.role is Role.LISTENER
            and not (link.peer.is_member or link.has_asked or link.ended)
            and link.begun > late
            for link in self.links.values()
        )

    def leave(self, link: Link, reason: str) -> None:
        """Close a connection in order as soon as no answer is owed on it."""
        if link.ended or link.link_id in self._leaving:
            return
        if self._open_calls.is_owed(link.link_id):
            self._leaving[link.link_id] = reason
            link.end.hear_no_more()
        else:
            self._drain(link, reason)

    def leave_all(self, reason: str) -> None:
        """Close every connection in order as soon as no answer is owed on it."""
        for link in list(self.links.values()):
            self._process.effect_boundary()
            self.leave(link, reason)

    def answer_all(self, unrecorded: Iterable[ev.Event]) -> None:
        """Answer everyone who is still owed an answer, in place of a core that hangs."""
        name = self._machine.name
        fault = refused(ledger_fault(name)).to_params()
        kept = parked(name, self._anchor.pem, "").to_params()
        doubtful = {id(event) for event in unrecorded}
        self._core_hangs = True
        for asked in self._open_calls.all():
            if asked.call is not None:
                self._process.effect_boundary()
                result = fault if id(asked) in doubtful else kept
                self.carry_out(cmd.Answer(asked.link, asked.call, result))

    def abort_all(self) -> None:
        """Close what is still there, at once."""
        for link in list(self.links.values()):
            link.end.abort()

    # -- from the core ------------------------------------------------------------------

    def carry_out(self, command: LinkCommand | cmd.Shun) -> None:
        """Carry out a command on its link, if that is there."""
        if isinstance(command, cmd.Shun):
            self._shunned.heed(command, self._clock.now().mono)
            return
        link = self.links.get(command.link)
        if link is None or self._was_answered_for(command):
            return
        promises, name = self._world.promises, self._machine.name
        if isinstance(command, cmd.Answer | cmd.Push | cmd.Ask):
            self._note(f"{_words(command)} to {link.peer.label}")
            promises.durable_before_spoken(name, command)
        if isinstance(command, cmd.Push):
            promises.pushed(name, command, link.peer)
        if isinstance(command, cmd.Drain):
            # Behind the asking that was answered another one may be on its way.
            self.leave(link, command.reason)
            return
        was_open = not link.ended
        sent = link.step(lambda now: session_effects(command, link.session, now))
        if isinstance(command, cmd.Ask) and not sent:
            detail = "the connection is closing, or the message is too large"
            failed = ev.ParentFailed(command.link, command.call, detail)
            self._process.submit(failed)
        elif isinstance(command, cmd.Answer):
            # A peer that does not read loses its connection, and its answers.
            if was_open and not sent and not link.end.overflowed:
                what = "an answer was dropped at the session"
                promises.no_answer_is_cut_off(name, what)
            self._answered(link, command)
            if is_over_rate(command.result):
                self._end_soon(link)

    # -- connecting ---------------------------------------------------------------------

    @property
    def face(self) -> Face:
        """What is shown to those who dial us."""
        return self._machine.face

    def accept(self, end: End, face: Face, address: str) -> None:
        """Take a connection."""

        def take() -> None:
            self._take(end, face, Role.LISTENER, address, shown=self._shown)

        self._process.enter(take)

    def _set_targets(self) -> None:
        targets = [endpoint.name for endpoint in self._tree.dial_targets()]
        self._pacer.set_targets(targets, self._clock.now().mono)

    def _dial_due(self) -> None:
        now = self._clock.now().mono
        for name in self._pacer.due(now):
            self._pacer.dialling(name)
            self._world.network.dial(
                self._machine.name,
                name,
                self._machine.face,
                partial(self._dialled, name, self._shown),
            )
        self._arm_dialler()

    def _dialled(self, name: str, shown: str, end: End | None, face: Face) -> None:
        if not self._dials:
            if end is not None:
                end.connection.owner_died(end.side, power=False)
            return

        def take() -> None:
            if end is None:
                failed = ev.DialFailed(name, refused=False, detail="nobody answers")
                self._process.submit(failed)
            if end is None or not self._take(
                end, face, Role.DIALLER, name, expected=name, shown=shown
            ):
                self._pacer.failed(name, self._clock.now().mono)
                self._arm_dialler()

        self._process.enter(take)

    def _arm_dialler(self) -> None:
        if self._dial_timer is not None:
            self._dial_timer.cancel()
            self._dial_timer = None
        due = self._pacer.next_deadline
        if due is not None:
            self._dial_timer = self._world.timeline.at(
                due, lambda: self._process.enter(self._dial_due)
            )

    def _take(
        self,
        end: End,
        face: Face,
        role: Role,
        address: str,
        *,
        shown: str,
        expected: str | None = None,
    ) -> bool:
        """Begin a session; false when the peer is not to be talked to."""
        try:
            peer = identify(
                tree=self._tree,
                certificate_der=face.certificate,
                verified=self._is_verified(face),
                address=address,
                expected_name=expected,
            )
        except PeerRejected:
            end.abort()
            return False
        link = Link(
            link_id=self._machine.new_link_id(),
            end=end,
            session=Session(
                role=role,
                peer=peer,
                settings=self._session_settings,
                now=self._clock.now(),
            ),
            peer=peer,
            role=role,
            owner=self,
            clock=self._clock,
            timeline=self._world.timeline,
            shown=shown,
        )
        self.links[link.link_id] = link
        link.start()
        return peer.is_member or expected is None

    def _is_verified(self, face: Face) -> bool:
        if face.certificate is None:
            return False
        at = self._clock.now().wall
        if self._world.faults.refuses(face.certificate):
            return False
        return self._anchor.is_signed(read_der(face.certificate), at)

    # -- from links -----------------------------------------------------------------------

    def enter(self, action: Action) -> None:
        """Take an action that comes from outside."""
        self._process.enter(action)

    def effect_boundary(self) -> None:
        """Between two effects."""
        self._process.effect_boundary()

    def link_opened(self, link: Link) -> None:
        """Admit a member's only connection, and tell the core."""
        if link.peer.is_member and not self._admit(link):
            return
        link.announced = True
        link.upstream = is_upstream(link.peer, self._tree)
        self._note(
            f"link {link.link_id} with {link.peer.label}"
            f" ({link.peer.standing.value}, {link.role.value})"
        )
        self._process.submit(
            ev.LinkUp(link.link_id, link.peer, upstream=link.upstream, shown=link.shown)
        )
        if link.upstream:
            stays = ev.ParentStays(link.link_id)
            link.on_stays = partial(self._process.submit, stays)
        if link.upstream and link.shown != self._shown:
            self.leave(link, "own-certificate-new")

    def link_hello(self, link: Link, hello: HelloReceived) -> None:
        """Tell the core who understands our additions."""
        if hello.icefloe is not None and link.announced:
            self._process.submit(ev.PeerIsIcefloe(link.link_id))

    def link_message(self, link: Link, message: Message) -> None:
        """Hand a message to the core."""
        if not link.announced:
            return
        try:
            event = event_of(link.link_id, message)
        except MessageError as error:
            if isinstance(message, Request):
                result = malformed_answer(self._machine.name, error)
                call = message.id
                link.step(lambda _now: link.session.send_response(result, call=call))
                if not link.peer.is_member:
                    link.drain("answered")
            return
        if event is None:
            return
        if isinstance(event, ev.CertificateAsked):
            if self._turns_away(link, event):
                return
            self._world.promises.asked(self._machine.name, event, link.peer)
            self._open_calls.asked(event)
        self._process.submit(event)

    def link_report(self, link: Link, report: Report) -> None:
        """Log what the session reports."""
        del link
        self._world.promises.secrets_stay_secret(
            self._machine.name, f"logs '{report.event}'", (report.event, report.fields)
        )

    def link_ending(self, link: Link) -> None:
        """Its place among the members is free; nothing is sent on it any more."""
        self._open_calls.gone(link.link_id)
        self._leaving.pop(link.link_id, None)
        if link.announced and link.upstream:
            self._process.submit(ev.LinkEnding(link.link_id))
        endpoint = self._connections.forget(link.link_id)
        if endpoint is not None:
            self._pacer.disconnected(endpoint, self._clock.now().mono)
            self._arm_dialler()

    def link_closed(self, link: Link, *, clean: bool) -> None:
        """It is gone: tell the core."""
        self.links.pop(link.link_id, None)
        self._world.promises.link_gone(self._machine.name, link.link_id)
        if link.announced:
            self._note(
                f"link {link.link_id} with {link.peer.label} ended"
                f"{'' if clean else ', not in order'}"
            )
            self._process.submit(ev.LinkDown(link.link_id, clean=clean))

    # -- inside ---------------------------------------------------------------------------

    def _note(self, what: str) -> None:
        self._world.note(self._machine.name, what)

    def _admit(self, link: Link) -> bool:
        name = link.peer.common_name or ""
        other_id = self._connections.link_of(name)
        other = self.links.get(other_id) if other_id is not None else None
        verdict = self._connections.admit(
            link.link_id,
            name,
            role=link.role,
            now=self._clock.now().mono,
            incumbent_seen=other.session.last_seen if other is not None else None,
        )
        if isinstance(verdict, Refuse):
            self._world.promises.gives_way(link.end.connection)
            link.drain(verdict.reason)
            return False
        if isinstance(verdict, Replace) and other is not None:
            self._world.promises.gives_way(other.end.connection)
            other.drain(verdict.reason)
        self._pacer.connected(name, self._clock.now().mono)
        self._arm_dialler()
        return True

    def _turns_away(self, link: Link, event: ev.CertificateAsked) -> bool:
        """Refuse what the core would refuse; it said whom."""
        now = self._clock.now().mono
        refusal = self._shunned.refusal(event, link.peer, now)
        if refusal is None:
            return False
        self._world.counts["turned away"] += 1
        call = event.call
        if call is not None:
            result = refused(refusal).to_params()
            link.step(lambda _now: link.session.send_response(result, call=call.value))
        self._end_soon(link)
        return True

    def _end_soon(self, link: Link) -> None:
        """Close a stranger's connection, on which a peer was refused, in a moment."""
        if link.peer.is_member or link.link_id in self._ending_soon:
            return
        self._ending_soon.add(link.link_id)

        def end() -> None:
            self._ending_soon.discard(link.link_id)
            self.leave(link, "over-rate")

        self._world.timeline.after(STAYS_SECONDS, lambda: self._process.enter(end))

    def _was_answered_for(self, command: LinkCommand) -> bool:
        """Whether a core that hung has come to answer what was answered for it."""
        return (
            self._core_hangs
            and isinstance(command, cmd.Answer)
            and not self._open_calls.is_open(command)
        )

    def _answered(self, link: Link, answer: cmd.Answer) -> None:
        self._open_calls.answered(answer)
        if not self._open_calls.is_owed(answer.link):
            reason = self._leaving.pop(answer.link, None)
            if reason is not None:
                self._drain(link, reason)

    def _drain(self, link: Link, reason: str) -> None:
        if not link.peer.is_member:
            self._world.promises.drained(self._machine.name, link.link_id)
        link.drain(reason)


def _words(command: cmd.Answer | cmd.Push | cmd.Ask) -> str:
    if isinstance(command, cmd.Answer):
        status = command.result.get("status_code")
        facts = command.result.get("icefloe")
        reason = facts.get("reason", "") if isinstance(facts, dict) else ""
        return f"answers {status} {reason}".rstrip()
    if isinstance(command, cmd.Push):
        return f"pushes for {command.params.fingerprint_request[:8]}"
    return f"asks {command.call[:8]}"
