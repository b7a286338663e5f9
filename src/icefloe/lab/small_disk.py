"""A small file system that can be filled, seen by this process and its children only.

The process leaves for a mount namespace of its own first, so that nothing stays mounted
on the machine, however it ends.  Needs root, and Linux.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from icefloe.lab.errors import LabError

_CLONE_NEWNS: Final = 0x00020000  # sched.h
_CAP_SYS_ADMIN: Final = 21  # capability.h
_FILLING: Final = "filling"
_PIECE: Final = bytes(64 * 1024)

_is_alone = False


class NoSmallDisk(LabError):
    """A small file system cannot be made here."""


class SmallDisk:
    """A mounted one.

    Attributes:
        path: Where.
    """

    def __init__(self, path: Path) -> None:
        """Use `mounted`."""
        self.path = path

    @classmethod
    @contextlib.contextmanager
    def mounted(cls, path: Path, *, kilobytes: int) -> Iterator[SmallDisk]:
        """Mount an empty one over a directory, as long as the context lasts.

        To be called from the main thread, whose children see it.

        Raises:
            NoSmallDisk: Not root, or not allowed to mount (CAP_SYS_ADMIN).
        """
        _leave_for_own_namespace()
        _run("mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "icefloe-lab", path)
        try:
            yield cls(path)
        finally:
            _run("umount", "--lazy", path)

    def fill(self) -> None:
        """Leave no room at all."""
        with (self.path / _FILLING).open("ab", buffering=0) as sink:
            for size in (len(_PIECE), 1):
                with contextlib.suppress(OSError):
                    while sink.write(_PIECE[:size]):
                        pass

    def free(self) -> None:
        """Give the room back."""
        (self.path / _FILLING).unlink(missing_ok=True)


def why_no_small_disk() -> str | None:
    """Return why there can be none, or None when there can."""
    status = Path("/proc/self/status").read_text().splitlines()
    allowed = next(line.split()[1] for line in status if line.startswith("CapEff:"))
    if int(allowed, 16) >> _CAP_SYS_ADMIN & 1:
        return None
    return "mounting a small file system needs root with CAP_SYS_ADMIN"


def _leave_for_own_namespace() -> None:
    global _is_alone  # noqa: PLW0603 - it is a fact about the process
    if _is_alone:
        return
    if (why := why_no_small_disk()) is not None:
        raise NoSmallDisk(why)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        problem = os.strerror(ctypes.get_errno())
        raise NoSmallDisk(f"no mount namespace of our own: {problem}")
    _run("mount", "--make-rprivate", "/")
    _is_alone = True


def _run(*argv: str | Path) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoSmallDisk(f"{argv[0]}: {done.stderr.strip()}")
