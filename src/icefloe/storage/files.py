"""Files that are never half written, never too open, and never left lying about.

Everything an operator or a real icinga2 may look at in the meantime is replaced in one
step: write a new file beside the old one, bring it to disk, rename it over the old
one, bring the directory to disk.  After a crash at any point there is the old content
or the new content under the name, and at worst a `.<name>.tmp.<random>` beside it.

Commands of root write into directories that belong to the daemon user, who may be
hostile or merely hacked.  So the directory is opened once, through no link of that
user's (`walking`), and everything happens relative to it; the new file's name cannot be guessed and is created exclusively (a
symbolic link planted in its place is an error, not a target); a link under the final
name is replaced, not followed.

A failure is a `FileProblem`, which names the path, what was tried and why it failed.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

from icefloe.errors import IcefloeError
from icefloe.storage.walking import opened_directory

__all__ = [
    "BACKUP_SUFFIX",
    "FILE_BYTES_MAX",
    "FileProblem",
    "Owner",
    "back_up",
    "ensure_directory",
    "read_file",
    "read_file_if_there",
    "read_plain_file",
    "read_plain_file_with_status",
    "remove_file",
    "write_file",
]

Owner: TypeAlias = tuple[int, int]
"""User id and group id."""

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Longest file read whole: keys, certificates, configuration, revocation lists."""

BACKUP_SUFFIX: Final = ".orig"
"""protocol: Icinga's set-up commands keep what they found under this suffix."""

_ADVICE: Final = {
    errno.EACCES: "run this as the daemon user or as root, or check the permissions",
    errno.EPERM: "run this as the daemon user or as root",
    errno.EROFS: "the file system is mounted read-only",
    errno.ENOSPC: "free some space and try again",
    errno.EDQUOT: "free some space and try again",
}


class FileProblem(IcefloeError):
    """The operating system would not let a file be read or written.

    A failed write has changed nothing, with one exception: when only the directory
    could not be brought to disk, the new content is in place but might not survive a
    power cut.

    Attributes:
        path: The file or directory.
        action: What was tried: "read", "write", "back up", "create", "remove"; for a
            key file that can be read but not used, "use the key in".
        reason: Why it failed, in the operating system's words.
        errno: The error number, or None when the reason is not the system's.
    """

    def __init__(
        self, path: Path, *, action: str, reason: str, errno: int | None = None
    ) -> None:
        self.path = path
        self.action = action
        self.reason = reason
        self.errno = errno
        advice = f"; {_ADVICE[errno]}" if errno in _ADVICE else ""
        super().__init__(f"cannot {action} '{path}': {reason}{advice}")

    @property
    def is_missing(self) -> bool:
        """Whether the reason is that the file, or a directory above it, is not there."""
        return self.errno == errno.ENOENT


# --- Reading --------------------------------------------------------------------------


def read_file(path: Path, *, bytes_max: int = FILE_BYTES_MAX) -> bytes:
    """Read a whole regular file.

    Args:
        path: The file; a symbolic link is followed.
        bytes_max: A longer file is an error.

    Raises:
        FileProblem: It is not there (`is_missing`), not a regular file, too long, or
            the operating system objects.
    """
    with _problems_of(path, "read"):
        # O_NONBLOCK: a pipe in the file's place is seen as one, and not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return _content(descriptor, bytes_max)
        finally:
            os.close(descriptor)


def read_file_if_there(path: Path, *, bytes_max: int = FILE_BYTES_MAX) -> bytes | None:
    """Read a whole regular file; None when it is not there.

    Raises:
        FileProblem: As for `read_file`, but for a missing file.
    """
    try:
        return read_file(path, bytes_max=bytes_max)
    except FileProblem as error:
        if error.is_missing:
            return None
        raise


def read_plain_file(path: Path) -> bytes:
    """Read a whole regular file that is no symbolic link.

    Raises:
        FileProblem: As for `read_file`; also when it is a link.
    """
    return read_plain_file_with_status(path)[0]


def read_plain_file_with_status(path: Path) -> tuple[bytes, os.stat_result]:
    """Read a whole regular file that is no link, and whose it is.

    Both are of what was opened: asked for by name a second time, a file in a directory
    of another user may be another one.

    Raises:
        FileProblem: As for `read_plain_file`.
    """
    with _problems_of(path, "read"), opened_directory(path.parent) as directory:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(path.name, flags, dir_fd=directory)
        try:
            return _content(descriptor, FILE_BYTES_MAX), os.fstat(descriptor)
        finally:
            os.close(descriptor)


def _content(descriptor: int, bytes_max: int) -> bytes:
    """Read an open regular file; `ValueError` when it is none or too long."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise ValueError("it is not a regular file")
    parts = []
    room = bytes_max + 1
    while room > 0 and (part := os.read(descriptor, min(room, 1024 * 1024))):
        parts.append(part)
        room -= len(part)
    if room <= 0:
        raise ValueError(f"it is longer than {bytes_max} bytes")
    return b"".join(parts)


# --- Writing --------------------------------------------------------------------------


def write_file(
    path: Path, data: bytes, *, mode: int, owner: Owner | None = None
) -> None:
    """Replace a file, or create it, in one step that survives a crash.

    Args:
        path: The file.  Its directory must exist.  A symbolic link is replaced.
        data: The whole new content.
        mode: The final permissions, whatever the umask; the file never has more.
            Nothing else of a mode is set: no set-user-id, whoever asks for it.
        owner: Who gets the file when we are root; None keeps the old file's owner.
            Another user than root owns what it writes.

    Raises:
        FileProblem: See there; no temporary file is left behind.
    """
    mode &= 0o777
    with _problems_of(path, "write"), opened_directory(path.parent) as directory:
        if owner is None:
            owner = _owner_in(directory, path.name)
        temporary = f".{path.name}.tmp.{secrets.token_hex(8)}"
        _create(directory, temporary, data, mode=mode, owner=owner)
        try:
            os.replace(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            _discard(directory, temporary)
            raise
        _synchronize_directory(directory)


def back_up(path: Path) -> Path | None:
    """Keep a copy of a file as `<file>.orig`, unless there is one already.

    protocol: Icinga's rule.  The first copy is the one worth having: what was there
    before any set-up command ran.  There is never a second one.

    Returns:
        The copy, with the file's own permissions and owner; None when there was
        nothing to copy, the file is a link, or a copy (or anything else of that
        name) exists.

    Raises:
        FileProblem: The file is not regular, or the operating system objects.
    """
    copy = path.with_name(path.name + BACKUP_SUFFIX)
    with _problems_of(path, "back up"):
        if os.path.lexists(copy) or not os.path.lexists(path):
            return None
        # A link is not followed: as root we would copy what the link's maker may
        # not read, or a set-user-id program, into a directory of his.
        if path.is_symlink():
            return None
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        with opened_directory(path.parent) as directory:
            descriptor = os.open(path.name, flags, dir_fd=directory)
        try:
            status = os.fstat(descriptor)
            data = _content(descriptor, FILE_BYTES_MAX)
        finally:
            os.close(descriptor)
    write_file(
        copy,
        data,
        mode=stat.S_IMODE(status.st_mode) & 0o777,
        owner=(status.st_uid, status.st_gid),
    )
    return copy


def remove_file(path: Path) -> bool:
    """Remove a file for good.

    Returns:
        Whether it was there.

    Raises:
        FileProblem: The operating system objects.
    """
    with _problems_of(path, "remove"):
        try:
            with opened_directory(path.parent) as directory:
                os.unlink(path.name, dir_fd=directory)
                _synchronize_directory(directory)
        except FileNotFoundError:
            return False
    return True


def ensure_directory(path: Path, *, mode: int, owner: Owner | None = None) -> None:
    """Create a directory, and those above it, where they are missing.

    Args:
        path: The directory.  One that exists is left as it is.
        mode: The permissions of each directory created, whatever the umask.
        owner: Who gets them when we are root.

    Raises:
        FileProblem: Something else has the name, or the operating system objects.
    """
    with _problems_of(path, "create"):
        for directory in [*reversed(path.parents), path]:
            _ensure_one_directory(directory, mode=mode, owner=owner)


# --- Parts ----------------------------------------------------------------------------


@contextmanager
def _problems_of(path: Path, action: str) -> Iterator[None]:
    """Turn what the operating system says into a `FileProblem` about `path`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileProblem(
            path, action=action, reason=reason, errno=error.errno
        ) from error
    except ValueError as error:  # ours, or a path with a NUL character
        raise FileProblem(path, action=action, reason=str(error)) from error


def _owner_in(directory: int, name: str) -> Owner | None:
    """Return the owner of a file in a directory, or None when it is not there."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_uid, status.st_gid


def _create(
    directory: int, name: str, data: bytes, *, mode: int, owner: Owner | None
) -> None:
    """Create a file and bring it to disk; on failure there is no such file."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, mode, dir_fd=directory)
    try:
        try:
            if owner is not None and os.geteuid() == 0:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)  # the umask may have taken some away
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)  # may report what an earlier write could not
    except BaseException:
        _discard(directory, name)
        raise


def _discard(directory: int, name: str) -> None:
    """Remove a temporary file; the error that led here matters more than another."""
    with suppress(OSError):
        os.unlink(name, dir_fd=directory)


def _synchronize_directory(directory: int) -> None:
    """Bring a directory's entries to disk, where its file system knows how."""
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise


def _ensure_one_directory(path: Path, *, mode: int, owner: Owner | None) -> None:
    """Create one directory unless it is there."""
    if path.is_dir():
        # Also "/", which has no name in a directory above it.
        return
    with opened_directory(path.parent) as parent:
        try:
            os.mkdir(path.name, mode, dir_fd=parent)
        except FileExistsError:
            if path.is_dir():
                return  # another process was faster
            raise
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path.name, flags, dir_fd=parent)
        try:
            if owner is not None and os.geteuid() == 0:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
        _synchronize_directory(parent)
