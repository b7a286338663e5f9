"""Sets of copies on disk: taken, listed, read, forgotten.

A set is written under a name that nobody looks for, and appears in whole by one rename.
It goes the same way: renamed first, then emptied.  What a killed writer left is swept
away by the next one.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from icefloe.config.layout import NodeDirectories
from icefloe.doors import WallTime
from icefloe.errors import IcefloeError
from icefloe.storage.backup_manifest import (
    FORMAT,
    Found,
    Kind,
    Manifest,
    find_all,
)
from icefloe.storage.directory_lock import locked_directories
from icefloe.storage.files import (
    FileProblem,
    Owner,
    ensure_directory,
    read_plain_file,
    remove_file,
    write_file,
)
from icefloe.storage.replacing import synchronize
from icefloe.storage.switch_record import AT_END
from icefloe.storage.walking import opened_directory

__all__ = [
    "BACKUPS_MAX",
    "Backup",
    "BackupProblem",
    "list_backups",
    "read_set",
    "take_backup",
]

BACKUPS_MAX: Final = 5
"""Sets that are kept; a set is about 20 KB."""

_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_MANIFEST: Final = "manifest.json"
_UNFINISHED: Final = ".unfinished-"
_NAME: Final = re.compile(r"(\d{8}T\d{6}Z)-([1-9]\d{0,3})", re.ASCII)
_STAMP: Final = "%Y%m%dT%H%M%SZ"
_SAME_SECOND_MAX: Final = 9999


class BackupProblem(IcefloeError):
    """A backup is not there, is damaged, or does not fit this node.

    Nothing has been changed.

    Attributes:
        name: The backup's name.
        problem: What is wrong with it.
        remedy: What to do.
    """

    def __init__(self, name: str, *, problem: str, remedy: str) -> None:
        self.name = name
        self.problem = problem
        self.remedy = remedy
        # The name is given, the problem may quote a manifest of the daemon's user: no
        # letter of theirs steers a terminal.
        text = f"the backup '{name}' {problem}; {remedy}"
        super().__init__(
            "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """One set of copies.

    Attributes:
        name: `20261122T182339Z-1`.
        path: Its directory.
        at: When it was taken.
        reason: What for: the operator's note, or the command that took it.
        node_name: The node whose identity it holds.
        files: What it holds copies of, absolute paths.
        damage: Why it cannot be restored; "" when its manifest and digests are right.
    """

    name: str
    path: Path
    at: WallTime
    reason: str
    node_name: str
    files: tuple[Path, ...]
    damage: str = ""


# --- Taking ---------------------------------------------------------------------------


def take_backup(
    directories: NodeDirectories,
    node_name: str,
    *,
    reason: str,
    at: WallTime,
    owner: Owner | None,
    before_restore_of: str = "",
) -> Backup | None:
    """Copy what the node is now.

    Args:
        directories: The node's.
        node_name: Whose key and certificate.
        reason: Shown by `node backups`; no secret.
        at: The time.
        owner: The daemon's user, who gets the copies when we are root.
        before_restore_of: The name of the set that is to be restored, which must not
            be forgotten now.

    Returns:
        The set: a new one, or the latest when it holds the very same for the same
        reason, or before a restore any that holds the very same; so a command that is
        run again and again pushes none out.  None when there is nothing to keep yet.

    Raises:
        LayoutError: No file can bear the node's name.
        FileProblem: The operating system objects.  No half set is left.
    """
    found = tuple(find_all(directories, node_name))
    if all(each.content is None for each in found):
        return None
    place = directories.backups
    manifest = Manifest(
        format=FORMAT,
        node_name=node_name,
        at=at,
        reason=reason,
        entries=tuple(each.entry for each in found),
        before_restore_of=before_restore_of,
    )
    ensure_directory(place, mode=_DIRECTORY_MODE, owner=owner)
    with locked_directories([place / _MANIFEST]) as locked:
        if locked:
            _sweep(place)
        there = _same(place, manifest)
        if there is not None:
            return there
        unfinished = place / f"{_UNFINISHED}{secrets.token_hex(8)}"
        try:
            _write(unfinished, manifest, found, owner)
            path = _finish(unfinished, at)
        except BaseException:
            with suppress(FileProblem):
                _remove(unfinished)
            raise
        _forget_old(place, spare={before_restore_of, path.name})
    return _told(path, manifest)


def _write(
    path: Path, manifest: Manifest, found: Sequence[Found], owner: Owner | None
) -> None:
    ensure_directory(path, mode=_DIRECTORY_MODE, owner=owner)
    for each in found:
        if each.content is not None:
            copy = path / each.entry.stored
            write_file(copy, each.content, mode=_FILE_MODE, owner=owner)
    # The last one: what has a manifest is whole.
    write_file(path / _MANIFEST, manifest.encode(), mode=_FILE_MODE, owner=owner)
    _read_whole(path)


def _finish(unfinished: Path, at: WallTime) -> Path:
    """Give the set its name."""
    stamp = datetime.fromtimestamp(at, tz=UTC).strftime(_STAMP)
    for number in range(1, _SAME_SECOND_MAX):
        path = unfinished.with_name(f"{stamp}-{number}")
        if not os.path.lexists(path):
            _rename(unfinished, path)
            return path
    raise FileProblem(
        unfinished.with_name(stamp), action="create", reason="there are too many"
    )


# --- Listing and reading --------------------------------------------------------------


def list_backups(directories: NodeDirectories) -> Sequence[Backup]:
    """Return the sets there are, the oldest first; damaged ones, too, marked so.

    Raises:
        FileProblem: The operating system objects.
    """
    place = directories.backups
    found = []
    for name in _names(place):
        try:
            manifest, _ = _read_whole(place / name)
        except (FileProblem, _Damaged) as error:
            found.append(_damaged(place / name, str(error)))
        else:
            found.append(_told(place / name, manifest))
    return found


def read_set(
    directories: NodeDirectories, name: str
) -> tuple[Backup, Manifest, dict[str, bytes]]:
    """Read a set and verify it.

    Args:
        directories: The node's.
        name: The set's name, or "latest": of those that no restore has taken.

    Returns:
        The set, its manifest, and the copies by the names they are stored under.

    Raises:
        BackupProblem: There is none of that name, or it is damaged.
        FileProblem: The operating system objects.
    """
    place = directories.backups
    names = _names(place)
    if name == "latest" and names:
        name = _latest(place, names)
    if name not in names:
        raise BackupProblem(
            name,
            problem="is not there",
            remedy="'icefloe node backups' lists those there are",
        )
    try:
        manifest, copies = _read_whole(place / name)
    except (_Damaged, FileProblem) as error:
        raise BackupProblem(
            name,
            problem=f"is damaged: {error}",
            remedy="nothing was changed; restore another one",
        ) from error
    if not manifest.node_name.isprintable():
        raise BackupProblem(
            name,
            problem=f"is damaged: no node is named '{manifest.node_name}'",
            remedy="nothing was changed; restore another one",
        )
    return _told(place / name, manifest), manifest, copies


class _Damaged(Exception):
    """The set is not what its manifest says."""


def _read_whole(path: Path) -> tuple[Manifest, dict[str, bytes]]:
    try:
        manifest = msgspec.json.decode(read_plain_file(path / _MANIFEST), type=Manifest)
    except (msgspec.DecodeError, RecursionError, OverflowError) as error:
        raise _Damaged(f"its manifest cannot be understood: {error}") from error
    if manifest.format != FORMAT:
        raise _Damaged(f"its manifest has the format {manifest.format}, not {FORMAT}")
    if not 0 <= manifest.at < AT_END:
        raise _Damaged("the time in its manifest is none")
    copies = {}
    for entry in manifest.entries:
        if entry.kind is not Kind.FILE:
            continue
        if "/" in entry.stored or entry.stored in {"", ".", ".."}:
            raise _Damaged(f"the copy of '{entry.path}' is said to be elsewhere")
        content = read_plain_file(path / entry.stored)
        if hashlib.sha256(content).hexdigest() != entry.digest:
            raise _Damaged(f"the copy of '{entry.path}' has been changed")
        copies[entry.stored] = content
    return manifest, copies


def _same(place: Path, manifest: Manifest) -> Backup | None:
    """Return the set that serves as well as a new one would."""
    names = _names(place)
    for name in names if manifest.before_restore_of else names[-1:]:
        with suppress(_Damaged, FileProblem):
            said, _ = _read_whole(place / name)
            if manifest.before_restore_of:
                same = said.entries == manifest.entries
            else:
                same = replace(said, at=manifest.at) == manifest
            if same:
                return _told(place / name, said)
    return None


def _latest(place: Path, names: Sequence[str]) -> str:
    """Return the latest set, but for those that undo a restore.

    Otherwise "latest", said again, would mean another set: the undoing of the first.
    """
    for name in reversed(names):
        with suppress(_Damaged, FileProblem):
            if _read_whole(place / name)[0].before_restore_of:
                continue
        return name
    return names[-1]


def _names(place: Path) -> list[str]:
    """Return the names of the sets, the oldest first."""
    try:
        found = [_NAME.fullmatch(each.name) for each in place.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _problem(place, "read", error) from error
    names = [(each[1], int(each[2]), each[0]) for each in found if each is not None]
    return [name for _, _, name in sorted(names)]


def _told(path: Path, manifest: Manifest) -> Backup:
    return Backup(
        name=path.name,
        path=path,
        at=WallTime(manifest.at),
        reason=manifest.reason,
        node_name=manifest.node_name,
        files=tuple(
            Path(entry.path)
            for entry in manifest.entries
            if entry.kind is not Kind.ABSENT
        ),
    )


def _damaged(path: Path, damage: str) -> Backup:
    stamp = path.name.partition("-")[0]
    try:
        at = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC).timestamp()
    except ValueError:  # the 32nd of some month
        at = 0.0
    return Backup(
        name=path.name,
        path=path,
        at=WallTime(at),
        reason="",
        node_name="",
        files=(),
        damage=damage,
    )


# --- Forgetting -----------------------------------------------------------------------


def _forget_old(place: Path, *, spare: Collection[str]) -> None:
    """Remove the oldest sets; the place is locked."""
    names = _names(place)
    # The new one counts, wherever the clock has put it.
    others = [name for name in names if name not in spare]
    room = max(0, BACKUPS_MAX - (len(names) - len(others)))
    for name in others[: max(0, len(others) - room)]:
        gone = place / f"{_UNFINISHED}{secrets.token_hex(8)}"
        _rename(place / name, gone)
        _remove(gone)


def _sweep(place: Path) -> None:
    try:
        left = [each for each in place.iterdir() if each.name.startswith(_UNFINISHED)]
    except OSError as error:
        raise _problem(place, "read", error) from error
    for each in left:
        _remove(each)


def _remove(path: Path) -> None:
    """Remove a directory of plain files; nothing when it is not there."""
    try:
        names = [each.name for each in path.iterdir()]
    except FileNotFoundError:
        return
    except OSError as error:
        raise _problem(path, "remove", error) from error
    for name in names:
        remove_file(path / name)
    try:
        with opened_directory(path.parent) as above:
            os.rmdir(path.name, dir_fd=above)
    except OSError as error:
        raise _problem(path, "remove", error) from error


def _rename(source: Path, target: Path) -> None:
    try:
        with opened_directory(target.parent) as here:
            os.rename(source.name, target.name, src_dir_fd=here, dst_dir_fd=here)
    except OSError as error:
        raise _problem(target, "create", error) from error
    synchronize(target.parent)


def _problem(path: Path, action: str, error: OSError) -> FileProblem:
    return FileProblem(
        path, action=action, reason=error.strerror or str(error), errno=error.errno
    )
