"""The daemon: a process around one node, with signals and exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
import sys
from pathlib import Path

from icefloe.config.host import DaemonUser, daemon_user
from icefloe.config.layout import NodeDirectories
from icefloe.enrollment.commands import Level
from icefloe.errors import IcefloeError
from icefloe.node.commands.takeover import import_icinga_requests
from icefloe.node.doors import RealClock, RealEntropy
from icefloe.node.guard import objections
from icefloe.node.logs import Logger, configure
from icefloe.node.material import Material, read_material
from icefloe.node.node import Node
from icefloe.storage.files import ensure_directory
from icefloe.storage.ledger import SQLiteLedger
from icefloe.storage.lock import DaemonLock

EXIT_OK = 0
EXIT_FAILED = 1


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
        The exit code: 0 after an orderly end, 1 when it could not start or go on.
    """
    log = configure(level=log_level, as_json=log_json)
    try:
        owner = daemon_user(directories.data_dir, os.environ)
        become(owner, directory=directories.data_dir)
        material = read_material(directories)
        if not _may_stand_here(material, without_monitoring=without_monitoring):
            return EXIT_FAILED
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
    )
    host, port = node.bind()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.stop)
    loop.add_signal_handler(signal.SIGHUP, node.reload)

    def ready() -> None:
        log.log(
            Level.INFO,
            "ready",
            node=material.node_name,
            zone=material.configuration.zone_name,
            role="signer" if material.signs else "relay",
            address=f"{host}:{port}",
        )

    await node.run(ready)
    log.log(Level.INFO, "stopped")


class CannotBecomeUser(IcefloeError):
    """The daemon user cannot be used; the text names the directory and the remedy."""


def become(owner: DaemonUser | None, *, directory: Path) -> None:
    """Give up root for the daemon user, as Icinga does, before anything is opened.

    Args:
        owner: the user; None changes nothing.
        directory: whose owner it is, for the text of an error.

    Raises:
        CannotBecomeUser: the machine does not know the user, or would not let us.
    """
    if owner is None or os.geteuid() != 0 or owner.uid == 0:
        return
    try:
        os.initgroups(pwd.getpwuid(owner.uid).pw_name, owner.gid)
        os.setgid(owner.gid)
        os.setuid(owner.uid)
    except KeyError:
        raise CannotBecomeUser(
            f"'{directory}' belongs to the user id {owner.uid}, which this machine does "
            "not know: give it to the daemon user (chown -R), or add that user"
        ) from None
    except OSError as error:
        raise CannotBecomeUser(
            f"cannot become the user with the id {owner.uid}, to whom '{directory}' "
            f"belongs: {error.strerror}; start this as that user"
        ) from error
    for part in (os.__file__, __file__):
        # What is imported from here on would fail one by one, far from the cause.
        if not os.access(part, os.R_OK):
            raise CannotBecomeUser(
                f"'{directory}' belongs to the user id {owner.uid}, who cannot read "
                f"'{part}': install Python and Icefloe where that user can read them, "
                "or give the directory to the user who runs this"
            )
