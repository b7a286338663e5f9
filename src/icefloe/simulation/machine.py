"""What survives a node's crash: its disk, its identity, its place, its clock."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from icefloe.cluster.zones import ZoneTree
from icefloe.enrollment.commands import InstallIdentity
from icefloe.enrollment.events import LedgerChanged, LinkId
from icefloe.enrollment.ledger import Write
from icefloe.enrollment.settings import EnrollmentSettings, OwnIdentity
from icefloe.pki.certificates import key_id, load_pem
from icefloe.pki.errors import PKIError
from icefloe.pki.trust import verify_issued
from icefloe.simulation.disk import TROUBLES, SimulatedLedger
from icefloe.simulation.identities import Authority, Identity
from icefloe.simulation.network import Face
from icefloe.simulation.process import Process
from icefloe.simulation.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A node's place in the cluster.

    Attributes:
        tree: the zones as it sees them.
        identity: key and certificate it starts with.
        ca: the CA it trusts.
        signs: it holds the CA key.
        listens: others may dial it.
        ticket: for its own certificate, or "".
    """

    tree: ZoneTree
    identity: Identity
    ca: Authority
    signs: bool = False
    listens: bool = True
    ticket: str = ""


class Machine:
    """A node over all its lives.

    Attributes:
        name: its endpoint name.
        tree: the zones as it sees them.
        anchor: what it trusts.
        ledger: its ledger.
        clock: its clock.
        listens: others may dial it.
        certificate: its certificate at present.
        process: its present life, None while it is down.
        boundaries: effect boundaries passed, over all lives.
        commits: commits tried, over all lives.
        lives: how often it was started.
        installed: how many certificates it installed.
    """

    def __init__(self, name: str, seat: Seat, world: World, *, skewed: bool) -> None:
        """Set a machine up; it is off."""
        self.name = name
        self.tree = seat.tree
        self.anchor = seat.ca.anchor
        self.listens = seat.listens
        self.certificate: x509.Certificate = seat.identity.certificate
        self.clock = world.clock(skewed=skewed)
        self.ledger = SimulatedLedger()
        self.ledger.on_commit = self._committed
        self.process: Process | None = None
        self.boundaries = 0
        self.commits = 0
        self.lives = 0
        self.installed = 0
        self._seat = seat
        self._world = world
        self._link_numbers = itertools.count(1)
        world.promises.add_node(
            name,
            signs=seat.signs,
            tree=seat.tree,
            anchor=seat.ca.anchor,
        )
        self._plan_trouble()

    # -- for its process -----------------------------------------------------------------

    @property
    def ca_key(self) -> ec.EllipticCurvePrivateKey | None:
        """The CA's private key, at a signer."""
        return self._seat.ca.key if self._seat.signs else None

    @property
    def face(self) -> Face:
        """What it shows in a handshake."""
        der = self._own_identity().der
        return Face(der)

    def settings(self) -> EnrollmentSettings:
        """Return what its core stands on."""
        seat = self._seat
        return EnrollmentSettings(
            node_name=self.name,
            tree=seat.tree,
            anchor=self.anchor,
            issuer=seat.ca.certificate if seat.signs else None,
            checks_tickets=seat.signs,
            reserved_names=seat.tree.reserved_names(),
            own=OwnIdentity(certificate=self.certificate, ticket=seat.ticket),
        )

    def new_link_id(self) -> LinkId:
        """Name a connection; no name is used again, in no life."""
        return LinkId(next(self._link_numbers))

    def crash_here(self) -> float | None:
        """Pass an effect boundary; whether to crash, and for how long."""
        number, self.boundaries = self.boundaries, self.boundaries + 1
        return self._world.faults.crash_here(self.name, number)

    def commit_is_to_fail(self) -> bool:
        """Whether the next commit is planned to fail."""
        return self._world.faults.commit_fails_here(self.name, self.commits)

    def install(self, command: InstallIdentity) -> None:
        """Install a certificate, show it from now on, and come back with it."""
        process = self.process
        if process is None:
            return
        certificate = self._checked(command)
        if certificate is None:
            return
        self.certificate = certificate
        self.installed += 1
        self._world.note(self.name, "installs its own certificate")
        process.core.reconfigure(self.settings(), self.clock.now())
        process.drain_members("identity changed")

    # -- life ---------------------------------------------------------------------------

    def start(self) -> None:
        """Begin a life."""
        self.lives += 1
        self._world.note(self.name, f"starts, life {self.lives}")
        self.process = Process(self, self._world)
        self.process.start()

    def crash(self, down_seconds: float) -> None:
        """End a life in the middle of it, and plan the next one."""
        process, self.process = self.process, None
        if process is None:
            return
        self._world.note(self.name, f"crashes at boundary {self.boundaries - 1}")
        self._world.counts["crashes"] += 1
        self._world.network.stop_listening(self.name)
        self.ledger.crash()
        process.die()
        self._world.promises.node_died(self.name)
        self._world.timeline.after(down_seconds, self.start)

    def tell_ledger_changed(self) -> None:
        """Another process committed; the daemon sees it a moment later."""
        process = self.process
        if process is None:
            return

        def tell() -> None:
            process.enter(lambda: process.submit(LedgerChanged()))

        self._world.timeline.after(self._world.chance.uniform(0.0, 0.2), tell)

    # -- inside -----------------------------------------------------------------------------

    def _own_identity(self) -> Identity:
        first = self._seat.identity
        return Identity(first.cn, first.key_number, self.certificate)

    def _checked(self, command: InstallIdentity) -> x509.Certificate | None:
        own = self._seat.identity
        try:
            certificate = load_pem(command.certificate)
            verify_issued(
                certificate,
                cn=own.cn,
                key_id=key_id(own.certificate),
                anchor=self.anchor,
                at=self.clock.now().wall,
            )
        except PKIError as error:
            self._world.promises.a_certificate_fits(self.name, f"installs: {error}")
            return None
        return certificate

    def _committed(self, writes: tuple[Write, ...]) -> None:
        self._world.committed(self.name, writes)

    def _plan_trouble(self) -> None:
        """Plan the next spell of a full disk."""
        plan, chance = self._world.faults.plan, self._world.chance
        if not plan.ledger_fails_every:
            return
        pause = chance.expovariate(1.0 / plan.ledger_fails_every)
        if self._world.timeline.seconds + pause < plan.until:
            self._world.timeline.after(pause, self._begin_trouble)

    def _begin_trouble(self) -> None:
        plan, chance = self._world.faults.plan, self._world.chance
        self.ledger.trouble = chance.choice(TROUBLES)
        self._world.faults.counts[f"ledger-{self.ledger.trouble}-fails"] += 1
        self._world.note(self.name, f"its ledger fails at {self.ledger.trouble}")
        seconds = chance.uniform(0.1, plan.ledger_fails_seconds)
        self._world.timeline.after(seconds, self._end_trouble)

    def _end_trouble(self) -> None:
        self.ledger.trouble = None
        self._world.note(self.name, "its ledger works again")
        self._plan_trouble()
