"""What everything in one history shares: time, chance, network, faults, judgement."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from random import Random

from icefloe.enrollment.ledger import Write
from icefloe.simulation.faults import FaultPlan, Faults
from icefloe.simulation.network import Network
from icefloe.simulation.promises import Promises
from icefloe.simulation.timeline import SimulatedClock, SimulatedEntropy, Timeline

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
        trace: a line for each thing that happened.
        on_commit: told what a node has committed.
    """

    def __init__(self, seed: int, plan: FaultPlan | None) -> None:
        """Make the ground; nothing stands on it yet."""
        self.seed = seed
        # Chance for a simulation: to be repeated is what it is for.
        self.chance = Random(seed)  # noqa: S311
        self.timeline = Timeline()
        self.faults = Faults(
            plan if plan is not None else FaultPlan.drawn(self.chance),
            self.chance,
            self.timeline,
        )
        self.network = Network(self.timeline, self.chance, self.faults)
        self.entropy = SimulatedEntropy(self.chance)
        self.counts: Counter[str] = Counter()
        self.trace: list[str] = []
        self.on_commit: list[Callable[[str, tuple[Write, ...]], None]] = []
        self.promises = Promises(self.timeline, ticket_is_valid, SECRET)

    def clock(self, *, skewed: bool) -> SimulatedClock:
        """Return a machine's clock, up to half a minute off when skewed."""
        skew = self.chance.uniform(-30.0, 30.0) if skewed else 0.0
        return SimulatedClock(self.timeline, skew_seconds=skew)

    def committed(self, node: str, writes: tuple[Write, ...]) -> None:
        """A node's transaction is durable: the judge looks first, then the others."""
        self.promises.committed(node, writes)
        for listener in self.on_commit:
            listener(node, writes)

    def note(self, who: str, what: str) -> None:
        """Write a line of the history."""
        self.trace.append(f"{self.timeline.seconds:9.3f}  {who}: {what}")

    def trace_hash(self) -> str:
        """Digest the history."""
        # The state of chance shows what no line tells.
        lines = [*self.trace, f"{self.timeline.steps} {self.chance.getrandbits(64)}"]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
