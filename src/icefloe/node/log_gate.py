"""Keeps strangers from filling the log.

What anybody can cause as often as he likes is let through a number of times a minute;
the rest is counted, and the count is said. What members do, and every error, passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

from icefloe.doors import Clock
from icefloe.enrollment.commands import Level

LINES_MAX: Final = 20
"""Lines of one kind in a period: enough to see what goes on and who does it."""

PERIOD_SECONDS: Final = 60.0

CAUSED_BY_STRANGERS: Final = frozenset(
    {
        "call with an unusable id ignored",
        "connection refused by limit",
        "handshake failed",
        "peer rejected",
        "request awaits approval",
        "request refused",
        "request refused by parent",
        "request turned away",
        "too many requests wait",
        "unreadable message",
    }
)
"""Events that need no membership to cause; of a session's own see `_is_gated`."""


class _Logger(Protocol):
    def log(self, level: int, event: str, **fields: Any) -> object:
        """Write one event."""


@dataclass(slots=True)
class _Count:
    began: float
    lines: int = 0
    suppressed: int = 0


class LogGate:
    """A logger before another one."""

    def __init__(self, log: _Logger, *, clock: Clock) -> None:
        """Let through to `log`; periods are measured by `clock`."""
        self._log = log
        self._clock = clock
        # By the names of our own events, so it stays small.
        self._counts: dict[str, _Count] = {}

    def log(self, level: int, event: str, **fields: Any) -> None:
        """Write an event, or count it."""
        now = self._clock.now().mono
        self._say_suppressed(now)
        if _is_gated(level, event, fields):
            count = self._counts.setdefault(event, _Count(now))
            if count.lines >= LINES_MAX:
                count.suppressed += 1
                return
            count.lines += 1
        self._log.log(level, event, **fields)

    def _say_suppressed(self, now: float) -> None:
        """Say what was kept back in periods that are over."""
        for event, count in list(self._counts.items()):
            if now - count.began >= PERIOD_SECONDS:
                del self._counts[event]
                if count.suppressed:
                    text = f"{count.suppressed} more suppressed"
                    self._log.log(Level.WARNING, text, kind=event)


def _is_gated(level: int, event: str, fields: dict[str, Any]) -> bool:
    if not Level.DEBUG < level < Level.ERROR:
        return False
    of_session = event.startswith("session.") and fields.get("standing") != "member"
    return of_session or event in CAUSED_BY_STRANGERS
