"""The daemon: a process around one node, with signals and exit codes."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import sys

from icefloe.config.host import DaemonUser, daemon_user
from icefloe.config.layout import NodeDirectories
from icefloe.enrollment.commands import Level
from icefloe.errors import IcefloeError
from icefloe.node.doors import RealClock, RealEntropy
from icefloe.node.guard import objections
from icefloe.node.logs import Logger, configure
from icefloe.node.material import Material, read_material
from icefloe.node.node import REMIND_SECONDS, Node
from icefloe.node.takeover import import_icinga_requests
from icefloe.storage.files import ensure_directory
from icefloe.storage.ledger import SQLiteLedger
from icefloe.storage.lock import DaemonLock

EXIT_OK = 0
EXIT_FAILED = 1

OWN_DIRECTORY_MODE = 0o700
"""The ledger holds tickets."""


def validate(*, directories: NodeDirectories, without_monitoring: bool) -> int:
    """Check what the daemon would stand on; says what is wrong on standard error.

    Returns:
        0 when the daemon would start, else 1.
    """
    try:
        material = read_material(directories)
    except IcefloeError as error:
        _say(f"critical/config: {error}")
        return EXIT_FAILED
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

    Returns:
        The exit code: 0 after an orderly end, 1 when it could not start.
    """
    log = configure(level=log_level, as_json=log_json)
    try:
        owner = daemon_user(directories.data_dir, os.environ)
        _become(owner)
        material = read_material(directories)
        if not _may_stand_here(material, without_monitoring=without_monitoring):
            return EXIT_FAILED
        # The first start on a node that icinga2 has set up, or on a new one.
        ensure_directory(directories.own_dir, mode=OWN_DIRECTORY_MODE)
        ids = (owner.uid, owner.gid) if owner is not None else None
        ensure_directory(directories.own_dir, mode=0o700, owner=ids)
        with (
            DaemonLock.acquire(directories.lock, owner=ids),
            SQLiteLedger.open(directories.ledger, owner=ids) as ledger,
        ):
            import_icinga_requests(directories, ledger, RealClock().now(), log)
            work = _run(
                material, ledger, owner, log, without_monitoring=without_monitoring
            )
            asyncio.run(work)
    except IcefloeError as error:
        log.log(Level.CRITICAL, "cannot run", detail=str(error))
        return EXIT_FAILED
    return EXIT_OK


def _say(text: str) -> None:
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
    )
    host, port = node.bind()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.stop)
    loop.add_signal_handler(signal.SIGHUP, node.reload)
    reminder = None
    if without_monitoring:
        reminder = loop.create_task(_remind_without_monitoring(material, log))

    def ready() -> None:
        log.log(
            Level.INFO,
            "ready",
            node=material.node_name,
            zone=material.configuration.zone_name,
            role="signer" if material.signs else "relay",
            address=f"{host}:{port}",
        )

    try:
        await node.run(ready)
    finally:
        if reminder is not None:
            reminder.cancel()
    log.log(Level.INFO, "stopped")


async def _remind_without_monitoring(material: Material, log: Logger) -> None:
    """Say hourly that this node monitors nothing although it is meant to."""
    while True:
        for objection in objections(material.configuration):
            log.log(Level.WARNING, "running without monitoring", detail=objection)
        await asyncio.sleep(REMIND_SECONDS)


def _become(owner: DaemonUser | None) -> None:
    """Give up root for the daemon user, as Icinga does, before anything is opened."""
    if owner is None or os.geteuid() != 0 or owner.uid == 0:
        return
    os.initgroups(_user_name(owner.uid), owner.gid)
    os.setgid(owner.gid)
    os.setuid(owner.uid)


def _user_name(uid: int) -> str:
    return pwd.getpwuid(uid).pw_name
