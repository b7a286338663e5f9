"""Runs the enrollment core in the daemon.

The core and the ledger live in one thread of their own, so that neither a slow
disk nor a command that holds the ledger's lock stops heartbeats. What a batch
is, and what happens when its commit fails, is `enrollment/batch.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from icefloe.doors import Clock, Entropy
from icefloe.enrollment import events as ev
from icefloe.enrollment.batch import BatchResult, BatchRunner
from icefloe.enrollment.commands import Ask, Command, Drain, Level, Log
from icefloe.enrollment.core import EnrollmentCore
from icefloe.enrollment.event_queue import EventQueue
from icefloe.enrollment.ledger import LedgerUnavailableError, LedgerWriter
from icefloe.enrollment.settings import EnrollmentSettings
from icefloe.node.askings import AskingLimits, AskingsUnderWay

# Bounds the pause between two looks at the queue under load; a turn costs well
# under a millisecond.
BATCH_EVENTS_MAX = 128
# How soon an operator's decision in another process is seen.
LEDGER_WATCH_SECONDS = 0.2
# How often the ledger's write-ahead log is folded into its file.
MAINTAIN_SECONDS = 60.0
# Events that may wait for the ledger. Beyond it the ledger is stuck and new
# askings are turned away by the hub.
QUEUE_EVENTS_MAX = 50_000
# While the ledger fails, batches are tried this far apart.
FAILING_PAUSE_SECONDS = 0.25
# A ledger that is stuck never becomes idle; the node's end does not wait for it.
IDLE_SECONDS_MAX = 3.0

_T = TypeVar("_T")


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
            carry_out: called in the event loop, for each command in order. What it
                raises is logged through it, and costs that link its connection.
            maintain: called in the ledger's thread now and then; SQLite's
                checkpoint, after which cleared tickets are nowhere on disk.
        """
        self._core = core
        self._ledger = ledger
        self._clock = clock
        self._entropy = entropy
        self._carry_out = carry_out
        self._maintain = maintain
        self._queue = EventQueue()
        self._under_way: Sequence[ev.Event] = ()
        self._settings: EnrollmentSettings | None = None
        self._news = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._deadline: float | None = None
        self._idle = asyncio.Event()
        self._ledger_token = 0
        self._batches = BatchRunner(core=core, ledger=ledger)
        self._askings = AskingsUnderWay()
        self._maintenance_fails = False
        self._proofs: list[asyncio.Future[None]] = []

    # -- from the shell ------------------------------------------------------------

    def limit_askings(self, limits: AskingLimits) -> None:
        """Let so many askings wait from now on."""
        self._askings.limits = limits

    def submit(self, event: ev.Event) -> bool:
        """Queue an event; an asking is not taken when too many wait already."""
        full = len(self._queue) >= QUEUE_EVENTS_MAX
        if full and isinstance(event, ev.CertificateAsked):
            return False
        if not self._askings.admit(event):
            return False
        self._queue.append(event)
        self._idle.clear()
        self._news.set()
        return True

    def reconfigure(self, settings: EnrollmentSettings) -> None:
        """Let the core stand on new settings before the next event."""
        self._settings = settings
        self._news.set()

    async def prove_life(self) -> None:
        """Return when the core has taken one more turn, within the ledger's lock.

        It takes the way of every event, so whatever hangs there hangs it, too: this
        loop, the runner, the thread, the core, the ledger's disk. A ledger that says
        why it cannot write does not hang.
        """
        proof = asyncio.get_running_loop().create_future()
        self._proofs.append(proof)
        self._news.set()
        await proof

    async def run(self) -> None:
        """Run until cancelled; a batch under way is finished first."""
        self.submit(ev.Started())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_ledger(), name="ledger-watch")
            while True:
                await self._wait_for_work()
                events = self._under_way = self._take()
                settings, self._settings = self._settings, None
                proofs, self._proofs = self._proofs, []
                batch = await self._in_thread(
                    lambda: self._run_batch(events, settings)  # noqa: B023
                )
                await self._conclude(events, batch)
                self._under_way = ()
                _fulfil(proofs)
                if not self._queue:
                    self._idle.set()
                if self._batches.failing:
                    await asyncio.sleep(FAILING_PAUSE_SECONDS)

    async def wait_idle(self, seconds_max: float = IDLE_SECONDS_MAX) -> bool:
        """Wait until no event is queued or under way; returns whether it is so."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds_max):
                await self._idle.wait()
        return self._idle.is_set()

    @property
    def is_idle(self) -> bool:
        """Whether no event is queued or under way."""
        return self._idle.is_set()

    @property
    def unconcluded(self) -> tuple[ev.Event, ...]:
        """The events that are queued, or under way in the ledger's thread."""
        return (*self._under_way, *self._queue)

    def close(self) -> None:
        """End the thread; nothing is submitted any more."""
        self._thread.shutdown(wait=True)

    # -- in the event loop ------------------------------------------------------------

    async def _wait_for_work(self) -> None:
        if self._queue or self._settings is not None or self._proofs:
            return
        self._news.clear()
        pause = None
        if self._deadline is not None:
            pause = max(0.0, self._deadline - self._clock.now().mono)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._news.wait()

    def _take(self) -> list[ev.Event]:
        """Take the next batch; a deadline that has passed is part of it, always."""
        events = self._queue.take(BATCH_EVENTS_MAX)
        due = self._deadline is not None and self._deadline <= self._clock.now().mono
        if due or self._proofs:  # without a deadline, this event changes nothing
            events.append(ev.DeadlineReached())
        return events

    async def _conclude(self, events: Sequence[ev.Event], batch: BatchResult) -> None:
        """Carry out what a batch came to, and keep what it did not come to."""
        # The deadline is looked at anew before the next batch.
        kept = [e for e in batch.unhandled if not isinstance(e, ev.DeadlineReached)]
        self._queue.put_back(kept)
        self._deadline = batch.next_deadline
        self._askings.handled(events)
        self._carry_out_all(batch.commands)
        if self._batches.failing:
            await self._clear_queue()

    async def _clear_queue(self) -> None:
        """The ledger fails: tell who waits in the queue, and keep it small.

        Everything but askings has to be handled, in order, when the ledger works
        again; connections that came and went meanwhile need not.
        """
        asked = [e for e in self._queue if isinstance(e, ev.CertificateAsked)]
        kept = [e for e in self._queue if not isinstance(e, ev.CertificateAsked)]
        self._queue.replace(without_visits(kept))
        if asked:
            self._askings.handled(asked)
            told = await self._in_thread(
                lambda: self._core.commit_failed(
                    events=asked,
                    results=(),
                    now=self._clock.now(),
                    entropy=self._entropy,
                )
            )
            self._carry_out_all(told)

    def _carry_out_all(self, commands: Sequence[Command]) -> None:
        for command in commands:
            try:
                self._carry_out(command)
            except Exception as error:  # noqa: BLE001 - must not stop the others
                self._could_not(command, error)

    def _could_not(self, command: Command, error: Exception) -> None:
        """A command cannot be carried out: what one peer caused, it alone feels."""
        kind = type(command).__name__
        self._say(Level.CRITICAL, "command failed", command_kind=kind, exc_info=error)
        if isinstance(command, Ask):
            detail = f"the ask could not be sent: {error}"
            self.submit(ev.ParentFailed(command.link, command.call, detail))
            return
        link = getattr(command, "link", None)
        if link is not None and not isinstance(command, Drain):
            with contextlib.suppress(Exception):
                self._carry_out(Drain(link, "internal-error"))

    def _say(self, level: Level, event: str, **fields: object) -> None:
        with contextlib.suppress(Exception):
            self._carry_out(Log(level, event, fields))

    async def _watch_ledger(self) -> None:
        """See what other processes commit, and fold the ledger's log into its file."""
        self._ledger_token = await self._in_thread(self._token)
        maintained = self._clock.now().mono
        while True:
            await asyncio.sleep(LEDGER_WATCH_SECONDS)
            token = await self._in_thread(self._token)
            if token != self._ledger_token:
                self._ledger_token = token
                self.submit(ev.LedgerChanged())
            if self._clock.now().mono - maintained >= MAINTAIN_SECONDS:
                maintained = self._clock.now().mono
                await self._maintain_ledger()

    async def _maintain_ledger(self) -> None:
        """Maintain the ledger; a failure is said once, and tried again next time."""
        try:
            await self._in_thread(self._maintain)
        except Exception as error:  # noqa: BLE001 - housekeeping must not end the node
            level = Level.DEBUG if self._maintenance_fails else Level.ERROR
            self._maintenance_fails = True
            self._say(level, "ledger not maintained", detail=str(error))
        else:
            self._maintenance_fails = False

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        loop = asyncio.get_running_loop()
        return await _uninterrupted(loop.run_in_executor(self._thread, work))

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
        try:
            return self._batches.run(events, now, self._entropy)
        except Exception as error:  # noqa: BLE001 - a bug; a ledger's failures are told
            self._ledger.rollback()
            told = self._core.commit_failed(
                events=events, results=(), now=now, entropy=self._entropy
            )
            said = Log(Level.CRITICAL, "batch of events failed", {"exc_info": error})
            return BatchResult((said, *told), self._core.next_deadline)


def without_visits(events: Sequence[ev.Event]) -> list[ev.Event]:
    """Leave out links that came and went without saying anything."""
    came = {e.link for e in events if isinstance(e, ev.LinkUp)}
    went = {e.link for e in events if isinstance(e, ev.LinkDown)}
    quiet = ev.LinkUp | ev.PeerIsIcefloe | ev.LinkDown
    spoke = {getattr(e, "link", None) for e in events if not isinstance(e, quiet)}
    visits = (came & went) - spoke
    return [e for e in events if getattr(e, "link", None) not in visits]


def _fulfil(proofs: Sequence[asyncio.Future[None]]) -> None:
    for proof in proofs:
        if not proof.done():  # else, who waited for it has gone
            proof.set_result(None)


async def _uninterrupted(future: asyncio.Future[_T]) -> _T:
    """Wait for a future to the end; a cancellation takes effect afterwards.

    What the work came to after a cancellation, a failure too, is of no use to anybody.
    """
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not future.done():
            await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # looked at, or asyncio complains that nobody did
        raise
