"""From a TCP socket to a `TLSStream`: accepting, and the handshake of both sides.

`accept` owns its socket: whatever happens, it ends up in the stream or closed.  It is
bounded in time by itself and may be cancelled at any point.

The server's first step, from ClientHello to its own flight, holds the private-key
operation (1.5-5 ms with RSA-4096), so it runs in a small thread pool; in the loop a
storm of reconnecting agents would hold up every other connection.  OpenSSL releases
the GIL for it.  While a pool thread works on a channel nobody else may touch it, not
even to close it: the file descriptor could be another connection's by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Final

from OpenSSL import SSL

from icefloe.node.errors import HandshakeFailed, HandshakeTimedOut
from icefloe.node.tls.address import PeerAddress
from icefloe.node.tls.channel import TLSChannel, Wait
from icefloe.node.tls.handshake_line import HandshakeLine
from icefloe.node.tls.stream_interface import TransportLimits
from icefloe.node.tls.transport import TLSStream
from icefloe.node.tls.verdict import Expectation, PeerFacts, judge

PARTING_SECONDS_MAX: Final = 1.0
"""How long input is read and thrown away after a failed handshake, lest a reset
overtake our alert."""

PARTING_BYTES_MAX: Final = 1_048_576
"""And how much of it: a chain of certificates that is far too long has to fit."""


async def accept(
    sock: socket.socket,
    address: PeerAddress,
    *,
    context: SSL.Context,
    limits: TransportLimits | None = None,
    pool: Executor | None = None,
    line: HandshakeLine | None = None,
) -> TLSStream:
    """Do the server's side of a handshake.

    Args:
        sock: An accepted TCP socket; owned from here on.
        address: The peer's.
        context: From `icefloe.node.tls.contexts.server_context`.
        limits: Times and sizes; default Icinga's.
        pool: Where the private-key operation runs; `None` runs it in the loop.
        line: Where handshakes wait for their private-key operation.  A connection that
            says nothing does not stand in it, and the handshake's time starts with its
            first turn there.

    Returns:
        The stream, not yet started.

    Raises:
        HandshakeFailed: The peer has got an alert if TLS has one for the case.
    """
    limits = limits or TransportLimits()
    opened = asyncio.get_running_loop().time()
    with owned(sock):
        prepare(sock)
        async with (
            _parting(sock),
            deadline(limits.connect_seconds_max, address),
        ):
            async with deadline(limits.handshake_seconds_max, address):
                await _ready(sock, Wait.READABLE)
            channel = TLSChannel.server(
                context=context, sock=sock, address=address.host
            )
            turn = _Turns(pool, line, address.source)
            wait = await turn.step(channel)
            if wait is not None:
                async with deadline(limits.handshake_seconds_max, address):
                    await _ready(channel.socket, wait)
                    await _shake_hands(channel, turn)
        return make_stream(channel, address, limits=limits, opened=opened)


async def shake_hands_as_client(
    channel: TLSChannel, address: PeerAddress, *, limits: TransportLimits
) -> None:
    """Do the client's side of a handshake on a connected socket.

    Raises:
        HandshakeFailed: As for `accept`.  The socket is left to the caller.
    """
    async with (
        _parting(channel.socket),
        deadline(limits.handshake_seconds_max, address),
    ):
        await _shake_hands(channel, _Turns(None, None, ""))


def make_stream(
    channel: TLSChannel,
    address: PeerAddress,
    *,
    limits: TransportLimits,
    opened: float,
    expectation: Expectation = None,
) -> TLSStream:
    """Judge the peer of a finished handshake and make the stream."""
    certificate = channel.peer_certificate()
    verified, objections = judge(channel.verdict, certificate, expectation)
    facts = PeerFacts(
        certificate=certificate,
        chain=channel.peer_chain(),
        verified=verified,
        errors=channel.verdict.errors,
        objections=objections,
        tls_version=channel.tls_version(),
        cipher=channel.cipher(),
        address=address.host,
        port=address.port,
        server_name=channel.server_name(),
    )
    return TLSStream(channel=channel, peer=facts, limits=limits, opened=opened)


@contextlib.contextmanager
def owned(sock: socket.socket) -> Iterator[None]:
    """Close the socket if the block does not end well."""
    try:
        yield
    except BaseException:
        sock.close()
        raise


def prepare(sock: socket.socket) -> None:
    """Set what every connection's socket has: non-blocking, no delay, keep-alive."""
    sock.settimeout(0)  # non-blocking
    # A peer that has gone already makes these fail; the handshake will say so.
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


@contextlib.asynccontextmanager
async def deadline(seconds: float, address: PeerAddress) -> AsyncIterator[None]:
    """`asyncio.timeout` that raises `HandshakeTimedOut`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise HandshakeTimedOut(address=address.host, seconds=seconds) from None


@contextlib.asynccontextmanager
async def _parting(sock: socket.socket) -> AsyncIterator[None]:
    """If the handshake fails, let the alert arrive before the socket is closed."""
    try:
        yield
    except HandshakeTimedOut:
        raise
    except HandshakeFailed:
        with contextlib.suppress(OSError):  # TimeoutError included
            sock.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(PARTING_SECONDS_MAX):
                await _discard(sock)
        raise


async def _discard(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    room = PARTING_BYTES_MAX
    while room > 0:
        data = await loop.sock_recv(sock, min(room, 65536))
        if not data:
            return
        room -= len(data)


class _Turns:
    """Where the steps of one handshake are computed."""

    def __init__(
        self, pool: Executor | None, line: HandshakeLine | None, source: str
    ) -> None:
        self._pool = pool
        self._line = line
        self._source = source

    async def step(self, channel: TLSChannel) -> Wait | None:
        """Go on with the handshake; the costly step in its turn, and in the pool."""
        if not channel.awaits_client_hello:
            return channel.handshake()
        if self._line is None:
            return await self._compute(channel)
        async with self._line.turn(self._source):
            return await self._compute(channel)

    async def _compute(self, channel: TLSChannel) -> Wait | None:
        if self._pool is None:
            return channel.handshake()
        return await _in_pool(self._pool, channel.handshake)


async def _shake_hands(channel: TLSChannel, turns: _Turns) -> None:
    while (wait := await turns.step(channel)) is not None:
        await _ready(channel.socket, wait)


async def _in_pool(pool: Executor, step: Callable[[], Wait | None]) -> Wait | None:
    job = pool.submit(step)
    try:
        return await asyncio.wrap_future(job)
    except asyncio.CancelledError:
        if not job.cancel():
            await _let_go(job)
        raise


async def _let_go(job: Future[Wait | None]) -> None:
    """Wait until the pool thread is done, however often we are cancelled meanwhile.

    It never blocks, so this takes milliseconds.
    """
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    job.add_done_callback(lambda _: loop.call_soon_threadsafe(done.set))
    while not done.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await done.wait()


async def _ready(sock: socket.socket, wait: Wait) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    if wait is Wait.READABLE:
        add, remove = loop.add_reader, loop.remove_reader
    else:
        add, remove = loop.add_writer, loop.remove_writer
    add(sock, _wake, ready)
    try:
        await ready
    finally:
        remove(sock)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
