"""How often something may happen for each of many keys: one timestamp a key.

The generic cell rate algorithm (GCRA, ITU-T I.371): for each key the time is kept at
which it would have used up what it took, were it used up at the even rate. From that
one number follow whether one more is admitted and, exactly, when it will be.

No clock: the time is handed in. Times must not go backwards (monotonic seconds).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

KEYS_MAX = 65_536
"""Keys that one meter remembers; some 200 bytes each."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and as many again in each period, evenly spread.

    Attributes:
        count: at least 1.
        seconds: the period.
    """

    count: int
    seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.count < 1 or not self.seconds > 0:
            raise ValueError("a rate is at least one in a period")

    @property
    def interval(self) -> float:
        """Seconds that one takes."""
        return self.seconds / self.count


class Meter:
    """Counts what keys took.

    Bounded: when it is full, the key that has the least left to wait for is
    forgotten. So whoever took most is remembered longest, a newcomer is always
    counted, and nobody is refused because the table is full.
    """

    def __init__(self, rate: Rate, *, keys_max: int = KEYS_MAX) -> None:
        """Begin with nothing taken."""
        self._rate = rate
        self._keys_max = keys_max
        # When what a key took is used up; never more than a full measure from now.
        self._used_up_at: dict[str, float] = {}
        # One entry a key, with what was true when it was made: who is done first.
        self._order: list[tuple[float, str]] = []

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._used_up_at)

    @property
    def rate(self) -> Rate:
        """What is admitted."""
        return self._rate

    def reconfigure(self, rate: Rate, *, keys_max: int = KEYS_MAX) -> None:
        """Admit another rate; what was taken counts by its time, not by its number."""
        self._rate = rate
        self._keys_max = keys_max

    def admits_at(self, key: str, now: float) -> float:
        """Return when one more is admitted; `now` when it is already."""
        used_up_at = self._used_up_at.get(key)
        if used_up_at is None:
            return now
        interval = self._rate.interval
        at = used_up_at - (self._rate.count - 1) * interval
        if at > now + 1.5 * interval:
            # Of a rate that was slower: nobody waits longer than this one lets him.
            at = now + interval
        return max(now, at)

    def has_taken(self, key: str, now: float) -> float:
        """Return how many of what a key took are not used up yet."""
        used_up_at = self._used_up_at.get(key, now)
        return max(0.0, used_up_at - now) / self._rate.interval

    def take(self, key: str, now: float) -> None:
        """Count one, admitted or not; more than a full measure is not remembered."""
        if key not in self._used_up_at:
            self._make_room(now)
            heapq.heappush(self._order, (now, key))
        used_up_at = max(self._used_up_at.get(key, now), now) + self._rate.interval
        self._used_up_at[key] = min(used_up_at, now + self._rate.seconds)

    def give_back(self, key: str) -> None:
        """Take back one `take`: it turned out not to count."""
        if key in self._used_up_at:
            self._used_up_at[key] -= self._rate.interval

    def _make_room(self, now: float) -> None:
        """Forget who is done; where that is not enough, who will be done first."""
        while self._order:
            noted, key = self._order[0]
            used_up_at = self._used_up_at[key]
            if used_up_at > noted:
                # It stands first only because its entry is old.
                heapq.heapreplace(self._order, (used_up_at, key))
            elif used_up_at <= now or len(self._used_up_at) >= self._keys_max:
                heapq.heappop(self._order)
                del self._used_up_at[key]
            else:
                return
