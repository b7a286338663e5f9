"""Putting a world together, letting it run, judging how it ends."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Final, Self

from icefloe.simulation.cast import Stage, drawn_kinds, set_up
from icefloe.simulation.cluster import Cluster, drawn
from icefloe.simulation.faults import FaultPlan
from icefloe.simulation.process import Process
from icefloe.simulation.reached import played, struck
from icefloe.simulation.report import Report, Summary, Violation
from icefloe.simulation.spells import Spells
from icefloe.simulation.timeline import Chooser
from icefloe.simulation.world import World

LIVENESS_SECONDS: Final = 180.0
"""So long after the last fault and the last decision everybody has the answer that is
due.  The longest way there: a connection that nobody said is dead (60 s of silence, 10 s
to close), a signer that asked for a minute's patience, a command's own pause."""

QUIET_SECONDS: Final = 100.0
"""So long after that nothing is remembered any more that need not be: longer than any
hold and any silence."""

CALLS_EACH: Final = 3
"""So many calls for one attempt may be without an answer, as `upstream.CALLS_MAX`."""

REMINDERS_EACH: Final = 24
"""A real parent is asked every second, and each ask leaves a reminder of its silence
for 15 s; besides those there are the reminders of who waits."""

HELD_EACH: Final = 2
"""So often one connection may wait for one attempt: a relay of ours asks again before
the hold of its last ask is over (`EnrollmentLimits.hold_member`)."""


@dataclass(frozen=True, slots=True)
class Script:
    """All that a history follows from, as data.

    Attributes:
        seed: what is left to chance follows from it.
        faults: what goes wrong.
        cluster: the nodes.
        kinds: who wants what, of `cast.KINDS`.
        varied: the details of the cast are drawn too: who begins when, who asks whom,
            whose clock is off; plain ones otherwise.
    """

    seed: int
    faults: FaultPlan
    cluster: Cluster
    kinds: tuple[str, ...]
    varied: bool = True

    @classmethod
    def drawn(cls, seed: int) -> Self:
        """Draw everything from a seed."""
        return cls(
            seed,
            FaultPlan.drawn(_chance(seed, "faults")),
            drawn(_chance(seed, "cluster")),
            drawn_kinds(_chance(seed, "kinds")),
        )


def simulate(
    seed: int,
    *,
    faults: FaultPlan | None = None,
    cluster: Cluster | None = None,
    kinds: Sequence[str] | None = None,
    varied: bool | None = None,
) -> Report:
    """Live through one history.

    Args:
        seed: everything follows from it.
        faults: what goes wrong; None draws that too.
        cluster: the nodes; None draws them.
        kinds: who wants what, of `cast.KINDS`; None draws that.
        varied: see `Script`; None: if the kinds are drawn.

    Returns:
        What happened; the same arguments give the same history.
    """
    chosen = Script.drawn(seed)
    script = Script(
        seed,
        faults if faults is not None else chosen.faults,
        cluster if cluster is not None else chosen.cluster,
        tuple(kinds) if kinds is not None else chosen.kinds,
        varied if varied is not None else kinds is None,
    )
    return play(script)


def play(
    script: Script, *, traced: bool = True, chooser: Chooser | None = None
) -> Report:
    """Live through the history of a script.

    Args:
        script: all that it follows from.
        traced: keep a line for each thing that happened.  It changes nothing else.
        chooser: decides the order of what happens at once (see `orders`).
    """
    world = World(script.seed, script.faults, traced=traced, chooser=chooser)
    stage = set_up(world, script.cluster, script.kinds, varied=script.varied)
    history = _History(world, script, stage)
    history.run()
    return history.report()


def run_seeds(
    seeds: Iterable[int], *, progress: Callable[[Report], None] | None = None
) -> Summary:
    """Live through many histories; one that breaks a promise is told.

    Args:
        seeds: of each.
        progress: called after each.
    """
    summary = Summary()
    for seed in seeds:
        script = Script.drawn(seed)
        report = lived(script, traced=False)
        if not report.kept and not summary.failed:
            report = lived(script, traced=True)
        summary.add(report)
        if progress is not None:
            progress(report)
    return summary


def lived(script: Script, *, traced: bool = True) -> Report:
    """Live through a history; what breaks the simulator is told like a broken promise.

    Args:
        script: all that it follows from.
        traced: see `play`.

    Returns:
        What happened; of a history that raised, `the_simulator_holds` is broken.
    """
    try:
        return play(script, traced=traced)
    except Exception as error:  # noqa: BLE001 - the other seeds are to be told, too
        told = "".join(traceback.format_exception(error))[-TRACEBACK_CHARACTERS:]
        broken = Violation("the_simulator_holds", 0.0, "simulator", told)
        return Report(seed=script.seed, violations=(broken,), figures={})


def _chance(seed: int, what: str) -> Random:
    """Return a source of chance for one part, so that another part may be changed."""
    return Random(f"{seed} {what}")  # noqa: S311 - to be repeated is what it is for


TRACEBACK_CHARACTERS: Final = 2_000

STEPS_MAX: Final = 100_000
"""More than ten times what any drawn history takes: somebody asks for ever."""


class _History:
    """One world from its beginning to its end."""

    def __init__(self, world: World, script: Script, stage: Stage) -> None:
        self._world = world
        self._cluster = script.cluster
        self._kinds = script.kinds
        self._stage = stage
        self._patience = LIVENESS_SECONDS + stage.patience_seconds
        self._boundaries: dict[str, int] = {}
        self._commits: dict[str, int] = {}
        self._chunks = 0
        Spells(
            world,
            stage.machines,
            dials=script.cluster.dials,
            asks=[
                (requesting.name, parent)
                for requesting in stage.requesting
                for parent in script.cluster.bottom
            ],
        )

    def run(self) -> None:
        timeline = self._world.timeline
        while not self._is_over():
            last = max([self._world.faults.plan.over_at, *self._decisions()])
            if timeline.seconds >= last + self._patience:
                break
            timeline.run_until(last + self._patience, done=self._is_over)
        self._judge_liveness()
        self._count_boundaries()
        self._world.faults.stop()
        timeline.run_until(timeline.seconds + QUIET_SECONDS, done=self._goes_in_circles)
        if self._goes_in_circles():
            detail = f"does not come to rest in {timeline.steps:,} steps"
            self._world.promises.it_finishes("the cluster", detail)
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
            strikes=tuple(world.faults.struck),
            trace=tuple(world.trace),
            trace_hash=world.trace_hash(),
        )

    # -- the end ------------------------------------------------------------------------

    def _is_over(self) -> bool:
        return self._all_finished() or self._goes_in_circles()

    def _goes_in_circles(self) -> bool:
        return self._world.timeline.steps > STEPS_MAX

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
        promises.what_was_put_back_was_tried_again()
        for machine in self._stage.machines:
            process = machine.process
            if process is None:
                promises.it_finishes(machine.name, "is still down")
            elif self._all_finished():
                self._judge_memory(machine.name, process)

    def _judge_memory(self, name: str, process: Process) -> None:
        promises, census = self._world.promises, process.core.census()
        announced = process.announced
        open_attempts = len(promises.view(name).open_attempts())
        for what, count, most in (
            ("links", census.links, announced),
            ("events waiting", len(process.queue), 0),
            ("errands", census.errands, open_attempts),
            ("asks", census.asks, open_attempts * CALLS_EACH),
            ("waiters", census.waiters, open_attempts * max(announced, 1) * HELD_EACH),
            ("reminders", census.reminders, 128 + REMINDERS_EACH * open_attempts),
        ):
            promises.everything_is_bounded(name, what, count, most)

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
        figures.update(world.counts)
        passed_on = world.promises.lies_passed_on
        figures["exempt.a-lie-about-a-ticket-is-passed-on"] = passed_on
        figures.update(world.reached.named())
        for kind, count in world.faults.counts.items():
            figures[struck(kind)] = count
        for kind in self._kinds:
            figures[played(kind)] += 1
        for machine in self._stage.machines:
            figures.update(world.promises.view(machine.name).reached)
        for each in self._stage.requesting:
            figures[f"ended.{each.ended}"] += 1
        late = [
            each.finished_at - max(world.faults.plan.until, each.began_at or 0.0)
            for each in self._stage.requesting
            if each.finished_at is not None
        ]
        named: dict[str, float] = dict(figures)
        named["max.seconds to finish after the faults"] = max(late, default=0.0)
        return named
