"""Loopback nodes in every state that a fleet audit knows, hundreds of them.

One thread with an event loop holds all listeners, on Icefloe's own TLS.  Each node has a
port of its own, so that one certificate or one kind of silence is one target.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from OpenSSL import SSL
from tests.node.tls.material import (
    DAY,
    Authority,
    Node,
    build,
    common_name,
    dns,
    key_pem,
    new_key,
    pem,
    self_signed,
)

from icefloe.node.descriptors import raise_to_hard_limit
from icefloe.node.errors import ConnectionLost, HandshakeFailed
from icefloe.node.fleet.sightings import Cause
from icefloe.node.fleet.states import State
from icefloe.node.tls.address import PeerAddress
from icefloe.node.tls.contexts import TLSIdentity, server_context
from icefloe.node.tls.handshake import accept
from icefloe.node.tls.transport import TLSStream
from icefloe.wire import jsonrpc
from icefloe.wire.netstring import encode

HOST: Final = "127.0.0.1"
LONG: Final = timedelta(days=300)
SOON: Final = timedelta(days=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A node of the rig, and what an audit has to say of it.

    Attributes:
        name: The name it is asked by.
        place: `host:port`.
        kind: Which row of `KINDS` it is.
        state: What the audit must find.
        cause: Why it is unreachable.
        certificate: PEM of what it shows; "" when it shows nothing.
    """

    name: str
    place: str
    kind: str
    state: State
    cause: Cause | None = None
    certificate: bytes = b""

    @property
    def target(self) -> str:
        """As the command takes it."""
        return f"{self.name}={self.place}"


@dataclass
class Materials:
    """The CAs, and how a node of each kind is made."""

    ca: Authority = field(default_factory=Authority)
    other: Authority = field(default_factory=Authority)
    strange: Authority = field(
        default_factory=lambda: Authority(common_name("Other CA"))
    )
    key: Any = field(default_factory=new_key)
    revoked: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        for each in (self.ca, self.other, self.strange):
            each.certificate = build(
                subject=each.name,
                key=each.key,
                issuer=each.name,
                signer=each.key,
                ca=True,
                starts=-2000 * DAY,
                ends=2000 * DAY,
            )

    def issue(self, name: str, **options: Any) -> Node:
        options.setdefault("ends", LONG)
        return self.ca.issue(name, key=self.key, **options)

    def revoke(self, name: str) -> Node:
        node = self.issue(name)
        self.revoked.append(node.certificate)
        return node

    def crl(self) -> bytes:
        return self.ca.revocation_list(*self.revoked)

    def bare(self, name: str) -> Node:
        """A certificate of the CA without a common name."""
        del name
        certificate = build(
            subject=common_name("x").__class__([]),
            key=self.key,
            issuer=self.ca.name,
            signer=self.ca.key,
            ends=LONG,
            extensions=[dns("x")],
        )
        return Node(self.key, certificate)

    def sub_authority(self, name: str) -> Node:
        """A CA's certificate where a node's should be."""
        certificate = build(
            subject=common_name(name),
            key=self.key,
            issuer=self.ca.name,
            signer=self.ca.key,
            ca=True,
            ends=LONG,
        )
        return Node(self.key, certificate)

    def identity(self, node: Node, chain: Authority | None) -> TLSIdentity:
        return TLSIdentity(
            certificate_pem=pem(node.certificate),
            key_pem=key_pem(node.key),
            ca_pem=None if chain is None else pem(chain.certificate),
        )


@dataclass(frozen=True, slots=True)
class Shows:
    """A kind that shows a certificate."""

    state: State
    make: Callable[[Materials, str], Node]
    chain: Callable[[Materials], Authority | None] = lambda m: m.ca


@dataclass(frozen=True, slots=True)
class Silent:
    """A kind that shows none."""

    cause: Cause
    listen: Callable[[Rig], str]


class Rig:
    """The listeners; `close` ends them all."""

    def __init__(self, *, version: int | None = 21605) -> None:
        """Start the thread.

        Args:
            version: What all nodes say in their Hello; None for none.  Nodes made while
                `says` holds something say that in place of a Hello.
        """
        raise_to_hard_limit()
        self.materials = Materials()
        self.seats: list[Seat] = []
        self.first_bytes: list[bytes] = []
        self.accepted = 0
        self.says: bytes | None = None
        self._version = version
        self._held: list[socket.socket] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def populate(self, count: int) -> None:
        """Add nodes until there are so many, the kinds in turn."""
        for number, kind in zip(
            range(len(self.seats) + 1, count + 1), itertools.cycle(KINDS), strict=False
        ):
            self.add(kind, f"{kind}-{number:03}.example.org")

    def add(self, kind: str, name: str, *, version: int | None = None) -> Seat:
        """Add a node of a kind."""
        row = KINDS[kind]
        if isinstance(row, Silent):
            place = row.listen(self)
            seat = Seat(
                name=name,
                place=place,
                kind=kind,
                state=State.UNREACHABLE,
                cause=row.cause,
            )
        else:
            node = row.make(self.materials, name)
            identity = self.materials.identity(node, row.chain(self.materials))
            place = self.serve_tls(server_context(identity), version)
            seat = Seat(
                name=name,
                place=place,
                kind=kind,
                state=row.state,
                certificate=pem(node.certificate),
            )
        self.seats.append(seat)
        return seat

    def write_files(self, directory: Path) -> tuple[Path, Path]:
        """Write the CA's certificate and its revocation list."""
        ca, crl = directory / "ca.crt", directory / "ca.crl"
        ca.write_bytes(pem(self.materials.ca.certificate))
        crl.write_bytes(self.materials.crl())
        return ca, crl

    def close(self) -> None:
        """End the thread and free the ports."""
        self._call(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        for sock in self._held:
            sock.close()

    # Ways to listen.

    def serve_tls(self, context: SSL.Context, version: int | None = None) -> str:
        """Do what a node does: TLS, and Hello after the first byte."""
        hello = self._hello(self._version if version is None else version)

        async def serve(sock: socket.socket, address: PeerAddress) -> None:
            try:
                stream = await accept(sock, address, context=context)
            except HandshakeFailed:
                return
            stream.start(_Greeter(self, stream, hello))
            await stream.wait_closed()

        return self._serve(serve)

    def serve_plain(self, answer: bytes, *, reset: bool = False) -> str:
        """Answer with bytes that are no TLS, and close."""

        async def serve(sock: socket.socket, _address: PeerAddress) -> None:
            with contextlib.suppress(OSError):
                await self._loop.sock_recv(sock, 1)
                await self._loop.sock_sendall(sock, answer)
            if reset:
                sock.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            sock.close()

        return self._serve(serve)

    def accept_and_wait(self) -> str:
        """Complete TCP, as the kernel does by itself, and say nothing."""
        sock = self._bound()
        sock.listen(64)
        return self._place(sock)

    def drop(self) -> str:
        """Have a queue that is full: the kernel drops what comes."""
        sock = self._bound()
        sock.listen(0)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)  # noqa: FBT003
            self._held.append(filler)
            with contextlib.suppress(BlockingIOError):
                filler.connect(sock.getsockname())
        return self._place(sock)

    def refuse(self) -> str:
        """Hold a port on which nobody listens."""
        return self._place(self._bound())

    # Inside.

    def _hello(self, version: int | None) -> bytes:
        if self.says is not None:
            return self.says
        params = {} if version is None else {"version": version, "capabilities": 7}
        return encode(jsonrpc.encode_notification("icinga::Hello", params))

    def _bound(self) -> socket.socket:
        sock = socket.socket()
        self._held.append(sock)
        sock.bind((HOST, 0))
        return sock

    def _place(self, sock: socket.socket) -> str:
        return f"{HOST}:{sock.getsockname()[1]}"

    def _serve(self, serve: Callable[..., Any]) -> str:
        sock = self._bound()
        sock.listen(64)
        sock.setblocking(False)  # noqa: FBT003
        self._call(self._accept_all, sock, serve)
        return self._place(sock)

    async def _accept_all(self, sock: socket.socket, serve: Callable[..., Any]) -> None:
        async def run() -> None:
            while True:
                taken, where = await self._loop.sock_accept(sock)
                self.accepted += 1
                task = self._loop.create_task(
                    serve(taken, PeerAddress.from_sockaddr(where))
                )
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

        self._tasks.add(self._loop.create_task(run()))

    async def _end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(
            function(*arguments), self._loop
        ).result(60)


class _Greeter:
    """Says Hello after the first bytes, and keeps them."""

    def __init__(self, rig: Rig, stream: TLSStream, hello: bytes) -> None:
        self._rig = rig
        self._stream = stream
        self._hello = hello
        self._said = False

    def data_received(self, data: bytes) -> None:
        self._rig.first_bytes.append(data)
        if not self._said:
            self._said = True
            self._stream.write(self._hello)

    def peer_finished(self) -> None:
        pass

    def connection_lost(self, error: ConnectionLost | None) -> None:
        pass


KINDS: Final[dict[str, Shows | Silent]] = {
    "good": Shows(State.OK, lambda m, n: m.issue(n)),
    "stuck": Shows(
        State.SELF_SIGNED, lambda m, n: self_signed(n, m.key), lambda _m: None
    ),
    "foreign": Shows(
        State.FOREIGN_CA,
        lambda m, n: m.other.issue(n, key=m.key, ends=LONG),
        lambda m: m.other,
    ),
    "strange": Shows(
        State.FOREIGN_CA,
        lambda m, n: m.strange.issue(n, key=m.key, ends=LONG),
        lambda _m: None,
    ),
    "revoked": Shows(State.REVOKED, lambda m, n: m.revoke(n)),
    "expired": Shows(
        State.EXPIRED, lambda m, n: m.issue(n, starts=-400 * DAY, ends=-3 * DAY)
    ),
    "early": Shows(
        State.NOT_YET_VALID, lambda m, n: m.issue(n, starts=2 * DAY, ends=LONG)
    ),
    "cloned": Shows(State.WRONG_NAME, lambda m, n: m.issue(f"not-{n}")),
    "misnamed": Shows(
        State.WRONG_NAME, lambda m, n: m.issue(n, names=[f"not-{n}", "x"])
    ),
    "nameless": Shows(State.INVALID, lambda m, n: m.bare(n)),
    "authority": Shows(State.INVALID, lambda m, n: m.sub_authority(n)),
    "ending": Shows(State.EXPIRING, lambda m, n: m.issue(n, ends=SOON)),
    "refusing": Silent(Cause.REFUSED, Rig.refuse),
    "mute": Silent(Cause.TIMEOUT, Rig.accept_and_wait),
    "dropping": Silent(Cause.TIMEOUT, Rig.drop),
    "plain": Silent(
        Cause.TLS_FAILED, lambda r: r.serve_plain(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    ),
    "resetting": Silent(Cause.TLS_FAILED, lambda r: r.serve_plain(b"", reset=True)),
    "unnamed": Silent(Cause.NOT_RESOLVED, lambda _r: "no-such-host.invalid:5665"),
}
"""Every way to stand.  Two of one state are two ways into it."""


@contextlib.contextmanager
def rig_of(count: int = 0, *, version: int | None = 21605) -> Iterator[Rig]:
    """Run a rig with so many nodes."""
    rig = Rig(version=version)
    try:
        rig.populate(count)
        yield rig
    finally:
        rig.close()
