"""Whose repeated ask goes to a parent next.

A real parent learns of nothing by itself: it is asked again and again, and each ask
costs it a signature. So these asks have a rate, and whoever asks has its turn there:
each source and each member for one attempt, its tickets first. Members' sources and
strangers' take turns too, since one member carries many agents.

An attempt that ended, or goes another way by now, is passed over and costs no turn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from icefloe.doors import MonotonicTime
from icefloe.enrollment.circle import Circle
from icefloe.enrollment.failures import Asker

# A lane that was served late catches up with this many seconds of its turns.
CATCH_UP_SECONDS: Final = 0.25
# Fewer places than this are not worth tidying.
PLACES_MIN: Final = 64


@dataclass(slots=True, eq=False)
class Lane:
    """The turns of one kind at one parent.

    Attributes:
        rate: turns a second.
        free_at: when the next turn is.
    """

    rate: float
    free_at: MonotonicTime
    _members: Circle[Place] = field(default_factory=Circle, init=False)
    _strangers: Circle[Place] = field(default_factory=Circle, init=False)
    _members_next: bool = field(default=True, init=False)
    _left: int = field(default=0, init=False)

    def __len__(self) -> int:
        """Return how many places are kept, those that were left included."""
        return len(self._members) + len(self._strangers)

    def pass_by(self, now: MonotonicTime) -> bool:
        """Use a turn at once if there is one and nobody waits; true when that was so."""
        if len(self) > self._left or self.free_at > now:
            return False
        self.free_at = MonotonicTime(now + 1.0 / self.rate)
        return True

    def join(self, attempt_id: str, asker: Asker, *, ticketed: bool) -> Place:
        """Wait for a turn."""
        place = Place(attempt_id, self)
        circle = self._members if asker.member else self._strangers
        circle.add(asker.key, place, first=ticketed)
        return place

    def take(self, now: MonotonicTime) -> list[str]:
        """Return the attempts whose turn has come, in order."""
        taken = []
        while len(self) and self.free_at <= now:
            place = self._next()
            if place.left:
                self._left -= 1
                continue
            earliest = max(self.free_at, now - CATCH_UP_SECONDS)
            self.free_at = MonotonicTime(earliest + 1.0 / self.rate)
            taken.append(place.attempt_id)
        return taken

    def waiting(self) -> list[str]:
        """Return the attempts that wait."""
        circles = (self._members, self._strangers)
        return [each.attempt_id for one in circles for each in one if not each.left]

    def note_left(self) -> None:
        """One of the places was left: it is passed over, or tidied away with others."""
        self._left += 1
        if self._left > max(PLACES_MIN, len(self) // 2):
            for circle in (self._members, self._strangers):
                circle.keep(_is_live)
            self._left = 0

    def _next(self) -> Place:
        circles = (self._members, self._strangers)
        first, second = circles if self._members_next else reversed(circles)
        self._members_next = not self._members_next
        return (first if len(first) else second).take()


@dataclass(slots=True, eq=False)
class Place:
    """A place in a lane.

    Attributes:
        attempt_id: what is to be asked about.
        lane: where.
        left: nobody needs it any more.
    """

    attempt_id: str
    lane: Lane
    left: bool = False

    def leave(self) -> None:
        """Give it up."""
        self.left = True
        self.lane.note_left()


def _is_live(place: Place) -> bool:
    return not place.left
