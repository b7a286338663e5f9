"""`icefloe node backup`, `backups` and `restore`: what the node was, and back to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
import typer

from icefloe.cli.invocation import Invocation, invocation
from icefloe.cli.options import JSONOption
from icefloe.cli.setting import setting_of
from icefloe.config.errors import ConfigError
from icefloe.config.loading import load_constants
from icefloe.doors import WallTime
from icefloe.node.acceptance import tidy
from icefloe.storage.backups import (
    BACKUPS_MAX,
    Backup,
    Restored,
    list_backups,
    restore_backup,
    take_backup,
)
from icefloe.storage.lock import is_held
from icefloe.storage.switching import IdentityJournal

__all__ = ["register"]

_BY_HAND: Final = "by hand"
_NOTE_CHARACTERS_MAX: Final = 200


def register(app: typer.Typer) -> None:
    """Add the three commands to the group `node`."""
    app.command("backup", epilog=_BACKUP_EXAMPLE)(backup)
    app.command("backups", epilog=_BACKUPS_EXAMPLE)(backups)
    app.command("restore", epilog=_RESTORE_EXAMPLE)(restore)


_BACKUP_EXAMPLE: Final = f"""\b
Example:
  icefloe node backup --note "before the move"

\b
It lies in the data directory, holds the key, and is for the daemon's user alone.
The latest {BACKUPS_MAX} are kept; the set-up commands take one before they change
anything."""

_BACKUPS_EXAMPLE: Final = """\b
Examples:
  icefloe node backups
  icefloe node backups --json    # for programs"""

_RESTORE_EXAMPLE: Final = """\b
Examples:
  icefloe node restore latest
  icefloe node restore 20261122T182339Z-1

\b
What is there now becomes a backup first, so that this can be undone; 'latest' never means
such a backup. Interrupted, it is finished by the same command."""


def backup(
    ctx: typer.Context,
    *,
    note: Annotated[
        str,
        typer.Option("--note", metavar="TEXT", help="What it is for; no secrets."),
    ] = _BY_HAND,
) -> None:
    """Copy this node's identity and configuration.

    Key, certificate, CA certificate, constants.conf, zones.conf, icinga2.conf, the
    feature api, the API users, and which features are enabled. Not the ticket, not a
    signer's CA key, and not the ledger.
    """
    given = invocation(ctx)
    if len(note) > _NOTE_CHARACTERS_MAX or not note.isprintable():
        raise typer.BadParameter(
            f"it is one line of at most {_NOTE_CHARACTERS_MAX} characters",
            param_hint="--note",
        )
    setting = setting_of(given)
    at = setting.clock.now().wall
    # A pair that does not match is not worth a copy: an interrupted switch is finished.
    IdentityJournal.of_node(given.directories, owner=setting.owner).recover(at)
    taken = take_backup(
        given.directories,
        _node_name(given),
        reason=note or _BY_HAND,
        at=at,
        owner=setting.owner,
    )
    if taken is None:
        given.output.information("There is nothing to keep yet.")
        return
    given.output.information(f"Backup '{taken.name}' holds {len(taken.files)} files.")
    for path in taken.files:
        given.output.information(f"  {tidy(str(path))}")


def backups(ctx: typer.Context, *, as_json: JSONOption = False) -> None:
    """List the backups, the oldest first."""
    given = invocation(ctx)
    found = list_backups(given.directories)
    if as_json:
        facts = [_facts(each) for each in found]
        given.output.result(msgspec.json.encode(facts).decode())
        return
    if not found:
        given.output.information("There are no backups yet.")
    for each in found:
        given.output.result(_line(each))


def restore(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="As 'node backups' lists it, or 'latest'."),
    ],
) -> None:
    """Put this node's identity and configuration back as a backup has them.

    The backup is verified first, and the identity again afterwards. What was not there
    when it was taken is removed.
    """
    given = invocation(ctx)
    setting = setting_of(given)
    done = restore_backup(
        given.directories, name, at=setting.clock.now().wall, owner=setting.owner
    )
    _tell(given, done)


def _tell(given: Invocation, done: Restored) -> None:
    output = given.output
    for path in done.changed:
        output.information(f"Restored '{tidy(str(path))}'.")
    if not done.changed:
        output.information(f"All is as in '{done.backup.name}' already.")
    if not done.has_identity:
        output.warning(
            f"'{done.backup.name}' was taken before this node had an identity: key and "
            "certificate are as they were."
        )
    if done.before is not None and done.changed:
        output.information(
            f"What was there before is the backup '{done.before.name}': 'icefloe node "
            f"restore {done.before.name}' undoes this."
        )
    if done.changed and is_held(given.directories.lock):
        output.warning(
            "A daemon is running, and still uses what it read: reload it, or restart it."
        )


def _node_name(given: Invocation) -> str:
    """Return NodeName; where the configuration is broken, whose key is here."""
    directories = given.directories
    try:
        return load_constants(directories.config_dir, directories.data_dir).node_name
    except ConfigError:
        keys = list(directories.certs.glob("*.key"))
        if len(keys) != 1:
            raise
        return keys[0].stem


def _line(each: Backup) -> str:
    # The daemon's user can write a manifest; root's terminal obeys what is printed.
    if each.damage:
        return f"{each.name}  DAMAGED: {tidy(each.damage)}"
    return (
        f"{each.name}  {_time(each.at)}  {tidy(each.node_name)}, {len(each.files)} "
        f"files, {tidy(each.reason)}"
    )


def _facts(each: Backup) -> dict[str, Any]:
    return {
        "name": each.name,
        "path": str(each.path),
        "taken_at": each.at,
        "reason": each.reason,
        "node_name": each.node_name,
        "files": [str(path) for path in each.files],
        "damage": each.damage,
    }


def _time(at: WallTime) -> str:
    return f"{datetime.fromtimestamp(at, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"
