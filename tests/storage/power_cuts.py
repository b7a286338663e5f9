"""What a disk may hold after a power cut, by what Python's `os` was asked to do.

The disk of this model keeps what was synced. A file that was written and not synced is
there empty, if its name is there at all. Of the names made, moved and removed in a
directory since its last sync, it has the first few, all, or none: a file system's journal
keeps their order. (What SQLite does is followed in `crash_images`.)
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Names = dict[Path, int]
"""Which file each name is; directories have no entry."""

_DIRECTORY = -1


@dataclass
class _Change:
    """One change of one directory's names: what a name is afterwards, or None."""

    names: dict[Path, int | None]


@dataclass
class Disk:
    """Follows the calls, and says what may be there."""

    root: Path
    now: Names = field(default_factory=dict)
    kept: Names = field(default_factory=dict)
    pending: dict[Path, list[_Change]] = field(default_factory=dict)
    content: dict[int, bytes] = field(default_factory=dict)
    synced: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path) -> Disk:
        """Return a disk that holds what is there, all of it durable."""
        disk = cls(root)
        for number, path in enumerate(sorted(root.rglob("*"))):
            is_file = path.is_file()
            disk.now[path] = number if is_file else _DIRECTORY
            if is_file:
                disk.content[number] = disk.synced[number] = path.read_bytes()
        disk.kept = dict(disk.now)
        return disk

    def change(self, names: dict[Path, int | None]) -> None:
        for path, file in names.items():
            if file is None:
                self.now.pop(path)
            else:
                self.now[path] = file
        (directory,) = {path.parent for path in names}
        self.pending.setdefault(directory, []).append(_Change(names))

    def create(self, path: Path) -> None:
        number = max(self.content, default=0) + 1
        self.content[number] = self.synced[number] = b""
        self.change({path: number})

    def sync(self, path: Path) -> None:
        if path in self.now and self.now[path] != _DIRECTORY:
            self.synced[self.now[path]] = self.content[self.now[path]]
        for change in self.pending.pop(path, []):
            _apply(change, self.kept)

    def image(self, choose: Callable[[int], int]) -> dict[Path, bytes | None]:
        """Return one possible content; None for directories.

        Args:
            choose: How many of so many unsynced changes of a directory are there.
        """
        names = dict(self.kept)
        for changes in self.pending.values():
            for change in changes[: choose(len(changes))]:
                _apply(change, names)
        found: dict[Path, bytes | None] = {}
        for path, file in sorted(names.items()):
            above = [each for each in path.parents if each.is_relative_to(self.root)]
            if all(each == self.root or each in names for each in above):
                place = path.relative_to(self.root)
                found[place] = None if file == _DIRECTORY else self.synced[file]
        return found


def _apply(change: _Change, names: Names) -> None:
    for path, file in change.names.items():
        if file is None:
            names.pop(path, None)
        else:
            names[path] = file


@contextmanager
def followed(root: Path, told: Callable[[Disk], None]) -> Iterator[None]:
    """Follow what is done below a directory; tell after each change."""
    disk = Disk.of(root)

    def place(name: Any, directory: int | None) -> Path:
        path = Path(name)
        return path if directory is None else _path_of(directory) / path

    def done(name: str, result: Any, args: Any, options: Any) -> None:
        here = options.get("dir_fd")
        if name == "open":
            if args[1] & os.O_CREAT and args[1] & os.O_EXCL:
                disk.create(place(args[0], here))
        elif name == "write":
            path = _path_of(args[0])
            disk.content[disk.now[path]] += bytes(args[1])[:result]
        elif name == "fsync":
            disk.sync(_path_of(args[0]))
        elif name in {"replace", "rename"}:
            source = place(args[0], options.get("src_dir_fd"))
            target = place(args[1], options.get("dst_dir_fd"))
            disk.change({target: disk.now[source], source: None})
        elif name == "link":
            source = place(args[0], options.get("src_dir_fd"))
            target = place(args[1], options.get("dst_dir_fd"))
            disk.change({target: disk.now[source]})
        elif name in {"unlink", "rmdir"}:
            disk.change({place(args[0], here): None})
        elif name == "mkdir":
            disk.change({place(args[0], here): _DIRECTORY})
        told(disk)

    calls = ("open", "write", "fsync", "replace", "rename", "link", "unlink")
    with pytest.MonkeyPatch.context() as patch:
        for name in (*calls, "mkdir", "rmdir"):
            patch.setattr(os, name, _following(name, getattr(os, name), done))
        yield


def _following(name: str, real: Any, done: Callable[..., None]) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        result = real(*args, **options)
        done(name, result, args, options)
        return result

    return call


def _path_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def images_after(
    root: Path, act: Callable[[], object], *, seed: int
) -> list[dict[Path, bytes | None]]:
    """Do it, and return what the disk may hold after a power cut at any moment."""
    chance = random.Random(seed)
    images: dict[int, dict[Path, bytes | None]] = {}

    def told(disk: Disk) -> None:
        for choose in (
            lambda _: 0,
            lambda count: count,
            lambda n: chance.randint(0, n),
        ):
            image = disk.image(choose)
            images.setdefault(hash(tuple(image.items())), image)

    with followed(root, told):
        act()
    return list(images.values())


def lay_out(image: dict[Path, bytes | None], place: Path) -> Path:
    """Make a directory of what the disk holds.  Permissions are those of the house."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    for path, content in image.items():
        if content is None:
            (place / path).mkdir(mode=0o700)
        else:
            (place / path).write_bytes(content)
            is_private = ".key" in path.name or "icefloe" in path.parts
            (place / path).chmod(0o600 if is_private else 0o644)
    return place
