"""At most one canary in a while for each path: a small file remembers the last one.

Icinga may be told to check every second, or a retry interval may be short; each run
leaves something behind at real nodes.  Within the interval the last result is given
again, and says how old it is.  The file holds what the plugin printed, and no secret.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from icefloe.doors import WallTime
from icefloe.enrollment.requester import Parent
from icefloe.node.checks.canary_run import CanaryProblem
from icefloe.node.checks.canary_verdict import NAME
from icefloe.node.checks.plugin import Outcome, PluginState
from icefloe.storage.walking import open_directory, opened_directory

__all__ = ["HELD_BACK", "CanaryMemory"]

HELD_BACK: Final = "held-back"
"""The kind of outcome when another run has not ended."""

_FILE_BYTES_MAX: Final = 65_536
_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o600


class _Remembered(msgspec.Struct):
    """What stands in the file.

    Attributes:
        began_at: when the last run began.
        exit_code: what it ended with.
        kind: the same; "" while it runs, or when it died.
        text: what it said.
    """

    began_at: float
    exit_code: int = int(PluginState.UNKNOWN)
    kind: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class CanaryMemory:
    """The memory of one path.

    Attributes:
        directory: Where the files of all paths are; made when it is
            missing, and none above it.
        parent: Where the path begins.
        cn: The canary's name.
        interval: Seconds between two runs; 0: no bound, and nothing is remembered.
    """

    directory: Path
    parent: Parent
    cn: str
    interval: float

    def begin(self, at: WallTime) -> Outcome | None:
        """Note that a run begins, unless it is too soon.

        Returns:
            The last result, when it is; None: go on.

        Raises:
            CanaryProblem: Nothing can be remembered there.
        """
        if self.interval <= 0:
            return None
        with self._opened() as descriptor:
            last = _read(descriptor)
            if last is not None and 0 <= at - last.began_at < self.interval:
                return self._again(last, at - last.began_at)
            _write(descriptor, _Remembered(began_at=at))
        return None

    def end(self, outcome: Outcome, at: WallTime) -> None:
        """Note the result of the run that began at that time.

        Raises:
            CanaryProblem: Nothing can be remembered there.
        """
        if self.interval <= 0:
            return
        remembered = _Remembered(
            began_at=at,
            exit_code=int(outcome.state),
            kind=outcome.kind,
            text=outcome.text,
        )
        with self._opened() as descriptor:
            _write(descriptor, remembered)

    def forget(self) -> None:
        """Take the note of a run back that came to nothing, so that the next may go."""
        if self.interval <= 0:
            return  # it noted nothing; what stands there is another run's
        with suppress(OSError), opened_directory(self.directory) as here:
            os.unlink(self.path.name, dir_fd=here)

    @property
    def path(self) -> Path:
        """The file."""
        name = f"{self.cn}/{self.parent.host}/{self.parent.port}"
        return self.directory / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"

    def _again(self, last: _Remembered, age: float) -> Outcome:
        bound = f"at most one run in {self.interval:.0f} s"
        if not last.kind:
            return Outcome(
                name=NAME,
                state=PluginState.UNKNOWN,
                kind=HELD_BACK,
                text=f"held back: another run began {age:.0f} s ago and has not ended; "
                f"{bound}",
            )
        return Outcome(
            name=NAME,
            state=PluginState(last.exit_code),
            kind=last.kind,
            text=f"{last.text} (held back: this was {age:.0f} s ago; {bound})",
            facts={"held_back": True, "age": round(age, 1)},
        )

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the file for one process alone; what it holds is replaced in place."""
        try:
            descriptor = self._open()
        except OSError as error:
            raise CanaryProblem(
                f"cannot remember the last run in '{self.directory}': "
                f"{error.strerror or error}; give --state-dir, or --interval 0 to go "
                "without a bound"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _there(self) -> Iterator[int]:
        """Open the directory; make it, and none above it, when it is not there.

        Root follows nobody's link but its own on the way: whoever owns the directory
        above could let it write anywhere.
        """
        try:
            descriptor = open_directory(self.directory)
        except FileNotFoundError:
            with (
                opened_directory(self.directory.parent) as above,
                suppress(FileExistsError),
            ):
                os.mkdir(self.directory.name, _DIRECTORY_MODE, dir_fd=above)
            descriptor = open_directory(self.directory)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with self._there() as directory:
            descriptor = os.open(self.path.name, flags, _FILE_MODE, dir_fd=directory)
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
            return descriptor
        os.close(descriptor)
        text = f"'{self.path.name}' is another file's name, too, or no plain file"
        raise OSError(errno.EINVAL, text)


def _read(descriptor: int) -> _Remembered | None:
    """Return what is remembered; None for nothing, and for what nobody can read."""
    content = os.pread(descriptor, _FILE_BYTES_MAX, 0)
    try:
        found = msgspec.json.decode(content, type=_Remembered)
        PluginState(found.exit_code)
    except (msgspec.DecodeError, ValueError):
        return None
    return found


def _write(descriptor: int, remembered: _Remembered) -> None:
    content = msgspec.json.encode(remembered)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)
    except OSError as error:
        raise CanaryProblem(
            f"cannot remember this run: {error.strerror or error}; make room, or give "
            "--state-dir"
        ) from error
