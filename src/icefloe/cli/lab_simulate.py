"""`icefloe lab simulate`: the production core through thousands of bad days."""

from __future__ import annotations

import os
import sys
from typing import Final

import click
import typer
from typer.core import TyperCommand

from icefloe.cli.app import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK
from icefloe.cli.lab_options import expect_alone
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
from icefloe.simulation.report import Failure, Report
from icefloe.simulation.running import Script, lived

EPILOG: Final = "Example: icefloe lab simulate --seeds 10000 --require-all"

SHRINK_SECONDS_MAX: Final = 90.0

_OF_SEEDS: Final = ("seconds", "jobs", "require_all", "shrinks")
"""Options of a run of many seeds."""


class SimulateCommand(TyperCommand):
    """A command whose 1 means that a promise was broken; a wrong option is another 1."""

    usage_exit_code = 2


def simulate(
    ctx: typer.Context,
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
        expect_alone(ctx, "--agents", *_OF_SEEDS, "seeds", "trace")
        raise typer.Exit(_scale(agents, first, as_json=as_json))
    if trace:
        if seeds not in (None, 1):
            raise click.UsageError("--trace tells the history of one seed")
        expect_alone(ctx, "--trace", *_OF_SEEDS, "as_json")
        raise typer.Exit(_tell(lived(Script.drawn(first))))
    plan = simulating.SeedsPlan(
        first=first,
        count=seeds if seeds or seconds else SEEDS_DEFAULT,
        seconds=seconds,
        jobs=jobs or len(os.sched_getaffinity(0)),
    )
    with progress(sys.stderr, plan) as show:
        run = simulating.run_plan(plan, on_progress=show)
    _show(run, shrinks=shrinks and not run.interrupted, as_json=as_json)
    missing = require_all and never_reached(run.summary.totals)
    if run.summary.broken:
        raise typer.Exit(EXIT_FAILED)
    if run.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    raise typer.Exit(EXIT_FAILED if missing else EXIT_OK)


def _show(run: simulating.SeedsRun, *, shrinks: bool, as_json: bool) -> None:
    version = simulating.code_version()
    if not as_json:
        # Told before the shrinking begins, which takes long and may be ended.
        print("\n".join(simulation_report.lines(run, version=version)), flush=True)
    shrunk = _smaller(run.summary.failed[0]) if run.summary.failed and shrinks else ""
    if as_json:
        print(simulation_report.as_json(run, version=version, shrunk=shrunk))
    elif shrunk:
        print("\n".join(simulation_report.smallest(shrunk)))


def _smaller(failure: Failure) -> str:
    """Return a small test of a failure; "" if it cannot be made."""
    print("making the first failure smaller", file=sys.stderr)
    try:
        return shrink.small_test(failure.seed, seconds_max=SHRINK_SECONDS_MAX)
    except KeyboardInterrupt:
        print("interrupted: it stays as it is", file=sys.stderr)
    except Exception as error:  # noqa: BLE001 - what was found is worth more than this
        print(f"it could not be made smaller: {error!r}", file=sys.stderr)
    return ""


def _tell(report: Report) -> int:
    print("\n".join(report.trace))
    for violation in report.violations:
        print(violation)
    return EXIT_OK if report.kept else EXIT_FAILED


def _scale(agents: int, seed: int, *, as_json: bool) -> int:
    grown = scaling.run_sizes(agents, seed=seed, stream=sys.stderr)
    print(scaling.as_json(grown) if as_json else "\n".join(scaling.lines(grown)))
    return EXIT_OK if all(each.kept for each in grown) else EXIT_FAILED
