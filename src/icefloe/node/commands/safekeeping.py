"""What a set-up does before it changes anything: it finishes, checks and keeps.

A switch of the identity that a crash interrupted is finished first.  What would be
written has to be writable, and to be of use to the daemon's user.  And before the first
thing that exists is replaced, a backup of everything is taken, once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from icefloe.errors import IcefloeError
from icefloe.node.commands.preflight_files import check_files
from icefloe.node.commands.setting import Setting
from icefloe.storage.backups import take_backup
from icefloe.storage.files import Owner
from icefloe.storage.switching import IdentityJournal

__all__ = ["MayNotWrite", "Safekeeper", "recovered_journal", "require_rights"]

_GROUP_WRITES = 0o020
_OTHERS_WRITE = 0o002


class MayNotWrite(IcefloeError):
    """Files that a set-up would write cannot be written, or not used afterwards.

    Nothing was changed, and nobody was asked.

    Attributes:
        reasons: Each names a path, whose it is, and what to do.
    """

    def __init__(self, reasons: Iterable[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(self.reasons) + ". Nothing was changed")


@dataclass(slots=True)
class Safekeeper:
    """Takes one backup of the node, when the first thing is about to be replaced.

    Attributes:
        setting: What to work with.
        node_name: The node's.
        reason: The command, for the list of backups.
        needed: Whether anything that exists is replaced at all.
        name: The backup's name once it is taken, else "".
    """

    setting: Setting
    node_name: str
    reason: str
    needed: bool
    name: str = field(default="", init=False)

    def keep(self) -> None:
        """Take the backup, unless it is taken or nothing has to be kept.

        Raises:
            FileProblem: The operating system objects.  Nothing was changed.
        """
        if self.name or not self.needed:
            return
        setting = self.setting
        backup = take_backup(
            setting.directories,
            self.node_name,
            reason=self.reason,
            at=setting.clock.now().wall,
            owner=setting.owner,
        )
        if backup is None:
            return
        self.name = backup.name
        setting.narrator.information(
            f"What was there is kept as backup '{backup.name}'. To go back: icefloe "
            f"node restore {backup.name}"
        )


def recovered_journal(setting: Setting) -> IdentityJournal:
    """Return the journal of the node's identity, with nothing half done in it.

    Raises:
        FileProblem: The operating system objects.
    """
    journal = IdentityJournal.of_node(setting.directories, owner=setting.owner)
    recovery = journal.recover(setting.clock.now().wall)
    if recovery is not None:
        setting.narrator.information(
            "An interrupted change of this node's identity was finished: it went "
            f"{recovery.went.value}."
        )
    return journal


def require_rights(
    writes: Iterable[Path], reads: Iterable[Path], setting: Setting
) -> None:
    """Check that a set-up can write, and the daemon's user can use what it writes.

    Raises:
        MayNotWrite: With every reason.
    """
    paths = [path for path in writes if not path.is_symlink()]
    checks = check_files(paths, reads, owner=setting.owner)
    reasons = [f"{each.detail}: {each.fix}" for each in checks if each.ok is False]
    reasons += _useless_to_daemon(setting.directories.certs, setting.owner)
    if reasons:
        raise MayNotWrite(reasons)


def _useless_to_daemon(certs: Path, owner: Owner | None) -> list[str]:
    """Say whether the daemon could not renew its certificate in a directory."""
    if owner is None or os.geteuid() != 0 or owner[0] == 0 or not certs.is_dir():
        return []
    status = certs.stat()
    uid, gid = owner
    allowed = status.st_mode & _OTHERS_WRITE
    if status.st_gid == gid:
        allowed = status.st_mode & _GROUP_WRITES
    if status.st_uid == uid or allowed:
        return []
    mode = f"{status.st_mode & 0o7777:04o}"
    reason = (
        f"'{certs}' belongs to {status.st_uid}:{status.st_gid}, mode {mode}, and the "
        f"daemon's user {uid}:{gid} could not renew its certificate there: chown "
        f"{uid}:{gid} '{certs}'"
    )
    return [reason]
