"""Sets of copies of what a node is: its identity and its configuration.

One set is one directory, `DataDir/icefloe/backups/<YYYYMMDDTHHMMSSZ>-<n>/` (UTC), with
the copies and a `manifest.json` that says where each belongs, its digest, mode and
owner.  It appears in whole, by one rename.  It holds keys: 0700 and 0600, and only the
latest five are kept.

A set is taken before a set-up command changes anything that exists, before a restore,
and by `icefloe node backup`.

No set holds the ticket; a restore leaves one that waits where it is.

A restore stages all of the configuration first, so that a full disk spoils nothing;
then the identity is switched in whole by its journal, then the configuration is renamed
into place, file by file.  A crash leaves the old identity or the restored one; the same
restore, run again, does the rest.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from icefloe.config.layout import NodeDirectories
from icefloe.doors import WallTime
from icefloe.storage.backup_manifest import (
    LINK,
    Entry,
    Kind,
    Manifest,
    find_all,
    places,
)
from icefloe.storage.backup_sets import (
    BACKUPS_MAX,
    Backup,
    BackupProblem,
    list_backups,
    read_set,
    take_backup,
)
from icefloe.storage.directory_lock import locked_directories
from icefloe.storage.files import (
    FileProblem,
    Owner,
    ensure_directory,
    read_file_if_there,
    remove_file,
)
from icefloe.storage.identity_checks import Parts, check_parts
from icefloe.storage.identity_files import IdentityFiles, load_identity
from icefloe.storage.replacing import put_in_place, stage, sweep_staged
from icefloe.storage.switch_steps import Change
from icefloe.storage.switching import IdentityJournal, Phase
from icefloe.storage.walking import opened_directory

__all__ = [
    "BACKUPS_MAX",
    "Backup",
    "BackupProblem",
    "Restored",
    "list_backups",
    "restore_backup",
    "take_backup",
]

_IDENTITY: Final = ("ca", "key", "certificate")
_CERTS_MODE: Final = 0o700
_RIGHTS: Final = 0o777
"""Nothing else of a mode is restored: no set-user-id, whatever the manifest says."""
_CONFIG_MODE: Final = 0o750


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore did.

    Attributes:
        backup: The set that was restored.
        before: The set that holds what was there before; None when nothing was, or the
            very same.
        changed: The files that were changed, in this order.
        has_identity: Whether the set holds an identity; False: only configuration was
            restored, and key and certificate are as they were.
    """

    backup: Backup
    before: Backup | None
    changed: tuple[Path, ...]
    has_identity: bool


def restore_backup(
    directories: NodeDirectories,
    name: str,
    *,
    at: WallTime,
    owner: Owner | None,
) -> Restored:
    """Put everything back as a set has it; run again, it finishes what was interrupted.

    First the set is verified: manifest, digests, places, and that its identity loads.
    Then what is there now is taken as a set of its own, if none has it.  At the end the identity is
    loaded again.  The journal's state is "confirmed": a person decided.

    What was not there when the set was taken goes away.  Only a set without an
    identity, from before there was one, leaves key and certificate alone.

    Args:
        directories: The node's.
        name: The set's name, or "latest": of those that no restore has taken.
        at: The time.
        owner: The daemon's user, who gets the files when we are root.

    Raises:
        BackupProblem: There is no such set, it is damaged, or is another node's.
            Nothing has been changed.
        IdentityProblem: Its identity does not load.  Nothing has been changed.
        FileProblem: The operating system objects; the identity is the old one or the
            restored one.
    """
    backup, manifest, copies = read_set(directories, name)
    entries = _entries_of(backup, manifest, directories)
    node_name = manifest.node_name
    files = IdentityFiles.of_node(directories.certs, node_name)
    _check_whose_links(backup, manifest, owner)
    has_identity = _has_identity(entries)
    if has_identity:
        _check_identity(files, entries, copies, node_name=node_name, at=at)
    journal = IdentityJournal.of_node(directories, owner=owner)
    journal.recover(at)
    then = _entries_now(directories, node_name)
    before = None
    if tuple(then.values()) != manifest.entries:
        before = _take_before(backup, directories, node_name, at=at, owner=owner)
    with _staged_configuration(entries, copies, owner) as configuration:
        if has_identity:
            _restore_identity(
                journal,
                files,
                entries,
                copies,
                node_name=node_name,
                reason=f"restored from the backup {backup.name}",
                at=at,
                owner=owner,
            )
        _commit(configuration, entries)
        _restore_links(directories, manifest, owner)
    if has_identity:
        load_identity(directories.certs, node_name)
    return Restored(
        backup=backup,
        before=before,
        changed=_changed(then, _entries_now(directories, node_name)),
        has_identity=has_identity,
    )


def _take_before(
    backup: Backup,
    directories: NodeDirectories,
    node_name: str,
    *,
    at: WallTime,
    owner: Owner | None,
) -> Backup | None:
    return take_backup(
        directories,
        node_name,
        reason=f"before the restore of {backup.name}",
        at=at,
        owner=owner,
        before_restore_of=backup.name,
    )


def _entries_now(directories: NodeDirectories, node_name: str) -> dict[str, Entry]:
    return {each.entry.path: each.entry for each in find_all(directories, node_name)}


def _changed(then: dict[str, Entry], now: dict[str, Entry]) -> tuple[Path, ...]:
    return tuple(
        Path(path)
        for path in dict.fromkeys((*now, *then))
        if _essence(then.get(path)) != _essence(now.get(path))
    )


def _essence(entry: Entry | None) -> tuple[Kind, str, str]:
    if entry is None:
        return Kind.ABSENT, "", ""
    return entry.kind, entry.digest, entry.target


# --- What the manifest says, believed as far as it can be -----------------------------


def _entries_of(
    backup: Backup, manifest: Manifest, directories: NodeDirectories
) -> dict[str, Entry]:
    """Return the entries by part; each has the place that this node has for it.

    Raises:
        BackupProblem: They are of other directories.
    """
    wanted = places(directories, manifest.node_name)
    single = {each.part: each for each in manifest.entries if each.part != LINK}
    for part, path in wanted.items():
        entry = single.get(part)
        if entry is None or entry.path != str(path):
            raise _of_elsewhere(backup, "nothing" if entry is None else entry.path)
    for entry in manifest.entries:
        if entry.part == LINK:
            parent, _, name = entry.path.rpartition("/")
            fits = parent == str(directories.features_enabled) and name.endswith(
                ".conf"
            )
            if entry.kind is not Kind.LINK or not fits:
                raise _of_elsewhere(backup, entry.path)
        elif entry.part not in wanted:
            raise _of_elsewhere(backup, entry.path)
    return single


def _of_elsewhere(backup: Backup, path: str) -> BackupProblem:
    return BackupProblem(
        backup.name,
        problem=f"is not of these directories: it names '{path}'",
        remedy="give the --config-dir and --data-dir that it was taken with",
    )


def _check_whose_links(backup: Backup, manifest: Manifest, owner: Owner | None) -> None:
    """Check that root makes links of its own only by what root has written.

    Raises:
        BackupProblem: The set is somebody else's, and there is nobody to give them to.
        FileProblem: The operating system objects.
    """
    if owner is not None or os.geteuid() != 0:
        return
    if all(entry.part != LINK for entry in manifest.entries):
        return
    try:
        with opened_directory(backup.path) as here:
            whose = os.fstat(here).st_uid
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileProblem(
            backup.path, action="read", reason=reason, errno=error.errno
        ) from error
    if whose != 0:
        raise BackupProblem(
            backup.name,
            problem=f"was taken by the user id {whose}, whose links root does not make",
            remedy="run this as that user",
        )


def _content(entry: Entry, copies: dict[str, bytes]) -> bytes | None:
    return copies[entry.stored] if entry.kind is Kind.FILE else None


# --- The identity ---------------------------------------------------------------------


def _has_identity(entries: dict[str, Entry]) -> bool:
    return all(entries[part].kind is Kind.FILE for part in ("key", "certificate"))


def _check_identity(
    files: IdentityFiles,
    entries: dict[str, Entry],
    copies: dict[str, bytes],
    *,
    node_name: str,
    at: WallTime,
) -> None:
    """Check that the identity of a set loads; `IdentityProblem` when it does not."""
    parts = Parts(
        key=_content(entries["key"], copies),
        certificate=_content(entries["certificate"], copies),
        ca=_content(entries["ca"], copies),
    )
    check_parts(files, parts, node_name=node_name, at=at, issued=False)


def _restore_identity(
    journal: IdentityJournal,
    files: IdentityFiles,
    entries: dict[str, Entry],
    copies: dict[str, bytes],
    *,
    node_name: str,
    reason: str,
    at: WallTime,
    owner: Owner | None,
) -> None:
    ensure_directory(files.key.parent, mode=_CERTS_MODE, owner=owner)
    key = entries["key"]
    changes: list[Change] = [
        (Path(entry.path), _content(entry, copies), entry.mode & _RIGHTS)
        for entry in (entries[part] for part in _IDENTITY)
        # What a link led to was not copied, and is where it was.
        if entry.kind is not Kind.LINK
    ]
    journal.switch(
        changes,
        files=files,
        node_name=node_name,
        at=at,
        reason=reason,
        owner=owner or (key.uid, key.gid),
        issued=False,
        ends=Phase.CONFIRMED,
    )


# --- The configuration ----------------------------------------------------------------


@contextmanager
def _staged_configuration(
    entries: dict[str, Entry], copies: dict[str, bytes], owner: Owner | None
) -> Iterator[dict[Path, Path]]:
    """Write all that has to change beside its file; yields staged names by file."""
    wanted: dict[Path, tuple[Entry, bytes]] = {}
    for part, entry in entries.items():
        content, path = _content(entry, copies), Path(entry.path)
        if part not in _IDENTITY and content is not None:
            ensure_directory(path.parent, mode=_CONFIG_MODE, owner=owner)
            wanted[path] = entry, content
    staged: dict[Path, Path] = {}
    with locked_directories(wanted) as locked:
        try:
            for path, (entry, content) in wanted.items():
                if locked:
                    sweep_staged(path)
                if read_file_if_there(path) != content:
                    whose = _owner_for(entry, owner)
                    mode = entry.mode & _RIGHTS
                    staged[path] = stage(path, content, mode=mode, owner=whose)
            yield staged
        finally:
            for one in staged.values():
                with suppress(FileProblem):
                    remove_file(one)


def _owner_for(entry: Entry, owner: Owner | None) -> Owner:
    """Return the file's user as it was; root's or the daemon's, and nobody else's."""
    if owner is None or entry.uid in {0, owner[0]}:
        return entry.uid, entry.gid
    return owner


def _commit(staged: dict[Path, Path], entries: dict[str, Entry]) -> None:
    for path, one in staged.items():
        put_in_place(one, path)
    for part, entry in entries.items():
        if part not in _IDENTITY and entry.kind is Kind.ABSENT:
            remove_file(Path(entry.path))


def _restore_links(
    directories: NodeDirectories, manifest: Manifest, owner: Owner | None
) -> None:
    """Enable what was enabled, and nothing else."""
    wanted = {
        Path(entry.path): entry.target
        for entry in manifest.entries
        if entry.part == LINK
    }
    found = {
        Path(each.entry.path): each.entry.target
        for each in find_all(directories, manifest.node_name)
        if each.entry.part == LINK
    }
    for path, target in wanted.items():
        if found.get(path) != target:
            _make_link(path, target, owner)
    for path in sorted(found.keys() - wanted.keys()):
        remove_file(path)


def _make_link(path: Path, target: str, owner: Owner | None) -> None:
    ensure_directory(path.parent, mode=_CONFIG_MODE, owner=owner)
    private = f".{path.name}.tmp.{secrets.token_hex(8)}"
    try:
        with opened_directory(path.parent) as here:
            # Until it is given away it is root's link, which root follows, and leads
            # where the manifest says.  Nobody else may get hold of it meanwhile.
            os.mkdir(private, 0o700, dir_fd=here)
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                inside = os.open(private, flags, dir_fd=here)
                try:
                    _link_from(inside, here, path.name, target, owner)
                finally:
                    os.close(inside)
            finally:
                with suppress(OSError):
                    os.rmdir(private, dir_fd=here)
            with suppress(OSError):
                os.fsync(here)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileProblem(
            path, action="create", reason=reason, errno=error.errno
        ) from error


def _link_from(
    inside: int, here: int, name: str, target: str, owner: Owner | None
) -> None:
    """Make a link in a private directory, and put it in its place."""
    status = os.fstat(inside)
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise OSError(errno.EPERM, "somebody else is at work in this directory")
    os.symlink(target, name, dir_fd=inside)
    try:
        if owner is not None and os.geteuid() == 0:
            os.chown(name, *owner, dir_fd=inside, follow_symlinks=False)
        os.replace(name, name, src_dir_fd=inside, dst_dir_fd=here)
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=inside)
        raise
