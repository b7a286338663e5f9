"""One writer at a time among files that belong together.

The daemon and a command may replace files of one identity in the same moment.  The lock
is the kernel's (flock), on the directory itself: there is no file to make, to own or to
leave behind, and only who may look into the directory can hold it.  It ends with the
process, however that ends.

Readers need no lock: each file is replaced in one step.

A thread that has a directory already gets it again at once: what replaces files may be
part of something larger that has to be alone.
"""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from icefloe.storage.files import FileProblem
from icefloe.storage.walking import opened_directory

__all__ = ["PATIENCE_SECONDS", "locked_directories"]

PATIENCE_SECONDS: Final = 15.0
"""How long to wait for another writer, who needs some milliseconds; a disk may be slow."""

_PAUSE_SECONDS: Final = 0.01


class _Held(threading.local):
    """The directories that this thread has, and whether they are locked."""

    def __init__(self) -> None:
        self.directories: dict[tuple[int, int], bool] = {}


_held = _Held()


@contextmanager
def locked_directories(
    files: Iterable[Path], *, patience_seconds: float = PATIENCE_SECONDS
) -> Iterator[bool]:
    """Keep other writers out of the directories of some files.

    Args:
        files: The files; their directories exist.
        patience_seconds: How long to wait for another writer.

    Yields:
        Whether there is a lock; False where a file system knows none: then names that
        cannot meet are all the protection there is.

    Raises:
        FileProblem: A directory cannot be opened, or another process keeps it.
    """
    with ExitStack() as stack:
        locked = [
            stack.enter_context(_locked(each, path, patience_seconds))
            for each, path in _one_for_each_directory(files)
        ]
        yield all(locked)


def _one_for_each_directory(
    files: Iterable[Path],
) -> list[tuple[tuple[int, int], Path]]:
    """Return one file of each directory, in an order that all writers have.

    A directory has many names: taken twice, it would be waited for in vain.
    """
    found: dict[tuple[int, int], Path] = {}
    for path in files:
        try:
            status = path.parent.stat()
        except OSError as error:
            raise _problem(path, error) from error
        found.setdefault((status.st_dev, status.st_ino), path)
    return sorted(found.items())


@contextmanager
def _locked(
    directory: tuple[int, int], path: Path, patience_seconds: float
) -> Iterator[bool]:
    if directory in _held.directories:
        yield _held.directories[directory]
        return
    with ExitStack() as stack:
        try:
            here = stack.enter_context(opened_directory(path.parent))
            locked = _wait_for(here, path, patience_seconds)
        except OSError as error:
            raise _problem(path, error) from error
        _held.directories[directory] = locked
        try:
            yield locked
        finally:
            del _held.directories[directory]


def _wait_for(descriptor: int, path: Path, patience_seconds: float) -> bool:
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise FileProblem(
                    path,
                    action="write",
                    reason="another process has been replacing files beside it for "
                    f"{patience_seconds:g} seconds; wait for it, or end it",
                ) from None
            time.sleep(_PAUSE_SECONDS)
        except OSError:
            return False  # a network's file system that locks no directories
        else:
            return True


def _problem(path: Path, error: OSError) -> FileProblem:
    return FileProblem(
        path, action="write", reason=error.strerror or str(error), errno=error.errno
    )
