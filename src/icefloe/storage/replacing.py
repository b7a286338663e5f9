"""Replacing files that belong together, so that the old ones are not lost.

One file is replaced in one step (`files.write_file`); several are not.  So everything
that can fail is done first: the new contents are written beside the old files and read
back, and the old files get a second name with the time.  What is left are renames, in
the order given, and a crash between two of them leaves a state that the caller has
thought of.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from icefloe.doors import WallTime
from icefloe.storage.files import (
    FileProblem,
    Owner,
    read_file,
    read_file_if_there,
    read_plain_file,
    remove_file,
    write_file,
)
from icefloe.storage.walking import opened_directory

__all__ = ["BACKUPS_MAX", "BACKUP_MARK", "replace_together"]

BACKUPS_MAX: Final = 5
"""Earlier versions of a file that are kept; a node gets about one a year."""

BACKUP_MARK: Final = ".before-"
"""`agent.crt.before-20270115T120000Z`: what was there before that moment (UTC)."""

_STAGED_SUFFIX: Final = ".staged"


def replace_together(
    contents: Sequence[tuple[Path, bytes]],
    *,
    mode: int,
    owner: Owner | None,
    at: WallTime,
) -> tuple[Path, ...]:
    """Replace or create files, one after the other, keeping the old ones.

    Args:
        contents: The files and what they are to hold, in the order of the renames.
            A file that holds it already is not touched.
        mode: The permissions of every file.
        owner: Who gets them when we are root.
        at: The time, for the names of what is kept.

    Returns:
        The files that were replaced or created.

    Raises:
        FileProblem: The operating system objects.  Before the first rename nothing
            has been changed; afterwards the files renamed so far are the new ones.
    """
    changed = [(path, new) for path, new in contents if read_file_if_there(path) != new]
    try:
        for path, new in changed:
            _stage(path, new, mode=mode, owner=owner)
        for path, _ in changed:
            _keep(path, at)
        for path, _ in changed:
            _rename(_beside(path), path)
    except BaseException:
        for path, _ in changed:
            with suppress(FileProblem):
                remove_file(_beside(path))
        raise
    return tuple(path for path, _ in changed)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}{_STAGED_SUFFIX}")


def _stage(path: Path, new: bytes, *, mode: int, owner: Owner | None) -> None:
    write_file(_beside(path), new, mode=mode, owner=owner)
    if read_file(_beside(path)) != new:
        raise FileProblem(path, action="write", reason="it reads back changed")


def _keep(path: Path, at: WallTime) -> None:
    """Give a file that is about to be replaced a second name; forget the oldest.

    Nothing is read, and the file's owner and permissions stay as they are.
    """
    stamp = datetime.fromtimestamp(at, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    backup = path.with_name(f"{path.name}{BACKUP_MARK}{stamp}")
    try:
        with opened_directory(path.parent) as here:
            os.link(
                path.name,
                backup.name,
                src_dir_fd=here,
                dst_dir_fd=here,
                follow_symlinks=False,
            )
    except FileNotFoundError:
        return  # there is nothing to keep
    except FileExistsError:
        return  # kept within this second, by an attempt that did not get further
    except OSError:
        # No second names on this file system (or not for us): a private copy. What a
        # link leads to stays where it is, and may be for root's eyes alone.
        if path.is_symlink() or not os.path.lexists(path):
            return
        write_file(backup, read_plain_file(path), mode=0o600)
    begin = path.name + BACKUP_MARK
    kept = sorted(each for each in _files_beside(path) if each.name.startswith(begin))
    for old in kept[:-BACKUPS_MAX]:
        remove_file(old)


def _files_beside(path: Path) -> list[Path]:
    try:
        return list(path.parent.iterdir())
    except OSError as error:
        raise _problem(path.parent, "read", error) from error


def _rename(source: Path, target: Path) -> None:
    try:
        with opened_directory(target.parent) as here:
            os.replace(source.name, target.name, src_dir_fd=here, dst_dir_fd=here)
            with suppress(OSError):  # not every file system knows how
                os.fsync(here)
    except OSError as error:
        raise _problem(target, "write", error) from error


def _problem(path: Path, action: str, error: OSError) -> FileProblem:
    return FileProblem(
        path, action=action, reason=error.strerror or str(error), errno=error.errno
    )
