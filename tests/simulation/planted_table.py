"""The table of planted bugs: which promise shows each, and after how many seeds."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import pytest

from tests.simulation.planted import PLANTED, SEEDS_MAX, found

DOCUMENT = Path(__file__).parents[2] / "docs" / "simulator.md"
BEGIN, END = "<!-- planted bugs: begin -->", "<!-- planted bugs: end -->"
HEAD = "| bug | promise that shows it | first seed | seeds until found |\n|---|---|---:|---:|\n"


def row(name: str) -> tuple[str, bool]:
    """Plant a bug, look for it; its line, and whether it was found."""
    planted = next(each for each in PLANTED if each.name == name)
    with pytest.MonkeyPatch.context() as patch:
        planted.plant(patch)
        report = found(planted)
    if report is None:
        return f"| {name} | NOT FOUND within {SEEDS_MAX} | | |\n", False
    shown = next(v.promise for v in report.violations if v.promise in planted.promises)
    return f"| {name} | `{shown}` | {report.seed} | {report.seed + 1} |\n", True


def put_into_document(table: str) -> None:
    """Replace what stands between the marks."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table}{END}{after}", encoding="utf-8")


def main() -> int:
    """Make the table.

    Returns:
        0 when every bug was found.
    """
    parser = argparse.ArgumentParser(prog="scripts/planted-bugs")
    parser.add_argument("--write", action="store_true", help="into docs/simulator.md")
    parser.add_argument("--jobs", type=int, default=None)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    names = given.names or [planted.name for planted in PLANTED]
    context = multiprocessing.get_context("fork")
    all_found = True
    sys.stdout.write(HEAD)
    with ProcessPoolExecutor(given.jobs, mp_context=context) as workers:
        looking = [workers.submit(row, name) for name in names]
        for done in as_completed(looking):
            line, is_found = done.result()
            all_found &= is_found
            sys.stdout.write(line)
            sys.stdout.flush()
    if given.write:
        put_into_document(HEAD + "".join(each.result()[0] for each in looking))
    return 0 if all_found else 1


if __name__ == "__main__":
    sys.exit(main())
