"""`python -m icefloe.simulation --seeds 1000 [--from 0]`: run seeds, tell what failed."""

from __future__ import annotations

import argparse
import sys

from icefloe.simulation.report import Report
from icefloe.simulation.running import run_seeds, simulate


def main(arguments: list[str] | None = None) -> int:
    """Run seeds.

    Returns:
        0 when every promise was kept, 1 when one was broken.
    """
    parser = argparse.ArgumentParser(prog="python -m icefloe.simulation")
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first")
    parser.add_argument("--trace", action="store_true", help="tell one seed's history")
    given = parser.parse_args(arguments)
    if given.trace:
        return _tell(simulate(given.first))
    seeds = range(given.first, given.first + given.seeds)
    summary = run_seeds(seeds, progress=_progress)
    sys.stdout.write("\n".join(summary.lines()) + "\n")
    if summary.failed:
        sys.stdout.write("\n" + summary.failed[0].story() + "\n")
    return 1 if summary.failed else 0


def _tell(report: Report) -> int:
    sys.stdout.write("\n".join(report.trace) + "\n")
    for violation in report.violations:
        sys.stdout.write(f"{violation}\n")
    return 0 if report.kept else 1


def _progress(report: Report) -> None:
    if not report.kept:
        sys.stderr.write(f"seed {report.seed}: {report.violations[0]}\n")


if __name__ == "__main__":
    sys.exit(main())
