"""Two real ends of a TLS connection over loopback, and a rude peer for one of them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from cryptography import x509
from OpenSSL import SSL
from tests.node.tls.material import Authority, Node

from icefloe.node.errors import ConnectionLost
from icefloe.node.tls.address import PeerAddress
from icefloe.node.tls.connecting import connect
from icefloe.node.tls.contexts import client_context, server_context
from icefloe.node.tls.handshake import accept
from icefloe.node.tls.stream_interface import TransportLimits
from icefloe.node.tls.transport import TLSStream
from icefloe.node.tls.verdict import Expectation

P = ParamSpec("P")
T = TypeVar("T")

TEST_SECONDS_MAX = 20.0
"""No test comes near it; what hangs ends here with a stack."""

LIMITS = TransportLimits(outbound_bytes_max=32 * 1024 * 1024)


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a coroutine as a test; fail it for anything it leaves or hides.

    A task left over, a file descriptor still watched, or an exception that reached
    only the loop's handler is a failure.
    """

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(_watched(test(*args, **kwargs)))

    return run


async def _watched(test: Coroutine[Any, Any, None]) -> None:
    loop = asyncio.get_running_loop()
    problems: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: problems.append(context))
    async with asyncio.timeout(TEST_SECONDS_MAX):
        await test
    await asyncio.sleep(0)
    assert problems == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
    selector: Any = getattr(loop, "_selector")  # noqa: B009 - private, on purpose
    watched = len(selector.get_map())
    assert watched == 1, "only the loop's own wake-up pipe is still watched"


class Recorder:
    """A handler that writes down what happened and lets a test wait for it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.finished = asyncio.Event()
        self.lost = asyncio.Event()
        self.error: ConnectionLost | None = None
        self._came = asyncio.Event()
        self.on_data: Callable[[bytes], None] = lambda _data: None
        self.on_finished: Callable[[], None] = lambda: None

    def data_received(self, data: bytes) -> None:
        assert 0 < len(data) <= 16384
        assert not self.finished.is_set(), "data after the end"
        assert not self.lost.is_set(), "data after the end"
        self.data += data
        self._came.set()
        self.on_data(data)

    def peer_finished(self) -> None:
        assert not self.finished.is_set(), "finished twice"
        self.finished.set()
        self.on_finished()

    def connection_lost(self, error: ConnectionLost | None) -> None:
        assert not self.lost.is_set(), "lost twice"
        self.error = error
        self.lost.set()
        self._came.set()

    async def received(self, count: int) -> bytes:
        """Wait for `count` bytes in all, and return all."""
        while len(self.data) < count:
            assert not self.lost.is_set(), f"lost early: {self.error!r}"
            self._came.clear()
            await self._came.wait()
        return bytes(self.data)


def started(stream: TLSStream) -> Recorder:
    recorder = Recorder()
    stream.start(recorder)
    return recorder


@contextlib.asynccontextmanager
async def tcp_pair() -> AsyncIterator[tuple[socket.socket, socket.socket, PeerAddress]]:
    """Two ends of a TCP connection: accepting, connecting, the latter's address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, sockaddr = listening.accept()
    ours.settimeout(0)
    # Small buffers, whatever the machine allows: a peer that does not read is felt.
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    with ours, theirs:
        yield theirs, ours, PeerAddress.from_sockaddr(sockaddr)


@dataclass
class Cluster:
    """A CA, a server's context, and what the tests vary."""

    ca: Authority
    server: SSL.Context
    pool: Executor | None = None
    server_certificate: x509.Certificate | None = None

    @classmethod
    def new(cls, *, crl: bytes | None = None, ca: Authority | None = None) -> Cluster:
        ca = ca or Authority()
        node = ca.issue("master")
        context = server_context(node.identity(ca, crl=crl))
        return cls(ca, context, server_certificate=node.certificate)

    def client(self, node: Node | None = None, tls: str = "TLSv1.3") -> SSL.Context:
        """A client's context; a member's by default."""
        return client_version(
            client_context((node or self.ca.issue()).identity(self.ca)), tls
        )

    @contextlib.asynccontextmanager
    async def joined(
        self,
        client: SSL.Context | None = None,
        *,
        expectation: Expectation = None,
        server_limits: TransportLimits = LIMITS,
        client_limits: TransportLimits = LIMITS,
    ) -> AsyncIterator[tuple[TLSStream, TLSStream]]:
        """Both ends as our streams: server's, client's."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.settimeout(0)
            port = listening.getsockname()[1]
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(self._accept_one(listening, server_limits))
                dialling = group.create_task(
                    connect(
                        "127.0.0.1",
                        port,
                        context=client or self.client(),
                        expectation=expectation,
                        limits=client_limits,
                    )
                )
        streams = serving.result(), dialling.result()
        try:
            yield streams
        finally:
            for stream in streams:
                stream.abort()

    async def _accept_one(
        self, listening: socket.socket, limits: TransportLimits
    ) -> TLSStream:
        loop = asyncio.get_running_loop()
        sock, sockaddr = await loop.sock_accept(listening)
        address = PeerAddress.from_sockaddr(sockaddr)
        return await accept(
            sock, address, context=self.server, limits=limits, pool=self.pool
        )

    @contextlib.asynccontextmanager
    async def with_raw_client(
        self,
        context: SSL.Context | None = None,
        *,
        session: SSL.Session | None = None,
        limits: TransportLimits = LIMITS,
    ) -> AsyncIterator[tuple[TLSStream, RawPeer]]:
        """Our server's stream, and a client that does only what the test says."""
        async with tcp_pair() as (theirs, ours, address):
            peer = RawPeer(ours, context or self.client(), server=False)
            if session is not None:
                peer.connection.set_session(session)
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(
                    accept(
                        theirs,
                        address,
                        context=self.server,
                        limits=limits,
                        pool=self.pool,
                    )
                )
                group.create_task(peer.shake_hands())
            stream = serving.result()
            try:
                yield stream, peer
            finally:
                stream.abort()
                peer.close()


def client_version(context: SSL.Context, tls: str) -> SSL.Context:
    """Hold a client to one TLS version."""
    versions = {
        "TLSv1.1": SSL.TLS1_1_VERSION,
        "TLSv1.2": SSL.TLS1_2_VERSION,
        "TLSv1.3": SSL.TLS1_3_VERSION,
    }
    context.set_max_proto_version(versions[tls])
    if tls == "TLSv1.1":
        context.set_min_proto_version(versions[tls])
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
    return context


class RawPeer:
    """A peer that does nothing by itself: no reading, no answering, no closing."""

    def __init__(
        self, sock: socket.socket, context: SSL.Context, *, server: bool
    ) -> None:
        self.socket = sock
        self.connection = SSL.Connection(context, sock)
        if server:
            self.connection.set_accept_state()
        else:
            self.connection.set_connect_state()

    async def _until_done(self, step: Callable[[], T]) -> T:
        while True:
            try:
                return step()
            except SSL.WantReadError:
                await ready(self.socket)
            except SSL.WantWriteError:
                await ready(self.socket, write=True)

    async def shake_hands(self) -> None:
        await self._until_done(self.connection.do_handshake)

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            send = functools.partial(self.connection.send, view[:16384])
            sent = await self._until_done(send)
            view = view[sent:]

    async def receive(self) -> bytes:
        """One record, or `b""` for close_notify."""
        try:
            return await self._until_done(lambda: self.connection.recv(16384))
        except SSL.ZeroReturnError:
            return b""

    async def receive_all(self) -> bytes:
        """Everything up to close_notify."""
        data = bytearray()
        while piece := await self.receive():
            data += piece
        return bytes(data)

    def send_close_notify(self) -> None:
        self.connection.shutdown()

    def reset(self) -> None:
        """Close with RST, whatever waits."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()

    def close(self) -> None:
        self.socket.close()


async def ready(sock: socket.socket, *, write: bool = False) -> None:
    """Wait until a socket can be read (or written)."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    add, remove = (
        (loop.add_writer, loop.remove_writer)
        if write
        else (loop.add_reader, loop.remove_reader)
    )
    add(sock, event.set)
    try:
        await event.wait()
    finally:
        remove(sock)


async def raises(awaitable: Awaitable[object], kind: type[T]) -> T:
    """Await something that must raise, and return the exception."""
    try:
        await awaitable
    except BaseException as error:
        if isinstance(error, kind):
            return error
        raise
    raise AssertionError(f"no {kind.__name__} was raised")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody announces."""
    while not condition():  # noqa: ASYNC110 - nothing to wait on
        await asyncio.sleep(0)
