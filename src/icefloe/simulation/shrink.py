"""A failing seed made small: what is left is what it takes to break the promise.

Piece by piece is left away: requesters, nodes, kinds of faults, single faults, details.
What breaks the same promise without the piece is kept; the rest is put back.  The
history is another one each time, so that this finds a small failing one near the first,
not the cause; but a cause is found sooner in a small one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Final

from icefloe.cluster.zones import Zone
from icefloe.simulation.cluster import SIGNER, Cluster, chain
from icefloe.simulation.faults import SPELLS, STRIKES, FaultPlan
from icefloe.simulation.report import Report
from icefloe.simulation.running import Script, lived

SEEDS_BESIDE: Final = 4
"""With a piece left away the same fault may strike elsewhere: so many other seeds are
tried for each smaller script."""

_INDENT: Final = "    "


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest failing script found.

    Attributes:
        script: it.
        promise: what it breaks.
        report: its history.
        tried: how many histories were lived through.
    """

    script: Script
    promise: str
    report: Report
    tried: int


def small_test(seed: int, *, seconds_max: float) -> str:
    """Return a small test for a seed that breaks a promise; "" if it keeps them."""
    shrunk = shrink(Script.drawn(seed), seconds_max=seconds_max)
    return "" if shrunk is None else written(shrunk)


def shrink(
    script: Script,
    *,
    seconds_max: float,
    clock: Callable[[], float] = time.monotonic,
) -> Shrunk | None:
    """Make a failing script smaller.

    Args:
        script: of a history that breaks a promise.
        seconds_max: stop after so long.
        clock: seconds.

    Returns:
        The smallest found; None if the script breaks no promise.
    """
    report = lived(script, traced=False)
    if report.kept:
        return None
    return _Shrinking(script, report, clock() + seconds_max, clock).run()


class _Shrinking:
    def __init__(
        self, script: Script, report: Report, until: float, clock: Callable[[], float]
    ) -> None:
        self._script = script
        self._report = report
        self._promise = report.violations[0].promise
        self._until = until
        self._clock = clock
        self._tried = 1

    def run(self) -> Shrunk:
        smaller = True
        while smaller and not self._out_of_time():
            smaller = self._pass()
        report = lived(self._script)
        return Shrunk(self._script, self._promise, report, self._tried)

    def _pass(self) -> bool:
        """Try to leave away each piece once; whether any could be."""
        before = self._script
        for ways in (_requesters, _clusters, _kinds, _details, self._strikes):
            self._try_each(ways)
        return self._script != before

    def _try_each(self, ways: Callable[[Script], Iterator[Script]]) -> None:
        """Take each smaller script that fails, and begin with its own smaller ones."""
        found = True
        while found and not self._out_of_time():
            found = any(self._fails(smaller) for smaller in ways(self._script))

    def _fails(self, smaller: Script) -> bool:
        for beside in range(SEEDS_BESIDE):
            if self._out_of_time():
                return False
            # Faults that are named by their number belong to one seed.
            if beside and smaller.faults.only is not None:
                return False
            script = replace(smaller, seed=smaller.seed + beside)
            report = lived(script, traced=False)
            self._tried += 1
            if any(each.promise == self._promise for each in report.violations):
                self._script, self._report = script, report
                return True
        return False

    def _strikes(self, script: Script) -> Iterator[Script]:
        """Leave away faults that struck: half of them, a quarter, one."""
        struck = [s for s in self._report.strikes if _may_strike(script.faults, s)]
        size = len(struck)
        while size:
            for first in range(0, len(struck), size):
                rest = struck[:first] + struck[first + size :]
                faults = replace(script.faults, only=frozenset(rest))
                if faults.only != script.faults.only:
                    yield replace(script, faults=faults)
            size //= 2

    def _out_of_time(self) -> bool:
        return self._clock() >= self._until


def _may_strike(faults: FaultPlan, strike: tuple[str, int]) -> bool:
    return faults.only is None or strike in faults.only


def _requesters(script: Script) -> Iterator[Script]:
    """Leave away half of those who ask, or one."""
    kinds = script.kinds
    size = len(kinds) // 2
    while size:
        for first in range(0, len(kinds), size):
            rest = kinds[:first] + kinds[first + size :]
            if rest:
                yield replace(script, kinds=rest)
        size //= 2


def _clusters(script: Script) -> Iterator[Script]:
    """Take a simpler cluster: a plain chain, or one without some node or habit."""
    cluster = script.cluster
    for relays in range(len(cluster.zones)):
        simple = chain(relays)
        if len(simple.names) < len(cluster.names):
            yield replace(script, cluster=simple)
    for name in cluster.names:
        if name != SIGNER:
            yield replace(script, cluster=_without(cluster, name))
    for name in cluster.habits:
        habits = {n: h for n, h in cluster.habits.items() if n != name}
        rude = cluster.rude - {name}
        yield replace(script, cluster=replace(cluster, habits=habits, rude=rude))
    for child in cluster.rude_children:
        rest = tuple(each for each in cluster.rude_children if each != child)
        yield replace(script, cluster=replace(cluster, rude_children=rest))
    if cluster.gateway:
        yield replace(script, cluster=replace(cluster, gateway=False))


def _without(cluster: Cluster, name: str) -> Cluster:
    zones: list[Zone] = []
    for zone in cluster.zones:
        rest = tuple(each for each in zone.endpoints if each != name)
        if rest:
            parent = zones[-1].name if zones else None
            zones.append(Zone(zone.name, rest, parent))
    gone = [zone for zone in cluster.zones if zone.endpoints == (name,)]
    if gone:
        # Its children's parents are now those above it: they dial as before.
        return chain(len(zones) - 1)
    return replace(
        cluster,
        zones=tuple(zones),
        dials=frozenset(pair for pair in cluster.dials if name not in pair),
        habits={n: h for n, h in cluster.habits.items() if n != name},
        rude=cluster.rude - {name},
    )


def _kinds(script: Script) -> Iterator[Script]:
    """Switch one kind of fault off, or all at once."""
    faults = script.faults
    if faults != FaultPlan.none():
        yield replace(script, faults=FaultPlan.none())
    for name in (*STRIKES, *SPELLS, "notice_late", "notice_never"):
        quiet = replace(faults, **{name: 0.0})  # type: ignore[arg-type]
        if quiet != faults:
            yield replace(script, faults=quiet)


def _details(script: Script) -> Iterator[Script]:
    """Draw no details."""
    if script.varied:
        yield replace(script, varied=False)


# -- as a test --------------------------------------------------------------------------


def written(shrunk: Shrunk) -> str:
    """Write a script as a test that fails until the promise is kept."""
    script = shrunk.script
    lines = [
        f"def test_{shrunk.promise}_in_a_small_world() -> None:",
        f'{_INDENT}"""{_quoted(shrunk)}"""',
        f"{_INDENT}report = simulate(",
        f"{_INDENT * 2}{script.seed},",
        f"{_INDENT * 2}cluster={_cluster(script.cluster)},",
        f"{_INDENT * 2}kinds={list(script.kinds)!r},",
        f"{_INDENT * 2}faults={_faults(script.faults)},",
        f"{_INDENT * 2}varied={script.varied},",
        f"{_INDENT})",
        f"{_INDENT}assert report.kept, report.story()",
    ]
    return "\n".join(lines)


def _quoted(shrunk: Shrunk) -> str:
    """Return how the promise was broken as one line that may stand in a docstring."""
    broken = next(v for v in shrunk.report.violations if v.promise == shrunk.promise)
    # Of a traceback the last line says what it was.
    detail = broken.detail.strip().splitlines()[-1:]
    line = str(replace(broken, detail="".join(detail))).strip()
    return line.replace("\\", "\\\\").replace('"', "'")


def _cluster(cluster: Cluster) -> str:
    for relays in range(len(cluster.zones)):
        if cluster == chain(relays):
            return f"chain({relays})"
    given = [
        f"zones={cluster.zones!r}",
        f"dials=frozenset({sorted(cluster.dials)!r})",
    ]
    if cluster.habits:
        given.append(f"habits={dict(cluster.habits)!r}")
    if cluster.rude:
        given.append(f"rude=frozenset({sorted(cluster.rude)!r})")
    if cluster.rude_children:
        given.append(f"rude_children={cluster.rude_children!r}")
    if cluster.gateway:
        given.append("gateway=True")
    return f"Cluster({', '.join(given)})"


def _faults(faults: FaultPlan) -> str:
    if faults == FaultPlan.none():
        return "FaultPlan.none()"
    given = []
    for each in fields(faults):
        value = getattr(faults, each.name)
        if each.name == "only" and value is not None:
            given.append(f"only=frozenset({sorted(value)!r})")
        elif value != each.default:
            given.append(f"{each.name}={value!r}")
    return f"FaultPlan({', '.join(given)})"
