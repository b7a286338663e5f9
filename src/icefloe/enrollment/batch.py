"""A batch of turns is one transaction.

Events that queued up while the last batch was committed become the next one, so
that one fsync serves many requests under load. Only after the commit are the
batch's commands handed out (promise 2, durable before spoken). When it fails,
nothing of the batch is sent: the core puts its memory right and tells the
askers that nothing was kept.

The daemon calls this from the ledger's thread, the simulator from its timeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from icefloe.doors import Entropy, MonotonicTime, Now
from icefloe.enrollment import events as ev
from icefloe.enrollment.commands import Command, Level, Log
from icefloe.enrollment.core import EnrollmentCore, TurnResult
from icefloe.enrollment.ledger import LedgerUnavailableError, LedgerWriter

# With the ledger or without it: who asks, and who waits when the node stops.
_TOLD_AT_ONCE = (ev.CertificateAsked, ev.Stopping)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a batch came to.

    Attributes:
        commands: to be carried out now, in order.
        next_deadline: when the core wants `events.DeadlineReached`.
        unhandled: events the core never saw because the ledger failed before their
            turn; they come first in the next batch.
    """

    commands: tuple[Command, ...]
    next_deadline: MonotonicTime | None
    unhandled: tuple[ev.Event, ...] = ()


class _LedgerFailed(Exception):
    def __init__(self, cause: LedgerUnavailableError, handled: int) -> None:
        super().__init__(str(cause))
        self.handled = handled


class BatchRunner:
    """Takes batches of events through core and ledger.

    Attributes:
        failing: the last batch was not kept; leave the ledger a moment.
    """

    def __init__(self, *, core: EnrollmentCore, ledger: LedgerWriter) -> None:
        """Own the core and the writing side of its ledger: nobody else calls them."""
        self.failing = False
        self._alarmed = False
        self._core = core
        self._ledger = ledger

    def run(
        self, events: Sequence[ev.Event], now: Now, entropy: Entropy
    ) -> BatchResult:
        """Run one batch; its commands may be carried out when this returns."""
        results: list[TurnResult] = []
        try:
            commands = self._turns(events, results, now, entropy)
        except _LedgerFailed as failure:
            self._ledger.rollback()
            return self._failed(events, results, failure, now, entropy)
        if events:
            self.failing = False
        if self._alarmed and any(result.writes for result in results):
            # Reading works on a full disk, too: only what was recorded proves anything.
            self._alarmed = False
            commands.append(Log(Level.WARNING, "ledger works again", {}))
        return BatchResult(tuple(commands), self._core.next_deadline)

    # -- inside -------------------------------------------------------------------

    def _turns(
        self,
        events: Sequence[ev.Event],
        results: list[TurnResult],
        now: Now,
        entropy: Entropy,
    ) -> list[Command]:
        if not events:
            return []
        commands: list[Command] = []
        handled = 0
        try:
            self._ledger.begin()
            for event in events:
                handled += 1
                result = self._turn(event, now, entropy)
                results.append(result)
                self._ledger.apply(result.writes)
                commands.extend(result.commands)
            if any(result.writes for result in results):
                self._ledger.commit()
            else:
                self._ledger.rollback()
        except LedgerUnavailableError as error:
            raise _LedgerFailed(error, handled) from error
        return commands

    def _turn(self, event: ev.Event, now: Now, entropy: Entropy) -> TurnResult:
        try:
            return self._core.handle(event, now, entropy)
        except LedgerUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug must not stop the others
            log = Log(
                Level.CRITICAL,
                "internal error in the enrollment core",
                {"event_kind": type(event).__name__, "exc_info": error},
            )
            told = self._core.commit_failed(
                events=[event], results=[], now=now, entropy=entropy
            )
            return TurnResult((), (log, *told))

    def _failed(
        self,
        events: Sequence[ev.Event],
        results: Sequence[TurnResult],
        failure: _LedgerFailed,
        now: Now,
        entropy: Entropy,
    ) -> BatchResult:
        # Said once, not at every batch while the disk is full.
        level = Level.DEBUG if self._alarmed else Level.CRITICAL
        self.failing = self._alarmed = True
        log = Log(
            level,
            "ledger not writable, nothing was recorded",
            {"detail": str(failure)},
        )
        # Whoever asks is told now; the core must still hear all else, in order.
        unhandled = events[failure.handled :]
        told = [e for e in unhandled if isinstance(e, _TOLD_AT_ONCE)]
        commands = self._core.commit_failed(
            events=[*events[: failure.handled], *told],
            results=results,
            now=now,
            entropy=entropy,
        )
        kept = tuple(e for e in unhandled if not isinstance(e, _TOLD_AT_ONCE))
        return BatchResult((log, *commands), self._core.next_deadline, kept)
