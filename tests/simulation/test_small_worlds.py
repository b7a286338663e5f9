"""One requester, one relay, one signer: every point at which something can go wrong.

Enumerated, not drawn: each effect boundary of each node is a crash once, each commit
fails once, and within each chunk of bytes the connection is cut once.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from icefloe.simulation import CrashPoint, FaultPlan, Report, simulate
from icefloe.simulation.cluster import chain

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


def crashes(base: Report, *, down_seconds: float) -> Iterator[FaultPlan]:
    for node, boundaries in base.boundaries.items():
        for boundary in range(boundaries):
            point = CrashPoint(node, boundary, down_seconds)
            yield plan(crash_at=(point,))


def failing_commits(base: Report) -> Iterator[FaultPlan]:
    for node, commits in base.commits.items():
        for commit in range(commits):
            yield plan(commit_fails_at=((node, commit),))


def cuts(base: Report) -> Iterator[FaultPlan]:
    for chunk in range(base.chunks):
        yield plan(cut_at=(chunk,))


@pytest.fixture(scope="module", params=KINDS)
def world(request: pytest.FixtureRequest) -> tuple[str, Report]:
    """A history without faults, whose every point is then visited."""
    base = live(request.param, FaultPlan.none())
    assert base.kept, base.story()
    return request.param, base


@pytest.mark.no_cover
@pytest.mark.timeout(180)
@pytest.mark.parametrize("down_seconds", [0.05, 5.0])
def test_a_crash_at_any_effect_boundary_breaks_no_promise(
    world: tuple[str, Report], down_seconds: float
) -> None:
    kind, base = world
    assert min(base.boundaries.values()) > 5
    for faults in crashes(base, down_seconds=down_seconds):
        report = live(kind, faults)
        assert report.figures["fault.crash"] == 1
        assert report.kept, f"{faults.crash_at}\n{report.story()}"


@pytest.mark.no_cover
@pytest.mark.timeout(180)
def test_a_failed_commit_breaks_no_promise(world: tuple[str, Report]) -> None:
    kind, base = world
    for faults in failing_commits(base):
        report = live(kind, faults)
        assert report.kept, f"{faults.commit_fails_at}\n{report.story()}"


@pytest.mark.no_cover
@pytest.mark.timeout(180)
def test_a_cut_within_any_chunk_breaks_no_promise(world: tuple[str, Report]) -> None:
    kind, base = world
    for faults in cuts(base):
        report = live(kind, faults)
        assert report.kept, f"{faults.cut_at}\n{report.story()}"


@pytest.mark.no_cover
@pytest.mark.timeout(180)
def test_two_crashes_at_any_two_boundaries_break_no_promise() -> None:
    """The signer dies while the relay comes back, and the other way round."""
    base = live("valid", FaultPlan.none())
    for first in range(0, base.boundaries["signer"], 2):
        for second in range(0, base.boundaries["relay-1"], 2):
            points = (
                CrashPoint("signer", first, 0.3),
                CrashPoint("relay-1", second, 0.3),
            )
            report = live("valid", plan(crash_at=points))
            assert report.kept, f"{points}\n{report.story()}"
