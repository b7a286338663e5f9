"""Putting a world together, letting it run, judging how it ends."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final

from icefloe.simulation.cast import Stage, set_up
from icefloe.simulation.cluster import Cluster, drawn
from icefloe.simulation.faults import FaultPlan
from icefloe.simulation.process import Process
from icefloe.simulation.report import Report, Summary
from icefloe.simulation.world import World

LIVENESS_SECONDS: Final = 180.0
"""So long after the last fault and the last decision everybody has the answer that is
due.  The longest way there: a connection that nobody said is dead (60 s of silence, 10 s
to close), a signer that asked for a minute's patience, a command's own pause."""

QUIET_SECONDS: Final = 100.0
"""So long after that nothing is remembered any more that need not be: longer than any
hold and any silence."""


def simulate(
    seed: int,
    *,
    faults: FaultPlan | None = None,
    cluster: Cluster | None = None,
    kinds: Sequence[str] | None = None,
) -> Report:
    """Live through one history.

    Args:
        seed: everything follows from it.
        faults: what goes wrong; None draws that too.
        cluster: the nodes; None draws them.
        kinds: who wants what, of `cast.KINDS`; None draws that.

    Returns:
        What happened; the same arguments give the same history.
    """
    world = World(seed, faults)
    if cluster is None:
        cluster = drawn(world.chance)
    stage = set_up(world, cluster, kinds)
    history = _History(world, cluster, stage)
    history.run()
    return history.report()


def run_seeds(
    seeds: Iterable[int], *, progress: Callable[[Report], None] | None = None
) -> Summary:
    """Live through many histories.

    Args:
        seeds: of each.
        progress: called after each.
    """
    summary = Summary()
    for seed in seeds:
        report = simulate(seed)
        summary.add(report)
        if progress is not None:
            progress(report)
    return summary


class _History:
    """One world from its beginning to its end."""

    def __init__(self, world: World, cluster: Cluster, stage: Stage) -> None:
        self._world = world
        self._cluster = cluster
        self._stage = stage
        self._boundaries: dict[str, int] = {}
        self._commits: dict[str, int] = {}
        self._chunks = 0
        self._plan_separations()

    def run(self) -> None:
        timeline = self._world.timeline
        while not self._all_finished():
            last = max([self._world.faults.plan.until, *self._decisions()])
            if timeline.seconds >= last + LIVENESS_SECONDS:
                break
            timeline.run_until(last + LIVENESS_SECONDS, done=self._all_finished)
        self._judge_liveness()
        self._count_boundaries()
        self._world.faults.stop()
        timeline.run_until(timeline.seconds + QUIET_SECONDS)
        self._judge_rest()

    def report(self) -> Report:
        world = self._world
        return Report(
            seed=world.seed,
            violations=tuple(world.promises.violations),
            figures=MappingProxyType(self._figures()),
            boundaries=MappingProxyType(self._boundaries),
            commits=MappingProxyType(self._commits),
            chunks=self._chunks,
            trace=tuple(world.trace),
            trace_hash=world.trace_hash(),
        )

    # -- the end ------------------------------------------------------------------------

    def _all_finished(self) -> bool:
        return all(requesting.finished for requesting in self._stage.requesting)

    def _decisions(self) -> list[float]:
        return [at for each in self._stage.operators for at in each.decided_at.values()]

    def _judge_liveness(self) -> None:
        for requesting in self._stage.requesting:
            if not requesting.finished:
                detail = (
                    f"is not done after {requesting.asks} calls: {requesting.ended}"
                )
                self._world.promises.it_finishes(requesting.name, detail)

    def _count_boundaries(self) -> None:
        for machine in self._stage.machines:
            self._boundaries[machine.name] = machine.boundaries
            self._commits[machine.name] = machine.commits
        self._chunks = self._world.network.chunks

    def _judge_rest(self) -> None:
        """Everything settled: what is still remembered, is needed."""
        promises = self._world.promises
        promises.tickets_are_forgotten()
        for machine in self._stage.machines:
            process = machine.process
            if process is None:
                promises.it_finishes(machine.name, "is still down")
            elif self._all_finished():
                self._judge_memory(machine.name, process)

    def _judge_memory(self, name: str, process: Process) -> None:
        promises, census = self._world.promises, process.core.census()
        announced = sum(link.announced for link in process.links.values())
        open_attempts = len(promises.view(name).open_attempts())
        for what, count, most in (
            ("links", census.links, announced),
            ("events waiting", len(process.queue), 0),
            ("errands", census.errands, open_attempts),
            ("asks", census.asks, open_attempts),
            ("waiters", census.waiters, open_attempts * max(announced, 1)),
            ("reminders", census.reminders, 128 + 8 * open_attempts),
        ):
            promises.everything_is_bounded(name, what, count, most)

    # -- faults ---------------------------------------------------------------------------

    def _plan_separations(self) -> None:
        plan, chance = self._world.faults.plan, self._world.chance
        pairs = [
            (parent, child)
            for above, below in itertools.pairwise(self._cluster.zones)
            for parent in above.endpoints
            for child in below.endpoints
        ]
        if not plan.away_every or not pairs:
            return
        at = chance.expovariate(1.0 / plan.away_every)
        while at < plan.until:
            pair = chance.choice(pairs)
            seconds = min(chance.uniform(0.5, plan.away_seconds), plan.until - at)
            self._world.timeline.at(at, partial(self._separate, pair, seconds))
            at += chance.expovariate(1.0 / plan.away_every)

    def _separate(self, pair: tuple[str, str], seconds: float) -> None:
        if self._world.faults.active:
            self._world.faults.counts["separated"] += 1
            self._world.note(
                "network", f"{pair[0]} and {pair[1]} cannot reach each other"
            )
            self._world.network.separate(*pair, seconds)

    # -- figures --------------------------------------------------------------------------

    def _figures(self) -> dict[str, float]:
        world = self._world
        figures: Counter[str] = Counter()
        figures["requesters"] = len(self._stage.requesting)
        figures["asks"] = sum(each.asks for each in self._stage.requesting)
        figures["steps"] = world.timeline.steps
        figures["connections"] = world.network.connections_made
        figures["virtual seconds"] = int(world.timeline.seconds)
        figures["harmless"] = int(world.faults.plan.is_harmless)
        for name, count in world.counts.items():
            figures[name] = count
        for name, count in world.faults.counts.items():
            figures[f"fault.{name}"] = count
        for machine in self._stage.machines:
            for state in world.promises.view(machine.name).states_reached:
                figures[f"state.{state.value}"] += 1
        for each in self._stage.requesting:
            figures[f"ended.{each.ended}"] += 1
        late = [
            each.finished_at - max(world.faults.plan.until, each.began_at or 0.0)
            for each in self._stage.requesting
            if each.finished_at is not None
        ]
        named: dict[str, float] = dict(sorted(figures.items()))
        named["max.seconds to finish after the faults"] = max(late, default=0.0)
        return named
