"""Who waits for which request, on which connection, until when.

Waiting is not persistent state: the wish is in the ledger, the connection is
not. After a restart requesters ask again and wait anew.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from icefloe.doors import MonotonicTime
from icefloe.enrollment.events import CallId, LinkId

_K = TypeVar("_K", bound=Hashable)

# Fewer reminders than this are not worth tidying. A relay's poll every few seconds
# leaves one behind each time, for as long as a member may wait.
REMINDERS_MIN = 64


@dataclass(slots=True, eq=False)
class Waiter:
    """One asker that has not had its last word yet.

    Attributes:
        call: the id to answer; None for one that asked without, or that was
            told "pending" and may be pushed to.
        member: asked on a member's link.
        ticketed: asked with a ticket.
        source: the event it came with, by which its turn can be undone.
        until: when its hold ends and it is told "pending"; None: it waits as
            long as its connection lives.
    """

    link: LinkId
    call: CallId | None
    request_id: str
    attempt_id: str
    fingerprint: str
    member: bool
    ticketed: bool
    until: MonotonicTime | None
    gone: bool = False
    source: object = None


class Waiters:
    """All waiters, findable by request, by link and by deadline."""

    def __init__(self) -> None:
        """Begin with none."""
        self._by_request: dict[str, dict[Waiter, None]] = {}
        self._by_link: dict[LinkId, dict[Waiter, None]] = {}
        self._silent: dict[tuple[LinkId, str], Waiter] = {}
        self._calls: Counter[LinkId] = Counter()
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._order = itertools.count()
        self._tidy_at = REMINDERS_MIN

    def add(self, waiter: Waiter) -> None:
        """Add a waiter; one without an id replaces its own earlier asking."""
        if waiter.call is None:
            earlier = self._silent.get((waiter.link, waiter.attempt_id))
            if earlier is not None:
                self.remove(earlier)
            self._silent[waiter.link, waiter.attempt_id] = waiter
        else:
            self._calls[waiter.link] += 1
        self._by_request.setdefault(waiter.request_id, {})[waiter] = None
        self._by_link.setdefault(waiter.link, {})[waiter] = None
        self._remind(waiter)

    def shorten(self, waiter: Waiter, until: MonotonicTime) -> None:
        """End a waiter's hold no later than the given time."""
        if waiter.until is None or waiter.until > until:
            waiter.until = until
            self._remind(waiter)

    def of_request(self, request_id: str) -> list[Waiter]:
        """Return a request's waiters, in the order they came."""
        return list(self._by_request.get(request_id, ()))

    def of_attempt(self, request_id: str, attempt_id: str) -> list[Waiter]:
        """Return an attempt's waiters, in the order they came."""
        return [
            waiter
            for waiter in self._by_request.get(request_id, ())
            if waiter.attempt_id == attempt_id
        ]

    def somebody_waits_for(self, request_id: str, attempt_id: str) -> bool:
        """Whether anybody waits for an attempt on the connection it came on.

        Not a member that was told "pending", or that asked without an id: it may be
        pushed to, but asks again as long as somebody below it waits.
        """
        return any(
            waiter.call is not None or not waiter.member
            for waiter in self.of_attempt(request_id, attempt_id)
        )

    def of_link(self, link: LinkId) -> list[Waiter]:
        """Return everyone who waits on a connection."""
        return list(self._by_link.get(link, ()))

    def calls_on(self, link: LinkId) -> int:
        """Return how many on a connection wait for the answer to a call."""
        return self._calls[link]

    def count_on(self, link: LinkId) -> int:
        """Return how many wait on a connection."""
        return len(self._by_link.get(link, ()))

    def request_ids(self) -> Iterator[str]:
        """Return the requests somebody waits for."""
        return iter(list(self._by_request))

    def __len__(self) -> int:
        """Return how many wait."""
        return sum(map(len, self._by_link.values()))

    @property
    def reminders(self) -> int:
        """How many deadlines are kept, those of waiters that are gone included."""
        return len(self._deadlines)

    def remove(self, waiter: Waiter) -> None:
        """Forget a waiter that had its last word."""
        if waiter.gone:
            return
        waiter.gone = True
        if waiter.call is None:
            self._silent.pop((waiter.link, waiter.attempt_id), None)
        else:
            self._calls[waiter.link] -= 1
            if not self._calls[waiter.link]:
                del self._calls[waiter.link]
        _drop(self._by_request, waiter.request_id, waiter)
        _drop(self._by_link, waiter.link, waiter)

    def remove_link(self, link: LinkId) -> list[Waiter]:
        """Forget everyone on a connection that ended; returns them."""
        lost = list(self._by_link.get(link, ()))
        for waiter in lost:
            self.remove(waiter)
        return lost

    def expired(self, now: MonotonicTime) -> list[Waiter]:
        """Return the waiters whose hold ended, each once; they stay until removed."""
        # Whoever was reminded of twice (its hold was shortened) is due once.
        due: dict[Waiter, None] = {}
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, waiter = heapq.heappop(self._deadlines)
            # Holds are only ever shortened: whatever reminds of one, it has ended.
            if not waiter.gone:
                due[waiter] = None
        return list(due)

    def remind_again(self) -> None:
        """Make the reminders anew: those of `expired` may have come to nothing."""
        self._deadlines = [
            (waiter.until, next(self._order), waiter)
            for waiters in self._by_link.values()
            for waiter in waiters
            if waiter.until is not None
        ]
        heapq.heapify(self._deadlines)
        self._tidy_at = max(REMINDERS_MIN, 2 * len(self._deadlines))

    @property
    def next_deadline(self) -> MonotonicTime | None:
        """When the next hold ends."""
        while self._deadlines:
            at, _, waiter = self._deadlines[0]
            if not waiter.gone:
                return MonotonicTime(at)
            heapq.heappop(self._deadlines)
        return None

    def _remind(self, waiter: Waiter) -> None:
        if waiter.until is None:
            return
        entry = (waiter.until, next(self._order), waiter)
        heapq.heappush(self._deadlines, entry)
        if len(self._deadlines) > self._tidy_at:
            # Half of them or more are for waiters that are gone.
            self.remind_again()


def _drop(index: dict[_K, dict[Waiter, None]], key: _K, waiter: Waiter) -> None:
    remaining = index[key]
    del remaining[waiter]
    if not remaining:
        del index[key]
