"""When a node dials: at ticks every 10 s from its start, whoever is not connected."""

from __future__ import annotations

from collections.abc import Iterable

from icefloe.doors import MonotonicTime
from icefloe.habits.versions import RECONNECT_SECONDS


class Redial:
    """The reconnect timer of one node."""

    def __init__(self, endpoints: Iterable[str]) -> None:
        """Remember whom to dial, in order; nothing is due before `start`."""
        self._endpoints = tuple(endpoints)
        self._busy: set[str] = set()
        self._next_tick: MonotonicTime | None = None

    def start(self, now: MonotonicTime) -> None:
        """Let the first tick be now; forget what an earlier life was connected to."""
        self._busy.clear()
        self._next_tick = now

    @property
    def next_tick(self) -> MonotonicTime | None:
        """When to look again; None if there is nobody to dial."""
        return self._next_tick if self._endpoints else None

    def due(self, now: MonotonicTime) -> list[str]:
        """Return whom to dial now.  Each is busy until `is_free` says otherwise."""
        if self._next_tick is None or now < self._next_tick:
            return []
        missed = int((now - self._next_tick) / RECONNECT_SECONDS)
        self._next_tick = MonotonicTime(
            self._next_tick + (missed + 1) * RECONNECT_SECONDS
        )
        wanted = [name for name in self._endpoints if name not in self._busy]
        self._busy.update(wanted)
        return wanted

    def is_busy(self, endpoint: str) -> None:
        """Note that this endpoint is connected, whoever dialled."""
        self._busy.add(endpoint)

    def is_free(self, endpoint: str) -> None:
        """Note that this endpoint is neither connected nor being dialled."""
        self._busy.discard(endpoint)
