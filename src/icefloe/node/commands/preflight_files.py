"""Preflight's look at files: what would be written, who has to read it, and the room.

Files are replaced by a rename, so it is the *directory* that has to let us write; a
file that is there has to be readable, for its back-up is a copy.  What root writes
belongs to the daemon's user afterwards; what anybody else writes stays his, and a
daemon of another user could not read the key.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from icefloe.enrollment.problems import Code
from icefloe.node.commands.checks import Check
from icefloe.storage.files import Owner
from icefloe.storage.walking import opened_directory

__all__ = ["check_disk", "check_files"]

_FREE_BYTES_MIN: Final = 16 * 1024 * 1024
"""Keys, certificates, configuration and their back-ups are some 100 kB; a ledger grows
by some kB a request, and SQLite wants room for its log."""

_FREE_FILES_MIN: Final = 64

_PROBLEMS_SHOWN_MAX: Final = 4
"""A wrong owner shows in every file of a directory."""

_MEGABYTE: Final = 1024 * 1024


def check_files(
    paths: Iterable[Path], reads: Iterable[Path], *, owner: Owner | None
) -> Iterator[Check]:
    """Check that files can be written, and read by the daemon's user afterwards.

    Args:
        paths: What would be written; need not exist.
        reads: What is there already and has to be readable.
        owner: The daemon's user and group; None: whoever runs this.

    Yields:
        One check for each problem, at most four; else a single one that is ok.
    """
    wanted = tuple(dict.fromkeys(paths))
    problems = list(dict.fromkeys(_problems(wanted, tuple(reads), owner)))
    for detail, fix in problems[:_PROBLEMS_SHOWN_MAX]:
        yield Check("files", ok=False, detail=detail, code=Code.FILE_RIGHTS, fix=fix)
    if not problems:
        places = {str(_existing(path.parent)) for path in wanted}
        text = f"{len(wanted)} files can be written below {_common(places)}"
        yield Check("files", ok=True, detail=text)


def check_disk(places: Iterable[Path]) -> Iterator[Check]:
    """Check that there is room where files would be written.

    Yields:
        One check for each file system that is full; else a single one that is ok.
    """
    seen: dict[int, tuple[Path, int, int | None]] = {}
    for place in places:
        directory = _existing(place)
        try:
            device, status = directory.stat().st_dev, os.statvfs(directory)
        except OSError:
            continue  # what cannot be looked into is among the files' problems
        free = status.f_frsize * (status.f_bavail if os.geteuid() else status.f_bfree)
        # Some file systems do not count their files.
        files = status.f_favail if status.f_files else None
        seen[device] = (directory, free, files)
    full = False
    for directory, free, files in seen.values():
        if free >= _FREE_BYTES_MIN and (files is None or files >= _FREE_FILES_MIN):
            continue
        full = True
        what = f"{free // _MEGABYTE} MB" if free < _FREE_BYTES_MIN else f"{files} files"
        yield Check(
            "disk",
            ok=False,
            detail=f"only {what} left at '{directory}'",
            code=Code.DISK_FULL,
            fix=f"free {_FREE_BYTES_MIN // _MEGABYTE} MB there, then run this again",
        )
    if not full and seen:
        least = min(free for _, free, _ in seen.values())
        yield Check("disk", ok=True, detail=f"{_size(least)} free")


# --- Parts ----------------------------------------------------------------------------

_Problem = tuple[str, str]


def _problems(
    paths: tuple[Path, ...], reads: tuple[Path, ...], owner: Owner | None
) -> Iterator[_Problem]:
    us = os.geteuid()
    if us != 0 and owner is not None and owner[0] not in {us, 0}:
        name = _user(owner[0])
        yield (
            f"the node's files belong to the user {name}, and this runs as {_user(us)}",
            f"run this as root or as {name}",
        )
        return
    for directory in dict.fromkeys(path.parent for path in paths):
        yield from _directory_problems(directory)
    for path in dict.fromkeys((*paths, *reads)):
        yield from _present_file_problems(path)
    if us == 0 and owner is not None and owner[0] != 0:
        user = _Permissions(owner)
        for directory in dict.fromkeys(path.parent for path in paths):
            yield from user.problems_of_way(directory)
        for path in reads:
            yield from user.problems_of_file(path)


def _directory_problems(directory: Path) -> Iterator[_Problem]:
    """Find why nothing could be made in a directory, or the nearest one above it."""
    place = _existing(directory)
    if not os.path.isdir(place):  # noqa: PTH112 - the one that never raises
        yield f"'{place}' is not a directory", "move it away"
        return
    try:
        with opened_directory(place):
            pass
    except PermissionError:
        yield f"'{place}' cannot be opened", _as_daemon_user(place)
        return
    except OSError as error:
        yield f"'{place}': {error.strerror or error}", "use a directory there"
        return
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        yield f"'{place}' is on a read-only file system", "mount it writable"
    elif not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
        yield (
            f"'{place}' cannot be written by {_user(os.geteuid())}",
            _as_daemon_user(place),
        )


def _present_file_problems(path: Path) -> Iterator[_Problem]:
    """Find why a file that is there cannot be backed up and replaced."""
    try:
        status = path.stat()
    except OSError:
        return  # not there, or in a directory that was complained of
    if not stat.S_ISREG(status.st_mode):
        yield f"'{path}' is not a regular file", "move it away"
    elif not os.access(path, os.R_OK, effective_ids=True):
        yield f"'{path}' cannot be read by {_user(os.geteuid())}", _as_daemon_user(path)


class _Permissions:
    """What another user may do, by mode bits: we are root and may do everything."""

    def __init__(self, owner: Owner) -> None:
        self._uid, gid = owner
        self._name = _user(self._uid)
        try:
            groups = os.getgrouplist(pwd.getpwuid(self._uid).pw_name, gid)
        except (KeyError, OSError):
            groups = [gid]
        self._groups = frozenset(groups)

    def problems_of_way(self, directory: Path) -> Iterator[_Problem]:
        """Find the directories that do not let the daemon's user pass."""
        place = _existing(directory)
        for each in (*reversed(place.parents), place):
            try:
                status = each.stat()
            except OSError:
                return
            if not self._may(status, 0o1):
                yield (
                    f"the daemon's user {self._name} may not pass '{each}'",
                    f"let it: chmod or chgrp '{each}', group {_group(status.st_gid)}",
                )
                return

    def problems_of_file(self, path: Path) -> Iterator[_Problem]:
        """Find out whether the daemon's user could not read a file that stays."""
        try:
            status = path.stat()
        except OSError:
            return
        if not self._may(status, 0o4):
            belongs = f"which belongs to {_user(status.st_uid)}"
            yield (
                f"the daemon's user {self._name} cannot read '{path}', {belongs}",
                f"chown {self._name} '{path}'",
            )

    def _may(self, status: os.stat_result, bit: int) -> bool:
        if status.st_uid == self._uid:
            return bool(status.st_mode & bit << 6)
        if status.st_gid in self._groups:
            return bool(status.st_mode & bit << 3)
        return bool(status.st_mode & bit)


def _existing(directory: Path) -> Path:
    """Return a directory, or the nearest one above it that is there."""
    for each in (directory, *directory.parents):
        if os.path.lexists(each):
            return each
    return Path("/")


def _common(places: set[str]) -> str:
    shown = [
        each
        for each in sorted(places)
        if not any(each != other and each.startswith(other + "/") for other in places)
    ]
    return " and ".join(f"'{each}'" for each in shown)


def _as_daemon_user(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "run this as root, or as the daemon's user"
    return f"run this as root or as {_user(status.st_uid)}, who owns it"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"with the id {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"with the id {gid}"


def _size(size: int) -> str:
    gigabyte = 1024 * _MEGABYTE
    if size >= gigabyte:
        return f"{size / gigabyte:.1f} GB"
    return f"{size // _MEGABYTE} MB"
