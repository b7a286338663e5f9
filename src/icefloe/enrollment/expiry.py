"""Forgets unfinished requests that nobody has asked about for long, and canaries.

protocol: Icinga 2 deletes stored requests after a week, too.

A canary's request goes, finished or not, when it was not touched for as long as a
canary's certificate lives (`icefloe.pki.canaries`): what our signers signed has ended
by then, so a ledger still knows everything that is valid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from icefloe.doors import MonotonicTime, Now, WallTime
from icefloe.enrollment.commands import Level
from icefloe.enrollment.ledger import ForgetRequest, StoreRequest, Write
from icefloe.enrollment.settings import EnrollmentSettings
from icefloe.enrollment.turn import Turn
from icefloe.enrollment.upstream import Upstream
from icefloe.enrollment.waiters import Waiters
from icefloe.pki.canaries import CANARY_LIFETIME, is_canary

# They are looked for this often, so many at once.
EXPIRE_EVERY = 3600.0
EXPIRE_AT_ONCE = 500
# So long after its last step a canary is looked for: old, by any rounding.
CANARY_LOOK_AFTER = CANARY_LIFETIME + 60.0


class Expiry:
    """Looks for stale requests now and then.

    Attributes:
        due_at: when to look next; None before the first look.
    """

    def __init__(self, *, waiters: Waiters, upstream: Upstream) -> None:
        """Spare what is waited for; call back what is on its way."""
        self.due_at: MonotonicTime | None = None
        self.settings: EnrollmentSettings
        self._canaries_old_at = MonotonicTime(-math.inf)
        self._waiters = waiters
        self._upstream = upstream

    def look(self, turn: Turn) -> None:
        """Forget what is stale, a limited number at once."""
        before = WallTime(turn.now.wall - self.settings.limits.request_lifetime)
        stale = turn.ledger.stale_requests(before=before, limit=EXPIRE_AT_ONCE)
        canaries = self._old_canaries(turn)
        forgotten = [
            i for i in stale if i not in canaries and not self._is_awaited(turn, i)
        ]
        for request_id in forgotten:
            for attempt in turn.attempts(request_id):
                self._upstream.end(attempt.attempt_id)
            turn.writes.append(ForgetRequest(request_id))
        if forgotten:
            turn.log(Level.INFO, "stale requests forgotten", count=len(forgotten))
        most = max(len(stale), len(canaries))
        soon = 1.0 if most == EXPIRE_AT_ONCE else EXPIRE_EVERY
        self.due_at = MonotonicTime(turn.now.mono + soon)
        if self._canaries_old_at > turn.now.mono:
            self.due_at = min(self.due_at, self._canaries_old_at)

    def see(self, writes: Iterable[Write], now: Now) -> None:
        """Look again when a canary of these writes is old, at the latest."""
        if any(
            isinstance(write, StoreRequest) and is_canary(write.record.cn)
            for write in writes
        ):
            self._canaries_old_at = MonotonicTime(now.mono + CANARY_LOOK_AFTER)
            due_at = self.due_at or self._canaries_old_at
            self.due_at = min(due_at, self._canaries_old_at)

    def _old_canaries(self, turn: Turn) -> frozenset[str]:
        """Forget canaries nobody waits for; returns all that are old."""
        before = WallTime(turn.now.wall - CANARY_LIFETIME)
        old = turn.ledger.old_canaries(before=before, limit=EXPIRE_AT_ONCE)
        forgotten = [i for i in old if not self._is_awaited(turn, i)]
        for request_id in forgotten:
            for attempt in turn.attempts(request_id):
                self._upstream.end(attempt.attempt_id)
            turn.forget_canary(request_id)
        if forgotten:
            turn.log(Level.DEBUG, "canaries forgotten", count=len(forgotten))
        return frozenset(old)

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
