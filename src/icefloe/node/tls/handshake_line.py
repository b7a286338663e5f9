"""Whose handshake is computed next: a few at a time, each source in its turn.

The costly step of a handshake is the server's signature. Only that step takes a place;
while the peer is awaited none is taken, so whoever says nothing, or a byte a second,
keeps nobody waiting. Who waits stands in the line of its source, and the sources have
their turns in a circle: a source that opens a hundred connections at once waits for its
own. Sources that are over their rate come when nobody else waits, and never have all
places: after each refusal a flood may connect again, and would take both cores.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable

_Line = OrderedDict[str, deque[asyncio.Future[None]]]


def _nobody(_source: str) -> bool:
    return False


class HandshakeLine:
    """Gives out places for the costly step of handshakes."""

    def __init__(
        self, places: int, *, comes_last: Callable[[str], bool] = _nobody
    ) -> None:
        """Begin with all places free.

        Args:
            places: at least one.
            comes_last: whether a source (`PeerAddress.source`) is over its rate.
        """
        self._free = places
        # With a single place there is none to keep for the others.
        self._last_max = max(1, places - 1)
        self._last_taken = 0
        self._comes_last = comes_last
        self._first: _Line = OrderedDict()
        self._last: _Line = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        lines = (*self._first.values(), *self._last.values())
        return sum(not each.done() for line in lines for each in line)

    @contextlib.asynccontextmanager
    async def turn(self, source: str) -> AsyncIterator[None]:
        """Wait for a place and keep it for the block."""
        last = self._comes_last(source)
        await self._wait(source, last=last)
        try:
            yield
        finally:
            self._leave(last=last)

    async def _wait(self, source: str, *, last: bool) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._last if last else self._first
        line.setdefault(source, deque()).append(place)
        self._give_out()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._leave(last=last)
            else:
                _forget(line, source, place)
            raise

    def _leave(self, *, last: bool) -> None:
        self._free += 1
        self._last_taken -= last
        self._give_out()

    def _give_out(self) -> None:
        while self._free:
            place = _next(self._first)
            if place is None and self._last_taken < self._last_max:
                place = _next(self._last)
                self._last_taken += place is not None
            if place is None:
                return
            self._free -= 1
            place.set_result(None)


def _forget(lines: _Line, source: str, place: asyncio.Future[None]) -> None:
    """Let nobody wait who gave up: while others have their turns, the last have none."""
    line = lines.get(source)
    if line is not None:
        with contextlib.suppress(ValueError):
            line.remove(place)
        if not line:
            del lines[source]


def _next(lines: _Line) -> asyncio.Future[None] | None:
    """Take the next one who still waits; its source goes to the end of the circle."""
    while lines:
        source, line = lines.popitem(last=False)
        place = line.popleft()
        if line:
            lines[source] = line
        if not place.done():
            return place
    return None
