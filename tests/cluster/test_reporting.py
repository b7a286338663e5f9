"""Log events of a session."""

from __future__ import annotations

from icefloe.cluster.effects import Level, Report
from icefloe.cluster.reporting import Reporter
from tests.cluster.helpers import mono, stranger

NAMES = {"peer": "agent1", "address": "192.0.2.2:40000"}


def reporter() -> Reporter:
    return Reporter(peer=stranger(), period_seconds=60)


def test_report_names_the_peer() -> None:
    assert reporter().report(Level.INFO, "x", a=1) == Report(
        Level.INFO, "x", {**NAMES, "a": 1}
    )


def test_each_kind_is_reported_once_in_a_period_and_the_rest_counted() -> None:
    reports = reporter()
    first = reports.maybe_report(Level.DEBUG, "x", mono(0), a=1)
    assert first == [Report(Level.DEBUG, "x", {**NAMES, "a": 1})]
    assert reports.maybe_report(Level.DEBUG, "x", mono(1)) == []
    assert reports.maybe_report(Level.DEBUG, "x", mono(59.9)) == []
    assert len(reports.maybe_report(Level.DEBUG, "y", mono(2))) == 1
    later = reports.maybe_report(Level.DEBUG, "x", mono(60))
    assert later == [Report(Level.DEBUG, "x", {**NAMES, "kept_back": 2})]
    last = reports.maybe_report(Level.DEBUG, "x", mono(120))
    assert last == [Report(Level.DEBUG, "x", NAMES)]
