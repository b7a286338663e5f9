"""The process around one gateway: start, signals, exit codes, and what it tells."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from icefloe.config.host import DaemonUser, fully_qualified_name
from icefloe.enrollment.commands import Level
from icefloe.errors import IcefloeError
from icefloe.node.becoming import become
from icefloe.node.descriptors import raise_to_hard_limit
from icefloe.node.doors import RealClock, RealEntropy
from icefloe.node.errors import BindFailed
from icefloe.node.gateway.gateway import Gateway
from icefloe.node.gateway.home import GatewayHome
from icefloe.node.gateway.options import (
    PORT_DEFAULT,
    GatewayOptions,
    GatewayProblem,
)
from icefloe.node.gateway.trust import UpstreamTrust, establish_trust
from icefloe.node.ledger_opening import opened_ledger
from icefloe.node.logs import Logger, configure
from icefloe.node.service_manager import READY, notify, show_stacks_when_aborted
from icefloe.node.signals import ignore_reload, signals_handled
from icefloe.pki.certificates import fingerprint, is_self_issued
from icefloe.storage.ledger import SQLiteLedger
from icefloe.storage.lock import DaemonLock
from icefloe.storage.narrator import Narrator

__all__ = ["EXIT_FAILED", "EXIT_OK", "run"]

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1

_EVERYWHERE: Final = frozenset({"::", "0.0.0.0"})


def run(
    options: GatewayOptions,
    *,
    narrator: Narrator,
    log_level: int = Level.INFO,
    log_json: bool = False,
) -> int:
    """Run a gateway in the foreground until SIGTERM or SIGINT.

    They end it as `stopping` says, the second one sooner.  SIGHUP makes it show the
    certificate, and believe the CA, that is stored.  Started by root, it becomes the
    user to whom its directory belongs.

    Args:
        options: What the operator says.
        narrator: Is told what is done at the first start.
        log_level: Log events below it are dropped.
        log_json: One JSON object a line.

    Returns:
        0 after an orderly end; 1 when it could not start and `log_json` has it in a
        log event.

    Raises:
        IcefloeError: It could not start; the text says what to do.
    """
    ignore_reload()
    show_stacks_when_aborted()
    log = configure(level=log_level, as_json=log_json)
    raise_to_hard_limit()
    try:
        options.check()
        become(_owner_of(options.data_dir), directory=options.data_dir)
        home = GatewayHome.open(
            options.data_dir, name=options.name, machine_name=fully_qualified_name()
        )
        with (
            DaemonLock.acquire(home.directories.lock),
            opened_ledger(home.directories.ledger, None, log) as ledger,
        ):
            asyncio.run(_run(options, home, ledger, narrator, log))
    except IcefloeError as error:
        if not log_json:
            raise
        log.log(Level.CRITICAL, "cannot run", detail=str(error))
        return EXIT_FAILED
    return EXIT_OK


async def _run(
    options: GatewayOptions,
    home: GatewayHome,
    ledger: SQLiteLedger,
    narrator: Narrator,
    log: Logger,
) -> None:
    clock, entropy = RealClock(), RealEntropy()
    at = clock.now().wall
    identity = home.identity(at=at, entropy=entropy)
    anchor = await establish_trust(
        home, options.trust, options.upstreams, at=at, narrator=narrator
    )
    gateway = Gateway(
        options=options,
        home=home,
        identity=home.identity(at=at, entropy=entropy),
        trust=UpstreamTrust(anchor=anchor, home=home, own_key_id=identity.key_id),
        ledger=ledger,
        clock=clock,
        entropy=entropy,
        log=log,
        notify=notify,
    )
    address = _bind(gateway)
    if os.geteuid() == 0:
        log.log(
            Level.WARNING,
            "running as root, which a gateway need not be",
            next=f"give '{options.data_dir}' to another user (chown -R) and start anew",
        )

    def ready() -> None:
        _tell(gateway, home, options, address, log)
        notify(READY)

    with signals_handled(stop=gateway.stop, reload=gateway.reload):
        await gateway.run(ready)
    log.log(Level.INFO, "stopped")


def _bind(gateway: Gateway) -> tuple[str, int]:
    try:
        return gateway.bind()
    except BindFailed as error:
        reason = os.strerror(error.errno) if error.errno else "no such address"
        raise GatewayProblem(
            f"cannot listen on {error.host} port {error.port}: {reason}; the node "
            f"beside which the gateway stands has {PORT_DEFAULT}, and 'ss -ltnp' shows "
            "the others: choose another port with --listen"
        ) from error


def _owner_of(data_dir: Path) -> DaemonUser | None:
    try:
        status = data_dir.stat()
    except OSError:
        return None
    return DaemonUser(uid=status.st_uid, gid=status.st_gid)


def _tell(
    gateway: Gateway,
    home: GatewayHome,
    options: GatewayOptions,
    address: tuple[str, int],
    log: Logger,
) -> None:
    """Say that clients are served, and what they are to be given."""
    bound, port = address
    certificate = gateway.shown.certificate
    log.log(
        Level.INFO,
        "ready",
        gateway=home.name,
        address=f"{bound}:{port}",
        upstreams=[place.label for place in options.upstreams],
        sha256=fingerprint(certificate),
        signed=not is_self_issued(certificate),
    )
    host = options.listen.host
    if host in _EVERYWHERE:
        host = fully_qualified_name()
    log.log(
        Level.INFO,
        "clients enroll here: parent host only, --endpoint stays what it was",
        parent_host=f"--parent_host {host},{port}",
        first=f"pki save-cert --host {host} --port {port} --trustedcert FILE",
    )
