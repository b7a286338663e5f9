"""What goes wrong: a plan as data, and the dice that follow it.

A plan holds for the first `until` seconds.  After that nothing more breaks, what was
down comes back, and everything has to finish.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from random import Random
from typing import Self

from icefloe.simulation.timeline import Timeline


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """A crash at one effect boundary of one node, counted over all its lives.

    Attributes:
        node: its name.
        boundary: number of the boundary, from 0.
        down_seconds: until it starts again.
    """

    node: str
    boundary: int
    down_seconds: float = 1.0


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
        fragment: chance that a chunk arrives in two pieces.
        dial_fails: chance that a connection does not come about.
        crash: chance of a crash at each effect boundary of a node.
        crashes_max: no more than so many in a history.
        down_seconds: how long a crashed node stays away, at most.
        ledger_fails_every: mean time between two spells of a full disk at a node;
            0 for never.
        ledger_fails_seconds: how long a spell lasts, at most.
        slow_commit: chance that a commit takes up to `slow_commit_seconds`.
        slow_commit_seconds: see there.
        signing_fails: chance that the CA key cannot be used.
        away_every: mean time between two spells in which a pair of nodes cannot
            reach each other, and nobody tells them; 0 for never.
        away_seconds: how long a spell lasts, at most.
        crash_at: crashes at given boundaries, besides those by chance.
        commit_fails_at: commits that fail: name of the node, number of the commit.
        cut_at: chunks within which a connection is cut, counted over all of them.
    """

    until: float = 60.0
    cut: float = 0.0
    notice_late: float = 0.1
    notice_never: float = 0.0
    delay: float = 0.0
    delay_seconds: float = 3.0
    fragment: float = 0.0
    dial_fails: float = 0.0
    crash: float = 0.0
    crashes_max: int = 6
    down_seconds: float = 10.0
    ledger_fails_every: float = 0.0
    ledger_fails_seconds: float = 6.0
    slow_commit: float = 0.0
    slow_commit_seconds: float = 2.0
    signing_fails: float = 0.0
    away_every: float = 0.0
    away_seconds: float = 40.0
    crash_at: tuple[CrashPoint, ...] = ()
    commit_fails_at: tuple[tuple[str, int], ...] = ()
    cut_at: tuple[int, ...] = ()

    @classmethod
    def none(cls) -> Self:
        """Return a plan in which nothing goes wrong."""
        return cls(until=0.0, notice_late=0.0)

    @property
    def is_harmless(self) -> bool:
        """Whether nothing that is lost or refused can be blamed on a fault."""
        harmful = (
            self.cut,
            self.dial_fails,
            self.crash,
            self.ledger_fails_every,
            self.signing_fails,
            self.away_every,
        )
        delays = self.delay * self.delay_seconds + self.slow_commit
        return not any(harmful) and not delays and not self.planned

    @property
    def planned(self) -> bool:
        """Whether faults are planned for given points."""
        return bool(self.crash_at or self.commit_fails_at or self.cut_at)

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
            fragment=some(0.0, 0.1),
            dial_fails=some(0.0, 0.1, 0.4),
            crash=some(0.0, 0.005, 0.03),
            down_seconds=some(1.0, 10.0, 50.0),
            ledger_fails_every=some(0.0, 0.0, 8.0, 25.0),
            ledger_fails_seconds=some(0.5, 6.0, 20.0),
            slow_commit=some(0.0, 0.0, 0.1),
            signing_fails=some(0.0, 0.0, 0.2),
            away_every=some(0.0, 0.0, 15.0),
        )


class Faults:
    """Throws the dice; counts what went wrong.

    Attributes:
        counts: by kind.
    """

    def __init__(self, plan: FaultPlan, chance: Random, timeline: Timeline) -> None:
        """Follow a plan."""
        self.plan = plan
        self.counts: Counter[str] = Counter()
        self._chance = chance
        self._timeline = timeline
        self._stopped = False
        self._crash_at = {(c.node, c.boundary): c for c in plan.crash_at}
        self._commit_fails_at = frozenset(plan.commit_fails_at)

    @property
    def active(self) -> bool:
        """Whether the faults have not stopped yet."""
        return not self._stopped and self._timeline.seconds < self.plan.until

    def stop(self) -> None:
        """Let nothing go wrong any more."""
        self._stopped = True

    def strikes(self, kind: str, probability: float) -> bool:
        """Throw for one kind of fault, and count it."""
        if not probability or not self.active:
            return False
        if self._chance.random() >= probability:
            return False
        self.counts[kind] += 1
        return True

    def crash_here(self, node: str, boundary: int) -> float | None:
        """Whether a node crashes at this boundary: for how many seconds, or None."""
        planned = self._crash_at.get((node, boundary))
        if planned is not None and not self._stopped:
            self.counts["crash"] += 1
            return planned.down_seconds
        if self.counts["crash"] >= self.plan.crashes_max:
            return None
        if not self.strikes("crash", self.plan.crash):
            return None
        return self._chance.uniform(0.05, self.plan.down_seconds)

    def commit_fails_here(self, node: str, commit: int) -> bool:
        """Whether this commit is planned to fail."""
        if (node, commit) not in self._commit_fails_at:
            return False
        self.counts["commit-failed"] += 1
        return True

    def cut_here(self, chunk: int) -> bool:
        """Whether the connection is cut within this chunk."""
        if chunk in self.plan.cut_at and not self._stopped:
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
