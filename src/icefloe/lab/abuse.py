"""What a good agent feels of a flood: wrong tickets beside the same load of heartbeats.

New agents enroll one after the other, each with its own key and ticket, while a flood
goes on; now of heartbeats, now of wrong tickets, in turns, so that what else the machine
does falls on both. The figure is the ratio of their 99th percentiles.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import msgspec

from icefloe.doors import Entropy
from icefloe.lab.abuse_flood import Flood, FloodCounts, FloodPlan, Load
from icefloe.lab.asking import ParentAddress, ask
from icefloe.lab.crowd import Agent
from icefloe.lab.figures import Spread, counts_text, seconds_text
from icefloe.lab.outcomes import Outcome

ATTEMPT_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AbusePlan:
    """What is to be measured.

    Attributes:
        parent: Where the good agents ask.
        flooded: Where the flood goes; None: to the same node.
        rate: Messages of the flood a second.
        connections: Of the flood, at a time.
        source: Address the flood comes from; the good agents' is another.
        rounds: How often each load has its turn.
        settle_seconds: From the beginning of a flood to the first good agent.
    """

    parent: ParentAddress
    flooded: ParentAddress | None = None
    rate: int = 1000
    connections: int = 20
    source: str = "127.0.0.2"
    rounds: int = 4
    settle_seconds: float = 2.0


@dataclass(slots=True)
class Felt:
    """What good agents felt under one load.

    Attributes:
        seconds: How long each enrollment took that ended signed.
        outcomes: Of all of them.
        sent: Messages of the flood.
        rates: Messages a second, for each round.
        connected: Connections that the flood made.
        answers: What the flood was answered.
    """

    seconds: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    rates: list[float] = field(default_factory=list)
    connected: int = 0
    answers: Counter[str] = field(default_factory=Counter)

    def add_flood(self, counts: FloodCounts) -> None:
        """Add what the flood of one round did."""
        self.sent += counts.sent
        self.connected += counts.connected
        self.answers += counts.answers
        self.rates.append(round(counts.rate, 1))


@dataclass(slots=True)
class AbuseReport:
    """What was measured, by load."""

    plan: AbusePlan
    felt: dict[Load, Felt] = field(
        default_factory=lambda: {load: Felt() for load in Load}
    )

    @property
    def ratio(self) -> float | None:
        """The p99 under wrong tickets, by that under heartbeats."""
        loads = (Load.WRONG_TICKETS, Load.HEARTBEATS)
        bad, good = (Spread.of(self.felt[load].seconds) for load in loads)
        return round(bad.p99 / good.p99, 2) if bad and good and good.p99 else None

    @property
    def complaints(self) -> list[str]:
        """What must not be: good agents that were not signed."""
        found = []
        for load, felt in self.felt.items():
            others = {
                word: count
                for word, count in felt.outcomes.items()
                if word != Outcome.SIGNED
            }
            if others or not felt.outcomes:
                what = counts_text(others, none="nobody enrolled")
                found.append(f"good agents beside {load}: {what}")
        return found

    def to_json(self) -> str:
        """Return all of it as one JSON object."""
        loads = {
            load.value: {**asdict(felt), "spread": Spread.of(felt.seconds)}
            for load, felt in self.felt.items()
        }
        told = {
            "plan": asdict(self.plan),
            "loads": loads,
            "p99_ratio": self.ratio,
            "complaints": self.complaints,
        }
        return msgspec.json.encode(told).decode()

    def text(self) -> str:
        """Return it for people."""
        plan = self.plan
        lines = [
            (
                f"{plan.rate} messages/s over at most {plan.connections} connections "
                f"from {plan.source}; good agents enroll one by one"
            )
        ]
        for load, felt in self.felt.items():
            spread = Spread.of(felt.seconds)
            p50, p99 = (spread.p50, spread.p99) if spread else (None, None)
            rate = sum(felt.rates) / len(felt.rates) if felt.rates else 0.0
            lines.append(
                f"{load.value:>14}: p50 {seconds_text(p50)}, p99 {seconds_text(p99)}; "
                f"{counts_text(felt.outcomes)}; flood {rate:.0f}/s, "
                f"{felt.connected} connections, answers: {counts_text(felt.answers)}"
            )
        lines.append(f"     p99 ratio: {self.ratio or '-'}")
        return "\n".join(lines)


async def measure_abuse(
    plan: AbusePlan,
    agents: Sequence[Agent],
    *,
    entropy: Entropy,
    on_progress: Callable[[Load, Outcome], None] = lambda _load, _outcome: None,
) -> AbuseReport:
    """Let good agents enroll beside both loads.

    Args:
        plan: What to do.
        agents: The good ones; they are shared out among loads and rounds.
        entropy: The real one.
        on_progress: Told of each enrollment.

    Raises:
        FloodFailed: there was no flood.
    """
    report = AbuseReport(plan)
    loads = tuple(Load)
    share = max(1, len(agents) // (len(loads) * plan.rounds))
    waiting = list(agents)
    for _ in range(plan.rounds):
        for load in loads:
            good, waiting = waiting[:share], waiting[share:]
            await _round(report, load, good, entropy, on_progress)
    return report


async def _round(
    report: AbuseReport,
    load: Load,
    agents: Sequence[Agent],
    entropy: Entropy,
    on_progress: Callable[[Load, Outcome], None],
) -> None:
    plan, felt = report.plan, report.felt[load]
    flood = Flood(
        FloodPlan(
            parent=plan.flooded or plan.parent,
            load=load,
            rate=plan.rate,
            connections=plan.connections,
            source=plan.source,
        )
    )
    try:
        await flood.wait_begun()
        await asyncio.sleep(plan.settle_seconds)
        for agent in agents:
            attempt = await ask(
                agent, plan.parent, entropy=entropy, seconds_max=ATTEMPT_SECONDS_MAX
            )
            felt.outcomes[attempt.outcome.value] += 1
            if attempt.outcome is Outcome.SIGNED:
                felt.seconds.append(attempt.seconds)
            on_progress(load, attempt.outcome)
        felt.add_flood(await asyncio.to_thread(flood.stop))
    finally:
        flood.kill()
