"""Replacing files that belong together, so that the old ones are not lost.

One file is replaced in one step (`files.write_file`); several are not.  So everything
that can fail is done first: the new contents are written beside the old files and read
back, and the old files get a second name with the time.  What is left are renames, in
the order given, and a crash between two of them leaves a state that the caller has
thought of.

One writer at a time (`directory_lock`), and names that two writers cannot share.  What
a killed writer left staged is swept away by the next one.

A node's own identity needs more: `switching` does these same steps by a journal.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from icefloe.doors import WallTime
from icefloe.storage.directory_lock import locked_directories
from icefloe.storage.files import (
    FileProblem,
    Owner,
    read_file,
    read_file_if_there,
    read_plain_file,
    read_plain_file_with_status,
    remove_file,
    write_file,
)
from icefloe.storage.switch_record import RecordDamaged, RecordFile
from icefloe.storage.walking import opened_directory

__all__ = [
    "BACKUPS_MAX",
    "BACKUP_MARK",
    "keep",
    "put_back",
    "put_in_place",
    "replace_all",
    "replace_together",
    "stage",
    "sweep_staged",
    "synchronize",
]

BACKUPS_MAX: Final = 5
"""Earlier versions of a file that are kept; a node gets about one a year."""

BACKUP_MARK: Final = ".before-"
"""`agent.crt.before-20270115T120000Z`: what was there before that moment (UTC)."""

_STAGED_MARK: Final = ".staged"
_SAME_SECOND_MAX: Final = 1000


def replace_together(
    contents: Sequence[tuple[Path, bytes]],
    *,
    mode: int,
    owner: Owner | None,
    at: WallTime,
) -> tuple[Path, ...]:
    """Replace or create files of one mode; see `replace_all`."""
    return replace_all(
        [(path, new, mode) for path, new in contents], owner=owner, at=at
    )


def replace_all(
    contents: Sequence[tuple[Path, bytes, int]],
    *,
    owner: Owner | None,
    at: WallTime,
) -> tuple[Path, ...]:
    """Replace or create files, one after the other, keeping the old ones.

    Args:
        contents: The files, what they are to hold, and their permissions, in the
            order of the renames.  A file that holds it already is not touched.
        owner: Who gets them when we are root.
        at: The time, for the names of what is kept.

    Returns:
        The files that were replaced or created.

    Raises:
        FileProblem: The operating system objects.  Before the first rename nothing
            has been changed; afterwards the files renamed so far are the new ones.
    """
    if not _changed(contents):
        return ()
    with locked_directories([path for path, _, _ in contents]) as locked:
        changed = _changed(contents)
        if locked:
            for path, _, _ in changed:
                sweep_staged(path)
        staged: list[Path] = []
        try:
            for path, new, mode in changed:
                staged.append(stage(path, new, mode=mode, owner=owner))
            for path, _, _ in changed:
                keep(path, at, spare=_names_in_journal(path.parent))
            for one, (path, _, _) in zip(staged, changed, strict=True):
                put_in_place(one, path)
        except BaseException:
            for one in staged:
                with suppress(FileProblem):
                    remove_file(one)
            raise
    return tuple(path for path, _, _ in changed)


def _changed(
    contents: Sequence[tuple[Path, bytes, int]],
) -> list[tuple[Path, bytes, int]]:
    return [each for each in contents if read_file_if_there(each[0]) != each[1]]


def _names_in_journal(directory: Path) -> frozenset[str]:
    """Return what the journal of the identity in a directory may still go back to."""
    # Its place is beside that of the identity: DataDir/certs, DataDir/icefloe/identity.
    try:
        record = RecordFile(directory.parent / "icefloe" / "identity").read()
    except (FileProblem, RecordDamaged):
        return frozenset()
    return frozenset() if record is None else frozenset(record.names())


# --- The steps ------------------------------------------------------------------------


def stage(path: Path, new: bytes, *, mode: int, owner: Owner | None) -> Path:
    """Write what a file is to hold beside it, bring it to disk and read it back.

    Returns:
        The new file, under a name of its own.

    Raises:
        FileProblem: The operating system objects; nothing is left behind.
    """
    staged = _staged_name(path)
    whole = False
    try:
        write_file(staged, new, mode=mode, owner=owner)
        whole = read_file(staged) == new
    finally:
        if not whole:
            with suppress(FileProblem):
                remove_file(staged)
    if not whole:
        raise FileProblem(path, action="write", reason="it reads back changed")
    return staged


def _staged_name(path: Path) -> Path:
    return path.with_name(f".{path.name}{_STAGED_MARK}.{secrets.token_hex(8)}")


def sweep_staged(path: Path, *, spare: Collection[str] = ()) -> None:
    """Remove what killed writers staged for a file.  The directory has to be locked.

    Raises:
        FileProblem: The operating system objects.
    """
    # With one more dot: what `write_file` had in hand.
    begin = (f".{path.name}{_STAGED_MARK}.", f"..{path.name}{_STAGED_MARK}.")
    for each in _files_beside(path):
        if each.name.startswith(begin) and each.name not in spare:
            remove_file(each)


def keep(path: Path, at: WallTime, *, spare: Collection[str] = ()) -> Path | None:
    """Give a file that is about to be replaced a second name; forget the oldest.

    The file's owner and permissions stay as they are.

    Args:
        path: The file.
        at: The time, for the name.
        spare: Names of older ones that must not be forgotten.

    Returns:
        The second name; None when there is nothing to keep.

    Raises:
        FileProblem: The operating system objects.
    """
    kept = _second_name(path, at)
    if kept is None:
        return None
    begin = path.name + BACKUP_MARK
    there = sorted(each for each in _files_beside(path) if each.name.startswith(begin))
    # The new one counts, wherever the clock has put it.
    others = [each for each in there if each != kept and each.name not in spare]
    room = max(0, BACKUPS_MAX - (len(there) - len(others)))
    for old in others[: max(0, len(others) - room)]:
        remove_file(old)
    return kept


def _second_name(path: Path, at: WallTime) -> Path | None:
    stamp = datetime.fromtimestamp(at, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    first = path.with_name(f"{path.name}{BACKUP_MARK}{stamp}")
    for number in range(1, _SAME_SECOND_MAX):
        name = first if number == 1 else first.with_name(f"{first.name}-{number}")
        try:
            return _link_or_copy(path, name)
        except FileExistsError:
            # Kept within this second: by an attempt that did not get further, or
            # before another change.
            if _holds_the_same(path, name):
                return name
        except OSError as error:
            raise _problem(path, "back up", error) from error
    raise FileProblem(
        path, action="back up", reason=f"there are too many of '{first.name}'"
    )


def _link_or_copy(path: Path, name: Path) -> Path | None:
    """Make the second name; `FileExistsError` when it is taken."""
    try:
        with opened_directory(path.parent) as here:
            os.link(
                path.name,
                name.name,
                src_dir_fd=here,
                dst_dir_fd=here,
                follow_symlinks=False,
            )
    except FileNotFoundError:
        return None
    except FileExistsError:
        raise
    except OSError:
        # No second names on this file system (or not for us): a private copy. What a
        # link leads to stays where it is, and may be for root's eyes alone.
        if path.is_symlink() or not os.path.lexists(path):
            return None
        if os.path.lexists(name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        content, status = read_plain_file_with_status(path)
        write_file(name, content, mode=0o600, owner=(status.st_uid, status.st_gid))
    return name


def put_back(kept: Path, target: Path, *, mode: int, owner: Owner | None) -> None:
    """Put a kept file back in its place, and keep it under its second name, too.

    It takes no room where the file system knows second names: it works on a full disk.

    Args:
        kept: The second name, from `keep`.
        target: The place.
        mode: The permissions it had; for file systems without second names.
        owner: Who gets a copy when we are root, on such file systems; None keeps the
            kept file's owner.

    Raises:
        FileProblem: The operating system objects; nothing has been changed.
    """
    staged = _staged_name(target)
    try:
        try:
            with opened_directory(target.parent) as here:
                os.link(
                    kept.name,
                    staged.name,
                    src_dir_fd=here,
                    dst_dir_fd=here,
                    follow_symlinks=False,
                )
        except OSError:
            content, status = read_plain_file_with_status(kept)
            whose = owner or (status.st_uid, status.st_gid)
            write_file(staged, content, mode=mode, owner=whose)
        put_in_place(staged, target)
    except BaseException:
        with suppress(FileProblem):
            remove_file(staged)
        raise


def _holds_the_same(path: Path, other: Path) -> bool:
    try:
        return read_plain_file(path) == read_plain_file(other)
    except FileProblem:
        return False


def _files_beside(path: Path) -> list[Path]:
    try:
        return list(path.parent.iterdir())
    except OSError as error:
        raise _problem(path.parent, "read", error) from error


def put_in_place(staged: Path, target: Path) -> None:
    """Rename a staged file over the one it is for, and bring that to disk.

    Raises:
        FileProblem: The operating system objects.  When only the directory could not
            be brought to disk, the file is in place.
    """
    try:
        with opened_directory(target.parent) as here:
            os.replace(staged.name, target.name, src_dir_fd=here, dst_dir_fd=here)
            _synchronize(here)
    except OSError as error:
        raise _problem(target, "write", error) from error


def synchronize(directory: Path) -> None:
    """Bring a directory's names to disk.

    Raises:
        FileProblem: The operating system objects.
    """
    try:
        with opened_directory(directory) as here:
            _synchronize(here)
    except OSError as error:
        raise _problem(directory, "write", error) from error


def _synchronize(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # it does not know how
            raise


def _problem(path: Path, action: str, error: OSError) -> FileProblem:
    return FileProblem(
        path, action=action, reason=error.strerror or str(error), errno=error.errno
    )
