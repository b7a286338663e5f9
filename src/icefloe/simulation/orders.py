"""Every order in which what happens at once can happen: enumerated, not drawn.

Bytes on two connections, a commit and a signature that are under way: which is first
follows from nothing.  `explore` lives through a small world again and again, each time
with other choices, until every order has been seen.

Two orders that differ only in what happens at different nodes are one: neither node can
tell.  So what counts is the sequence of things that happened at each node; once such a
set of sequences was reached, whatever follows from it is known, and the rest of that
history is not lived through again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from icefloe.simulation.report import Report
from icefloe.simulation.timeline import TIME_GOES_ON, Chooser, Place

Choices = tuple[Place, ...]
State = tuple[tuple[str, Choices], ...]


class _SeenBefore(Exception):
    """What follows from here has been explored."""


@dataclass(slots=True)
class Explored:
    """What an exploration came to.

    Attributes:
        histories: how many were lived through to their end.
        known: how many were broken off where they met an earlier one.
        states: how many different situations were met.
        met: those situations: at each node, what happened there so far.
        complete: whether all there are were met, and not only as many as allowed.
    """

    histories: int = 0
    known: int = 0
    complete: bool = False
    met: set[State] = field(default_factory=set, repr=False)

    @property
    def states(self) -> int:
        """How many different situations were met."""
        return len(self.met)

    def __str__(self) -> str:
        """Return it as one line."""
        whole = "" if self.complete else ", not all there are"
        return f"{self.histories} histories, {self.states} situations{whole}"


def explore(
    live: Callable[[Chooser], Report],
    explored: Explored,
    *,
    begins_at: float,
    histories_max: int,
    horizon_seconds: float = 0.0,
    leaps_max: int = 0,
) -> Iterator[Report]:
    """Live through every order there is.

    Args:
        live: lives through the world with a chooser.
        explored: is told how far it came.
        begins_at: before this virtual second the order is the usual one.
        histories_max: no more histories than so many, known ones included.
        horizon_seconds: timers that are due so soon may fire before what could happen
            at once.
        leaps_max: how often that may happen in one history.

    Yields:
        The report of each history that was lived to its end.
    """
    waiting: list[Choices] = [()]
    while waiting:
        if explored.histories + explored.known >= histories_max:
            return
        chooser = _Following(
            waiting.pop(), explored.met, begins_at, horizon_seconds, leaps_max
        )
        try:
            report = live(chooser)
        except _SeenBefore:
            explored.known += 1
        else:
            explored.histories += 1
            yield report
        waiting += chooser.others
    explored.complete = True


class _Following:
    """Follows given choices, then the usual order; remembers where others were open."""

    def __init__(
        self,
        given: Choices,
        seen: set[State],
        begins_at: float,
        horizon_seconds: float,
        leaps_max: int,
    ) -> None:
        self.others: list[Choices] = []
        self._given = given
        self._made: list[Place] = []
        self._seen = seen
        self._begins_at = begins_at
        self._horizon = horizon_seconds
        self._leaps = leaps_max
        self._at: dict[str, list[Place]] = {}

    @property
    def horizon_seconds(self) -> float:
        return self._horizon if self._leaps else 0.0

    def choose(self, ready: Sequence[Place], seconds: float) -> int:
        if seconds < self._begins_at:
            return 0
        number = len(self._made)
        if number < len(self._given):
            chosen = self._given[number]
        else:
            self._look_up()
            chosen = ready[0]
            made = tuple(self._made)
            self.others += [(*made, other) for other in ready[1:]]
        self._note(chosen)
        return ready.index(chosen)

    def _look_up(self) -> None:
        state = tuple(sorted((who, tuple(at)) for who, at in self._at.items()))
        if state in self._seen:
            raise _SeenBefore
        self._seen.add(state)

    def _note(self, chosen: Place) -> None:
        self._made.append(chosen)
        if chosen is TIME_GOES_ON:
            self._leaps -= 1
            everybody = [*self._at, ""]
        else:
            everybody = [chosen.who, *([chosen.other] if chosen.other else [])]
        for who in everybody:
            self._at.setdefault(who, []).append(chosen)
