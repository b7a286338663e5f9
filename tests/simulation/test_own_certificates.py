"""A node's own certificate: renewed, confirmed, or put back, whatever happens on the way.

Each effect boundary of a history in which every node refuses the new certificate is a
crash once: between install and confirm, within the roll-back, anywhere.
"""

from __future__ import annotations

import re

import pytest

from icefloe.simulation import CrashPoint, FaultPlan, Report, simulate
from icefloe.simulation.cluster import chain

# Whole histories, with the coverage measured, on a machine that is busy with others.
pytestmark = pytest.mark.timeout(300)

REFUSING = FaultPlan(until=90.0, notice_late=0.0, refuse_new=1.0)


def live(kind: str, plan: FaultPlan, *, relays: int = 1, **habits: str) -> Report:
    cluster = chain(relays, habits={k.replace("_", "-"): v for k, v in habits.items()})
    return simulate(1, faults=plan, cluster=cluster, kinds=[kind])


def seconds_of(report: Report, what: str) -> list[float]:
    return [
        float(line.split()[0])
        for line in report.trace
        if re.search(rf": {re.escape(what)}", line)
    ]


@pytest.mark.parametrize("kind", ["agent-renewal", "agent-early", "agent-expired"])
@pytest.mark.parametrize("relays", [0, 1, 2])
def test_an_agent_gets_its_next_certificate_and_confirms_it(
    kind: str, relays: int
) -> None:
    report = live(kind, FaultPlan.none(), relays=relays)
    assert report.kept, report.story()
    assert report.figures["ended.signed"] == 1
    (installed,) = seconds_of(report, "installs its own certificate")
    (confirmed,) = seconds_of(report, "confirms its own certificate")
    # The parent's heartbeat comes 20 s after the connection does.
    assert 20 <= confirmed - installed <= 26


def test_a_real_signer_renews_nothing_early_and_is_come_back_to() -> None:
    report = live("agent-early", FaultPlan.none(), signer="2.14.5")
    assert report.kept, report.story()
    assert report.figures["ended.comes back later"] == 1
    assert report.figures["reason.nothing-to-do"]


def test_a_refused_agent_is_back_on_its_old_certificate_within_a_minute() -> None:
    report = live("agent-renewal", REFUSING)
    assert report.kept, report.story()
    assert report.figures["ended.rolled back"] == 1
    (installed,) = seconds_of(report, "installs its own certificate")
    (back,) = seconds_of(report, "is back on its old certificate")
    member = "link .* with agent-renewal-0.example .member"
    connected = [
        float(line.split()[0])
        for line in report.trace
        if re.search(member, line) and float(line.split()[0]) > back
    ]
    assert connected
    assert connected[0] - installed < 60


def test_an_agent_without_an_older_certificate_waits_until_it_is_accepted() -> None:
    report = live("agent-ticket", REFUSING)
    assert report.kept, report.story()
    assert report.figures["ended.signed"] == 1
    assert not seconds_of(report, "is back on its old certificate")
    (confirmed,) = seconds_of(report, "confirms its own certificate")
    assert confirmed > REFUSING.until


@pytest.mark.no_cover
@pytest.mark.timeout(180)
@pytest.mark.parametrize("power", [False, True], ids=["killed", "without power"])
def test_a_crash_anywhere_while_it_is_refused_breaks_no_promise(*, power: bool) -> None:
    agent = "agent-renewal-0.example"
    base = live("agent-renewal", REFUSING)
    count, rolled_back = 0, 0
    for boundary in range(base.boundaries[agent]):
        crash = CrashPoint(agent, boundary, 0.5, power=power)
        plan = FaultPlan(until=90.0, notice_late=0.0, refuse_new=1.0, crash_at=(crash,))
        report = live("agent-renewal", plan)
        assert report.kept, f"{crash}\n{report.story()}"
        count += 1
        rolled_back += int(report.figures.get("ended.rolled back", 0))
    assert count >= 60
    assert rolled_back >= count / 2
