"""Who attacks: a client on the standard library's TLS, and the nodes it attacks.

Nothing of Icefloe's own TLS is used on this side, and nothing is held to the protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from tests.node.cluster import (
    Authority,
    Running,
    Zones,
    free_port,
    running,
    unsigned,
    until,
    write_node,
)

from icefloe.pki.certificates import to_pem
from icefloe.storage.keys import encode_private_key, generate_key

REQUEST = "pki::RequestCertificate"
UPDATE = "pki::UpdateCertificate"


@dataclass
class Identity:
    """What is shown in TLS: a certificate and its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> str:
        return to_pem(self.certificate)


def nobody(cn: str = "stranger") -> Identity:
    """A self-signed identity, as anybody makes it."""
    key = generate_key()
    return Identity(unsigned(cn, key), key)


def issued(ca: Authority, cn: str) -> Identity:
    """An identity with a certificate of a CA."""
    key = generate_key()
    return Identity(ca.issue(cn, key), key)


def client_context(identity: Identity | None = None) -> ssl.SSLContext:
    """Make a context that verifies nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if identity is not None:
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / "pem"
            file.write_bytes(identity.pem.encode() + encode_private_key(identity.key))
            context.load_cert_chain(file)
    return context


@dataclass
class Attacker:
    """One connection.

    Attributes:
        received: every message that came.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    received: list[dict[str, Any]] = field(default_factory=list)

    def raw(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    def payload(self, data: bytes) -> None:
        """Send one frame."""
        self.raw(b"%d:%b," % (len(data), data))

    def say(self, method: str, params: object, **more: object) -> None:
        """Send a message; `id="x"` makes it want an answer."""
        message = {"jsonrpc": "2.0", "method": method, "params": params, **more}
        self.payload(msgspec.json.encode(message))

    async def ask(self, seconds: float = 15.0, **params: object) -> dict[str, Any]:
        """Ask for a certificate; what was sent before is dealt with by then."""
        self.say(REQUEST, params, id="asked")
        return await self.answer("asked", seconds)

    async def answer(self, call: str, seconds: float = 15.0) -> dict[str, Any]:
        """Wait for the answer to a call."""
        async with asyncio.timeout(seconds):
            while True:
                message = await self.message()
                if message is None:
                    raise AssertionError("the connection ended without an answer")
                if message.get("id") == call:
                    result: dict[str, Any] = message.get("result") or {}
                    return result

    async def message(self) -> dict[str, Any] | None:
        """Wait for the next message; None at the end."""
        try:
            length = await self.reader.readuntil(b":")
            data = await self.reader.readexactly(int(length[:-1]) + 1)
        except (asyncio.IncompleteReadError, OSError):
            return None
        found: dict[str, Any] = msgspec.json.decode(data[:-1])
        self.received.append(found)
        return found

    async def ended(self, seconds: float = 15.0) -> None:
        """Wait until the other side closes."""
        async with asyncio.timeout(seconds):
            while await self.message() is not None:
                pass


@contextlib.asynccontextmanager
async def attack(
    port: int, identity: Identity | None = None
) -> AsyncIterator[Attacker]:
    """Connect to a node."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=client_context(identity), limit=2**22
    )
    try:
        yield Attacker(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


@dataclass
class Cluster:
    """master <- satellite <- agent (configured, not running)."""

    ca: Authority
    master: Running
    satellite: Running

    @property
    def nodes(self) -> Iterator[Running]:
        yield self.master
        yield self.satellite

    def identity_files(self) -> dict[str, bytes]:
        """Everything in both nodes' certs directories."""
        return {
            str(path): path.read_bytes()
            for node in self.nodes
            for path in sorted(node.directories.certs.iterdir())
        }


@contextlib.asynccontextmanager
async def cluster(root: Path) -> AsyncIterator[Cluster]:
    """Run a master and a satellite, connected."""
    ca = Authority()
    zones = Zones(
        {
            "master": (None, {"m1": free_port()}),
            "sat": ("master", {"s1": free_port()}),
            "agent": ("sat", {"agent": None}),
            "other": ("master", {"o1": None}),
        }
    )
    written = [
        write_node(root, "m1", zones, dialled=set(), ca=ca, signer=True),
        write_node(root, "s1", zones, dialled={"m1"}, ca=ca),
    ]
    async with running(*written) as (master, satellite):
        for node in (master, satellite):
            await until(functools.partial(node.logs.seen, "connected"), "connected")
        yield Cluster(ca, master, satellite)
