"""A line in which each key has its turn for one item.

Whoever brings thousands waits for its own; whoever brings one waits for one of each
other key at most. What is first within its key goes before the rest of that key's, and
before nobody else's.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Circle(Generic[T]):
    """Items under keys, taken key by key."""

    def __init__(self) -> None:
        """Begin empty."""
        # By key: what goes first, and the rest.
        self._lines: OrderedDict[str, tuple[deque[T], deque[T]]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """Return how many wait."""
        return self._count

    def __iter__(self) -> Iterator[T]:
        """Return those that wait; of one key in their order."""
        for first, rest in self._lines.values():
            yield from first
            yield from rest

    def waiting_for(self, key: str) -> int:
        """Return how many wait under a key."""
        return sum(map(len, self._lines.get(key, ())))

    def add(self, key: str, item: T, *, first: bool = False) -> None:
        """Put an item at the end of its key's line.

        Args:
            key: whose it is; a new key's turn comes last.
            item: what waits.
            first: behind those of the key that are first, too, and before its others.
        """
        self._line(key)[0 if first else 1].append(item)
        self._count += 1

    def put_back(self, key: str, item: T) -> None:
        """Put an item before all others of its key."""
        self._line(key)[0].appendleft(item)
        self._count += 1

    def take(self) -> T:
        """Return the next item; its key's next turn comes after all others'.

        Raises:
            KeyError: nothing waits.
        """
        key, line = self._lines.popitem(last=False)
        first, rest = line
        item = (first or rest).popleft()
        if first or rest:
            self._lines[key] = line
        self._count -= 1
        return item

    def keep(self, is_wanted: Callable[[T], bool]) -> None:
        """Forget all others; turns and order stay."""
        for key, line in list(self._lines.items()):
            first, rest = (deque(filter(is_wanted, part)) for part in line)
            if first or rest:
                self._lines[key] = (first, rest)
            else:
                del self._lines[key]
        self._count = sum(len(a) + len(b) for a, b in self._lines.values())

    def clear(self) -> None:
        """Forget all."""
        self._lines.clear()
        self._count = 0

    def _line(self, key: str) -> tuple[deque[T], deque[T]]:
        return self._lines.setdefault(key, (deque(), deque()))
