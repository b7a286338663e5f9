"""Many simulated histories on several processors, in order, within bounds.

The histories themselves are `icefloe.simulation`'s and know no processes.  Here a range
of seeds is cut into chunks, each lived through by some worker; only summaries come back,
so that a million seeds take no more memory than a thousand.
"""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Final

import icefloe
from icefloe.lab.errors import LabError
from icefloe.simulation.report import Summary
from icefloe.simulation.running import run_seeds

CHUNK_SEEDS_MAX: Final = 16
"""A chunk takes a second or so: progress is seen, and an interruption is quick."""

CHUNKS_AHEAD: Final = 2
"""Chunks given out for each worker: none waits for work, and few are begun in vain."""

_LOOK_SECONDS: Final = 0.5
_GIT_SECONDS_MAX: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedsPlan:
    """Which histories are to be lived through.

    Attributes:
        first: the first seed.
        count: how many; None: as many as there is time for.
        seconds: no new ones are begun after so long; None: no limit.
        jobs: worker processes.
    """

    first: int
    count: int | None
    seconds: float | None = None
    jobs: int

    def chunks(self) -> Iterator[range]:
        """Return the seeds in the pieces that workers get."""
        size = CHUNK_SEEDS_MAX
        if self.count is not None:
            size = max(1, min(size, self.count // (self.jobs * CHUNKS_AHEAD)))
        first = self.first
        end = None if self.count is None else first + self.count
        while end is None or first < end:
            last = first + size if end is None else min(first + size, end)
            yield range(first, last)
            first = last


@dataclass(slots=True)
class SeedsRun:
    """What became of a plan, while it runs and afterwards.

    Attributes:
        summary: of the seeds so far.
        seconds: how long they took.
        interrupted: somebody ended it early.
    """

    summary: Summary = field(default_factory=Summary)
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def rate(self) -> float:
        """Seeds a second."""
        return self.summary.seeds / self.seconds if self.seconds else 0.0


def run_plan(plan: SeedsPlan, *, on_progress: Callable[[SeedsRun], None]) -> SeedsRun:
    """Live through a plan's histories.

    Ctrl-C ends it in order: each worker finishes the seed it is at, and all are counted.

    Args:
        plan: which ones.
        on_progress: called after each chunk, and now and then.

    Raises:
        LabError: a worker died.
    """
    # Forked: what this process has imported need not be imported again, and a test's
    # planted bug is planted in the workers too.  Nothing runs here but this thread.
    context = multiprocessing.get_context("fork")
    stop = context.Event()
    with ProcessPoolExecutor(
        plan.jobs, mp_context=context, initializer=_begin_worker, initargs=(stop,)
    ) as workers:
        return _Running(plan, workers, stop, on_progress).run()


class _Running:
    def __init__(
        self,
        plan: SeedsPlan,
        workers: ProcessPoolExecutor,
        stop: Event,
        on_progress: Callable[[SeedsRun], None],
    ) -> None:
        self._plan = plan
        self._workers = workers
        self._stop = stop
        self._on_progress = on_progress
        self._run = SeedsRun()
        self._chunks = plan.chunks()
        self._pending: set[Future[Summary]] = set()
        self._began = time.monotonic()

    def run(self) -> SeedsRun:
        try:
            try:
                self._hand_out()
                while self._pending:
                    self._take_in(timeout=_LOOK_SECONDS)
                    self._hand_out()
            except KeyboardInterrupt:
                self._run.interrupted = True
                self._end()
        except BrokenProcessPool as error:
            raise LabError(
                "A process of the simulation died; the kernel may have ended it for "
                "want of memory. Try fewer with --jobs."
            ) from error
        return self._run

    def _hand_out(self) -> None:
        limit = self._plan.seconds
        while len(self._pending) < self._plan.jobs * CHUNKS_AHEAD:
            if limit is not None and time.monotonic() - self._began >= limit:
                self._stop.set()
                return
            chunk = next(self._chunks, None)
            if chunk is None:
                return
            self._pending.add(self._workers.submit(_live, chunk))

    def _take_in(self, *, timeout: float | None) -> None:
        done, self._pending = wait(
            self._pending, timeout=timeout, return_when=FIRST_COMPLETED
        )
        for future in done:
            self._run.summary.merge(future.result())
        self._run.seconds = time.monotonic() - self._began
        self._on_progress(self._run)

    def _end(self) -> None:
        """Count what was done; workers end with the seed they are at."""
        self._stop.set()
        self._pending = {each for each in self._pending if not each.cancel()}
        while self._pending:
            self._take_in(timeout=None)


# A worker's own: set when it is to end with the seed it is at.
_stops: Event


def _begin_worker(stop: Event) -> None:
    global _stops  # noqa: PLW0603 - a process pool has no other way to give it
    _stops = stop
    # Ctrl-C reaches every process of the terminal; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What was imported is never garbage: not to be looked through again and again.
    gc.freeze()


def _live(seeds: range) -> Summary:
    return run_seeds(itertools.takewhile(lambda _seed: not _stops.is_set(), seeds))


def code_version() -> str:
    """Say which code ran: the version, and the commit where there is a checkout."""
    version = f"Icefloe {icefloe.__version__}"
    commit = _git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return version
    changed = ", with changes" if _git("status", "--porcelain", "--", ".") else ""
    return f"{version}, commit {commit}{changed}"


def _git(*arguments: str) -> str:
    directory = Path(icefloe.__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS_MAX,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
