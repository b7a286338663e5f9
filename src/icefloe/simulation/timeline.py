"""Virtual time: what is to happen next, and the clock and chance that follow from it.

Nothing waits here.  The timeline jumps from one planned action to the next; two that
are due at the same moment happen in the order in which they were planned, so that a
history depends on its seed and on nothing else.

Some actions happen *at a place*: bytes arrive at a node, its batch is committed, its
work is done.  In reality their order across places and queues follows from nothing.  A
`Chooser` may decide it instead of the times (see `orders`).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, NamedTuple, Protocol

from icefloe.doors import MonotonicTime, Now, WallTime

WALL_START = 1_800_000_000.0
"""The calendar at virtual second 0; any date on which certificates make sense."""

Action = Callable[[], object]


class Place(NamedTuple):
    """Where an action happens.

    Attributes:
        who: the node or requester.
        queue: what keeps its order there: one direction of a connection, one piece of
            work.
        other: the node or requester that it happens to as well, if any.
    """

    who: str
    queue: str
    other: str = ""


TIME_GOES_ON: Final = Place("", "time")
"""What a chooser chooses to let the next timer fire before what could happen now."""


class Timer:
    """One planned action; can be called off."""

    __slots__ = ("action", "at", "place")

    def __init__(self, at: float, action: Action, place: Place | None = None) -> None:
        self.at = at
        self.action: Action | None = action
        self.place = place

    def cancel(self) -> None:
        """Call the action off; again, or afterwards, it has no effect."""
        self.action = None


class Chooser(Protocol):
    """Decides what happens next among actions whose order follows from nothing."""

    def choose(self, ready: Sequence[Place], seconds: float) -> int:
        """Return the index of the one that happens next.

        Args:
            ready: their places, the earliest planned first; never empty.  At the end
                there may be `TIME_GOES_ON`.
            seconds: the virtual time.
        """
        ...

    @property
    def horizon_seconds(self) -> float:
        """A timer that is due so soon may fire before what could happen now."""
        ...


class Timeline:
    """The virtual time and all that is planned.

    Attributes:
        seconds: the virtual time.
        steps: how many actions were taken.
    """

    def __init__(self, chooser: Chooser | None = None) -> None:
        """Begin at second 0 with nothing planned.

        Args:
            chooser: decides the order of actions that have a place; None leaves it to
                their times.
        """
        self.seconds = 0.0
        self.steps = 0
        self._planned: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._chooser = chooser
        # With a chooser: those that have a place, in the order they were planned.
        self._ready: dict[int, Timer] = {}

    def after(
        self, delay: float, action: Action, *, place: Place | None = None
    ) -> Timer:
        """Plan an action `delay` seconds from now."""
        return self.at(self.seconds + max(delay, 0.0), action, place=place)

    def at(self, moment: float, action: Action, *, place: Place | None = None) -> Timer:
        """Plan an action for a moment; one that has passed means now.

        Args:
            moment: virtual seconds.
            action: taken then.
            place: where; see `Place`.
        """
        timer = Timer(max(moment, self.seconds), action, place)
        if place is not None and self._chooser is not None:
            self._ready[next(self._order)] = timer
        else:
            heapq.heappush(self._planned, (timer.at, next(self._order), timer))
        return timer

    def run_until(
        self, moment: float, *, done: Callable[[], bool] | None = None
    ) -> None:
        """Take all actions due up to a moment, or until `done` says so."""
        if self._chooser is not None:
            self._run_as_chosen(self._chooser, moment, done)
            return
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

    # -- with a chooser --------------------------------------------------------------

    def _run_as_chosen(
        self, chooser: Chooser, moment: float, done: Callable[[], bool] | None
    ) -> None:
        """What has a place happens before time goes on, or not, as the chooser says."""
        while True:
            timer = self._chosen(chooser, moment) or self._next_planned(moment)
            if timer is None:
                break
            action, timer.action = timer.action, None
            if action is None:
                continue
            self.seconds = max(self.seconds, timer.at)
            self.steps += 1
            action()
            if done is not None and done():
                return
        self.seconds = max(self.seconds, moment)

    def _next_planned(self, moment: float) -> Timer | None:
        while self._planned and self._planned[0][0] <= moment:
            timer = heapq.heappop(self._planned)[2]
            if timer.action is not None:
                return timer
        return None

    def _chosen(self, chooser: Chooser, moment: float) -> Timer | None:
        """Take out the action that the chooser wants next; the first of each queue."""
        firsts: dict[Place, int] = {}
        for number, timer in list(self._ready.items()):
            if timer.action is None:
                del self._ready[number]
            elif timer.place is not None:
                firsts.setdefault(timer.place, number)
        if not firsts:
            return None
        offered = list(firsts)
        soon = min(self.seconds + chooser.horizon_seconds, moment)
        if self._planned and self._planned[0][0] <= soon:
            offered.append(TIME_GOES_ON)
        chosen = offered[chooser.choose(offered, self.seconds)]
        return None if chosen is TIME_GOES_ON else self._ready.pop(firsts[chosen])


class SimulatedClock:
    """One machine's clock: right about durations, not always about the date."""

    def __init__(self, timeline: Timeline, *, skew_seconds: float) -> None:
        """Run with the timeline; `skew_seconds` ahead of the true date."""
        self._timeline = timeline
        self._wall_start = WALL_START + skew_seconds

    def step(self, seconds: float) -> None:
        """Set the date forward, or back; durations go on as before."""
        self._wall_start += seconds

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
