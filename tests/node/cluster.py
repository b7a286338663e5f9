"""Whole nodes of ours in one event loop, with real files, TLS and SQLite."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509

from icefloe.config.layout import NodeDirectories
from icefloe.doors import WallTime
from icefloe.node.doors import RealClock, RealEntropy
from icefloe.node.material import read_material
from icefloe.node.node import Node
from icefloe.pki.certificates import to_pem
from icefloe.pki.keys import PrivateKey
from icefloe.pki.profiles import (
    BACKDATE,
    CA_LIFETIME,
    LEAF_LIFETIME,
    assemble,
    ca_certificate,
    leaf_tbs,
    self_signed,
    sign_tbs,
)
from icefloe.storage.keys import encode_private_key, generate_key
from icefloe.storage.ledger import SQLiteLedger

SALT = "0123456789abcdef"


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Authority:
    """A CA made for one test."""

    def __init__(self) -> None:
        now = time.time()
        self.key = generate_key()
        self.certificate = ca_certificate(
            self.key,
            serial=1,
            not_before=WallTime(now - BACKDATE),
            not_after=WallTime(now + CA_LIFETIME),
        )
        self._serial = 100

    @property
    def pem(self) -> str:
        return to_pem(self.certificate)

    def issue(self, cn: str, key: PrivateKey) -> x509.Certificate:
        self._serial += 1
        now = time.time()
        tbs = leaf_tbs(
            cn=cn,
            public_key=key.public_key(),
            issuer=self.certificate,
            serial=self._serial,
            not_before=WallTime(now - BACKDATE),
            not_after=WallTime(now + LEAF_LIFETIME),
        )
        return assemble(tbs, sign_tbs(self.key, tbs), self.key.public_key())


def unsigned(cn: str, key: Any) -> x509.Certificate:
    """Make a self-signed certificate, as `pki new-cert` does."""
    now = time.time()
    return self_signed(
        cn,
        key,
        serial=time.monotonic_ns(),
        not_before=WallTime(now - BACKDATE),
        not_after=WallTime(now + LEAF_LIFETIME),
    )


@dataclass
class Zones:
    """The zone tree of a test: name -> (parent, {endpoint: port or None})."""

    zones: dict[str, tuple[str | None, dict[str, int | None]]]
    icefloe: tuple[str, ...] = ()

    def text(self, *, dialled: set[str]) -> str:
        lines = []
        for zone, (parent, endpoints) in self.zones.items():
            for name, port in endpoints.items():
                attributes = ""
                if name in dialled and port is not None:
                    attributes = f' host = "127.0.0.1"; port = "{port}" '
                lines.append(f'object Endpoint "{name}" {{{attributes}}}')
            names = ", ".join(f'"{name}"' for name in endpoints)
            upper = f'; parent = "{parent}"' if parent else ""
            lines.append(f'object Zone "{zone}" {{ endpoints = [ {names} ]{upper} }}')
        return "\n".join(lines) + "\n"

    def port(self, endpoint: str) -> int:
        for _, endpoints in self.zones.values():
            port = endpoints.get(endpoint)
            if port is not None:
                return port
        raise KeyError(endpoint)


class Logs:
    """Collects log events."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.events: list[tuple[int, str, dict[str, Any]]] = []

    def log(self, level: int, event: str, **fields: Any) -> None:
        self.events.append((level, event, fields))

    def seen(self, event: str) -> bool:
        return any(entry[1] == event for entry in self.events)


@dataclass
class Running:
    """One node and what belongs to it."""

    node: Node
    ledger: SQLiteLedger
    logs: Logs
    directories: NodeDirectories
    port: int
    task: asyncio.Task[None] = field(repr=False)

    async def stop(self) -> None:
        self.node.stop()
        await asyncio.wait_for(self.task, 30)
        self.ledger.close()


def write_node(
    root: Path,
    name: str,
    zones: Zones,
    *,
    dialled: set[str],
    ca: Authority,
    signer: bool = False,
    certificate: x509.Certificate | None = None,
    key: PrivateKey | None = None,
    ticket: str = "",
) -> NodeDirectories:
    """Write a node's files as set-up commands would."""
    directories = NodeDirectories(
        config_dir=root / name / "etc", data_dir=root / name / "lib"
    )
    for directory in (directories.features_enabled, directories.certs):
        directory.mkdir(parents=True)
    zone = next(z for z, (_, eps) in zones.zones.items() if name in eps)
    icefloe = ", ".join(f'"{each}"' for each in zones.icefloe)
    salt = SALT if signer else ""
    directories.constants_conf.write_text(
        f'const NodeName = "{name}"\nconst ZoneName = "{zone}"\n'
        f'const TicketSalt = "{salt}"\nconst IcefloeEndpoints = [ {icefloe} ]\n'
    )
    directories.zones_conf.write_text(zones.text(dialled=dialled))
    directories.feature_enabled("api").write_text(
        'object ApiListener "api" {\n'
        f'  bind_host = "127.0.0.1"\n  bind_port = {zones.port(name)}\n'
        "  ticket_salt = TicketSalt\n}\n"
    )
    own_key = key or generate_key()
    own = certificate or ca.issue(name, own_key)
    directories.node_key(name).write_bytes(encode_private_key(own_key))
    directories.node_certificate(name).write_text(to_pem(own))
    directories.trusted_ca.write_text(ca.pem)
    if ticket:
        directories.ticket.write_text(ticket)
    if signer:
        directories.ca_dir.mkdir()
        directories.ca_certificate.write_text(ca.pem)
        directories.ca_key.write_bytes(encode_private_key(ca.key))
    return directories


async def start_node(
    directories: NodeDirectories, *, notify: Callable[[str], None] = lambda _words: None
) -> Running:
    """Start a node on its files; returns when it accepts connections."""
    material = read_material(directories)
    ledger = SQLiteLedger.open(directories.ledger)
    logs = Logs(material.node_name)
    node = Node(
        material=material,
        ledger=ledger,
        owner=None,
        clock=RealClock(),
        entropy=RealEntropy(),
        log=logs,
        notify=notify,
    )
    _, port = node.bind()
    ready = asyncio.Event()
    task = asyncio.get_running_loop().create_task(node.run(ready.set))
    await asyncio.wait_for(ready.wait(), 30)
    return Running(node, ledger, logs, directories, port, task)


@contextlib.asynccontextmanager
async def running(*directories: NodeDirectories) -> AsyncIterator[list[Running]]:
    """Start nodes and stop them at the end."""
    nodes: list[Running] = []
    try:
        for each in directories:
            nodes.append(await start_node(each))  # noqa: PERF401 - stops what began
        yield nodes
    finally:
        for node in reversed(nodes):
            if not node.task.done():
                await node.stop()


async def until(look: Callable[[], Any], what: str, seconds: float = 30.0) -> None:
    """Wait until something is so."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not look():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not in {seconds:g} s: {what}")
        await asyncio.sleep(0.02)


def keys(count: int) -> Iterator[PrivateKey]:
    """Make keys."""
    for _ in range(count):
        yield generate_key()
