"""What a disk may hold after a power cut: images made from what SQLite did to it.

The disk of this model keeps what was synced. Of what was written since the last sync of
a file, it holds any part: each write is torn into sectors, and each sector is there or
not, in any order and independently of other files. A cut that was not synced has
happened or not, and a file that was made or removed is there or not until its directory
is synced: what it was synced itself does not help it, as POSIX has it and as kinder file
systems do not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.storage.watched_disk import (
    Event,
    Mark,
    Remove,
    Sync,
    SyncNames,
    Truncate,
    Write,
)

SECTOR: Final = 512

Files = dict[str, bytes]
"""Content of each file that is there."""

Keep = Callable[[], bool]


@dataclass
class _File:
    """One name on the disk.

    Attributes:
        synced: its content at its last sync; None for no such file.
        pending: what was done to it since.
        named: whether its name is certainly there; False, too, for one whose removal
            is certain.
        removed: whether it was removed, which may not be on the disk yet.
    """

    synced: bytes = b""
    pending: list[Event] = field(default_factory=list)
    named: bool = False
    removed: bool = False


@dataclass
class Disk:
    """Follows the events, and says what may be there."""

    files: dict[str, list[_File]] = field(default_factory=dict)

    @classmethod
    def holding(cls, files: Mapping[str, bytes]) -> Disk:
        return cls({n: [_File(content, named=True)] for n, content in files.items()})

    def follow(self, event: Event) -> None:
        match event:
            case Mark():
                pass
            case SyncNames():
                self._sync_names()
            case Remove():
                self._current(event.name).removed = True
            case Sync():
                file = self._current(event.name)
                file.synced = _content(file, keep=lambda: True)
                file.pending.clear()
            case _:
                self._current(event.name).pending.append(event)

    def image(self, keep: Keep) -> Files:
        """Return one possible content; `keep` decides about each unsynced part."""
        found: Files = {}
        for name, lives in self.files.items():
            for file in lives:
                # A name whose making or removing was not synced is there or not.
                if file.removed and (not file.named or keep()):
                    found.pop(name, None)
                elif file.named or file.removed or keep():
                    found[name] = _content(file, keep)
        return found

    def _current(self, name: str) -> _File:
        """The file that has the name now; after a removal it is a new one."""
        lives = self.files.setdefault(name, [])
        if not lives or lives[-1].removed:
            lives.append(_File())
        return lives[-1]

    def _sync_names(self) -> None:
        for name, lives in self.files.items():
            self.files[name] = [file for file in lives if not file.removed]
            for file in self.files[name]:
                file.named = True


def _content(file: _File, keep: Keep) -> bytes:
    content = bytearray(file.synced)
    for event in file.pending:
        match event:
            case Write(offset=offset, data=data):
                for start in range(0, len(data), SECTOR):
                    if keep():
                        _put(content, offset + start, data[start : start + SECTOR])
            case Truncate(size=size):
                if keep():
                    del content[size:]
                    content.extend(bytes(size - len(content)))
    return bytes(content)


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:  # what was lost in between reads as zeros
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


@dataclass(frozen=True)
class Image:
    """One thing a disk may hold.

    Attributes:
        moment: after how many events the power went.
        told: how many commits had returned by then.
        how: what became of what was not synced.
        files: what is there.
    """

    moment: int
    told: int
    how: str
    files: Files = field(repr=False)


def crash_images(
    events: Sequence[Event], before: Mapping[str, bytes], *, seed: int, torn: int
) -> Iterator[Image]:
    """Yield the images of every moment, each content once.

    Args:
        events: what was done.
        before: what the disk held then, all of it durable.
        seed: for what is torn.
        torn: how many torn images of each moment.
    """
    chance = random.Random(seed)
    disk = Disk.holding(before)
    seen: set[tuple[int, int]] = set()
    told = 0
    for moment, event in enumerate(events, 1):
        disk.follow(event)
        told += isinstance(event, Mark)
        ways: list[tuple[str, Keep]] = [
            ("killed: all of it", lambda: True),
            ("power cut: nothing", lambda: False),
        ]
        for number in range(torn):
            share = chance.choice((0.1, 0.5, 0.9))
            way = _by_chance(chance.random(), share)
            ways.append((f"power cut: torn {number}, {share:.0%} kept", way))
        for how, keep in ways:
            files = disk.image(keep)
            key = hash(tuple(sorted(files.items()))), told
            if key not in seen:
                seen.add(key)
                yield Image(moment, told, how, files)


def _by_chance(seed: float, share: float) -> Keep:
    chance = random.Random(seed)
    return lambda: chance.random() < share
