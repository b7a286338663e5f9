"""What survives a node's crash: its disk, its identity, its place, its clock.

A process that dies (kill -9) takes its memory with it; what it wrote stays, synced or
not.  A machine that loses power takes with it what was not synced.  Either may happen
within a commit, which is then there whole or not at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from icefloe.cluster.standing import objections
from icefloe.cluster.zones import ZoneTree
from icefloe.doors import WallTime
from icefloe.enrollment.events import LedgerChanged, LinkId
from icefloe.enrollment.ledger import RememberKey, Write
from icefloe.enrollment.model import KnownKey
from icefloe.enrollment.own_status import OwnStatus
from icefloe.enrollment.renewal import RenewalPolicy
from icefloe.enrollment.settings import (
    EnrollmentSettings,
    OwnIdentity,
    RefusedCertificate,
)
from icefloe.pki.certificates import fingerprint, key_id
from icefloe.pki.errors import PKIError
from icefloe.simulation.disk import Backup, SimulatedLedger
from icefloe.simulation.faults import CommitFate, Death
from icefloe.simulation.files import DiskFails, SimulatedFiles
from icefloe.simulation.identities import Authority, Identity, read_pem
from icefloe.simulation.network import Face
from icefloe.simulation.process import Process
from icefloe.simulation.switch_journal import (
    CERTIFICATE,
    OLDER,
    ROLLED_BACK,
    SWITCHING,
    UNCONFIRMED,
    SwitchJournal,
    digest,
)
from icefloe.simulation.timeline import Timer
from icefloe.simulation.world import World

START_AGAIN_SECONDS: Final = 3.0
"""How soon the supervisor starts a daemon again that could not start."""


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


RENEW_EXPIRED_DAYS: Final = 30
"""The policy of every signer of ours here."""


class Machine:
    """A node over all its lives.

    Attributes:
        name: its endpoint name.
        tree: the zones as it sees them.
        anchor: what it trusts.
        ledger: its ledger.
        files: its identity on disk.
        journal: how that was switched.
        own_status: what it said last about its own certificate.
        clock: its clock.
        listens: others may dial it.
        certificate: its certificate at present.
        process: its present life, None while it is down.
        boundaries: effect boundaries passed, over all lives.
        commits: commits tried, over all lives.
        lives: how often it was started.
        installed: how many certificates it installed.
        on_restore: told that its ledger is an older one.
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
        self.ledger.io_fails = world.faults.fails_on_failing_disk
        self.files = SimulatedFiles(world.faults, world.chance)
        self.files.begin_with({CERTIFICATE: seat.identity.pem.encode()})
        self.journal = SwitchJournal(self.files)
        self.own_status: OwnStatus | None = None
        self.process: Process | None = None
        self.boundaries = 0
        self.commits = 0
        self.lives = 0
        self.installed = 0
        self._fingerprints: dict[str, str] = {}
        self._seat = seat
        self._world = world
        self._link_numbers = itertools.count(1)
        self.on_restore: list[Callable[[], None]] = []
        self._starts_at: Timer | None = None
        self._down_seconds = 1.0
        world.promises.add_node(
            name,
            signs=seat.signs,
            tree=seat.tree,
            anchor=seat.ca.anchor,
        )

    # -- for its process -----------------------------------------------------------------

    @property
    def ca_key(self) -> ec.EllipticCurvePrivateKey | None:
        """The CA's private key, at a signer."""
        return self._seat.ca.key if self._seat.signs else None

    @property
    def face(self) -> Face:
        """What it shows in a handshake."""
        der = self.own_identity().der
        return Face(der)

    @property
    def shown(self) -> str:
        """The fingerprint of the certificate it runs with."""
        return fingerprint(self.certificate)

    @property
    def is_proven(self) -> bool:
        """Whether its certificate proves its name to those who trust as it does."""
        own = self.own_identity().der
        return not objections(own, self.anchor, self.clock.now().wall)

    def own_identity(self) -> Identity:
        """Return key and certificate it runs with."""
        first = self._seat.identity
        return Identity(first.cn, first.key_number, self.certificate)

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
            own=self._own(seat.ticket),
            renewal=RenewalPolicy(renew_expired_days=RENEW_EXPIRED_DAYS),
        )

    def _own(self, ticket: str) -> OwnIdentity:
        """Return what the core is to know, as `node.own_identity` does."""
        shown, entry = self.certificate, self.journal.read()
        if entry is None:
            return OwnIdentity(certificate=shown, ticket=ticket)
        content = self.files.read(CERTIFICATE)
        older = self.files.read(OLDER)
        if entry.state == UNCONFIRMED and entry.new == digest(content):
            known = digest(older) == entry.older
            return OwnIdentity(
                certificate=shown,
                ticket=ticket,
                unconfirmed=True,
                older=read_pem(older.decode()) if known else None,
            )
        refused = None
        if entry.state == ROLLED_BACK and entry.older == digest(content):
            what = self._fingerprints.get(entry.new, "")
            refused = RefusedCertificate(what, WallTime(entry.at), entry.reason)
        return OwnIdentity(certificate=shown, ticket=ticket, refused=refused)

    def know_key(self, cn: str, key_id: str) -> None:
        """Let its ledger know a name's key from long ago."""
        record = KnownKey(cn=cn, key_id=key_id, how="issued", at=WallTime(0.0))
        self.ledger.begin()
        self.ledger.apply([RememberKey(record)])
        self.ledger.commit()

    def new_link_id(self) -> LinkId:
        """Name a connection; no name is used again, in no life."""
        return LinkId(next(self._link_numbers))

    def dies_here(self, *, weight: float = 1.0) -> Death | None:
        """Pass an effect boundary; whether to die there, and how."""
        number, self.boundaries = self.boundaries, self.boundaries + 1
        seconds = self._world.faults.stop_here(self.name, number)
        if seconds is not None:
            self._world.timeline.after(0.0, partial(self.stop_for, seconds))
        return self._world.faults.crash_here(self.name, number, weight=weight)

    def commit_fate(self) -> CommitFate:
        """What becomes of the next commit."""
        number, self.commits = self.commits, self.commits + 1
        if self.ledger.trouble == "io":
            return self._world.faults.commit_fate_on_failing_disk()
        return self._world.faults.commit_fate(self.name, number)

    def commit_was_cut(self, death: Death) -> None:
        """The process died within a commit."""
        if death.commit_kept:
            self.ledger.keep()
        kind = "commit-cut-kept" if death.commit_kept else "commit-cut-lost"
        self._world.faults.counts[kind] += 1

    def read_certificate(self) -> None:
        """Show from now on what the files hold."""
        content = self.files.read(CERTIFICATE)
        self.certificate = read_pem(content.decode())
        # The journal has names of files; people, and the core, those of certificates.
        self._fingerprints[digest(content)] = fingerprint(self.certificate)

    def digest_of(self, about: str) -> str:
        """Return the journal's name of the certificate with that fingerprint, or ""."""
        names = (name for name, one in self._fingerprints.items() if one == about)
        return next(names, "")

    @property
    def was_rolled_back(self) -> bool:
        """Whether the last thing that happened to its identity was a roll-back."""
        entry = self.journal.read()
        return entry is not None and entry.state == ROLLED_BACK

    @property
    def is_settled(self) -> bool:
        """Whether its present certificate was accepted, or the older one is back."""
        entry = self.journal.read()
        return entry is None or entry.state not in (UNCONFIRMED, SWITCHING)

    # -- life ---------------------------------------------------------------------------

    def start(self) -> None:
        """Begin a life, if the disk lets it."""
        self._starts_at = None
        if self.process is not None:
            return
        faults = self._world.faults
        if self.ledger.trouble == "io" and faults.fails_on_failing_disk():
            # The daemon says why and ends; the supervisor starts it again.
            faults.counts["start-failed"] += 1
            self._world.note(self.name, "cannot start, its disk fails")
            self.start_in(START_AGAIN_SECONDS)
            return
        self.lives += 1
        self._world.note(self.name, f"starts, life {self.lives}")
        if self.ledger.reopen():
            faults.counts["commit-found-after-restart"] += 1
            self._world.note(self.name, "finds a commit that had failed")
        try:
            self.journal.recover()
        except DiskFails:
            faults.counts["start-failed"] += 1
            self.start_in(START_AGAIN_SECONDS)
            return
        self._read_identity()
        self.process = self.make_process()
        self.process.start()

    def make_process(self) -> Process:
        """Return a new life."""
        return Process(self, self._world)

    def start_in(self, seconds: float) -> None:
        """Plan the next life."""
        if self._starts_at is not None:
            self._starts_at.cancel()
        self._starts_at = self._world.timeline.after(seconds, self.start)

    def crash(self, death: Death) -> None:
        """End a life in the middle of it, and plan the next one."""
        how = "loses power" if death.power else "crashes"
        if self._end(f"{how} at boundary {self.boundaries - 1}", power=death.power):
            self._world.counts["crashes"] += 1
            if death.power:
                self.files.power_fails()
            self.start_in(death.down_seconds)

    def kill(self) -> None:
        """End a life, for its operator."""
        self._end("is killed", power=False)

    def stop_for(self, seconds: float) -> None:
        """Stop in order, and start again; seconds are counted from the end."""
        self._down_seconds = seconds
        if self.process is not None:
            self.process.stop()

    def stopped(self) -> None:
        """Its process ended in order."""
        if self._end("has stopped", power=False):
            self.start_in(self._down_seconds)

    def restore(self, backup: Backup) -> None:
        """Put an older copy of the ledger in its place; the node is down."""
        self.ledger.restore(backup)
        for listener in self.on_restore:
            listener()
        self._world.note(self.name, "gets an older copy of its ledger")

    def tell_ledger_changed(self) -> None:
        """Another process committed; the daemon sees it a moment later."""
        process = self.process
        if process is None:
            return

        def tell() -> None:
            process.enter(lambda: process.submit(LedgerChanged()))

        self._world.timeline.after(self._world.chance.uniform(0.0, 0.2), tell)

    # -- inside -----------------------------------------------------------------------------

    def _end(self, how: str, *, power: bool) -> bool:
        process, self.process = self.process, None
        if process is None:
            return False
        self._world.note(self.name, how)
        self._world.network.stop_listening(self.name)
        self.ledger.rollback()
        process.die(power=power)
        self._world.promises.node_died(self.name)
        return True

    def _read_identity(self) -> None:
        """Read what the files hold: it is to work whatever happened to them."""
        own = self._seat.identity
        try:
            certificate = read_pem(self.files.read(CERTIFICATE).decode())
        except (PKIError, UnicodeDecodeError) as error:
            self._world.promises.broken(
                "a_working_identity_is_never_lost", self.name, f"cannot start: {error}"
            )
            return
        if key_id(certificate) == own.key_id and certificate != self.certificate:
            # It died when the files were in place, before it had shown them.
            self.read_certificate()
            self.installed += 1

    def _committed(self, writes: tuple[Write, ...]) -> None:
        self._world.committed(self.name, writes)
