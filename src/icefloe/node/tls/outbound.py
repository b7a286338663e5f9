"""Bytes that wait to be sent, cut into pieces that suit TLS records."""

from __future__ import annotations

from collections import deque
from typing import Final

RECORD_BYTES_MAX: Final = 16384
"""The most plaintext one TLS record carries (RFC 8446 section 5.1)."""


class OutboundQueue:
    """First in, first out; small writes are joined into one record.

    The piece that `head` returns stays the same until `consume` took all of it:
    OpenSSL wants a write it could not finish repeated with the same bytes.
    """

    __slots__ = ("_head", "_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: deque[bytes | memoryview] = deque()
        self._head: bytes | memoryview = b""
        self._size = 0

    def __len__(self) -> int:
        """Bytes that were put in and not yet consumed."""
        return self._size

    def put(self, data: bytes) -> None:
        """Append bytes; they are not copied."""
        if data:
            self._pieces.append(data)
            self._size += len(data)

    def head(self) -> bytes | memoryview:
        """The next 1 to `RECORD_BYTES_MAX` bytes; empty if nothing waits."""
        if not self._head:
            self._head = self._take()
        return self._head

    def consume(self, count: int) -> None:
        """Drop the first `count` bytes of the head: they were sent."""
        assert 0 < count <= len(self._head), "more consumed than was offered"
        self._head = self._head[count:]
        self._size -= count

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()
        self._head = b""
        self._size = 0

    def _take(self) -> bytes | memoryview:
        parts: list[bytes | memoryview] = []
        room = RECORD_BYTES_MAX
        while self._pieces and room:
            piece = self._pieces.popleft()
            if len(piece) > room:
                whole = memoryview(piece)
                self._pieces.appendleft(whole[room:])
                piece = whole[:room]
            parts.append(piece)
            room -= len(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)
