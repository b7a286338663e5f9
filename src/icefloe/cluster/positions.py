"""Log positions: how two members tell each other what they have.

Nearly every message between members bears the time `ts` of its making.  A node keeps
those it could not send and, when the peer is back, sends again all that are younger
than the *log position* the peer acknowledged with `log::SetLogPosition`.  A peer that
never acknowledges receives the whole log at each reconnect.

**Whom we acknowledge.**  Parents and peers of our own zone only, never children.  An
acknowledgement says "I have everything up to this time", it names no message: to
acknowledge a child's request for a certificate would acknowledge the check results it
sent before, which this node handed to nobody.  The child would delete them.

**Which messages are old.**  Icinga drops a message whose `ts` is below the position.
That lets one message from the future mute its sender until the clock has caught up.
Here a position never runs ahead of our own clock by more than `future_ts_seconds`; a
message that claims to be younger is accepted and counts as that much *older* than now
(so a sender whose clock is always wrong still gets its log acknowledged).  And messages of enrollment are never dropped
for their age: they are never kept in a log, so an old `ts` is a clock that was set
back, and handling one twice does no harm.

Source: Icinga 2, replay log; the two deviations are ours.
"""

from __future__ import annotations

import enum
import math

from icefloe.cluster.settings import SessionSettings
from icefloe.doors import MonotonicTime, WallTime


class Age(enum.Enum):
    """What a message's `ts` says about it."""

    CURRENT = "current"
    STALE = "stale"
    FUTURE = "future"


class LogPositions:
    """Both positions of one session.

    Attributes:
        received: the youngest `ts` received from the peer, unix seconds; 0 for none.
        acknowledged: the position that the peer acknowledged to us; 0 for none.
    """

    def __init__(
        self,
        *,
        settings: SessionSettings,
        may_acknowledge: bool,
        received: float,
        now: MonotonicTime,
    ) -> None:
        """Begin with the position of an earlier session, or 0."""
        self._future_seconds = settings.future_ts_seconds
        self._period = settings.position_seconds
        self._may_acknowledge = may_acknowledge
        self._due_at = MonotonicTime(now + self._period)
        self.received = received
        self.acknowledged = 0.0

    def judge(self, ts: float | None, now: WallTime) -> Age:
        """Judge a message by its `ts`, and move the position if it is not stale.

        Args:
            ts: unix seconds; None, or a number that is none, moves nothing.
            now: our own wall clock.
        """
        if ts is None or not math.isfinite(ts):
            return Age.CURRENT
        if ts < self.received:
            return Age.STALE
        if ts > now + self._future_seconds:
            # Below our clock, so that what the peer sends next is not stale if its
            # clock is a little behind; it may send the last minute twice.
            self.received = max(self.received, now - self._future_seconds)
            return Age.FUTURE
        self.received = ts
        return Age.CURRENT

    def record(self, position: float) -> None:
        """Note what the peer acknowledged; a position is never lowered."""
        self.acknowledged = max(self.acknowledged, position)

    @property
    def deadline(self) -> MonotonicTime | None:
        """When to acknowledge; None while there is nothing to say, or nobody to."""
        if not self._may_acknowledge or not self.received:
            return None
        return self._due_at

    def announced(self, now: MonotonicTime) -> None:
        """Note that the position was sent."""
        self._due_at = MonotonicTime(now + self._period)
