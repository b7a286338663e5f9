"""One requester, one relay, one signer: every point at which something can go wrong.

Enumerated, not drawn.  Each effect boundary of each node is a crash once and an orderly
stop once; each commit fails once, fails and is kept all the same, and is cut by a loss
of power with either outcome; within each chunk of bytes the connection is cut once; and
what happens at once happens in every order there is.

Every test says how many cases it went through, and has a least number of them, so that
it cannot become empty without anybody noticing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

import pytest

from icefloe.simulation import CrashPoint, FaultPlan, Report, simulate
from icefloe.simulation.cluster import chain
from icefloe.simulation.faults import CommitFate
from icefloe.simulation.orders import Explored, explore
from icefloe.simulation.running import Script, play

KINDS = (
    "valid",
    "wrong",
    "corrected",
    "approval",
    "declined",
    "renewal",
    "daemon-ticket",
    "daemon-approval",
    "agent-ticket",
)


def live(kind: str, plan: FaultPlan) -> Report:
    return simulate(1, faults=plan, cluster=chain(1), kinds=[kind])


def plan(**faults: object) -> FaultPlan:
    return FaultPlan(until=0.0, notice_late=0.0, **faults)  # type: ignore[arg-type]


def points(base: Report, *, down_seconds: float) -> Iterator[CrashPoint]:
    for node, boundaries in base.boundaries.items():
        for boundary in range(boundaries):
            yield CrashPoint(node, boundary, down_seconds)


def commits(base: Report) -> Iterator[tuple[str, int]]:
    for node, count in base.commits.items():
        for commit in range(count):
            yield node, commit


def live_through(kind: str, plans: Iterable[FaultPlan], *, at_least: int) -> None:
    """Live through them all; none may break a promise."""
    count = 0
    for each in plans:
        report = live(kind, each)
        count += 1
        where = each.crash_at or each.stop_at or each.commit_fates or each.cut_at
        assert report.kept, f"case {count}, {where}\n{report.story()}"
    assert count >= at_least, f"{count} cases of {kind}, at least {at_least} expected"


@pytest.fixture(scope="module", params=KINDS)
def world(request: pytest.FixtureRequest) -> tuple[str, Report]:
    """A history without faults, whose every point is then visited."""
    base = live(request.param, FaultPlan.none())
    assert base.kept, base.story()
    return request.param, base


@pytest.mark.no_cover
@pytest.mark.timeout(600)
@pytest.mark.parametrize("down_seconds", [0.05, 5.0])
def test_a_crash_at_any_effect_boundary_breaks_no_promise(
    world: tuple[str, Report], down_seconds: float
) -> None:
    kind, base = world
    assert min(base.boundaries.values()) > 5
    plans = [plan(crash_at=(p,)) for p in points(base, down_seconds=down_seconds)]
    assert live(kind, plans[0]).figures["fault.crash"] == 1
    live_through(kind, plans, at_least=30)


@pytest.mark.no_cover
@pytest.mark.timeout(600)
def test_an_orderly_stop_at_any_effect_boundary_breaks_no_promise(
    world: tuple[str, Report],
) -> None:
    """Nobody whose answer was promised is cut off; whoever comes is answered later."""
    kind, base = world
    plans = [plan(stop_at=(point,)) for point in points(base, down_seconds=1.0)]
    assert live(kind, plans[0]).figures["fault.stopped"] == 1
    live_through(kind, plans, at_least=30)


@pytest.mark.no_cover
@pytest.mark.timeout(600)
def test_a_failed_commit_breaks_no_promise(world: tuple[str, Report]) -> None:
    kind, base = world
    plans = [plan(commit_fails_at=(commit,)) for commit in commits(base)]
    live_through(kind, plans, at_least=5)


AMBIGUOUS = {CommitFate.KEPT: "kept", CommitFate.RESTART: "restart"}


@pytest.mark.no_cover
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fate", AMBIGUOUS, ids=AMBIGUOUS.values())
def test_a_commit_that_failed_and_was_kept_breaks_no_promise(
    world: tuple[str, Report], fate: CommitFate
) -> None:
    kind, base = world
    plans = [plan(commit_fates=((*each, fate),)) for each in commits(base)]
    report = live(kind, plans[0])
    assert report.figures[f"fault.commit-ambiguous-{fate.value}"] == 1
    live_through(kind, plans, at_least=5)


@pytest.mark.no_cover
@pytest.mark.timeout(600)
def test_a_commit_that_failed_may_be_there_after_a_crash(
    world: tuple[str, Report],
) -> None:
    """It failed, its asker was told so, and then the node dies."""
    kind, base = world
    plans = []
    found = 0
    for node, commit in commits(base):
        fates = ((node, commit, CommitFate.RESTART),)
        after = live(kind, plan(commit_fates=fates))
        failed = [number for number in range(after.boundaries[node]) if number % 2 == 0]
        plans += [
            plan(commit_fates=fates, crash_at=(CrashPoint(node, each, 0.5),))
            for each in failed
        ]
    for each in plans:
        report = live(kind, each)
        found += int(report.figures.get("fault.commit-found-after-restart", 0))
        assert report.kept, f"{each.commit_fates} {each.crash_at}\n{report.story()}"
    assert len(plans) >= 60, f"{len(plans)} cases"
    assert found >= 3, f"found after a restart in {found} of {len(plans)} cases"


@pytest.mark.no_cover
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "fate", [CommitFate.CUT_LOST, CommitFate.CUT_KEPT], ids=["lost", "kept"]
)
def test_a_loss_of_power_within_a_commit_breaks_no_promise(
    world: tuple[str, Report], fate: CommitFate
) -> None:
    """Whoever starts afterwards does not know whether it was kept."""
    kind, base = world
    plans = [plan(commit_fates=((*each, fate),)) for each in commits(base)]
    report = live(kind, plans[0])
    assert report.figures[f"fault.commit-{fate.value}"] == 1
    live_through(kind, plans, at_least=5)


@pytest.mark.no_cover
@pytest.mark.timeout(600)
def test_a_cut_within_any_chunk_breaks_no_promise(world: tuple[str, Report]) -> None:
    kind, base = world
    live_through(kind, [plan(cut_at=(n,)) for n in range(base.chunks)], at_least=5)


@pytest.mark.no_cover
@pytest.mark.timeout(600)
def test_two_crashes_at_any_two_boundaries_break_no_promise() -> None:
    """The signer dies while the relay comes back, and the other way round."""
    base = live("valid", FaultPlan.none())
    pairs = product(range(base.boundaries["signer"]), range(base.boundaries["relay-1"]))
    plans = [
        plan(crash_at=(CrashPoint("signer", a, 0.3), CrashPoint("relay-1", b, 0.3)))
        for a, b in pairs
    ]
    live_through("valid", plans, at_least=250)


# -- orders ----------------------------------------------------------------------------

LEAST = {
    "valid": (3, 100),
    "wrong": (3, 100),
    "corrected": (9, 400),
    "approval": (15, 400),
    "renewal": (3, 100),
    "daemon-ticket": (9, 250),
    "daemon-approval": (9, 250),
}
"""Histories and situations that there are at the least; of these kinds, all are seen."""

MANY = ("declined", "agent-ticket")
"""Two nodes each go their own way for long: so many orders that only some are seen."""


def orders(kind: str, explored: Explored, *, most: int, leaps: int) -> Iterator[Report]:
    script = Script(1, FaultPlan.none(), chain(1), (kind,), varied=False)
    return explore(
        lambda chooser: play(script, chooser=chooser),
        explored,
        begins_at=5.0,
        histories_max=most,
        horizon_seconds=2.5,
        leaps_max=leaps,
    )


@pytest.mark.no_cover
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", LEAST)
def test_every_order_of_what_happens_at_once_breaks_no_promise(kind: str) -> None:
    """Deliveries on all connections, commits, signatures, ticket checks."""
    explored = Explored()
    for report in orders(kind, explored, most=4_000, leaps=0):
        assert report.kept, f"{explored}\n{report.story()}"
    assert explored.complete, f"{kind}: {explored}"
    histories, situations = LEAST[kind]
    told = f"{kind}: {explored}; at least {histories} and {situations} expected"
    assert explored.histories >= histories, told
    assert explored.states >= situations, told


@pytest.mark.no_cover
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", MANY)
def test_many_orders_of_what_happens_at_once_break_no_promise(kind: str) -> None:
    explored = Explored()
    for report in orders(kind, explored, most=400, leaps=0):
        assert report.kept, f"{explored}\n{report.story()}"
    assert explored.histories >= 150, f"{kind}: {explored}; at least 150 expected"


@pytest.mark.no_cover
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_timer_that_fires_first_breaks_no_promise(kind: str) -> None:
    """Once in each history, wherever one is due within two seconds and a half."""
    explored = Explored()
    for report in orders(kind, explored, most=250, leaps=1):
        assert report.kept, f"{explored}\n{report.story()}"
    assert explored.histories >= 10, f"{kind}: {explored}; at least 10 expected"
