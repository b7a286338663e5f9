"""Bounds on certificate requests that wait for the core.

One connection could otherwise fill the queue that everybody's events go through.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from icefloe.enrollment import events as ev

STRANGER_ASKINGS_MAX: Final = 8
"""Askings under way on a stranger's connection: as many as the core lets wait there.
Real clients send one and wait."""

MEMBER_ASKINGS_MAX: Final = 20_000
"""The same for a member: a relay that gets its parent back sends all it has."""

ID_BYTES_MAX: Final = 256
"""Longest id of a call, which is sent back and kept until then. Real ones are UUIDs."""


class AskingsUnderWay:
    """Counts the `CertificateAsked` between their submission and their turn."""

    def __init__(self) -> None:
        """Begin with none."""
        self._members: set[ev.LinkId] = set()
        self._waiting: dict[ev.LinkId, int] = {}

    def admit(self, event: ev.Event) -> bool:
        """See an event on its way in; returns whether there is room for it."""
        match event:
            case ev.LinkUp() if event.peer.is_member:
                self._members.add(event.link)
            case ev.LinkDown():
                self._members.discard(event.link)
            case ev.CertificateAsked():
                member = event.link in self._members
                most = MEMBER_ASKINGS_MAX if member else STRANGER_ASKINGS_MAX
                waiting = self._waiting.get(event.link, 0)
                if waiting >= most:
                    return False
                self._waiting[event.link] = waiting + 1
        return True

    def handled(self, events: Iterable[ev.Event]) -> None:
        """Note events that had their turn."""
        for event in events:
            if isinstance(event, ev.CertificateAsked):
                self._waiting[event.link] -= 1
                if not self._waiting[event.link]:
                    del self._waiting[event.link]


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
