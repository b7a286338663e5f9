"""Keeps strangers from filling the log.

What anybody can cause as often as he likes is let through a number of times a minute,
for each cause and peer and for each cause in all; the rest is counted, and the count is
said. What members do, and every error, passes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from icefloe.cluster.sources import source_of
from icefloe.doors import Clock
from icefloe.enrollment.commands import Level

PERIOD_SECONDS: Final = 60.0

PEERS_MAX: Final = 1_000
"""Peers told apart for one cause in one period; the others count as one."""

CAUSED_BY_STRANGERS: Final = frozenset(
    {
        "call with an unusable id ignored",
        "connection refused by limit",
        "handshake failed",
        "parent could not decide",
        "parent gave no answer",
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


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Lines that strangers can cause in a minute.

    Attributes:
        lines_per_source: of one cause by one source: enough to see what it does.
        lines_per_cause: of one cause by all of them: enough to see who does it.
    """

    lines_per_source: int = 5
    lines_per_cause: int = 30


@dataclass(slots=True)
class _Count:
    began: float
    lines: int = 0
    by_peer: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


class LogGate:
    """A logger before another one.

    Attributes:
        limits: may be replaced at any time.
    """

    def __init__(
        self, log: _Logger, *, clock: Clock, limits: LogLimits | None = None
    ) -> None:
        """Let through to `log`; periods are measured by `clock`."""
        self.limits = limits or LogLimits()
        self._log = log
        self._clock = clock
        # By our own events and reasons, so it stays small.
        self._counts: dict[tuple[str, str], _Count] = {}

    def log(self, level: int, event: str, **fields: Any) -> None:
        """Write an event, or count it."""
        now = self._clock.now().mono
        self._say_left_out(now)
        if _is_gated(level, event, fields) and not self._passes(event, fields, now):
            return
        self._log.log(level, event, **fields)

    def _passes(self, event: str, fields: dict[str, Any], now: float) -> bool:
        cause = event, str(fields.get("reason") or fields.get("limit") or "")
        count = self._counts.setdefault(cause, _Count(now))
        peer = _peer_in(fields)
        if peer not in count.by_peer and len(count.by_peer) >= PEERS_MAX:
            peer = "others"
        count.by_peer[peer] += 1
        if (
            count.lines >= self.limits.lines_per_cause
            or count.by_peer[peer] > self.limits.lines_per_source
        ):
            count.left_out[peer] += 1
            return False
        count.lines += 1
        return True

    def _say_left_out(self, now: float) -> None:
        """Say what was kept back in periods that are over."""
        for cause, count in list(self._counts.items()):
            if now - count.began < PERIOD_SECONDS:
                continue
            del self._counts[cause]
            if count.left_out:
                ((most_by, most),) = count.left_out.most_common(1)
                self._log.log(
                    Level.WARNING,
                    f"{count.left_out.total()} more left out",
                    kind=cause[0],
                    reason=cause[1],
                    peers=len(count.left_out),
                    most_by=most_by,
                    most=most,
                )


def _peer_in(fields: dict[str, Any]) -> str:
    """Say who caused an event: a stranger's source, a member's name."""
    for name in ("address", "via", "peer", "parent"):
        if fields.get(name):
            return source_of(str(fields[name]))
    return ""


def _is_gated(level: int, event: str, fields: dict[str, Any]) -> bool:
    if not Level.DEBUG < level < Level.ERROR:
        return False
    of_session = event.startswith("session.") and fields.get("standing") != "member"
    return of_session or event in CAUSED_BY_STRANGERS
