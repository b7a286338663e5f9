"""Many seeds on several processes: bounded, in order, and told in plain words."""

from __future__ import annotations

import io
from types import SimpleNamespace

import msgspec
import pytest

from icefloe.lab import scaling, simulating, simulation_report
from icefloe.lab.simulating import SeedsPlan, SeedsRun, run_plan
from icefloe.lab.simulation_progress import progress
from icefloe.simulation import Report, Summary, Violation, run_seeds
from icefloe.simulation.coverage import TO_REACH

BROKEN = Report(
    seed=7,
    violations=(Violation("it_finishes", 2.5, "agent", "is not done"),),
    figures={"asks": 3, "fault.cut": 2, "max.seconds": 4.0},
)


def ignore(_run: SeedsRun) -> None:
    pass


def run_of(*reports: Report, seconds: float = 2.0) -> SeedsRun:
    summary = Summary()
    for report in reports:
        summary.add(report)
    return SeedsRun(summary, seconds)


def test_each_seed_is_in_one_chunk() -> None:
    plan = SeedsPlan(first=5, count=1000, jobs=3)
    chunks = list(plan.chunks())
    assert [seed for chunk in chunks for seed in chunk] == list(range(5, 1005))
    assert max(map(len, chunks)) <= simulating.CHUNK_SEEDS_MAX


def test_few_seeds_are_spread_over_the_workers() -> None:
    assert len(list(SeedsPlan(first=0, count=8, jobs=2).chunks())) >= 4


def test_without_a_number_there_is_always_another_chunk() -> None:
    chunks = SeedsPlan(first=3, count=None, seconds=1.0, jobs=1).chunks()
    assert next(chunks).stop == next(chunks).start


def test_several_processes_come_to_the_same_as_one() -> None:
    run = run_plan(SeedsPlan(first=3, count=9, jobs=2), on_progress=ignore)
    alone = run_seeds(range(3, 12))
    assert run.summary.seeds == 9
    assert run.summary.totals == alone.totals
    assert not run.interrupted


def test_an_interruption_ends_in_order_with_what_was_done() -> None:
    """Ctrl-C: what workers have begun is finished and counted."""
    told: list[int] = []

    def interrupt(run: SeedsRun) -> None:
        told.append(run.summary.seeds)
        if len(told) == 1:
            raise KeyboardInterrupt

    plan = SeedsPlan(first=0, count=100_000, jobs=1)
    run = run_plan(plan, on_progress=interrupt)
    assert run.interrupted
    assert 0 < run.summary.seeds <= 4 * simulating.CHUNK_SEEDS_MAX
    assert run.summary.seeds == told[-1]


def test_time_ends_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is under way when the time is over is counted; nothing new is begun."""
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(simulating, "time", clock)

    def pass_an_hour(run: SeedsRun) -> None:
        if run.summary.seeds:
            now[0] = 3600.0

    plan = SeedsPlan(first=0, count=None, seconds=60.0, jobs=1)
    run = run_plan(plan, on_progress=pass_an_hour)
    assert 0 < run.summary.seeds <= 4 * simulating.CHUNK_SEEDS_MAX
    assert not run.interrupted


def test_a_report_names_what_broke_how_to_see_it_and_with_which_code() -> None:
    told = "\n".join(simulation_report.lines(run_of(BROKEN), version="Icefloe 1"))
    assert "1 BROKE A PROMISE" in told
    assert "icefloe lab simulate --from 7 --trace" in told
    assert "with: Icefloe 1" in told
    assert "cut 2" in told


def test_what_was_never_reached_is_said_loudly() -> None:
    told = "\n".join(simulation_report.lines(run_of(BROKEN), version=""))
    assert f"NEVER REACHED ({len(TO_REACH - {'fault.cut'})})" in told
    reached = Report(seed=1, violations=(), figures=dict.fromkeys(TO_REACH, 1))
    told = "\n".join(simulation_report.lines(run_of(reached), version=""))
    assert "NEVER" not in told
    assert "every promise was kept" in told


def test_as_json_it_says_the_same() -> None:
    told = msgspec.json.decode(
        simulation_report.as_json(run_of(BROKEN), version="v", shrunk="def test")
    )
    assert told["shrunk"] == "def test"
    assert told["broken"] == 1
    assert told["seeds_per_second"] == 0.5
    assert told["failed"][0]["violations"][0]["promise"] == "it_finishes"
    assert told["reached"]["fault.cut"] == 2
    assert "fault.cut" not in told["never_reached"]


def test_a_log_hears_of_a_failure_at_once_and_of_progress_now_and_then() -> None:
    log = io.StringIO()
    with progress(log, SeedsPlan(first=0, count=10, jobs=1)) as show:
        show(run_of())
        assert log.getvalue() == ""
        show(run_of(BROKEN))
        show(run_of(BROKEN))
    assert log.getvalue().count("seed 7 broke a promise") == 1
    assert "--from 7 --trace" in log.getvalue()


def test_the_code_that_ran_is_named() -> None:
    assert simulating.code_version().startswith("Icefloe 0.")


@pytest.mark.parametrize(
    "agents, sizes",
    [
        (10, [10]),
        (300, [300]),
        (1_000, [100, 1_000]),
        (100_000, [1_000, 10_000, 100_000]),
    ],
)
def test_a_crowd_is_measured_at_smaller_sizes_too(
    agents: int, sizes: list[int]
) -> None:
    assert scaling.sizes(agents) == sizes


def test_a_crowds_costs_are_told_for_each_agent() -> None:
    grown = scaling.run_sizes(30, seed=1, stream=io.StringIO())
    assert [each.agents for each in grown] == [30]
    assert grown[0].kept
    told = "\n".join(scaling.lines(grown))
    assert "NOT SIGNED" not in told
    assert "KiB" in told
    assert msgspec.json.decode(scaling.as_json(grown))[0]["agents"] == 30
