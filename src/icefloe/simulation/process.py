"""One life of a node: from its start to its crash.

The twin of `icefloe.node.node`, `runner` and `workers`: the same core, the same order
of doing things, on the timeline.  Between any two effects the process may die
(`effect_boundary`), and what dies with it is this object; what survives is the
`Machine`.  Its connections are in `hub`, its end in order in `stopping`, its own
certificate in `installing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.batch import BatchRunner
from icefloe.enrollment.core import EnrollmentCore
from icefloe.enrollment.event_queue import EventQueue
from icefloe.pki.profiles import sign_tbs
from icefloe.simulation.faults import CommitFate, Death
from icefloe.simulation.hub import Hub
from icefloe.simulation.installing import Installing
from icefloe.simulation.link import Link
from icefloe.simulation.stopping import Stopping
from icefloe.simulation.timeline import Action, Place, Timer
from icefloe.simulation.world import World, ticket_is_valid

if TYPE_CHECKING:
    from icefloe.simulation.machine import Machine

BATCH_EVENTS_MAX = 128
FAILING_PAUSE_SECONDS = 0.25
QUEUE_EVENTS_MAX = 2_000
CUT_SECONDS = 1.0
"""How long a machine is off that loses power at a planned commit."""


class Crashed(Exception):
    """The process dies here.

    Attributes:
        death: how.
    """

    def __init__(self, death: Death) -> None:
        super().__init__(death)
        self.death = death


class Process:
    """A running node.

    Attributes:
        alive: false from its crash on.
        core: the production core.
        hub: its connections.
        queue: events that wait for the next batch.
    """

    def __init__(self, machine: Machine, world: World) -> None:
        """Compose a node that does nothing yet."""
        self.alive = True
        self.queue = EventQueue()
        self._under_way: Sequence[ev.Event] = ()
        self._machine = machine
        self._world = world
        self._clock = machine.clock
        self._timeline = world.timeline
        self._entered = False
        self.core = EnrollmentCore(settings=machine.settings(), ledger=machine.ledger)
        self.hub = Hub(self, machine, world)
        self._batches = BatchRunner(core=self.core, ledger=machine.ledger)
        self._installing = Installing(self, machine, world)
        self._stopping: Stopping | None = None
        self._is_proven = machine.is_proven
        self._works = 0
        self._batch_place = Place(machine.name, "batch")
        self._busy = False
        self._deadline_timer: Timer | None = None

    @property
    def links(self) -> dict[ev.LinkId, Link]:
        """Its connections."""
        return self.hub.links

    @property
    def announced(self) -> int:
        """How many links its core was told of."""
        return sum(link.announced for link in self.links.values())

    # -- life and death -----------------------------------------------------------------

    def start(self) -> None:
        """Listen, dial, and take up what the ledger holds."""
        self._machine.ledger.before_commit = self._about_to_commit
        self.submit(ev.Started())
        self.hub.start()

    def stop(self) -> None:
        """Begin the end, in order; `Machine.stopped` is the last of it."""
        if self._stopping is None and self.alive:
            self._stopping = Stopping(self, self._machine, self._world)
            self.enter(self._stopping.begin)

    @property
    def is_idle(self) -> bool:
        """Whether no event is queued or under way."""
        return not self._busy and not self.queue

    @property
    def unconcluded(self) -> tuple[ev.Event, ...]:
        """The events that are queued or under way."""
        return (*self._under_way, *self.queue)

    def stop_dialling(self) -> None:
        """Begin no connections any more, and install nothing."""
        self._installing.cancel()
        self.hub.stop_dialling()

    def reload(self) -> None:
        """Read the files again, and go on with what they say."""
        if self._stopping is not None:
            return
        machine = self._machine
        self.core.reconfigure(machine.settings(), self._clock.now())
        self.hub.reconfigure()
        before, self._is_proven = self._is_proven, machine.is_proven
        if self._is_proven and not before:
            # A stranger to its peers until now.
            self.hub.leave_members("own-certificate-new")
        elif (own := machine.settings().own) is not None and own.is_on_trial:
            self.hub.leave_members("own-certificate-new", upstream_only=True)
        if not self._busy:
            self._begin_batch()

    def die(self, *, power: bool) -> None:
        """Be gone, with every connection."""
        self.alive = False
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        self.hub.vanish(power=power)

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
            self._machine.crash(crash.death)
        finally:
            self._entered = False

    def effect_boundary(self, *, weight: float = 1.0) -> None:
        """Between two effects: perhaps the process dies here."""
        death = self._machine.dies_here(weight=weight)
        if death is not None:
            raise Crashed(death)

    def _about_to_commit(self) -> CommitFate:
        try:
            self.effect_boundary()
        except Crashed as crash:
            self._machine.commit_was_cut(crash.death)
            raise
        fate = self._machine.commit_fate()
        if fate in (CommitFate.CUT_LOST, CommitFate.CUT_KEPT):
            kept = fate is CommitFate.CUT_KEPT
            death = Death(CUT_SECONDS, power=True, commit_kept=kept)
            self._machine.commit_was_cut(death)
            raise Crashed(death)
        return fate

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
        events = self.queue.take(BATCH_EVENTS_MAX)
        self._under_way = events
        due = self.core.next_deadline
        if due is not None and due <= self._clock.now().mono:
            events.append(ev.DeadlineReached())
        seconds = self._world.faults.commit_seconds()
        self._timeline.after(
            seconds,
            lambda: self.enter(lambda: self._run_batch(events)),
            place=self._batch_place,
        )

    def _run_batch(self, events: list[ev.Event]) -> None:
        self._world.counts["turns"] += len(events)
        self._world.promises.all_was_said(self._machine.name)
        self._world.reached.events(events)
        batch = self._batches.run(events, self._clock.now(), self._world.entropy)
        # Whether a deadline has passed is looked at anew before the next batch.
        kept = [e for e in batch.unhandled if not isinstance(e, ev.DeadlineReached)]
        self.queue.put_back(kept)
        self._carry_out_all(batch.commands)
        self._under_way = ()
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
        self.queue.replace(kept)
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
        self._world.reached.command(command)
        match command:
            case cmd.Log():
                self._log(int(command.level), command.event, dict(command.fields))
            case cmd.CheckTicket():
                self._check_ticket(command)
            case cmd.Sign():
                self._sign(command)
            case cmd.InstallIdentity() | cmd.ConfirmIdentity() | cmd.RollBackIdentity():
                self._world.promises.ordered_about_itself(self._machine.name, command)
                self._installing.take(command)
            case cmd.TellOwnStatus():
                self._machine.own_status = command.status
            case _:
                self.hub.carry_out(command)

    def _check_ticket(self, command: cmd.CheckTicket) -> None:
        seconds = self._world.chance.uniform(0.01, 0.04)
        faults = self._world.faults
        if faults.strikes("ticket-check-failed", faults.plan.signing_fails / 4):
            self._later(seconds, ev.TicketCheckFailed(command.attempt_id))
            return
        valid = ticket_is_valid(command.cn, command.ticket)
        self._later(seconds, ev.TicketChecked(command.attempt_id, valid))

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
        self._works += 1
        self._timeline.after(
            seconds,
            lambda: self.enter(lambda: self._worker_done(event)),
            place=Place(self._machine.name, f"work {self._works}"),
        )

    def _worker_done(self, event: ev.Event) -> None:
        self.effect_boundary()
        self.submit(event)

    def _log(self, level: int, event: str, fields: dict[str, object]) -> None:
        promises, name = self._world.promises, self._machine.name
        promises.secrets_stay_secret(name, f"logs '{event}'", (event, fields))
        if "exc_info" in fields:
            promises.no_bug_shows(
                name, f"{fields['event_kind']}: {fields['exc_info']!r}"
            )
        if level >= cmd.Level.INFO:
            shown = " ".join(f"{k}={v}" for k, v in fields.items() if k in _SHOWN)
            self._world.note(name, f"{event} {shown}")


_SHOWN = frozenset({"cn", "reason", "peer", "parent", "via", "detail", "serial"})
