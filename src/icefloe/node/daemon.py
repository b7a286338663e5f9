"""The daemon: a process around one node, with signals and exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

from icefloe.config.host import DaemonUser, daemon_user
from icefloe.config.layout import NodeDirectories
from icefloe.enrollment.commands import Level
from icefloe.errors import IcefloeError
from icefloe.node.becoming import become
from icefloe.node.commands.takeover import import_icinga_requests
from icefloe.node.descriptors import raise_to_hard_limit
from icefloe.node.doors import RealClock, RealEntropy
from icefloe.node.guard import objections
from icefloe.node.ledger_opening import opened_ledger
from icefloe.node.logs import Logger, configure
from icefloe.node.material import Material, read_material
from icefloe.node.node import Node
from icefloe.node.service_manager import READY, notify, show_stacks_when_aborted
from icefloe.node.signals import ignore_reload, signals_handled
from icefloe.storage.files import ensure_directory
from icefloe.storage.ledger import SQLiteLedger
from icefloe.storage.ledger_upgrade import planned_upgrade
from icefloe.storage.lock import DaemonLock
from icefloe.storage.switching import IdentityJournal

EXIT_OK = 0
EXIT_FAILED = 1


def validate(*, directories: NodeDirectories, without_monitoring: bool) -> int:
    """Check what the daemon would stand on; says what is wrong on standard error.

    Returns:
        0 when the daemon would start, else 1.
    """
    try:
        # As the daemon would: what it may not read is found, and root follows no link.
        owner = daemon_user(directories.data_dir, os.environ)
        become(owner, directory=directories.data_dir)
        material = read_material(directories)
        upgrade = planned_upgrade(directories.ledger)
    except IcefloeError as error:
        _say(f"critical/config: {error}")
        return EXIT_FAILED
    if upgrade is not None:
        _say(f"warning/ledger: {upgrade.what} A copy is kept. {upgrade.way_back}")
    for warning in material.configuration.warnings:
        _say(f"warning/config: {warning}")
    if not _may_stand_here(material, without_monitoring=without_monitoring):
        return EXIT_FAILED
    sys.stdout.write(
        "information/cli: Finished validating the configuration file(s).\n"
    )
    return EXIT_OK


def run(
    *,
    directories: NodeDirectories,
    without_monitoring: bool,
    log_level: int = Level.INFO,
    log_json: bool = False,
) -> int:
    """Run the daemon in the foreground until SIGTERM or SIGINT.

    SIGTERM and SIGINT end it as `stopping` says, the second one sooner; SIGHUP reloads
    it (`Node.reload`). systemd is told where it asks (`service_manager`).

    Returns:
        The exit code: 0 after an orderly end, 1 when it could not start or go on.
    """
    ignore_reload()
    show_stacks_when_aborted()
    log = configure(level=log_level, as_json=log_json)
    raise_to_hard_limit()
    try:
        owner = daemon_user(directories.data_dir, os.environ)
        become(owner, directory=directories.data_dir)
        ids = (owner.uid, owner.gid) if owner is not None else None
        # A command may have died within a switch of the identity.
        IdentityJournal.of_node(directories, owner=ids).recover(RealClock().now().wall)
        material = read_material(directories)
        if not _may_stand_here(material, without_monitoring=without_monitoring):
            return EXIT_FAILED
        ensure_directory(directories.own_dir, mode=0o700, owner=ids)
        with (
            DaemonLock.acquire(directories.lock, owner=ids),
            opened_ledger(directories.ledger, ids, log) as ledger,
        ):
            import_icinga_requests(directories, ledger, RealClock().now(), log)
            work = _run(
                material, ledger, owner, log, without_monitoring=without_monitoring
            )
            asyncio.run(work)
    except IcefloeError as error:
        log.log(Level.CRITICAL, "cannot run", detail=str(error))
        return EXIT_FAILED
    except Exception as error:
        log.log(Level.CRITICAL, "ended by an internal error", exc_info=error)
        return EXIT_FAILED
    return EXIT_OK


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # a full disk, say
        sys.stderr.write(text + "\n")


def _may_stand_here(material: Material, *, without_monitoring: bool) -> bool:
    found = objections(material.configuration)
    for objection in found:
        prefix = "warning" if without_monitoring else "critical"
        _say(f"{prefix}/icefloe: {objection}")
    if found and not without_monitoring:
        _say(
            "critical/icefloe: Not started. For a test, a lab or a planned move: "
            "--without-monitoring"
        )
        return False
    return True


async def _run(
    material: Material,
    ledger: SQLiteLedger,
    owner: DaemonUser | None,
    log: Logger,
    *,
    without_monitoring: bool,
) -> None:
    node = Node(
        material=material,
        ledger=ledger,
        owner=owner,
        clock=RealClock(),
        entropy=RealEntropy(),
        log=log,
        without_monitoring=without_monitoring,
        notify=notify,
    )
    host, port = node.bind()

    def ready() -> None:
        log.log(
            Level.INFO,
            "ready",
            node=material.node_name,
            zone=material.configuration.zone_name,
            role="signer" if material.signs else "relay",
            address=f"{host}:{port}",
        )
        notify(READY)

    with signals_handled(stop=node.stop, reload=node.reload):
        await node.run(ready)
    log.log(Level.INFO, "stopped")
