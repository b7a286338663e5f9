"""What everything in one history shares: time, chance, network, faults, judgement."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from random import Random

from icefloe.doors import WallTime
from icefloe.enrollment.ledger import Write
from icefloe.simulation.faults import FaultPlan, Faults
from icefloe.simulation.identities import read_pem
from icefloe.simulation.network import Network
from icefloe.simulation.promises import Promises
from icefloe.simulation.reached import Reached
from icefloe.simulation.timeline import (
    WALL_START,
    Chooser,
    SimulatedClock,
    SimulatedEntropy,
    Timeline,
)

SECRET = "s3cr3t"  # noqa: S105 - a mark by which a leaked ticket is seen
"""Every ticket of a simulated world contains this."""


def right_ticket(cn: str) -> str:
    """Return the ticket that is valid for a name."""
    return f"{SECRET}-right-for-{cn}"


def wrong_ticket(cn: str, number: int = 0) -> str:
    """Return a ticket that is valid for nobody."""
    return f"{SECRET}-wrong-{number}-for-{cn}"


def ticket_is_valid(cn: str, ticket: str) -> bool:
    """Say what a comparison of the ticket would come to."""
    return ticket == right_ticket(cn)


class World:
    """The ground a history happens on.

    Attributes:
        seed: what all of it follows from.
        chance: the only source of chance.
        timeline: virtual time.
        faults: what goes wrong.
        network: connections.
        promises: the judge.
        entropy: chance, as production code draws it.
        counts: what happened, by name.
        reached: which events and commands there were.
        trace: a line for each thing that happened.
        on_commit: told what a node has committed.
        brought_wrong_tickets: addresses of those who ever did.
    """

    def __init__(
        self,
        seed: int,
        plan: FaultPlan,
        *,
        traced: bool = True,
        chooser: Chooser | None = None,
    ) -> None:
        """Make the ground; nothing stands on it yet."""
        self.seed = seed
        # Chance for a simulation: to be repeated is what it is for.
        self.chance = Random(seed)  # noqa: S311
        self.timeline = Timeline(chooser)
        self.faults = Faults(plan, self.chance, self.timeline)
        self.network = Network(self.timeline, self.chance, self.faults)
        self.entropy = SimulatedEntropy(self.chance)
        self.counts: Counter[str] = Counter()
        self.reached = Reached()
        self.trace: list[str] = []
        self._traced = traced
        self.brought_wrong_tickets: set[str] = set()
        self.on_commit: list[Callable[[str, tuple[Write, ...]], None]] = []
        self.promises = Promises(self.timeline, ticket_is_valid, SECRET)

    def clock(self, *, skewed: bool) -> SimulatedClock:
        """Return a machine's clock, up to half a minute off when skewed."""
        skew = 0.0
        if skewed:
            skew = self.chance.uniform(-30.0, 30.0)
            self.faults.counts["clock-skew"] += 1
        return SimulatedClock(self.timeline, skew_seconds=skew)

    def now(self) -> WallTime:
        """Return the true date."""
        return WallTime(WALL_START + self.timeline.seconds)

    def is_early(self, pem: str) -> bool:
        """Whether a certificate is not valid yet because a signer's clock was ahead.

        Nobody believes it before its time; its signer, once its clock is right, does not
        either, and signs one that is valid.
        """
        if not self.faults.counts["clock-forward"]:
            return False
        begins = read_pem(pem).not_valid_before_utc.timestamp()
        early = begins > self.now()
        self.counts["exempt.certificate-of-a-clock-ahead"] += early
        return early

    @property
    def reasons_to_sign_again(self) -> int:
        """How often a node had a reason to believe that a certificate is no good.

        Behind a clock that was set back it is not valid yet, and who shows it is asking
        for one: it gets one that is valid now.  The same holds when a clock that was
        ahead is set right.  A signer whose ledger is an older copy
        does not know that it has signed.
        """
        counts = self.faults.counts
        steps = counts["clock-backward"] + counts["clock-forward"]
        return steps + counts["restored"]

    def committed(self, node: str, writes: tuple[Write, ...]) -> None:
        """A node's transaction is durable: the judge looks first, then the others."""
        self.promises.committed(node, writes)
        for listener in self.on_commit:
            listener(node, writes)

    def note(self, who: str, what: str) -> None:
        """Write a line of the history."""
        if self._traced:
            self.trace.append(f"{self.timeline.seconds:9.3f}  {who}: {what}")

    def trace_hash(self) -> str:
        """Digest the history."""
        # The state of chance shows what no line tells.
        lines = [*self.trace, f"{self.timeline.steps} {self.chance.getrandbits(64)}"]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
