"""A failing seed becomes a small test that fails for the same reason."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from icefloe.cluster.zones import Zone
from icefloe.enrollment.batch import BatchRunner
from icefloe.simulation import CrashPoint, FaultPlan, simulate
from icefloe.simulation.cluster import Cluster, chain
from icefloe.simulation.report import Report, Violation
from icefloe.simulation.running import Script
from icefloe.simulation.shrink import Shrunk, _cluster, shrink, small_test, written
from tests.simulation import planted

NAMES = {
    "simulate": simulate,
    "chain": chain,
    "Cluster": Cluster,
    "Zone": Zone,
    "FaultPlan": FaultPlan,
    "CrashPoint": CrashPoint,
}


def looks(most: int):
    """Return a clock that lets shrinking look at it so many times."""
    return {"seconds_max": float(most), "clock": itertools.count().__next__}


def failing() -> Script:
    bug = next(each for each in planted.PLANTED if each.name == "waiter never woken")
    report = planted.found(bug)
    assert report is not None
    return Script.drawn(report.seed)


@pytest.mark.no_cover
@pytest.mark.timeout(300)
def test_what_does_not_matter_is_left_away(monkeypatch: pytest.MonkeyPatch) -> None:
    planted.waiter_never_woken(monkeypatch)
    shrunk = shrink(failing(), **looks(400))
    assert shrunk is not None
    script = shrunk.script
    assert len(script.kinds) == 1
    assert script.faults == FaultPlan.none()
    assert script.cluster == chain(0)
    assert not script.varied
    test = written(shrunk)
    defined: dict[str, object] = dict(NAMES)
    exec(test, defined)
    run = next(v for k, v in defined.items() if k.startswith("test_"))
    assert callable(run)
    with pytest.raises(AssertionError, match=shrunk.promise):
        run()
    monkeypatch.undo()
    run()


@pytest.mark.no_cover
@pytest.mark.timeout(300)
def test_faults_that_matter_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug that shows when a commit fails is not blamed on anything else."""
    planted.sent_although_not_stored(monkeypatch)
    bug = next(each for each in planted.PLANTED if "not stored" in each.name)
    report = planted.found(bug)
    assert report is not None
    shrunk = shrink(Script.drawn(report.seed), **looks(300))
    assert shrunk is not None
    assert shrunk.promise in bug.promises
    assert shrunk.script.faults != FaultPlan.none()
    assert len(shrunk.script.kinds) <= len(Script.drawn(report.seed).kinds)


def test_a_seed_that_keeps_its_promises_is_not_shrunk() -> None:
    assert shrink(Script.drawn(0), **looks(10)) is None
    assert small_test(0, seconds_max=10.0) == ""


def test_a_drawn_cluster_reads_back_from_its_own_text() -> None:
    drawn = [Script.drawn(seed).cluster for seed in range(300)]
    assert any(cluster.gateway for cluster in drawn)
    for cluster in drawn:
        assert eval(_cluster(cluster), dict(NAMES)) == cluster


def test_a_gateway_that_does_not_matter_is_left_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planted.waiter_never_woken(monkeypatch)
    script = Script(
        0, FaultPlan.none(), replace(chain(0), gateway=True), ("valid",), varied=False
    )
    shrunk = shrink(script, **looks(60))
    assert shrunk is not None
    assert shrunk.script.cluster == chain(0)


def test_a_history_that_raises_is_made_small_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What breaks the simulator itself is found by it like a broken promise."""

    def raises(*_: object, **__: object) -> None:
        raise RuntimeError('a "quoted" \\ word')

    monkeypatch.setattr(BatchRunner, "run", raises)
    script = Script(0, FaultPlan.none(), chain(1), ("valid", "valid"), varied=False)
    shrunk = shrink(script, **looks(60))
    assert shrunk is not None
    assert shrunk.promise == "the_simulator_holds"
    assert len(shrunk.script.kinds) == 1
    text = written(shrunk)
    exec(text, dict(NAMES))
    assert "simulator: the_simulator_holds: RuntimeError: a 'quoted'" in text


def test_the_promise_that_was_looked_for_is_quoted() -> None:
    """A smaller history may break another promise before it."""
    others = [Violation(name, 1.0, "agent", name.title()) for name in ("one", "two")]
    report = Report(seed=0, violations=tuple(others), figures={})
    script = Script(0, FaultPlan.none(), chain(0), ("valid",))
    text = written(Shrunk(script, "two", report, 1))
    assert "def test_two_in_a_small_world" in text
    assert '"""1.000  agent: two: Two"""' in text


def test_out_of_time_the_smallest_so_far_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planted.refusal_with_a_ca(monkeypatch)
    script = Script(0, FaultPlan.none(), chain(1), ("wrong", "wrong"), varied=False)
    shrunk = shrink(script, **looks(2))
    assert shrunk is not None
    assert "refusal" in written(shrunk)
