"""How far a simulation is: a bar for who watches, now and then a line for a log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from icefloe.lab.screen import is_watched
from icefloe.lab.simulating import SeedsPlan, SeedsRun
from icefloe.simulation.report import replay

LINE_SECONDS: Final = 30.0
"""A log gets a line this often."""


@contextlib.contextmanager
def progress(stream: TextIO, plan: SeedsPlan) -> Iterator[Callable[[SeedsRun], None]]:
    """Show on `stream` what is given to the function that comes back.

    A seed that breaks a promise is told at once in any case.
    """
    failures = _Failures(stream)
    if not is_watched(stream):
        yield _Lines(stream, plan, failures).show
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
        console=Console(file=stream),
        transient=True,
    ) as drawn:
        task = drawn.add_task("simulating", total=plan.count or plan.seconds, told="")

        def show(run: SeedsRun) -> None:
            done = run.summary.seeds if plan.count else run.seconds
            drawn.update(task, completed=done, told=_words(run, plan))
            failures.tell(run)

        yield show


class _Failures:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._told = 0

    def tell(self, run: SeedsRun) -> None:
        if run.summary.broken and not self._told:
            self._told = run.summary.broken
            first = run.summary.failed[0]
            print(
                f"seed {first.seed} broke a promise: {first.violations[0]}\n"
                f"  {replay(first.seed)}",
                file=self._stream,
                flush=True,
            )


class _Lines:
    def __init__(self, stream: TextIO, plan: SeedsPlan, failures: _Failures) -> None:
        self._stream = stream
        self._plan = plan
        self._failures = failures
        self._said_at = time.monotonic()

    def show(self, run: SeedsRun) -> None:
        self._failures.tell(run)
        if time.monotonic() - self._said_at < LINE_SECONDS:
            return
        self._said_at = time.monotonic()
        print(_words(run, self._plan) + _left(run, self._plan), file=self._stream)
        self._stream.flush()


def _words(run: SeedsRun, plan: SeedsPlan) -> str:
    seeds = f"{run.summary.seeds:,}"
    if plan.count is not None:
        seeds += f"/{plan.count:,}"
    return f"{seeds} seeds, {run.rate:.1f} a second, {run.summary.broken} broken"


def _left(run: SeedsRun, plan: SeedsPlan) -> str:
    if plan.count is None or not run.rate:
        return ""
    seconds = (plan.count - run.summary.seeds) / run.rate
    return f", about {seconds:.0f} s left"
