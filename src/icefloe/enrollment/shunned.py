"""Peers that are not heard for a moment: refused as the core would.

An asking with a ticket from a peer that is over its rate (`failures.py`) is answered
here, before its certificate is read and before it reaches the core's thread. It costs
the reading of the message and the writing of an answer, and nothing of it is kept. The
core says whom and until when (`commands.Shun`). When that time has come one asking goes
to the core, and the next one when the core has said what becomes of the peer, or half a
second later: of a flood, all that comes in one moment would pass otherwise.

No clock and no IO: the daemon and the simulator use the same object.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Final

from icefloe.cluster.peer import Peer
from icefloe.doors import MonotonicTime
from icefloe.enrollment.commands import Shun
from icefloe.enrollment.events import CertificateAsked
from icefloe.enrollment.failures import Asker, over_rate
from icefloe.enrollment.model import Refusal
from icefloe.enrollment.reasons import Reason

SHUNNED_MAX: Final = 65_536
"""Peers refused here at one time; whoever is heard again first is let in."""

PROBE_SECONDS: Final = 0.5
"""So long one asking speaks for its peer; the core's word comes in milliseconds."""

STAYS_SECONDS: Final = 3.0
"""A stranger's connection, from the first refusal on it to its end, if the peer does
not end it: a flood that has to shake hands for each refusal costs more than they do."""


class Shunned:
    """Knows which peers are not heard at the moment.

    Attributes:
        node_name: who refuses.
        refused: how many askings were refused here.
    """

    def __init__(self, node_name: str) -> None:
        """Refuse nobody."""
        self.node_name = node_name
        self.refused = 0
        self._until: dict[str, MonotonicTime] = {}
        self._order: list[tuple[float, str]] = []

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._until)

    def heed(self, command: Shun, now: MonotonicTime) -> None:
        """Refuse a peer from now on, or no more when its time has come."""
        self._forget(now)
        if command.until <= now:
            self._until.pop(command.key, None)
            return
        if command.key not in self._until:
            heapq.heappush(self._order, (command.until, command.key))
        self._until[command.key] = command.until

    def is_shunned(self, key: str, now: MonotonicTime) -> bool:
        """Whether a peer, by `Asker.key`, is refused now."""
        until = self._until.get(key)
        return until is not None and now < until

    def refusal(
        self, event: CertificateAsked, peer: Peer, now: MonotonicTime
    ) -> Refusal | None:
        """Judge an asking; None lets it in.

        Args:
            event: the asking.
            peer: who asks.
            now: the time.
        """
        if not self._until or not event.params.ticket:
            return None
        asker = Asker.of_peer(peer)
        until = self._until.get(asker.key)
        if until is None:
            return None
        if until <= now:
            self._until[asker.key] = MonotonicTime(now + PROBE_SECONDS)
            return None
        self.refused += 1
        return over_rate(self.node_name, asker.label, until - now)

    def _forget(self, now: MonotonicTime) -> None:
        while self._order:
            noted, key = self._order[0]
            until = self._until.get(key)
            if until is not None and until > noted:
                heapq.heapreplace(self._order, (until, key))
            elif until is None or until <= now or len(self._until) >= SHUNNED_MAX:
                heapq.heappop(self._order)
                self._until.pop(key, None)
            else:
                return


def is_over_rate(result: Mapping[str, object]) -> bool:
    """Whether a result object says that its asker is over its rate."""
    facts = result.get("icefloe")
    reason = facts.get("reason") if isinstance(facts, Mapping) else None
    return reason == Reason.TOO_MANY_WRONG_TICKETS.value
