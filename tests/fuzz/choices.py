"""An input's first bytes as choices, so that one run of bytes also says how it is fed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Takes bytes from the front of an input; what is used up counts as zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def byte(self) -> int:
        """The next byte."""
        taken = self.take(1)
        return taken[0] if taken else 0

    def flag(self) -> bool:
        """The next byte's lowest bit."""
        return bool(self.byte() & 1)

    def one_of(self, options: Sequence[T]) -> T:
        """One of these, by the next byte."""
        return options[self.byte() % len(options)]

    def take(self, count: int) -> bytes:
        """At most so many bytes."""
        taken = self._data[self._position : self._position + count]
        self._position += len(taken)
        return taken

    def part(self) -> bytes:
        """Bytes whose number two bytes tell."""
        size = int.from_bytes(self.take(2), "big")
        return self.take(size)

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data))

    def cuts(self) -> Sequence[int]:
        """Up to seven sizes of pieces, to be used in turn; 0 stands for "all"."""
        return tuple(self.take(self.byte() % 8))


def pieces(stream: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Cut a stream into pieces of these sizes, over and over."""
    position = turn = 0
    while position < len(stream):
        size = sizes[turn % len(sizes)] if sizes else 0
        piece = stream[position : position + size] if size else stream[position:]
        yield piece
        position += len(piece)
        turn += 1


def part(data: bytes) -> bytes:
    """What `Choices.part` reads back, for seeds."""
    return len(data).to_bytes(2, "big") + data
