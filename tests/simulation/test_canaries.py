"""Simulated worlds in which some are canaries: they go while the others stay.

A canary's request is forgotten in the midst of a history, with its certificate.  The
promises hold all the same, with faults or without.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from icefloe.enrollment import expiry
from icefloe.pki import canaries
from icefloe.simulation import FaultPlan, Report, committed, simulate
from icefloe.simulation.cluster import chain
from icefloe.simulation.committed import CommittedView, Fault

KEPT_SECONDS = 40.0
KINDS = ("valid", "corrected", "valid", "approval", "declined", "valid")


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Everybody with a right ticket is a canary; returns who was forgotten where."""
    monkeypatch.setattr(canaries, "CANARY_PREFIX", "valid-")
    monkeypatch.setattr(committed, "_CANARY", "valid-")
    monkeypatch.setattr(expiry, "CANARY_LIFETIME", KEPT_SECONDS)
    monkeypatch.setattr(expiry, "CANARY_LOOK_AFTER", KEPT_SECONDS + 1.0)
    counted: Counter[str] = Counter()
    judge = CommittedView._forget_canary

    def counting(view: CommittedView, request_id: str) -> list[Fault]:
        counted[view.name] += 1
        return judge(view, request_id)

    monkeypatch.setattr(CommittedView, "_forget_canary", counting)
    return counted


def live(seed: int, faults: FaultPlan) -> Report:
    cluster = chain(1)
    return simulate(seed, faults=faults, cluster=cluster, kinds=KINDS, varied=True)


def test_each_node_forgets_them_and_no_promise_is_broken(
    forgotten: Counter[str],
) -> None:
    for seed in range(8):
        report = live(seed, FaultPlan.none())
        assert report.kept, report.story()
    assert len(forgotten) == 2
    assert min(forgotten.values()) >= 8


def test_faults_do_not_change_that(forgotten: Counter[str]) -> None:
    for seed in range(25):
        # A certificate of minutes does not outlive a clock that is set by an hour.
        plan = replace(FaultPlan.drawn(Random(seed)), clock_step_every=0.0)
        report = live(seed, plan)
        assert report.kept, report.story()
    assert len(forgotten) == 2


@pytest.mark.usefixtures("forgotten")
def test_a_ledger_that_forgets_others_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committed, "_CANARY", "nobody")
    broken = {
        violation.promise
        for seed in range(4)
        for violation in live(seed, FaultPlan.none()).violations
    }
    assert "no_certificate_without_decision" in broken
