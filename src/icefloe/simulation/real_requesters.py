"""Requesters that are not ours: Icinga's command `pki request`, and its agent daemon.

`icefloe.habits` says what they do; here they meet the simulated network.  Beside a
parent that is ours they hold it to the promises that a real client feels: an answer
comes and is not cut off, the client does not crash of it, and a refusal leaves no CA
certificate behind, which tools would take for success.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from icefloe.enrollment.model import serial_text
from icefloe.habits import Exit, HabitualCLI, Saw, WriteCA, WriteCertificate
from icefloe.habits.cli import CLIEffect
from icefloe.pki.certificates import load_pem
from icefloe.pki.errors import PKIError
from icefloe.pki.trust import verify_issued
from icefloe.simulation.habitual import HabitualMachine
from icefloe.simulation.identities import Identity, authority, self_signed_identity
from icefloe.simulation.network import End, Face
from icefloe.simulation.promises import begun
from icefloe.simulation.requesters import Expected, Requesting, is_time_to_give_up
from icefloe.simulation.timeline import Timer
from icefloe.simulation.world import World
from icefloe.wire.errors import WireError
from icefloe.wire.jsonrpc import Request, decode, encode_request
from icefloe.wire.netstring import NetstringReader, Payload, encode

PATIENCE_SECONDS: Final = 45.0
"""The command has no timeout of its own; this is how long its user sits before it."""

FRAME_BYTES_MAX: Final = 1 << 20
LOOK_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RealCommandPlan:
    """What `pki request` is given, run after run.

    Attributes:
        cn: the name.
        key_number: the key, the same throughout.
        ticket: or "".
        parents: nodes to ask, one each run, in turn.
        expected: the end.
        first_call: is to be signed on the first run where no fault is to blame.
    """

    cn: str
    key_number: int
    ticket: str = field(repr=False)
    parents: Sequence[str]
    expected: Expected
    first_call: bool = False


class RealCommand(Requesting):
    """Runs `pki request` until it ends as expected."""

    def __init__(self, world: World, plan: RealCommandPlan) -> None:
        """Stand ready."""
        self.name = plan.cn
        self.plan = plan
        self._world = world
        self._identity = self_signed_identity(plan.cn, plan.key_number)

    def begin(self) -> None:
        """Run it once."""
        if self.began_at is None:
            self.began_at = self._world.timeline.seconds
            self.ended = "no answer yet"
        parent = self.plan.parents[self.asks % len(self.plan.parents)]
        self.asks += 1
        self._world.note(self.name, f"runs pki request to {parent}, run {self.asks}")
        self._world.counts["seat.command"] += 1
        _Run(self, self._world, parent, self._identity)

    def ran(self, exit_: Exit | None, run: _Run) -> None:
        """See how a run ended; None: its user gave up, or found nobody."""
        saw = exit_.saw if exit_ is not None else None
        self.ended = saw.value if saw is not None else "unreachable"
        self._world.note(self.name, f"saw {self.ended}")
        self._world.counts[f"came.icinga: {self.ended}"] += 1
        if saw is Saw.SIGNED and self._is_usable(run.certificate):
            self._finish(Expected.SIGNED)
        elif saw is Saw.REFUSED and self.plan.expected is not Expected.SIGNED:
            self._finish(Expected.REFUSED)
        elif is_time_to_give_up(self._world, self.plan.expected, self.began_at):
            self._finish(Expected.UNSIGNED)
        else:
            pause = self._world.chance.uniform(1.0, 10.0)
            self._world.timeline.after(pause, self.begin)

    def _is_usable(self, pem: str) -> bool:
        promises = self._world.promises
        try:
            certificate = load_pem(pem)
            verify_issued(
                certificate,
                cn=self._identity.cn,
                key_id=self._identity.key_id,
                anchor=authority().anchor,
                at=begun(certificate, self._world.now()),
            )
        except PKIError as error:
            parent = self.plan.parents[(self.asks - 1) % len(self.plan.parents)]
            if parent in promises.not_ours:
                self._world.counts["exempt.a-real-client-believes-its-parent"] += 1
            else:
                promises.a_certificate_fits(self.name, f"received: {error}")
            return False
        serial = serial_text(certificate.serial_number)
        promises.a_signer_signed(
            self.name, self._identity.cn, self._identity.key_id, serial
        )
        return True

    def _finish(self, how: Expected) -> None:
        self.finished = True
        self.finished_at = self._world.timeline.seconds
        promises = self._world.promises
        if not self.plan.expected.allows(how):
            promises.it_finishes(
                self.name, f"ended {how.value}, not {self.plan.expected.value}"
            )
        if self.plan.first_call and self._world.promises.nothing_goes_wrong:
            promises.the_first_call_is_the_last(self.name, self.asks)


class _Run:
    """One run of the command; the handler of its end."""

    def __init__(
        self, owner: RealCommand, world: World, parent: str, identity: Identity
    ) -> None:
        self.certificate = ""
        self._has_ca = False
        self._owner = owner
        self._world = world
        self._parent = parent
        self._cli = HabitualCLI(
            call=world.entropy.bytes(8).hex(), ticket=owner.plan.ticket
        )
        self._reader = NetstringReader(FRAME_BYTES_MAX)
        self._end: End | None = None
        self._exit: Exit | None = None
        self._over = False
        self._timer: Timer | None = world.timeline.after(PATIENCE_SECONDS, self._enough)
        world.network.dial(owner.name, parent, Face(identity.der), self._dialled)

    @property
    def _is_ours(self) -> bool:
        return self._parent not in self._world.promises.not_ours

    def _dialled(self, end: End | None, face: Face) -> None:
        del face
        if end is None:
            self._finish(None)
            return
        if self._over:
            end.abort()
            return
        self._end = end
        end.start(self)
        self._carry_out(self._cli.on_connected())

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        try:
            for frame in self._reader.feed(data):
                if isinstance(frame, Payload):
                    self._carry_out(self._cli.on_message(decode(frame.data)))
        except WireError:
            self._carry_out(self._cli.on_closed())

    def peer_finished(self) -> None:
        """The peer closed: nothing more comes."""
        clean = self._end is not None and not self._end.connection.faulted
        if not self._over and clean and self._is_ours:
            self._world.promises.no_answer_is_cut_off(
                self._owner.name, f"{self._parent} closed in order without an answer"
            )
        self._carry_out(self._cli.on_closed())

    def closed(self, *, clean: bool, reason: str) -> None:
        """The connection is gone."""
        del clean, reason
        self._carry_out(self._cli.on_closed())

    def _carry_out(self, effects: Sequence[CLIEffect]) -> None:
        for effect in effects:
            match effect:
                case Request():
                    if self._end is not None:
                        payload = encode_request(
                            effect.method, effect.params, effect.id
                        )
                        self._end.write(encode(payload))
                case WriteCA():
                    self._has_ca = True
                case WriteCertificate():
                    self.certificate = effect.certificate
                case Exit():
                    self._judge(effect)
                    self._finish(effect)

    def _judge(self, exit_: Exit) -> None:
        promises, name = self._world.promises, self._owner.name
        if not self._is_ours:
            return
        if exit_.saw is Saw.CRASHED:
            promises.broken(
                "a_real_client_does_not_crash", name, f"crashed of {self._parent}"
            )
        if exit_.saw is Saw.REFUSED and self._has_ca:
            promises.broken("a_refusal_carries_no_ca", name, "has a ca.crt now")

    def _enough(self) -> None:
        self._timer = None
        end = self._end
        if end is not None and self._is_ours and not end.connection.faulted:
            self._world.promises.no_answer_is_cut_off(
                self._owner.name, f"{self._parent} gave no answer in time"
            )
        self._finish(None)

    def _finish(self, exit_: Exit | None) -> None:
        if self._over:
            return
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._end is not None:
            self._end.start_drain(1.0)
        self._owner.ran(exit_, self)


class RealAgent(Requesting):
    """An agent daemon of Icinga 2 that is to get its own certificate."""

    def __init__(
        self, world: World, machine: HabitualMachine, identity: Identity, *, held: bool
    ) -> None:
        """Watch a machine, which is off.

        Args:
            world: where.
            machine: it.
            identity: what it has in the beginning.
            held: where no fault is to blame, it needs one connection.
        """
        self.name = machine.name
        self._machine = machine
        self._world = world
        self._identity = identity
        self._held = held
        self._looked_at = machine.node.identity.certificate

    def begin(self) -> None:
        """Switch it on, and look whether it has its certificate."""
        self.began_at = self._world.timeline.seconds
        self.ended = "not installed"
        self._machine.start()
        self._look()

    def _look(self) -> None:
        self.asks = self._machine.lives
        pem = self._machine.node.identity.certificate
        if pem != self._looked_at:
            self._looked_at = pem
            if self._is_usable(pem):
                self.finished = True
                self.ended = "signed"
                self.finished_at = self._world.timeline.seconds
                if self._held and self._world.promises.nothing_goes_wrong:
                    # The next connection would come with the tick after 10 s.
                    detail = "had to connect again although nothing went wrong"
                    if self._world.timeline.seconds - (self.began_at or 0.0) > 9.0:
                        self._world.promises.broken(
                            "a_waiting_daemon_is_held", self.name, detail
                        )
                return
        self._world.timeline.after(LOOK_SECONDS, self._look)

    def _is_usable(self, pem: str) -> bool:
        promises = self._world.promises
        try:
            certificate = load_pem(pem)
            verify_issued(
                certificate,
                cn=self._identity.cn,
                key_id=self._identity.key_id,
                anchor=authority().anchor,
                at=begun(certificate, self._world.now()),
            )
        except PKIError as error:
            promises.a_certificate_fits(self.name, f"installed: {error}")
            return False
        serial = serial_text(certificate.serial_number)
        promises.a_signer_signed(
            self.name, self._identity.cn, self._identity.key_id, serial
        )
        return True
