"""Log events of a session: they name the peer, hold no secret, and stay few.

A peer can cause most of them as often as it likes, so each kind is let through once in
a period; what was kept back is counted into the next one.
"""

from __future__ import annotations

from collections.abc import Mapping

from icefloe.cluster.effects import Level, Report
from icefloe.cluster.peer import Peer
from icefloe.doors import MonotonicTime


class Reporter:
    """Makes the reports of one session."""

    def __init__(self, *, peer: Peer, period_seconds: float) -> None:
        """Begin with nothing reported.

        Args:
            peer: named in each report.
            period_seconds: how often one kind of event may be reported.
        """
        self._peer = peer
        self._period_seconds = period_seconds
        # Both are keyed by the names of our own events, so they stay small.
        self._passed_at: dict[str, MonotonicTime] = {}
        self._kept_back: dict[str, int] = {}

    def report(self, level: Level, event: str, **fields: object) -> Report:
        """Make a report that cannot come often."""
        return Report(level, event, self._naming_peer(fields))

    def maybe_report(
        self, level: Level, event: str, now: MonotonicTime, **fields: object
    ) -> list[Report]:
        """Make a report, unless one of its kind was made lately.

        Returns:
            One report, or none.  The field `kept_back` says how many of its kind were
            not made since the last one.
        """
        passed_at = self._passed_at.get(event)
        if passed_at is not None and now - passed_at < self._period_seconds:
            self._kept_back[event] = self._kept_back.get(event, 0) + 1
            return []
        self._passed_at[event] = now
        kept_back = self._kept_back.pop(event, 0)
        if kept_back:
            fields["kept_back"] = kept_back
        return [self.report(level, event, **fields)]

    def _naming_peer(self, fields: Mapping[str, object]) -> Mapping[str, object]:
        return {"peer": self._peer.label, "address": self._peer.address, **fields}
