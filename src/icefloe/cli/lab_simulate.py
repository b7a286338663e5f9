"""`icefloe lab simulate`: the production core through thousands of bad days."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

import click
import typer
from typer.core import TyperCommand

from icefloe.cli.app import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK
from icefloe.cli.lab_simulate_options import (
    SEEDS_DEFAULT,
    CrowdOption,
    FirstOption,
    JobsOption,
    RequireAllOption,
    SecondsOption,
    SeedsOption,
    ShrinkOption,
    TraceOption,
)
from icefloe.cli.options import JSONOption
from icefloe.lab import scaling, simulating, simulation_report
from icefloe.lab.simulation_progress import progress
from icefloe.simulation import shrink
from icefloe.simulation.coverage import never_reached
from icefloe.simulation.report import Report
from icefloe.simulation.running import simulate as live_through

EPILOG: Final = "Example: icefloe lab simulate --seeds 10000 --require-all"

SHRINK_SECONDS_MAX: Final = 90.0


class SimulateCommand(TyperCommand):
    """A command whose 1 means that a promise was broken; a wrong option is another 1."""

    usage_exit_code = 2


def simulate(
    *,
    seeds: SeedsOption = None,
    first: FirstOption = 0,
    seconds: SecondsOption = None,
    jobs: JobsOption = None,
    agents: CrowdOption = None,
    trace: TraceOption = False,
    require_all: RequireAllOption = False,
    shrinks: ShrinkOption = True,
    as_json: JSONOption = False,
) -> None:
    """Run the enrollment core through simulated clusters in which much goes wrong.

    Each seed makes a cluster, those who ask, and the faults; every promise is judged
    at every step. The same seed makes the same history again. Exits with 1 if a
    promise was broken, with 2 for wrong options.
    """
    if agents is not None:
        _expect_alone(seeds=seeds, seconds=seconds, trace=trace or None)
        raise typer.Exit(_scale(agents, first, as_json=as_json))
    if trace:
        if seeds not in (None, 1):
            raise click.UsageError("--trace tells the history of one seed")
        raise typer.Exit(_tell(live_through(first)))
    plan = simulating.SeedsPlan(
        first=first,
        count=seeds if seeds or seconds else SEEDS_DEFAULT,
        seconds=seconds,
        jobs=jobs or len(os.sched_getaffinity(0)),
    )
    with progress(sys.stderr, plan) as show:
        run = simulating.run_plan(plan, on_progress=show)
    summary = run.summary
    shrunk = ""
    if summary.failed and shrinks and not run.interrupted:
        print("making the first failure smaller", file=sys.stderr)
        shrunk = shrink.small_test(
            summary.failed[0].seed, seconds_max=SHRINK_SECONDS_MAX
        )
    version = simulating.code_version()
    if as_json:
        print(simulation_report.as_json(run, version=version, shrunk=shrunk))
    else:
        print("\n".join(simulation_report.lines(run, version=version, shrunk=shrunk)))
    missing = require_all and never_reached(summary.totals)
    if summary.broken:
        raise typer.Exit(EXIT_FAILED)
    if run.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    raise typer.Exit(EXIT_FAILED if missing else EXIT_OK)


def _expect_alone(**others: Any) -> None:
    for name, value in others.items():
        if value is not None:
            option = {"seconds": "for"}.get(name, name)
            raise click.UsageError(f"--agents and --{option} do not go together")


def _tell(report: Report) -> int:
    print("\n".join(report.trace))
    for violation in report.violations:
        print(violation)
    return EXIT_OK if report.kept else EXIT_FAILED


def _scale(agents: int, seed: int, *, as_json: bool) -> int:
    grown = scaling.run_sizes(agents, seed=seed, stream=sys.stderr)
    print(scaling.as_json(grown) if as_json else "\n".join(scaling.lines(grown)))
    return EXIT_OK if all(each.kept for each in grown) else EXIT_FAILED
