"""Bounds on certificate requests that wait for the core.

One connection, or one source, could otherwise fill the queue that everybody's events go
through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from icefloe.enrollment import events as ev
from icefloe.enrollment.failures import Asker

_K = TypeVar("_K")


@dataclass(frozen=True, slots=True)
class AskingLimits:
    """How many askings may wait for their turn in the core, a millisecond each.

    Attributes:
        per_connection: of a stranger's connection: as many as the core lets wait there.
            Real clients send one and wait.
        per_source: of all connections of a stranger's source.
        strangers: of all strangers; a source with few finds a quarter more room.
        per_member: of a member: a relay that gets its parent back sends all it has.
    """

    per_connection: int = 8
    per_source: int = 1_000
    strangers: int = 4_000
    per_member: int = 20_000


RESERVE: Final = 1.25
FEW: Final = 4
"""A source with fewer askings than these under way finds this much of the room."""

ID_BYTES_MAX: Final = 256
"""Longest id of a call, which is sent back and kept until then. Real ones are UUIDs."""


class AskingsUnderWay:
    """Counts the `CertificateAsked` between their submission and their turn.

    Attributes:
        limits: may be replaced at any time.
    """

    def __init__(self, limits: AskingLimits | None = None) -> None:
        """Begin with none."""
        self.limits = limits or AskingLimits()
        self._askers: dict[ev.LinkId, Asker] = {}
        self._by_link: Counter[ev.LinkId] = Counter()
        self._by_source: Counter[str] = Counter()
        self._sources: dict[ev.LinkId, str] = {}
        self._strangers = 0

    def admit(self, event: ev.Event) -> bool:
        """See an event on its way in; returns whether there is room for it."""
        match event:
            case ev.LinkUp():
                self._askers[event.link] = Asker.of_peer(event.peer)
            case ev.LinkDown():
                self._askers.pop(event.link, None)
            case ev.CertificateAsked():
                return self._admit(event.link)
        return True

    def handled(self, events: Iterable[ev.Event]) -> None:
        """Note events that had their turn."""
        for event in events:
            if isinstance(event, ev.CertificateAsked):
                _less(self._by_link, event.link)
                source = self._sources.get(event.link)
                if source is not None:
                    self._strangers -= 1
                    _less(self._by_source, source)
                if event.link not in self._by_link:
                    self._sources.pop(event.link, None)

    def _admit(self, link: ev.LinkId) -> bool:
        limits, asker = self.limits, self._askers.get(link)
        if asker is not None and asker.member:
            if self._by_link[link] >= limits.per_member:
                return False
            self._by_link[link] += 1
            return True
        # A connection that was not announced has no name; nobody knows it.
        source = asker.key if asker is not None else ""
        if (
            self._by_link[link] >= limits.per_connection
            or self._by_source[source] >= limits.per_source
            or self._strangers >= self._room(source)
        ):
            return False
        self._by_link[link] += 1
        self._by_source[source] += 1
        self._sources[link] = source
        self._strangers += 1
        return True

    def _room(self, source: str) -> float:
        """Return how many askings of strangers may wait, for one more of a source.

        A few sources can fill what is for all; who asks as people and agents do, once
        from an address, finds room all the same.
        """
        few = self._by_source[source] < FEW
        return self.limits.strangers * (RESERVE if few else 1.0)


def _less(counts: Counter[_K], key: _K) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]


def is_usable_id(value: object) -> bool:
    """Whether a call's id is a short scalar; all that real nodes and tools use.

    An id goes back as it came. A long one, or one of many containers, is a
    stranger's way to make us keep it, or fail to write it.

    Args:
        value: any JSON value.
    """
    if isinstance(value, str):
        return len(value.encode(errors="replace")) <= ID_BYTES_MAX
    if isinstance(value, int):
        return value.bit_length() <= ID_BYTES_MAX
    return value is None or isinstance(value, float)
