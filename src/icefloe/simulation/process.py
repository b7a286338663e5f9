"""One life of a node: from its start to its crash.

The twin of `icefloe.node.node`, `hub`, `dialer` and `runner`: the same core, sessions,
connections and pacing, the same order of doing things, on the timeline.  Between any
two effects the process may die (`effect_boundary`), and what dies with it is this
object; what survives is the `Machine`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from icefloe.cluster.connections import Connections, Refuse, Replace
from icefloe.cluster.effects import HelloReceived, Report
from icefloe.cluster.pacing import DialPacer
from icefloe.cluster.peer import Peer, PeerRejected, identify
from icefloe.cluster.session import Session
from icefloe.cluster.settings import SessionSettings
from icefloe.cluster.states import Role
from icefloe.cluster.zones import Relation
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.batch import BatchRunner
from icefloe.enrollment.core import EnrollmentCore
from icefloe.enrollment.translate import event_of, malformed_answer, session_effects
from icefloe.pki.profiles import sign_tbs
from icefloe.simulation.identities import read_der
from icefloe.simulation.link import Link
from icefloe.simulation.network import End, Face
from icefloe.simulation.timeline import Action, Timer
from icefloe.simulation.world import World, ticket_is_valid
from icefloe.wire.errors import MessageError
from icefloe.wire.jsonrpc import Message, Request

if TYPE_CHECKING:
    from icefloe.simulation.machine import Machine

BATCH_EVENTS_MAX = 128
FAILING_PAUSE_SECONDS = 0.25
QUEUE_EVENTS_MAX = 2_000

LinkCommand = cmd.Answer | cmd.Push | cmd.Ask | cmd.Hold | cmd.Release | cmd.Drain


class Crashed(Exception):
    """The process dies here.

    Attributes:
        down_seconds: until it is started again.
    """

    def __init__(self, down_seconds: float) -> None:
        super().__init__(down_seconds)
        self.down_seconds = down_seconds


class Process:
    """A running node.

    Attributes:
        alive: false from its crash on.
        links: its connections.
        queue: events that wait for the next batch.
    """

    def __init__(self, machine: Machine, world: World) -> None:
        """Compose a node that does nothing yet."""
        self.alive = True
        self.links: dict[ev.LinkId, Link] = {}
        self.queue: deque[ev.Event] = deque()
        self._machine = machine
        self._world = world
        self._clock = machine.clock
        self._timeline = world.timeline
        self._entered = False
        self.core = EnrollmentCore(settings=machine.settings(), ledger=machine.ledger)
        self._batches = BatchRunner(core=self.core, ledger=machine.ledger)
        self._connections: Connections[ev.LinkId] = Connections(node_name=machine.name)
        self._pacer = DialPacer(entropy=world.entropy)
        self._session_settings = SessionSettings(
            node_name=machine.name, hello_facts={"version": "simulated"}
        )
        self._busy = False
        self._dial_timer: Timer | None = None
        self._deadline_timer: Timer | None = None

    # -- life and death -----------------------------------------------------------------

    def start(self) -> None:
        """Listen, dial, and take up what the ledger holds."""
        machine = self._machine
        machine.ledger.before_commit = self._about_to_commit
        if machine.listens:
            self._world.network.listen(machine.name, self)
        targets = [endpoint.name for endpoint in machine.tree.dial_targets()]
        self._pacer.set_targets(targets, self._clock.now().mono)
        self.submit(ev.Started())
        self.enter(self._dial_due)

    def die(self) -> None:
        """Be gone, with every connection."""
        self.alive = False
        for timer in (self._dial_timer, self._deadline_timer):
            if timer is not None:
                timer.cancel()
        for link in list(self.links.values()):
            link.vanish()
        self.links.clear()

    def enter(self, action: Action) -> None:
        """Take an action that comes from outside; the process may die in it."""
        if not self.alive:
            return
        if self._entered:
            action()
            return
        self._entered = True
        try:
            action()
        except Crashed as crash:
            self._machine.crash(crash.down_seconds)
        finally:
            self._entered = False

    def effect_boundary(self) -> None:
        """Between two effects: perhaps the process dies here."""
        down_seconds = self._machine.crash_here()
        if down_seconds is not None:
            raise Crashed(down_seconds)

    def _about_to_commit(self) -> None:
        self.effect_boundary()
        self._machine.commits += 1

    # -- turns ---------------------------------------------------------------------------

    def submit(self, event: ev.Event) -> None:
        """Queue an event for the next batch."""
        self.queue.append(event)
        self._world.promises.everything_is_bounded(
            self._machine.name, "queue", len(self.queue), QUEUE_EVENTS_MAX
        )
        if not self._busy:
            self._begin_batch()

    def _begin_batch(self) -> None:
        self._busy = True
        count = min(len(self.queue), BATCH_EVENTS_MAX)
        events = [self.queue.popleft() for _ in range(count)]
        due = self.core.next_deadline
        if due is not None and due <= self._clock.now().mono:
            events.append(ev.DeadlineReached())
        seconds = self._world.faults.commit_seconds()
        self._timeline.after(
            seconds, lambda: self.enter(lambda: self._run_batch(events))
        )

    def _run_batch(self, events: list[ev.Event]) -> None:
        machine = self._machine
        failing = machine.commit_is_to_fail()
        if failing:
            machine.ledger.trouble = "commit"
        self._world.counts["turns"] += len(events)
        try:
            batch = self._batches.run(events, self._clock.now(), self._world.entropy)
        finally:
            if failing:
                machine.ledger.trouble = None
        # Whether a deadline has passed is looked at anew before the next batch.
        kept = [e for e in batch.unhandled if not isinstance(e, ev.DeadlineReached)]
        self.queue.extendleft(reversed(kept))
        self._carry_out_all(batch.commands)
        if self._batches.failing:
            self._world.counts["batches.failed"] += 1
            self._clear_queue()
            self._timeline.after(
                FAILING_PAUSE_SECONDS, lambda: self.enter(self._batch_done)
            )
        else:
            self._batch_done()

    def _carry_out_all(self, commands: Sequence[cmd.Command]) -> None:
        for command in commands:
            self.effect_boundary()
            self._carry_out(command)

    def _clear_queue(self) -> None:
        """The ledger fails: tell who waits in the queue."""
        asked = [e for e in self.queue if isinstance(e, ev.CertificateAsked)]
        if not asked:
            return
        kept = [e for e in self.queue if not isinstance(e, ev.CertificateAsked)]
        self.queue = deque(kept)
        told = self.core.commit_failed(
            events=asked,
            results=(),
            now=self._clock.now(),
            entropy=self._world.entropy,
        )
        self._carry_out_all(told)

    def _batch_done(self) -> None:
        self._busy = False
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
            self._deadline_timer = None
        if self.queue:
            self._begin_batch()
            return
        due = self.core.next_deadline
        if due is not None:
            self._deadline_timer = self._timeline.at(
                due, lambda: self.enter(self._deadline_reached)
            )

    def _deadline_reached(self) -> None:
        self._deadline_timer = None
        if not self._busy:
            self._begin_batch()

    # -- commands ------------------------------------------------------------------------

    def _carry_out(self, command: cmd.Command) -> None:
        match command:
            case cmd.Log():
                self._log(int(command.level), command.event, dict(command.fields))
            case cmd.CheckTicket():
                self._check_ticket(command)
            case cmd.Sign():
                self._sign(command)
            case cmd.InstallIdentity():
                self._machine.install(command)
            case _:
                self._carry_out_on_link(command)

    def _carry_out_on_link(self, command: LinkCommand) -> None:
        link = self.links.get(command.link)
        if link is None:
            return
        promises, name = self._world.promises, self._machine.name
        if isinstance(command, cmd.Answer | cmd.Push | cmd.Ask):
            self._world.note(name, f"{_words(command)} to {link.peer.label}")
            promises.durable_before_spoken(name, command)
        if isinstance(command, cmd.Push):
            promises.pushed(name, command, link.peer)
        if isinstance(command, cmd.Drain) and not link.peer.is_member:
            promises.drained(name, command.link)
        was_open, sent = not link.ended, link.sent
        link.step(lambda now: session_effects(command, link.session, now))
        if isinstance(command, cmd.Answer) and was_open and link.sent == sent:
            promises.no_answer_is_cut_off(name, "an answer was dropped at the session")

    def _check_ticket(self, command: cmd.CheckTicket) -> None:
        valid = ticket_is_valid(command.cn, command.ticket)
        self._later(
            self._world.chance.uniform(0.01, 0.04),
            ev.TicketChecked(command.attempt_id, valid),
        )

    def _sign(self, command: cmd.Sign) -> None:
        name = self._machine.name
        self._world.note(name, f"signs {command.request_id[:8]}")
        self._world.promises.no_certificate_without_decision(name, command)
        key = self._machine.ca_key
        seconds = self._world.chance.uniform(0.001, 0.01)
        if key is None or self._world.faults.strikes(
            "signing-failed", self._world.faults.plan.signing_fails
        ):
            failed = ev.SigningFailed(command.request_id, "simulated: no key")
            self._later(seconds, failed)
            return
        signed = ev.Signed(command.request_id, sign_tbs(key, command.tbs))
        self._later(seconds, signed)

    def _later(self, seconds: float, event: ev.Event) -> None:
        self._timeline.after(
            seconds, lambda: self.enter(lambda: self._worker_done(event))
        )

    def _worker_done(self, event: ev.Event) -> None:
        self.effect_boundary()
        self.submit(event)

    def _log(self, level: int, event: str, fields: dict[str, object]) -> None:
        promises, name = self._world.promises, self._machine.name
        promises.secrets_stay_secret(name, event, fields)
        if "exc_info" in fields:
            promises.no_bug_shows(
                name, f"{fields['event_kind']}: {fields['exc_info']!r}"
            )
        if level >= cmd.Level.INFO:
            shown = " ".join(f"{k}={v}" for k, v in fields.items() if k in _SHOWN)
            self._world.note(name, f"{event} {shown}")

    # -- connections -----------------------------------------------------------------------

    @property
    def face(self) -> Face:
        """What is shown to those who dial us."""
        return self._machine.face

    def accept(self, end: End, face: Face, address: str) -> None:
        """Take a connection."""

        def take() -> None:
            self._take(end, face, Role.LISTENER, address, None)

        self.enter(take)

    def _dial_due(self) -> None:
        now = self._clock.now().mono
        for name in self._pacer.due(now):
            self._pacer.dialling(name)
            self._world.network.dial(
                self._machine.name,
                name,
                self._machine.face,
                partial(self._dialled, name),
            )
        self._arm_dialler()

    def _dialled(self, name: str, end: End | None, face: Face) -> None:
        if not self.alive:
            if end is not None:
                end.connection.owner_died(end.side)
            return

        def take() -> None:
            if end is None or not self._take(end, face, Role.DIALLER, name, name):
                self._pacer.failed(name, self._clock.now().mono)
                self._arm_dialler()

        self.enter(take)

    def _arm_dialler(self) -> None:
        if self._dial_timer is not None:
            self._dial_timer.cancel()
            self._dial_timer = None
        due = self._pacer.next_deadline
        if due is not None:
            self._dial_timer = self._timeline.at(
                due, lambda: self.enter(self._dial_due)
            )

    def _take(
        self, end: End, face: Face, role: Role, address: str, expected: str | None
    ) -> bool:
        """Begin a session; false when the peer is not to be talked to."""
        try:
            peer = identify(
                tree=self._machine.tree,
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
            timeline=self._timeline,
        )
        self.links[link.link_id] = link
        link.start()
        return peer.is_member or expected is None

    def _is_verified(self, face: Face) -> bool:
        if face.certificate is None:
            return False
        anchor, at = self._machine.anchor, self._clock.now().wall
        return anchor.is_signed(read_der(face.certificate), at)

    # -- from links ----------------------------------------------------------------------------

    def link_opened(self, link: Link) -> None:
        """Admit a member's only connection, and tell the core."""
        if link.peer.is_member and not self._admit(link):
            return
        link.announced = True
        upstream = self._is_upstream(link.peer)
        self._world.note(
            self._machine.name,
            f"link {link.link_id} with {link.peer.label}"
            f" ({link.peer.standing.value}, {link.role.value})",
        )
        self.submit(ev.LinkUp(link.link_id, link.peer, upstream=upstream))

    def link_hello(self, link: Link, hello: HelloReceived) -> None:
        """Tell the core who understands our additions."""
        if hello.icefloe is not None and link.announced:
            self.submit(ev.PeerIsIcefloe(link.link_id))

    def link_message(self, link: Link, message: Message) -> None:
        """Hand a message to the core."""
        try:
            event = event_of(link.link_id, message)
        except MessageError as error:
            if isinstance(message, Request):
                result = malformed_answer(self._machine.name, error)
                call = message.id
                link.step(lambda _now: link.session.send_response(result, call=call))
            return
        if event is None:
            return
        if isinstance(event, ev.CertificateAsked):
            self._world.promises.asked(self._machine.name, event, link.peer)
        self.submit(event)

    def link_report(self, link: Link, report: Report) -> None:
        """Log what the session reports."""
        del link
        self._world.promises.secrets_stay_secret(
            self._machine.name, report.event, report.fields
        )

    def link_ending(self, link: Link) -> None:
        """Its place among the members is free."""
        endpoint = self._connections.forget(link.link_id)
        if endpoint is not None:
            self._pacer.disconnected(endpoint, self._clock.now().mono)
            self._arm_dialler()

    def link_closed(self, link: Link, *, clean: bool) -> None:
        """It is gone: tell the core."""
        self.links.pop(link.link_id, None)
        self._world.promises.link_gone(self._machine.name, link.link_id)
        if link.announced:
            self._world.note(
                self._machine.name,
                f"link {link.link_id} with {link.peer.label} ended"
                f"{'' if clean else ', not in order'}",
            )
            self.submit(ev.LinkDown(link.link_id, clean=clean))

    def drain_members(self, reason: str) -> None:
        """Close every member's connection: they are to see our new self."""
        for link in list(self.links.values()):
            if link.peer.is_member:
                link.drain(reason)

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
            link.drain(verdict.reason)
            return False
        if isinstance(verdict, Replace) and other is not None:
            other.drain(verdict.reason)
        self._pacer.connected(name, self._clock.now().mono)
        self._arm_dialler()
        return True

    def _is_upstream(self, peer: Peer) -> bool:
        if self._machine.tree.parent_zone is None:
            return peer.relation is Relation.SAME_ZONE
        return peer.relation is Relation.PARENT


_SHOWN = frozenset({"cn", "reason", "peer", "parent", "via", "detail", "serial"})


def _words(command: cmd.Answer | cmd.Push | cmd.Ask) -> str:
    if isinstance(command, cmd.Answer):
        status = command.result.get("status_code")
        facts = command.result.get("icefloe")
        reason = facts.get("reason", "") if isinstance(facts, dict) else ""
        return f"answers {status} {reason}".rstrip()
    if isinstance(command, cmd.Push):
        return f"pushes for {command.params.fingerprint_request[:8]}"
    return f"asks {command.call[:8]}"
