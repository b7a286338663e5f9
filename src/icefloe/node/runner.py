"""Runs the enrollment core in the daemon.

The core and the ledger live in one thread of their own, so that neither a slow
disk nor a command that holds the ledger's lock stops heartbeats. What a batch
is, and what happens when its commit fails, is `enrollment/batch.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from icefloe.doors import Clock, Entropy
from icefloe.enrollment import events as ev
from icefloe.enrollment.batch import BatchResult, BatchRunner
from icefloe.enrollment.commands import Command
from icefloe.enrollment.core import EnrollmentCore
from icefloe.enrollment.ledger import LedgerUnavailableError, LedgerWriter
from icefloe.enrollment.settings import EnrollmentSettings

# Bounds the pause between two looks at the queue under load; a turn costs well
# under a millisecond.
BATCH_EVENTS_MAX = 128
# How soon an operator's decision in another process is seen.
LEDGER_WATCH_SECONDS = 0.2
# How often the ledger's write-ahead log is folded into its file.
MAINTAIN_SECONDS = 60.0
# Events that may wait for the ledger. Beyond it the ledger is stuck and new
# askings are turned away at the door.
QUEUE_EVENTS_MAX = 50_000

_T = TypeVar("_T")


# While the ledger fails, batches are tried this far apart.
FAILING_PAUSE_SECONDS = 0.25


class TurnRunner:
    """Owns the core's thread; everything else talks to the core through it."""

    def __init__(
        self,
        *,
        core: EnrollmentCore,
        ledger: LedgerWriter,
        clock: Clock,
        entropy: Entropy,
        carry_out: Callable[[Command], None],
        maintain: Callable[[], object] = lambda: None,
    ) -> None:
        """Run `core` on `ledger`.

        Args:
            core: handed over: nobody else may call it.
            ledger: likewise, from the thread of the runner only.
            clock: the real one, or a test's.
            entropy: the real one, or a test's.
            carry_out: called in the event loop, for each command in order.
            maintain: called in the ledger's thread now and then; SQLite's
                checkpoint, after which cleared tickets are nowhere on disk.
        """
        self._core = core
        self._ledger = ledger
        self._clock = clock
        self._entropy = entropy
        self._carry_out = carry_out
        self._maintain = maintain
        self._queue: deque[ev.Event] = deque()
        self._settings: EnrollmentSettings | None = None
        self._news = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._deadline: float | None = None
        self._idle = asyncio.Event()
        self._ledger_token = 0
        self._batches = BatchRunner(core=core, ledger=ledger)

    # -- from the shell ------------------------------------------------------------

    def submit(self, event: ev.Event) -> bool:
        """Queue an event; returns False when too many wait already."""
        if len(self._queue) >= QUEUE_EVENTS_MAX and isinstance(
            event, ev.CertificateAsked
        ):
            return False
        self._queue.append(event)
        self._idle.clear()
        self._news.set()
        return True

    def reconfigure(self, settings: EnrollmentSettings) -> None:
        """Let the core stand on new settings before the next event."""
        self._settings = settings
        self._news.set()

    async def run(self) -> None:
        """Run until cancelled; a batch under way is finished first."""
        self.submit(ev.Started())
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_ledger(), name="ledger-watch")
            while True:
                await self._wait_for_work()
                events = self._take()
                settings, self._settings = self._settings, None
                batch = await _uninterrupted(
                    loop.run_in_executor(
                        self._thread, self._run_batch, events, settings
                    )
                )
                self._deadline = batch.next_deadline
                self._queue.extendleft(reversed(batch.unhandled))
                for command in batch.commands:
                    self._carry_out(command)
                if not self._queue:
                    self._idle.set()
                if self._batches.failing:
                    await asyncio.sleep(FAILING_PAUSE_SECONDS)

    async def wait_idle(self) -> None:
        """Wait until no event is queued or under way."""
        await self._idle.wait()

    def close(self) -> None:
        """End the thread; nothing is submitted any more."""
        self._thread.shutdown(wait=True)

    # -- in the event loop ------------------------------------------------------------

    async def _wait_for_work(self) -> None:
        if self._queue or self._settings is not None:
            return
        self._news.clear()
        pause = None
        if self._deadline is not None:
            pause = max(0.0, self._deadline - self._clock.now().mono)
        try:
            async with asyncio.timeout(pause):
                await self._news.wait()
        except TimeoutError:
            self._queue.append(ev.DeadlineReached())

    def _take(self) -> list[ev.Event]:
        count = min(len(self._queue), BATCH_EVENTS_MAX)
        return [self._queue.popleft() for _ in range(count)]

    async def _watch_ledger(self) -> None:
        loop = asyncio.get_running_loop()
        self._ledger_token = await _uninterrupted(
            loop.run_in_executor(self._thread, self._token)
        )
        maintained = self._clock.now().mono
        while True:
            await asyncio.sleep(LEDGER_WATCH_SECONDS)
            if self._clock.now().mono - maintained >= MAINTAIN_SECONDS:
                maintained = self._clock.now().mono
                await _uninterrupted(loop.run_in_executor(self._thread, self._maintain))
            token = await _uninterrupted(
                loop.run_in_executor(self._thread, self._token)
            )
            if token != self._ledger_token:
                self._ledger_token = token
                self.submit(ev.LedgerChanged())

    # -- in the ledger's thread ---------------------------------------------------------

    def _token(self) -> int:
        try:
            return self._ledger.change_token()
        except LedgerUnavailableError:
            return self._ledger_token

    def _run_batch(
        self, events: Sequence[ev.Event], settings: EnrollmentSettings | None
    ) -> BatchResult:
        now = self._clock.now()
        if settings is not None:
            self._core.reconfigure(settings, now)
        return self._batches.run(events, now, self._entropy)


async def _uninterrupted(future: asyncio.Future[_T]) -> _T:
    """Wait for a future to the end; a cancellation takes effect afterwards."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not future.done():
            await asyncio.wait([future])
        raise
