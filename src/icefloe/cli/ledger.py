"""`icefloe ledger`: the node's record of enrollments, as a file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from icefloe.cli.app import CONTEXT, EXIT_FAILED
from icefloe.cli.invocation import Invocation, invocation
from icefloe.cli.setting import become_owner, setting_of
from icefloe.doors import WallTime
from icefloe.storage.ledger_copies import copy_ledger
from icefloe.storage.ledger_restore import (
    Forgotten,
    restore_ledger,
    what_is_forgotten,
)
from icefloe.storage.ledger_status import LedgerStatus, ledger_status

_FACILITY: Final = "ledger"

app = typer.Typer(
    context_settings=CONTEXT,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look at the ledger, copy and restore it.",
)


@app.command(
    epilog="""\b
Examples:
  icefloe ledger status
  icefloe ledger status --json    # for programs

\b
The exit code is 0 when the ledger is whole and this release can use it, else 1."""
)
def status(
    ctx: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Tell the ledger's schema version, size, rows, condition and copies.

    Works beside a running daemon and changes nothing.
    """
    given = invocation(ctx)
    become_owner(given)
    found = ledger_status(given.directories.ledger)
    if as_json:
        given.output.result(msgspec.json.encode(_facts(found)).decode())
    else:
        for line in _lines(found):
            given.output.result(line)
    if found.faults or not found.usable:
        raise typer.Exit(EXIT_FAILED)


@app.command(
    epilog="""\b
Example:
  icefloe ledger copy /var/backups/icefloe-ledger.sqlite

\b
The copy holds secrets: tickets of requests that nobody has decided about yet."""
)
def copy(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", show_default=False, help="A new file.")
    ],
) -> None:
    """Copy the ledger to a new file, checked and brought to disk.

    A running daemon goes on meanwhile. Run by root, it works as the daemon user, who
    must be able to write there.
    """
    given = invocation(ctx)
    become_owner(given)
    copy_ledger(given.directories.ledger, file.absolute())
    given.output.information(f"Copied the ledger to '{file}'.", facility=_FACILITY)


@app.command(
    epilog="""\b
Example, back to the release before an upgrade:
  (stop the daemon)
  icefloe ledger status        # shows the copies
  icefloe ledger restore /var/lib/icinga2/icefloe/ledger.sqlite.v1.20261122T182339Z

\b
Then install the older release and start it."""
)
def restore(
    ctx: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", show_default=False, help="A copy of a ledger."),
    ],
    *,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Also when something is forgotten by it."),
    ] = False,
) -> None:
    """Put a copy in the ledger's place; the present one is kept beside it.

    Only while no daemon runs. It says what the copy does not know, and stops there
    unless `--forget` is given.
    """
    given = invocation(ctx)
    setting = setting_of(given)
    become_owner(given)
    ledger, file = given.directories.ledger, file.absolute()
    lost = what_is_forgotten(ledger, file)
    if lost.anything:
        _tell_lost(given, lost)
        if not forget:
            given.output.critical(
                "Not restored. Add --forget to restore it all the same.",
                facility=_FACILITY,
            )
            raise typer.Exit(EXIT_FAILED)
    done = restore_ledger(
        ledger, file, at=setting.clock.now().wall, owner=setting.owner
    )
    if done.kept is not None:
        given.output.information(
            f"The ledger that stood there is kept as '{done.kept}'.",
            facility=_FACILITY,
        )
    given.output.information(
        f"Restored '{file}' (schema version {done.version}).", facility=_FACILITY
    )


def _tell_lost(given: Invocation, lost: Forgotten) -> None:
    if lost.unreadable:
        text = f"What is forgotten cannot be said: {lost.unreadable}"
    else:
        text = (
            f"The copy does not know {lost.requests} requests, {lost.decisions} "
            f"decisions and {lost.certificates} certificates that the ledger holds"
        )
        if lost.names:
            text += f", of: {', '.join(lost.names)}"
    given.output.warning(text, facility=_FACILITY)


def _lines(found: LedgerStatus) -> list[str]:
    usable = "" if found.usable else ", which this release cannot use"
    known = f"releases that know version {found.opens_from} or later can use it"
    lines = [
        f"Ledger:     {found.path}",
        f"Schema:     version {found.version}{usable}; {known}",
        f"Size:       {found.size_bytes} bytes, and {found.log_bytes} in its log",
        f"Condition:  {'; '.join(found.faults) or 'whole'}",
        "Rows:       " + ", ".join(f"{n} {t}" for t, n in found.rows.items()),
    ]
    if found.upgrade is not None:
        lines.append(f"Next start: {found.upgrade.what} A copy is kept.")
        lines.append(f"            {found.upgrade.way_back}")
    lines += (
        f"Copy:       {each.path}, version {each.version}, "
        f"{each.size_bytes} bytes, of {_time(each.made_at)}"
        for each in found.copies
    )
    return lines


def _facts(found: LedgerStatus) -> dict[str, Any]:
    return {
        "path": str(found.path),
        "schema_version": found.version,
        "opens_from": found.opens_from,
        "known_version": found.known_version,
        "usable": found.usable,
        "upgrade": None if found.upgrade is None else found.upgrade.what,
        "size_bytes": found.size_bytes,
        "log_bytes": found.log_bytes,
        "rows": dict(found.rows),
        "faults": list(found.faults),
        "copies": [
            {
                "path": str(each.path),
                "schema_version": each.version,
                "made_at": each.made_at,
                "size_bytes": each.size_bytes,
            }
            for each in found.copies
        ],
    }


def _time(at: WallTime) -> str:
    return f"{datetime.fromtimestamp(at, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"
