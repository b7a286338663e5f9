"""A directory of small files on a disk that keeps only what was synced.

A process that is killed loses nothing of what it wrote: the kernel has it.  A machine
that loses power keeps, of names, those up to some moment after the directory was last
synced, in order (a journal); of contents, what was synced, or else nothing, a part, or
all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from icefloe.errors import IcefloeError
from icefloe.simulation.faults import Faults


class DiskFails(IcefloeError):
    """A file could not be written."""


class _Content:
    """What one or several names stand for."""

    __slots__ = ("data", "synced")

    def __init__(self, data: bytes, *, synced: bool) -> None:
        self.data = data
        self.synced = synced


class SimulatedFiles:
    """The files of a node's identity.

    Attributes:
        full: nothing can be written.
    """

    def __init__(self, faults: Faults, chance: Random) -> None:
        """Make an empty directory."""
        self.full = False
        self._faults = faults
        self._chance = chance
        self._names: dict[str, _Content] = {}
        # The names as they are on disk, and after each change since.
        self._history: list[dict[str, _Content]] = [{}]

    def begin_with(self, contents: Mapping[str, bytes]) -> None:
        """Put files there that have long been synced."""
        for name, data in contents.items():
            self._names[name] = _Content(data, synced=True)
        self.sync_directory()

    def read(self, name: str) -> bytes:
        """Return what a file holds; nothing when there is none."""
        content = self._names.get(name)
        return content.data if content is not None else b""

    def write(self, name: str, data: bytes) -> None:
        """Make a new file; not synced yet.

        Raises:
            DiskFails: the disk is full.
        """
        if self.full:
            raise DiskFails(f"simulated: cannot write {name}, disk full")
        self._names[name] = _Content(data, synced=False)
        self._changed()

    def sync(self, name: str) -> None:
        """Bring the content of a file to disk."""
        self._names[name].synced = True

    def link(self, name: str, second: str) -> None:
        """Give a file a second name."""
        if name in self._names:
            self._names[second] = self._names[name]
            self._changed()

    def rename(self, name: str, target: str) -> None:
        """Put a file in the place of another one."""
        self._names[target] = self._names.pop(name)
        self._changed()

    def sync_directory(self) -> None:
        """Bring the names to disk."""
        self._history = [dict(self._names)]

    def power_fails(self) -> None:
        """Keep what a disk keeps."""
        seen = {name: content.data for name, content in self._names.items()}
        self._names = self._chance.choice(self._history)
        for content in dict.fromkeys(self._names.values()):
            if not content.synced:
                whole = len(content.data)
                kept = self._chance.choice((0, self._chance.randrange(whole), whole))
                content.data = content.data[:kept]
                content.synced = True
                if kept < whole:
                    self._faults.counts["file-torn"] += 1
        found = {name: content.data for name, content in self._names.items()}
        if found != seen:
            self._faults.counts["file-lost"] += 1
        self.sync_directory()

    def _changed(self) -> None:
        self._history.append(dict(self._names))
