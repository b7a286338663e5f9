"""The events that wait for the core: every source of strangers in a line of its own.

A parent's words come with the members', also those of a gateway's, which is a stranger
by its certificate.

What comes from strangers takes at most a quarter of a batch while anything else waits,
so that a flood of askings delays no member's message, no verdict about a ticket and no
signature by more than a few batches. Among strangers each source has its turn for one
event, so that an agent waits for one of each other source, not for all of a flood's.
The events of one connection keep their order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from icefloe.enrollment.circle import Circle
from icefloe.enrollment.events import Event, LinkDown, LinkId, LinkUp
from icefloe.enrollment.failures import Asker

# The part of a batch that is kept for strangers, and left to them at most.
STRANGERS_SHARE = 0.25

# The line of members' connections and of our own work.
_FIRST = ""


class EventQueue:
    """One line for members' connections and our own work, one for each other source."""

    def __init__(self) -> None:
        """Begin empty."""
        self._first: deque[Event] = deque()
        self._strangers: Circle[Event] = Circle()
        # In which line a connection's events are; unknown ones have one together.
        self._lines: dict[LinkId, str] = {}
        # Of the batch that was taken last: it may come back.
        self._departed: set[LinkId] = set()

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._first) + len(self._strangers)

    def __iter__(self) -> Iterator[Event]:
        """Return those that wait; of one connection in their order."""
        yield from self._first
        yield from self._strangers

    def append(self, event: Event) -> None:
        """Put an event behind those of its line."""
        if isinstance(event, LinkUp):
            asker = Asker.of_peer(event.peer)
            ahead = asker.member or event.upstream
            self._lines[event.link] = _FIRST if ahead else asker.key
        self._add(event)

    def take(self, count: int) -> list[Event]:
        """Take the next events, the strangers' last; no more than `count`."""
        for link in self._departed:
            self._lines.pop(link, None)
        theirs = min(len(self._strangers), int(count * STRANGERS_SHARE))
        ours = min(len(self._first), count - theirs)
        theirs = min(len(self._strangers), count - ours)
        taken = [self._first.popleft() for _ in range(ours)]
        taken += [self._strangers.take() for _ in range(theirs)]
        self._departed = {e.link for e in taken if isinstance(e, LinkDown)}
        return taken

    def put_back(self, events: Sequence[Event]) -> None:
        """Put taken events that had no turn before those that wait, in their order."""
        for event in reversed(events):
            if isinstance(event, LinkDown):
                self._departed.discard(event.link)
            source = self._source_of(event)
            if source == _FIRST:
                self._first.appendleft(event)
            else:
                self._strangers.put_back(source, event)

    def replace(self, events: Iterable[Event]) -> None:
        """Let only these wait: some of those that did, in their order."""
        kept = list(events)
        ended = {event.link for event in self if isinstance(event, LinkDown)}
        self._first.clear()
        self._strangers.clear()
        for event in kept:
            self._add(event)
        for link in ended - {getattr(event, "link", None) for event in kept}:
            self._lines.pop(link, None)

    def _add(self, event: Event) -> None:
        source = self._source_of(event)
        if source == _FIRST:
            self._first.append(event)
        else:
            self._strangers.add(source, event)

    def _source_of(self, event: Event) -> str:
        """Return whose line an event belongs into."""
        link = getattr(event, "link", None)
        return _FIRST if link is None else self._lines.get(link, "unknown")
