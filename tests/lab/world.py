"""A small cluster on disk, and habitual nodes on it inside the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509

from icefloe.config.layout import NodeDirectories
from icefloe.doors import WallTime
from icefloe.habits import habits_of
from icefloe.lab.asking import ParentAddress
from icefloe.lab.crowd import Agent, Wish, make_agents, numbered_names, with_tickets
from icefloe.lab.habitual import HabitualDaemon
from icefloe.node.doors import RealClock, RealEntropy
from icefloe.node.material import read_material
from icefloe.pki import certificates, profiles
from icefloe.pki.keys import PrivateKey
from icefloe.storage.keys import encode_private_key, generate_key
from tests.peers.layout import (
    Address,
    ZoneSpec,
    api_conf,
    constants_conf,
    three_levels,
    zones_conf,
)
from tests.peers.waiting import free_port

HOST = "127.0.0.1"
SALT = "the salt of the lab"
ENTROPY = RealEntropy()
CLOCK = RealClock()
DAY = 86400.0

_numbers = iter(range(1000, 10**9))


def ca(number: int = 1) -> tuple[x509.Certificate, PrivateKey]:
    """Return a CA; the first one is that of all nodes."""
    return _ca(number)


@cache
def _ca(number: int) -> tuple[x509.Certificate, PrivateKey]:
    del number
    key, now = generate_key(), CLOCK.now().wall
    made = profiles.ca_certificate(
        key,
        serial=next(_numbers),
        not_before=WallTime(now - DAY),
        not_after=WallTime(now + 3650 * DAY),
    )
    return made, key


def ca_pem(number: int = 1) -> str:
    """Return its certificate."""
    return certificates.to_pem(ca(number)[0])


def issue(name: str, key: PrivateKey) -> x509.Certificate:
    """Sign a certificate."""
    issuer, ca_key = ca()
    now = CLOCK.now().wall
    tbs = profiles.leaf_tbs(
        cn=name,
        public_key=key.public_key(),
        issuer=issuer,
        serial=next(_numbers),
        not_before=WallTime(now - DAY),
        not_after=WallTime(now + 300 * DAY),
    )
    return profiles.assemble(tbs, profiles.sign_tbs(ca_key, tbs), ca_key.public_key())


def write_node(
    root: Path,
    name: str,
    zones: Sequence[ZoneSpec],
    *,
    port: int = 0,
    dials: dict[str, Address] | None = None,
    signs: bool = False,
) -> NodeDirectories:
    """Write the files of a node that has its certificate."""
    directories = NodeDirectories(
        config_dir=root / name / "etc", data_dir=root / name / "data"
    )
    for directory in (
        directories.features_enabled,
        directories.certs,
        directories.ca_dir,
    ):
        directory.mkdir(parents=True)
    zone = next(zone.name for zone in zones if name in zone.endpoints)
    salt = SALT if signs else ""
    directories.constants_conf.write_text(
        constants_conf(node=name, zone=zone, salt=salt, icefloe_endpoints=())
    )
    directories.zones_conf.write_text(zones_conf(zones, dials or {}))
    directories.feature_enabled("api").write_text(
        api_conf(host=HOST, port=port, with_salt=signs, accept=False)
    )
    key = generate_key()
    issued = certificates.to_pem(issue(name, key))
    directories.node_key(name).write_bytes(encode_private_key(key))
    directories.node_certificate(name).write_text(issued)
    directories.trusted_ca.write_text(ca_pem())
    if signs:
        directories.ca_certificate.write_text(ca_pem())
        directories.ca_key.write_bytes(encode_private_key(ca()[1]))
    return directories


class Log:
    """Keeps log events; wakes whoever waits for one."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._news = asyncio.Event()

    def log(self, level: int, event: str, **fields: Any) -> None:
        """Keep one."""
        del level
        self.events.append({"event": event, **fields})
        self._news.set()

    async def wait_for(self, **wanted: Any) -> dict[str, Any]:
        """Return the first event with these fields."""
        async with asyncio.timeout(30):
            while True:
                for found in self.events:
                    if wanted.items() <= found.items():
                        return found
                self._news.clear()
                await self._news.wait()


@dataclass
class Running:
    """A habitual node in the test's loop."""

    daemon: HabitualDaemon
    address: Address
    log: Log

    @property
    def parent(self) -> ParentAddress:
        """Where its clients ask."""
        return ParentAddress(host=self.address.host, port=self.address.port)


@contextlib.asynccontextmanager
async def running(directories: NodeDirectories, version: str) -> AsyncIterator[Running]:
    """Run a node with the habits of a release."""
    log = Log()
    daemon = HabitualDaemon(
        material=read_material(directories),
        habits=habits_of(version),
        clock=CLOCK,
        entropy=ENTROPY,
        log=log,
    )
    address = Address(*daemon.bind())
    async with asyncio.TaskGroup() as group:
        group.create_task(daemon.run())
        try:
            yield Running(daemon, address, log)
        finally:
            daemon.stop()


@contextlib.asynccontextmanager
async def cluster(root: Path, version: str) -> AsyncIterator[tuple[Running, Running]]:
    """Run a master, and a satellite that is connected to it."""
    zones = three_levels()
    async with running(write_node(root, "master1", zones, signs=True), version) as up:
        below = write_node(root, "satellite1", zones, dials={"master1": up.address})
        async with running(below, version) as down:
            await up.log.wait_for(event="connected", peer="satellite1")
            yield down, up


async def agents(count: int, *, prefix: str = "agent", salt: str = SALT) -> list[Agent]:
    """Make agents; an empty salt leaves them without tickets."""
    names = numbered_names(prefix, count)
    wishes = (
        await with_tickets(names, salt=salt)
        if salt
        else [Wish(name=name) for name in names]
    )
    return await make_agents(wishes, entropy=ENTROPY, now=CLOCK.now().wall)


def free_address() -> ParentAddress:
    """Return an address where nobody listens."""
    return ParentAddress(host=HOST, port=free_port())
