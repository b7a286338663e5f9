"""What goes wrong: a plan as data, and the dice that follow it.

A plan holds for the first `until` seconds.  After that nothing more breaks, what was
down comes back, clocks are set right, and everything has to finish.

Two sorts of faults: *strikes*, thrown for at each occasion (a chunk that is sent, a
commit, an effect), and *spells*, which begin at some moment and last for a while
(`spells`).  Each that strikes is counted under its kind; `FAULT_KINDS` names them all.
"""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, replace
from random import Random
from typing import Final, Self

from icefloe.simulation.timeline import Timeline

FAULT_KINDS: Final = (
    # On a connection.
    *("cut", "noticed-late", "never-noticed", "dial-failed"),
    *("delay", "lost", "fragment", "reordered"),
    *("separated", "one-way", "slow-reader", "reader-too-slow"),
    # At a node.
    *("crash", "power-loss", "commit-cut-lost", "commit-cut-kept"),
    *("commit-ambiguous-kept", "commit-ambiguous-restart"),
    *("commit-found-after-restart", "file-lost", "file-torn", "install-failed"),
    *("ledger-begin-fails", "ledger-read-fails"),
    *("ledger-apply-fails", "ledger-commit-fails"),
    *("disk-full", "disk-io-error", "start-failed"),
    *("slow-commit", "signing-failed", "ticket-check-failed"),
    *("clock-skew", "clock-forward", "clock-backward"),
    *("stopped", "reloaded", "restored", "certificate-refused"),
)
"""Every kind of fault there is: each must strike within a thousand seeds.

    cut                the connection breaks within a chunk; tails are lost
    noticed-late       one side of a broken connection learns of it late
    never-noticed      or never
    dial-failed        a connection does not come about
    delay              a chunk takes seconds longer
    lost               packets were lost and sent again: a stall
    fragment           a chunk arrives in two pieces
    reordered          a connection whose bytes are overtaken by those of others
    separated          two nodes cannot reach each other, and nobody tells them
    one-way            one direction between two nodes is a black hole
    slow-reader        somebody reads a few bytes a second
    reader-too-slow    so slowly that the bound on unsent bytes ended the connection
    crash              the process dies between two effects (kill -9)
    power-loss         the machine does: what was not synced is lost or torn
    commit-cut-lost    it died within a commit, of which nothing was kept
    commit-cut-kept    it died within a commit, of which everything was kept
    commit-ambiguous-kept       a commit failed, it seemed; it was kept all the same
    commit-ambiguous-restart    a commit failed and stands in the log on disk
    commit-found-after-restart  that one is there again after a restart
    file-lost          a file is as it was before: its replacement was not synced
    file-torn          a file that was not synced holds half of its bytes, or none
    install-failed     the files of an identity could not be written
    ledger-...-fails   one operation of the ledger fails for a while
    disk-full          nothing can be written, all can be read
    disk-io-error      every second operation fails; a failed commit may be kept
    start-failed       a node cannot start and is started again
    slow-commit        a commit takes up to seconds
    signing-failed     the CA key cannot be used
    ticket-check-failed    a worker broke down over a ticket
    clock-skew         a clock is up to half a minute off from the beginning
    clock-forward      a clock is set forward
    clock-backward     a clock is set back
    stopped            a node is stopped in order, and started again
    reloaded           a node reads its files again
    restored           a node is started on an older copy of its ledger
    certificate-refused  no node accepts a node's new certificate for a while
"""

STRIKES: Final = (
    *("cut", "delay", "loss", "fragment", "reorder", "dial_fails"),
    *("crash", "slow_commit", "ambiguous_commit", "signing_fails", "refuse_new"),
)
"""Fields of a plan that are chances."""

SPELLS: Final = (
    *("away_every", "one_way_every", "slow_reader_every"),
    *("ledger_fails_every", "disk_every", "clock_step_every"),
    *("stop_every", "reload_every", "restore_every"),
)
"""Fields of a plan that are mean times between two spells, in the whole world."""

_HARMLESS: Final = frozenset({"fragment"})


class CommitFate(enum.Enum):
    """What becomes of a commit."""

    DURABLE = "durable"
    """It returns, and what returned is durable."""

    REFUSED = "refused"
    """It fails, and nothing is kept."""

    KEPT = "kept"
    """It fails, and everything is kept all the same."""

    CUT_LOST = "cut-lost"
    """The machine loses power within it, and nothing is kept."""

    CUT_KEPT = "cut-kept"
    """The machine loses power within it, and everything is kept."""

    RESTART = "restart"
    """It fails and nothing is there; after a restart all of it is there, if nothing
    was committed meanwhile.  SQLite does this: a commit whose sync failed stands in
    the write-ahead log, and the next one to open the file believes the log."""


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """A crash at one effect boundary of one node, counted over all its lives.

    Attributes:
        node: its name.
        boundary: number of the boundary, from 0.
        down_seconds: until it starts again.
        power: the machine loses power; else the process is killed.
        commit_kept: whether a commit that is under way at this boundary was kept.
    """

    node: str
    boundary: int
    down_seconds: float = 1.0
    power: bool = False
    commit_kept: bool = False


@dataclass(frozen=True, slots=True)
class Spell:
    """One spell at a given moment, for tests of one thing.

    Attributes:
        kind: name of the field of the plan that would draw it, such as
            ``clock_step_every``.
        at: virtual seconds of its beginning.
        seconds: how long it lasts.
        who: the node or requester; where it concerns two, the one whose bytes go
            nowhere.
        other: the second of two.
        amount: what it takes besides: the step of a clock in seconds, bytes a second.
        name: which of several, as ``disk-full``.
    """

    kind: str
    at: float
    seconds: float
    who: str
    other: str = ""
    amount: float = 0.0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Death:
    """How a process dies.

    Attributes:
        down_seconds: until it is started again.
        power: see `CrashPoint`.
        commit_kept: see there.
    """

    down_seconds: float
    power: bool = False
    commit_kept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """How often what goes wrong.  Chances are from 0 to 1, times in seconds.

    Attributes:
        until: when the faults stop.
        cut: chance that a connection is cut within the chunk that is being sent.
        notice_late: chance that a side of a cut connection learns of it late.
        notice_never: chance that it never does, as when a firewall drops packets.
        delay: chance that a chunk takes up to `delay_seconds` longer.
        delay_seconds: see there.
        loss: chance that a chunk is lost and sent again, for 0.2 to 3 s.
        fragment: chance that a chunk arrives in two pieces.
        reorder: chance that each chunk of a connection takes its own time, up to
            `reorder_seconds`; within the connection their order stays.
        reorder_seconds: see there.
        dial_fails: chance that a connection does not come about.
        crash: chance of a crash at each effect boundary of a node.
        crashes_max: no more than so many in a history.
        power: chance that a crash is a loss of power.
        down_seconds: how long a crashed node stays away, at most.
        ledger_fails_every: mean time between two spells in which an operation of a
            node's ledger fails; 0 for never, as for all that follow.
        ledger_fails_seconds: how long a spell lasts, at most.
        disk_every: the same for spells of a full or failing disk.
        disk_seconds: how long.
        slow_commit: chance that a commit takes up to `slow_commit_seconds`.
        slow_commit_seconds: see there.
        ambiguous_commit: chance that a commit fails although it is, or will be, kept.
        signing_fails: chance that the CA key cannot be used.
        refuse_new: chance that no node accepts the new certificate of one of ours, until
            faults stop.
        away_every: spells in which a pair of nodes cannot reach each other, and nobody
            tells them.
        away_seconds: how long.
        one_way_every: spells in which the bytes of one go nowhere, and come to the
            other afterwards, as TCP sends them again.
        one_way_seconds: how long.
        slow_reader_every: spells in which somebody reads little by little.
        slow_reader_seconds: how long.
        outbound_bytes_max: the bound on what waits for a peer that does not read; None
            for production's, which no simulated load reaches.
        clock_step_every: spells in which a clock is wrong.
        clock_step_seconds: by how much, at most, forward or back.
        stop_every: nodes are stopped in order and started again.
        reload_every: nodes read their files again.
        restore_every: a node is killed and comes back on an older copy of its ledger.
        crash_at: crashes at given boundaries, besides those by chance.
        stop_at: orderly stops that begin at given boundaries.
        commit_fails_at: commits that fail: name of the node, number of the commit.
        commit_fates: the same with what becomes of them.
        cut_at: chunks within which a connection is cut, counted over all of them.
        spells: at given moments.
        only: of what chance would have strike, nothing but these: kind, and number of
            the throw (`Faults.struck`).  None: everything.
    """

    until: float = 60.0
    cut: float = 0.0
    notice_late: float = 0.1
    notice_never: float = 0.0
    delay: float = 0.0
    delay_seconds: float = 3.0
    loss: float = 0.0
    fragment: float = 0.0
    reorder: float = 0.0
    reorder_seconds: float = 0.3
    dial_fails: float = 0.0
    crash: float = 0.0
    crashes_max: int = 6
    power: float = 0.4
    down_seconds: float = 10.0
    ledger_fails_every: float = 0.0
    ledger_fails_seconds: float = 6.0
    disk_every: float = 0.0
    disk_seconds: float = 8.0
    slow_commit: float = 0.0
    slow_commit_seconds: float = 2.0
    ambiguous_commit: float = 0.0
    signing_fails: float = 0.0
    refuse_new: float = 0.0
    away_every: float = 0.0
    away_seconds: float = 40.0
    one_way_every: float = 0.0
    one_way_seconds: float = 30.0
    slow_reader_every: float = 0.0
    slow_reader_seconds: float = 20.0
    outbound_bytes_max: int | None = None
    clock_step_every: float = 0.0
    clock_step_seconds: float = 3 * 3600.0
    stop_every: float = 0.0
    reload_every: float = 0.0
    restore_every: float = 0.0
    crash_at: tuple[CrashPoint, ...] = ()
    stop_at: tuple[CrashPoint, ...] = ()
    commit_fails_at: tuple[tuple[str, int], ...] = ()
    commit_fates: tuple[tuple[str, int, CommitFate], ...] = ()
    cut_at: tuple[int, ...] = ()
    spells: tuple[Spell, ...] = ()
    only: frozenset[tuple[str, int]] | None = None

    @classmethod
    def none(cls) -> Self:
        """Return a plan in which nothing goes wrong."""
        return cls(until=0.0, notice_late=0.0)

    @property
    def is_harmless(self) -> bool:
        """Whether nothing that is lost, refused or late can be blamed on a fault.

        Bytes in pieces excuse nothing.  Everything else does: most of it loses
        something, and what only takes time may take longer than somebody waits.
        """
        chances = (
            getattr(self, name) for name in (*STRIKES, *SPELLS) if name not in _HARMLESS
        )
        return not any(chances) and not self.planned

    @property
    def over_at(self) -> float:
        """When the last fault is over, as far as the plan knows."""
        return max([self.until, *(spell.at + spell.seconds for spell in self.spells)])

    @property
    def planned(self) -> bool:
        """Whether faults are planned for given points."""
        return bool(
            self.crash_at
            or self.stop_at
            or self.commit_fails_at
            or self.commit_fates
            or self.cut_at
            or self.spells
        )

    @classmethod
    def drawn(cls, chance: Random) -> Self:
        """Draw a plan: each kind of fault is off, rare or frequent.

        One plan in eight is harmless, so that what must work without faults is
        seen to work without them.
        """
        if chance.random() < 0.125:
            return replace(cls.none(), fragment=chance.choice((0.0, 0.3)))

        def some(*choices: float) -> float:
            return chance.choice(choices)

        return cls(
            until=some(20.0, 60.0, 120.0),
            cut=some(0.0, 0.01, 0.05),
            notice_late=some(0.0, 0.2, 0.6),
            notice_never=some(0.0, 0.0, 0.2),
            delay=some(0.0, 0.02, 0.2),
            delay_seconds=some(0.5, 5.0, 25.0),
            loss=some(0.0, 0.01, 0.1),
            fragment=some(0.0, 0.1),
            reorder=some(0.0, 0.2, 0.8),
            reorder_seconds=some(0.05, 0.3, 2.0),
            dial_fails=some(0.0, 0.1, 0.4),
            crash=some(0.0, 0.005, 0.03),
            power=some(0.0, 0.4, 1.0),
            down_seconds=some(1.0, 10.0, 50.0),
            ledger_fails_every=some(0.0, 0.0, 15.0, 40.0),
            ledger_fails_seconds=some(0.5, 6.0, 20.0),
            disk_every=some(0.0, 0.0, 15.0, 50.0),
            disk_seconds=some(0.5, 8.0, 25.0),
            slow_commit=some(0.0, 0.0, 0.1),
            ambiguous_commit=some(0.0, 0.0, 0.01, 0.1),
            signing_fails=some(0.0, 0.0, 0.2),
            away_every=some(0.0, 0.0, 15.0),
            one_way_every=some(0.0, 0.0, 15.0, 50.0),
            slow_reader_every=some(0.0, 0.0, 10.0, 40.0),
            outbound_bytes_max=chance.choice((None, 8_192)),
            clock_step_every=some(0.0, 0.0, 15.0, 40.0),
            clock_step_seconds=some(240.0, 3 * 3600.0, 30 * 3600.0),
            stop_every=some(0.0, 0.0, 12.0, 40.0),
            reload_every=some(0.0, 0.0, 8.0, 30.0),
            restore_every=some(0.0, 0.0, 0.0, 40.0),
            refuse_new=some(0.0, 0.3, 1.0),
        )


class Faults:
    """Throws the dice; counts what went wrong.

    Attributes:
        counts: by kind.
        struck: what struck by chance, in order: kind, and number of the throw.
        refused: certificates (DER) that no node accepts.
    """

    def __init__(self, plan: FaultPlan, chance: Random, timeline: Timeline) -> None:
        """Follow a plan."""
        self.plan = plan
        self.counts: Counter[str] = Counter()
        self.struck: list[tuple[str, int]] = []
        self.refused: set[bytes] = set()
        self._throws: Counter[str] = Counter()
        self._chance = chance
        self._timeline = timeline
        self._stopped = False
        self._deaths = 0
        self._stop_at = {(c.node, c.boundary): c for c in plan.stop_at}
        self._crash_at = {(c.node, c.boundary): c for c in plan.crash_at}
        self._fates = dict.fromkeys(plan.commit_fails_at, CommitFate.REFUSED)
        self._fates |= {(n, c): fate for n, c, fate in plan.commit_fates}
        self._cut_at = frozenset(plan.cut_at)

    @property
    def stopped(self) -> bool:
        """Whether everybody had finished and nothing is to begin any more."""
        return self._stopped

    @property
    def active(self) -> bool:
        """Whether the faults have not stopped yet."""
        return not self._stopped and self._timeline.seconds < self.plan.until

    def refuses(self, certificate: bytes) -> bool:
        """Whether a certificate is refused, as by a parent that lost its CA."""
        return certificate in self.refused and self.active

    def stop(self) -> None:
        """Let nothing go wrong any more."""
        self._stopped = True

    def strikes(self, kind: str, probability: float) -> bool:
        """Throw for one kind of fault, and count it."""
        if not probability or not self.active or not self._falls(kind, probability):
            return False
        self.counts[kind] += 1
        return True

    def crash_here(
        self, node: str, boundary: int, *, weight: float = 1.0
    ) -> Death | None:
        """Whether a node dies at this boundary, and how.

        Args:
            node: its name.
            boundary: number of the boundary.
            weight: how much likelier than usual; then it does not matter how many
                there were.
        """
        plan = self.plan
        if self._crash_at and not self._stopped:
            point = self._crash_at.get((node, boundary))
            if point is not None:
                self._count_death(power=point.power)
                return Death(point.down_seconds, point.power, point.commit_kept)
        enough = self._deaths >= plan.crashes_max and weight == 1.0
        if not plan.crash or enough or not self.active:
            return None
        if not self._falls("crash", plan.crash * weight):
            return None
        death = Death(
            self._chance.uniform(0.05, plan.down_seconds),
            self._chance.random() < plan.power,
            self._chance.random() < 0.5,
        )
        self._count_death(power=death.power)
        return death

    def stop_here(self, node: str, boundary: int) -> float | None:
        """Whether a node is told to stop at this boundary: for how long, or None."""
        if not self._stop_at or self._stopped:
            return None
        point = self._stop_at.get((node, boundary))
        if point is None:
            return None
        self.counts["stopped"] += 1
        return point.down_seconds

    def commit_fate(self, node: str, commit: int) -> CommitFate:
        """What becomes of a commit on a good disk."""
        planned = self._fates.get((node, commit)) if self._fates else None
        if planned is not None:
            self._count_fate(planned)
            return planned
        chance = self.plan.ambiguous_commit
        if not chance or not self.active or not self._falls("ambiguous", chance):
            return CommitFate.DURABLE
        fate = self._chance.choice((CommitFate.KEPT, CommitFate.RESTART))
        self._count_fate(fate)
        return fate

    def commit_fate_on_failing_disk(self) -> CommitFate:
        """What becomes of a commit while the disk reports errors."""
        fate = self._chance.choice(
            (CommitFate.REFUSED, CommitFate.KEPT, CommitFate.RESTART)
        )
        self._count_fate(fate)
        return fate

    def fails_on_failing_disk(self) -> bool:
        """Whether an operation fails while the disk reports errors."""
        return self._chance.random() < 0.5

    def cut_here(self, chunk: int) -> bool:
        """Whether the connection is cut within this chunk."""
        if chunk in self._cut_at and not self._stopped:
            self.counts["cut"] += 1
            return True
        return self.strikes("cut", self.plan.cut)

    def commit_seconds(self) -> float:
        """How long the next commit takes."""
        if self.strikes("slow-commit", self.plan.slow_commit):
            return self._chance.uniform(0.1, self.plan.slow_commit_seconds)
        return self._chance.uniform(0.0005, 0.004)

    def notice_seconds(self) -> float | None:
        """How long one side of a broken connection takes to notice; None: never."""
        if self.strikes("never-noticed", self.plan.notice_never):
            return None
        if self.strikes("noticed-late", self.plan.notice_late):
            return self._chance.uniform(1.0, 40.0)
        return self._chance.uniform(0.0, 0.3)

    def spread_seconds(self) -> float:
        """How far apart the chunks of a new connection may be moved."""
        if self.strikes("reordered", self.plan.reorder):
            return self.plan.reorder_seconds
        return 0.0

    def late_seconds(self) -> float:
        """How much longer than usual the next chunk takes."""
        late = 0.0
        if self.strikes("delay", self.plan.delay):
            late = self._chance.uniform(0.0, self.plan.delay_seconds)
        if self.strikes("lost", self.plan.loss):
            # Sent again after 0.2 s, and after twice the time each further time.
            late += self._chance.choice((0.2, 0.2, 0.6, 1.4, 3.0))
        return late

    # -- inside ---------------------------------------------------------------------

    def _falls(self, kind: str, probability: float) -> bool:
        """Throw; whether it strikes, and is one of those that may."""
        throw = self._throws[kind]
        self._throws[kind] = throw + 1
        if self._chance.random() >= probability:
            return False
        if self.plan.only is not None and (kind, throw) not in self.plan.only:
            return False
        self.struck.append((kind, throw))
        return True

    def _count_death(self, *, power: bool) -> None:
        self._deaths += 1
        self.counts["power-loss" if power else "crash"] += 1

    def _count_fate(self, fate: CommitFate) -> None:
        if fate is CommitFate.REFUSED:
            self.counts["ledger-commit-fails"] += 1
        elif fate in (CommitFate.KEPT, CommitFate.RESTART):
            self.counts[f"commit-ambiguous-{fate.value}"] += 1
