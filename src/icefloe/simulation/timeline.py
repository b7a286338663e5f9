"""Virtual time: what is to happen next, and the clock and chance that follow from it.

Nothing waits here.  The timeline jumps from one planned action to the next; two that
are due at the same moment happen in the order in which they were planned, so that a
history depends on its seed and on nothing else.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from random import Random

from icefloe.doors import MonotonicTime, Now, WallTime

WALL_START = 1_800_000_000.0
"""The calendar at virtual second 0; any date on which certificates make sense."""

Action = Callable[[], object]


class Timer:
    """One planned action; can be called off."""

    __slots__ = ("action", "at")

    def __init__(self, at: float, action: Action) -> None:
        self.at = at
        self.action: Action | None = action

    def cancel(self) -> None:
        """Call the action off; again, or afterwards, it has no effect."""
        self.action = None


class Timeline:
    """The virtual time and all that is planned.

    Attributes:
        seconds: the virtual time.
        steps: how many actions were taken.
    """

    def __init__(self) -> None:
        """Begin at second 0 with nothing planned."""
        self.seconds = 0.0
        self.steps = 0
        self._planned: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def after(self, delay: float, action: Action) -> Timer:
        """Plan an action `delay` seconds from now."""
        return self.at(self.seconds + max(delay, 0.0), action)

    def at(self, moment: float, action: Action) -> Timer:
        """Plan an action for a moment; one that has passed means now."""
        timer = Timer(max(moment, self.seconds), action)
        heapq.heappush(self._planned, (timer.at, next(self._order), timer))
        return timer

    def run_until(
        self, moment: float, *, done: Callable[[], bool] | None = None
    ) -> None:
        """Take all actions due up to a moment, or until `done` says so."""
        while self._planned and self._planned[0][0] <= moment:
            _, _, timer = heapq.heappop(self._planned)
            action, timer.action = timer.action, None
            if action is None:
                continue
            self.seconds = timer.at
            self.steps += 1
            action()
            if done is not None and done():
                return
        self.seconds = max(self.seconds, moment)


class SimulatedClock:
    """One machine's clock: right about durations, a little off about the date."""

    def __init__(self, timeline: Timeline, *, skew_seconds: float) -> None:
        """Run with the timeline; `skew_seconds` ahead of the true date."""
        self._timeline = timeline
        self._wall_start = WALL_START + skew_seconds

    def now(self) -> Now:
        """Read both clocks."""
        seconds = self._timeline.seconds
        return Now(
            wall=WallTime(self._wall_start + seconds), mono=MonotonicTime(seconds)
        )


class SimulatedEntropy:
    """Chance that follows from the seed."""

    def __init__(self, chance: Random) -> None:
        """Draw from the world's only source of chance."""
        self._chance = chance

    def bytes(self, count: int) -> bytes:
        """Return `count` bytes."""
        return self._chance.randbytes(count)

    def uniform(self, low: float, high: float) -> float:
        """Return a number from `low` to `high`."""
        return self._chance.uniform(low, high)
