"""Forgets unfinished requests that nobody has asked about for long.

protocol: Icinga 2 deletes stored requests after a week, too.
"""

from __future__ import annotations

from dataclasses import replace

from icefloe.doors import MonotonicTime, WallTime
from icefloe.enrollment.commands import Level
from icefloe.enrollment.ledger import ForgetRequest
from icefloe.enrollment.settings import EnrollmentSettings
from icefloe.enrollment.turn import Turn
from icefloe.enrollment.upstream import Upstream
from icefloe.enrollment.waiters import Waiters

# They are looked for this often, so many at once.
EXPIRE_EVERY = 3600.0
EXPIRE_AT_ONCE = 500


class Expiry:
    """Looks for stale requests now and then.

    Attributes:
        due_at: when to look next; None before the first look.
    """

    def __init__(self, *, waiters: Waiters, upstream: Upstream) -> None:
        """Spare what is waited for; call back what is on its way."""
        self.due_at: MonotonicTime | None = None
        self.settings: EnrollmentSettings
        self._waiters = waiters
        self._upstream = upstream

    def look(self, turn: Turn) -> None:
        """Forget what is stale, a limited number at once."""
        before = WallTime(turn.now.wall - self.settings.limits.request_lifetime)
        stale = turn.ledger.stale_requests(before=before, limit=EXPIRE_AT_ONCE)
        forgotten = [i for i in stale if not self._is_awaited(turn, i)]
        for request_id in forgotten:
            for attempt in turn.attempts(request_id):
                self._upstream.end(attempt.attempt_id)
            turn.writes.append(ForgetRequest(request_id))
        if forgotten:
            turn.log(Level.INFO, "stale requests forgotten", count=len(forgotten))
        soon = 1.0 if len(stale) == EXPIRE_AT_ONCE else EXPIRE_EVERY
        self.due_at = MonotonicTime(turn.now.mono + soon)

    def _is_awaited(self, turn: Turn, request_id: str) -> bool:
        """Whether somebody waits for a request; then it counts as asked again.

        A daemon asks once and waits on its connection, for weeks if need be.
        """
        waiters = [w for w in self._waiters.of_request(request_id) if not w.member]
        for attempt_id in dict.fromkeys(waiter.attempt_id for waiter in waiters):
            attempt = turn.attempt(attempt_id)
            if attempt is not None:
                turn.store_attempt(replace(attempt, asked_at=turn.now.wall))
        return bool(waiters)
