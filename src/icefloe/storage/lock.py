"""The daemon's lock: one daemon per data directory, and commands see if it runs.

The lock is the kernel's (flock), on a file that also tells the holder's process id.
The kernel frees it when the process ends, however it ends; the file stays, and what
it tells counts only while the lock is held. The file is never deleted: another
process might just be locking it, and then two would hold "the" lock.

    IcefloeError
      LockError
        DaemonRunningError   another process holds the lock
        LockUnusableError    the lock's file cannot be made or read
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from icefloe.errors import IcefloeError

FILE_MODE = 0o600

PATIENCE_SECONDS = 0.5
"""How long to try for the lock. `is_held` takes it for some microseconds to see
whether it is free, and must not keep a daemon from starting."""

_PAUSE_SECONDS = 0.01
_PID_BYTES_MAX = 32


class LockError(IcefloeError):
    """The daemon's lock could not be taken or looked at.

    Attributes:
        path: The lock's file.
    """

    def __init__(self, path: Path, *details: object) -> None:
        super().__init__(path, *details)
        self.path = path


class DaemonRunningError(LockError):
    """Another process holds the lock.

    Attributes:
        pid: Its process id, or None when the file does not tell.
    """

    def __init__(self, path: Path, *, pid: int | None) -> None:
        super().__init__(path, pid)
        self.pid = pid

    def __str__(self) -> str:
        holder = "another process" if self.pid is None else f"process {self.pid}"
        return (
            f"The daemon is running already: {holder} holds {self.path}. "
            "Stop it first, or use another data directory."
        )


class LockUnusableError(LockError):
    """The lock's file cannot be made, opened or locked.

    Attributes:
        detail: The operating system's words.
    """

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(path, detail)
        self.detail = detail

    def __str__(self) -> str:
        return (
            f"The lock {self.path} cannot be used: {self.detail}. "
            "Run this as root or as the daemon's user, and see that its directory "
            "exists on a local disk."
        )


class DaemonLock:
    """A held lock. Made by `acquire()`; a context manager that releases it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """Use `acquire()`."""
        self.path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(
        cls,
        path: Path,
        *,
        owner: tuple[int, int] | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> Self:
        """Take the lock and write our process id into its file.

        Args:
            path: The lock's file; made (0600) when missing, its directory is not.
            owner: uid and gid for the file when it is made here.
            patience_seconds: How long to try.

        Raises:
            DaemonRunningError: another process holds it.
            LockUnusableError: the file cannot be made, opened or locked.
        """
        try:
            descriptor = _open_or_make(path, owner)
            try:
                _lock(descriptor, path, patience_seconds)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise _unusable(path, error) from error
        return cls(path, descriptor)

    def release(self) -> None:
        """Give the lock back. May be repeated; never raises."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
            with contextlib.suppress(OSError):
                os.close(descriptor)  # which unlocks

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock now: whether the daemon runs.

    Raises:
        LockUnusableError: the file is there and cannot be opened or locked.
    """
    try:
        with _opened(path) as descriptor:
            return descriptor is not None and not _try(descriptor, fcntl.LOCK_SH)
    except OSError as error:
        raise _unusable(path, error) from error


def holder_pid(path: Path) -> int | None:
    """Return the process id of the lock's holder.

    Returns:
        None when nobody holds it, or when the holder has not written its id yet.

    Raises:
        LockUnusableError: the file is there and cannot be opened or locked.
    """
    try:
        with _opened(path) as descriptor:
            if descriptor is None or _try(descriptor, fcntl.LOCK_SH):
                return None
            return _read_pid(descriptor)
    except OSError as error:
        raise _unusable(path, error) from error


def _open_or_make(path: Path, owner: tuple[int, int] | None) -> int:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, FILE_MODE)
    except FileExistsError:
        return os.open(path, flags)
    if owner is not None:
        os.fchown(descriptor, *owner)
    return descriptor


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    """Open the file to look at it; None when there is none."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, patience_seconds: float) -> None:
    deadline = time.monotonic() + patience_seconds
    while not _try(descriptor, fcntl.LOCK_EX):
        if time.monotonic() >= deadline:
            raise DaemonRunningError(path, pid=_read_pid(descriptor))
        time.sleep(_PAUSE_SECONDS)


def _try(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_pid(descriptor: int) -> int | None:
    try:
        return int(os.pread(descriptor, _PID_BYTES_MAX, 0)) or None
    except ValueError:
        return None


def _unusable(path: Path, error: OSError) -> LockUnusableError:
    return LockUnusableError(path, error.strerror or str(error))
