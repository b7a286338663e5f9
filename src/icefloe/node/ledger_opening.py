"""A daemon opens its ledger, and tells what that does to an older one."""

from __future__ import annotations

from pathlib import Path

from icefloe.enrollment.commands import Level
from icefloe.node.logs import Logger
from icefloe.storage.ledger import SQLiteLedger
from icefloe.storage.ledger_schema import LEDGER_SCHEMA, Schema
from icefloe.storage.ledger_upgrade import planned_upgrade


def opened_ledger(
    path: Path,
    owner: tuple[int, int] | None,
    log: Logger,
    *,
    schema: Schema = LEDGER_SCHEMA,
) -> SQLiteLedger:
    """Open the ledger; before and after an upgrade of its schema, say so.

    Args:
        path: the ledger's file.
        owner: who gets what is made here when we are root.
        log: is told what is about to happen, where the copy is, and the way back.
        schema: what this release knows; tests bring others.

    Raises:
        SQLiteLedgerError: it cannot be used; the text says what to do.
    """
    planned = planned_upgrade(path, schema)
    if planned is not None:
        log.log(
            Level.WARNING,
            "ledger is about to be upgraded",
            detail=planned.what,
            next=planned.way_back,
        )
    ledger = SQLiteLedger.open(path, owner=owner, schema=schema)
    done = ledger.upgraded
    if done is not None:
        log.log(
            Level.WARNING,
            "ledger upgraded",
            copy=str(done.copy),
            detail=done.what,
            next=done.way_back,
        )
    return ledger
