"""Histories whose clusters, requesters and faults are drawn from the seed.

These are a few, so that a part run of the suite still sees them; `scripts/test` lives
through thousands with `icefloe lab simulate`.
"""

from __future__ import annotations

import pytest

from icefloe.simulation import FaultPlan, run_seeds, simulate
from icefloe.simulation.cluster import chain

# Whole histories, with the coverage measured, on a machine that is busy with others.
pytestmark = pytest.mark.timeout(300)

SEEDS = 200
SEEDS_EACH = 25


@pytest.mark.no_cover  # tracing would make it three times as long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_EACH))
def test_every_promise_is_kept(first: int) -> None:
    """A failing seed tells its story, and how to see it again."""
    run_seeds(range(first, first + SEEDS_EACH)).raise_if_failed()


def test_some_histories_are_harmless_and_most_are_not() -> None:
    summary = run_seeds(range(40))
    assert 0 < summary.totals["harmless"] < 20
    struck = {name for name in summary.totals if name.startswith("fault.")}
    assert len(struck) > 15


def test_many_agents_through_two_relays_are_all_signed_on_the_first_call() -> None:
    report = simulate(
        3, faults=FaultPlan.none(), cluster=chain(2), kinds=["valid"] * 60
    )
    report_story = report.story()
    assert report.kept, report_story
    assert report.figures["ended.signed"] == 60
    assert report.figures["asks"] == 60


@pytest.mark.parametrize("kind", ["valid", "wrong", "renewal", "corrected"])
@pytest.mark.parametrize("relays", [0, 1, 2])
def test_an_answer_takes_less_than_a_second_of_virtual_time(
    kind: str, relays: int
) -> None:
    report = simulate(5, faults=FaultPlan.none(), cluster=chain(relays), kinds=[kind])
    assert report.kept, report.story()
    answers = [
        line for line in report.trace if ": got signed" in line or ": got ref" in line
    ]
    asked = [line for line in report.trace if ": asks " in line and "call 1" in line]
    assert float(answers[0][:9]) - float(asked[0][:9]) < 1.0


@pytest.mark.parametrize("relays", [0, 1, 2])
def test_an_approval_reaches_a_waiting_daemon_within_a_second(relays: int) -> None:
    report = simulate(
        5, faults=FaultPlan.none(), cluster=chain(relays), kinds=["daemon-approval"]
    )
    assert report.kept, report.story()
    decided = next(line for line in report.trace if "operator: decides" in line)
    installed = next(line for line in report.trace if line.endswith(": installs"))
    assert float(installed[:9]) - float(decided[:9]) < 1.0
