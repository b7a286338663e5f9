"""Carrying out a plan of configuration changes on disk.

`icefloe.config` decides and returns a `Plan`; here it is done.  Each file is kept as
`.orig` before its first change (protocol: Icinga's rule).

A plan is staged first: every new content is written beside its file, with its final
owner and mode, and every link is made under another name.  What a full disk or missing
rights can spoil is spoilt then, while nothing has changed; what is left is a row of
renames, and its order is such that what points to something comes after it.  What is
replaced has a second name until the last one is done: when one fails (a file that is
mounted, or immutable, cannot be renamed over), those before it are taken back.  A
set-up stages before it asks a parent, and commits or discards when it knows the answer.
Carrying out the same plan again completes what a crash interrupted.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from icefloe.config.plan import Plan, PlannedFile, PlannedLink
from icefloe.storage.files import (
    FileProblem,
    Owner,
    back_up,
    ensure_directory,
    read_file_if_there,
    read_plain_file_with_status,
    remove_file,
    write_file,
)
from icefloe.storage.narrator import Narrator
from icefloe.storage.walking import opened_directory

__all__ = ["StagedPlan", "carry_out", "staged"]

_DIRECTORY_MODE: Final = 0o750
"""As Debian's package installs the configuration directories."""

_STAGED_SUFFIX: Final = ".staged"
_KEPT_SUFFIX: Final = ".kept"


def carry_out(plan: Plan, *, owner: Owner | None, narrator: Narrator) -> None:
    """Write, link and remove what a plan says; what is so already is left alone.

    Args:
        plan: The changes.
        owner: The daemon's user and group, who get the files when we are root.
        narrator: Is told of each change.

    Raises:
        FileProblem: The operating system objects; see `staged` and `StagedPlan.commit`.
    """
    with staged(plan, owner=owner, narrator=narrator) as changes:
        changes.commit()


@contextmanager
def staged(
    plan: Plan, *, owner: Owner | None, narrator: Narrator
) -> Iterator[StagedPlan]:
    """Write a plan beside the files it is about, to be committed or not.

    Args:
        plan: The changes.
        owner: The daemon's user and group, who get the files when we are root.
        narrator: Is told of each change when it is committed.

    Yields:
        The plan; what was not committed when the context ends is discarded.

    Raises:
        FileProblem: The operating system objects; nothing is changed.
    """
    changes = StagedPlan(plan, owner, narrator)
    try:
        changes.stage()
        yield changes
    finally:
        changes.discard()


@dataclass(slots=True)
class StagedPlan:
    """A plan whose new files lie beside the old ones.  Use `staged`."""

    _plan: Plan
    _owner: Owner | None
    _narrator: Narrator
    _waiting: list[Path] = field(default_factory=list)
    """Files and links that are staged, by their final names."""
    _kept: list[Path] = field(default_factory=list)
    """What has a second name, until everything is in place."""
    _copies: list[Path] = field(default_factory=list)
    _directories: list[Path] = field(default_factory=list)

    def stage(self) -> None:
        """Write everything that is to be written, beside its place.

        Raises:
            FileProblem: The operating system objects; then `discard`.
        """
        for file in self._plan.files:
            self._stage_file(file)
        for link in self._plan.links:
            self._stage_link(link)
        for path in (*self._waiting, *self._plan.removals):
            self._keep(path)

    def commit(self) -> None:
        """Put everything in its place, or leave everything as it was.

        Raises:
            FileProblem: The operating system objects; what was replaced already is
                back.
        """
        done: list[Path] = []
        try:
            for path in tuple(self._waiting):
                self._put_in_place(path)
                done.append(path)
            for path in self._plan.removals:
                remove_file(path)
                done.append(path)
        except BaseException:
            for path in reversed(done):
                self._take_back(path)
            raise
        for copy in self._copies:
            self._narrator.information(f"Created backup file '{copy}'.")
        self._copies.clear()
        self._directories.clear()
        for file in self._plan.files:
            if file.path in done:
                self._narrator.information(f"Updated '{file.path}'.")

    def discard(self) -> None:
        """Remove what was staged and not committed, and what was made for it."""
        for path in (
            *map(_beside, self._waiting),
            *map(_second_name, self._kept),
            *self._copies,
        ):
            with suppress(FileProblem):
                remove_file(path)
        for directory in reversed(self._directories):
            with suppress(OSError):
                directory.rmdir()
        self._waiting.clear()
        self._kept.clear()
        self._copies.clear()
        self._directories.clear()

    def _stage_file(self, file: PlannedFile) -> None:
        data = file.text.encode()
        if read_file_if_there(file.path) == data:
            return
        self._ensure_directory(file.path.parent)
        copy = back_up(file.path)
        if copy is not None:
            self._copies.append(copy)
        owner = self._owner or _owner_of(file.path)
        self._waiting.append(file.path)
        write_file(_beside(file.path), data, mode=file.mode, owner=owner)

    def _stage_link(self, link: PlannedLink) -> None:
        directory = link.path.parent
        self._ensure_directory(directory)
        temporary = _beside(link.path)
        self._waiting.append(link.path)
        with _problems_of(link.path), opened_directory(directory) as here:
            with suppress(FileNotFoundError):
                os.unlink(temporary.name, dir_fd=here)
            os.symlink(link.target, temporary.name, dir_fd=here)
            if self._owner is not None and os.geteuid() == 0:
                os.chown(
                    temporary.name, *self._owner, dir_fd=here, follow_symlinks=False
                )

    def _keep(self, path: Path) -> None:
        """Give what is to be replaced a second name."""
        kept = _second_name(path)
        if not os.path.lexists(path):
            return
        with _problems_of(path), opened_directory(path.parent) as here:
            with suppress(FileNotFoundError):
                os.unlink(kept.name, dir_fd=here)
            try:
                os.link(
                    path.name,
                    kept.name,
                    src_dir_fd=here,
                    dst_dir_fd=here,
                    follow_symlinks=False,
                )
            except OSError:
                # No second names on this file system, or not for a mounted file.
                _copy(path, kept)
        self._kept.append(path)

    def _take_back(self, path: Path) -> None:
        """Put what was replaced back; the error that led here matters more."""
        with suppress(OSError), opened_directory(path.parent) as here:
            if path in self._kept:
                kept = _second_name(path).name
                os.replace(kept, path.name, src_dir_fd=here, dst_dir_fd=here)
            else:
                os.unlink(path.name, dir_fd=here)

    def _put_in_place(self, path: Path) -> None:
        with _problems_of(path), opened_directory(path.parent) as here:
            os.replace(_beside(path).name, path.name, src_dir_fd=here, dst_dir_fd=here)
            self._waiting.remove(path)
            with suppress(OSError):  # not every file system knows how
                os.fsync(here)

    def _ensure_directory(self, directory: Path) -> None:
        missing = [
            each
            for each in [*reversed(directory.parents), directory]
            if not each.is_dir()
        ]
        self._directories += missing
        ensure_directory(directory, mode=_DIRECTORY_MODE, owner=self._owner)


def _beside(path: Path) -> Path:
    """Where a file waits: hidden, and outside of what `*.conf` includes."""
    return path.with_name(f".{path.name}{_STAGED_SUFFIX}")


def _second_name(path: Path) -> Path:
    return path.with_name(f".{path.name}{_KEPT_SUFFIX}")


def _copy(path: Path, copy: Path) -> None:
    """Copy a file with its owner and mode, or make a link again.

    Raises:
        OSError: It is a link that root must not make again: its maker would choose
            where a link of root's leads, and those are followed (`walking`).
        FileProblem: The operating system objects.
    """
    with opened_directory(path.parent) as here:
        # The file itself is opened, so that what is looked at is what is read.
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        found = os.open(path.name, flags, dir_fd=here)
        try:
            status = os.fstat(found)
            if stat.S_ISLNK(status.st_mode):
                if os.geteuid() == 0 and status.st_uid != 0:
                    text = (
                        f"it is a symbolic link made by the user id {status.st_uid}, "
                        "which root does not make again; replace it by a file"
                    )
                    raise OSError(errno.EMLINK, text)
                os.symlink(os.readlink("", dir_fd=found), copy.name, dir_fd=here)
                return
        finally:
            os.close(found)
    content, status = read_plain_file_with_status(path)
    mode, owner = stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
    write_file(copy, content, mode=mode, owner=owner)


def _owner_of(path: Path) -> Owner | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_uid, status.st_gid


@contextmanager
def _problems_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileProblem(
            path,
            action="write",
            reason=error.strerror or str(error),
            errno=error.errno,
        ) from error
