"""Handshakes that fail, stall, are cancelled, or go by way of the pool."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from OpenSSL import SSL
from tests.node.tls.joined import (
    Cluster,
    RawPeer,
    in_loop,
    raises,
    ready,
    started,
    tcp_pair,
    until,
)

from icefloe.node.errors import HandshakeFailed, HandshakeTimedOut
from icefloe.node.tls import handshake
from icefloe.node.tls.handshake import accept
from icefloe.node.tls.handshake_line import HandshakeLine
from icefloe.node.tls.stream_interface import TransportLimits
from icefloe.node.tls.transport import TLSStream

BRIEF = TransportLimits(handshake_seconds_max=0.05, connect_seconds_max=5)


class CountingPool(ThreadPoolExecutor):
    """A pool of one thread that counts its jobs and may be held up."""

    def __init__(self) -> None:
        super().__init__(1)
        self.jobs = 0
        self.done = 0
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def submit(self, step: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.jobs += 1

        def gated() -> Any:
            self.entered.set()
            assert self.gate.wait(20)
            try:
                return step(*args, **kwargs)
            finally:
                self.done += 1

        return super().submit(gated)


@pytest.mark.parametrize("tls", ["TLSv1.2", "TLSv1.3"])
@in_loop
async def test_only_the_servers_first_step_goes_to_the_pool(tls: str) -> None:
    cluster = Cluster.new()
    with CountingPool() as pool:
        cluster.pool = pool
        async with cluster.joined(cluster.client(tls=tls)) as (server, client):
            assert server.peer.verified
            assert client.peer.verified
        assert pool.jobs == 1


@in_loop
async def test_client_hello_in_pieces_still_goes_to_the_pool() -> None:
    cluster = Cluster.new()
    with CountingPool() as pool:
        async with tcp_pair() as (theirs, ours, address):
            hello = client_hello(cluster.client())
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(
                    raises(
                        accept(theirs, address, context=cluster.server, pool=pool),
                        HandshakeFailed,
                    )
                )
                for number, start in enumerate(range(0, len(hello), 400), start=1):
                    ours.send(hello[start : start + 400])
                    await until(lambda: pool.done == number)  # noqa: B023
                await ready(ours)  # its flight came
                ours.shutdown(socket.SHUT_WR)
            assert serving.result().reason
        assert pool.jobs == number


def client_hello(context: SSL.Context) -> bytes:
    """What a client says first."""
    connection = SSL.Connection(context)
    connection.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(65536)


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"75:" + b"{" * 75,
        bytes(1000),
        b"\x16\x03\x01\x40\x01" + bytes(20000),
        b"\xff" * 100_000,
    ],
)
@in_loop
async def test_garbage_instead_of_a_hello_fails_the_handshake(noise: bytes) -> None:
    cluster = Cluster.new()
    async with tcp_pair() as (theirs, ours, address):
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(
                raises(accept(theirs, address, context=cluster.server), HandshakeFailed)
            )
            await send_raw(ours, noise)
            ours.shutdown(socket.SHUT_WR)
        error = serving.result()
        assert error.reason
        assert error.address == "127.0.0.1"
        assert theirs.fileno() == -1, "closed"


async def send_raw(sock: socket.socket, data: bytes) -> None:
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(sock, data)
    except ConnectionError:
        return  # it had enough: allowed


@in_loop
async def test_alert_arrives_although_the_peer_has_sent_more_than_was_read() -> None:
    """Unread input would make our close a reset, and a reset overtakes the alert."""
    cluster = Cluster.new()
    async with tcp_pair() as (theirs, ours, address):
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(
                raises(accept(theirs, address, context=cluster.server), HandshakeFailed)
            )
            await send_raw(ours, b"\x16\x03\x01\x00\x05hello" + bytes(30000))
            heard = await everything(ours)
            assert not serving.done(), "it reads on until we close"
            ours.close()
        assert heard[0:1] == b"\x15", "an alert record"
        assert len(heard) == 7


@in_loop
async def test_refused_peer_that_never_closes_is_left_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handshake, "PARTING_SECONDS_MAX", 0.05)
    cluster = Cluster.new()
    async with tcp_pair() as (theirs, ours, address):
        ours.send(b"no TLS at all")
        await raises(accept(theirs, address, context=cluster.server), HandshakeFailed)
        assert theirs.fileno() == -1


@in_loop
async def test_refused_peer_that_never_stops_is_left_soon() -> None:
    cluster = Cluster.new()
    async with tcp_pair() as (theirs, ours, address), asyncio.TaskGroup() as group:
        sending = group.create_task(send_raw(ours, bytes(50_000_000)))
        await raises(accept(theirs, address, context=cluster.server), HandshakeFailed)
        assert theirs.fileno() == -1
        await sending


async def everything(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while piece := await loop.sock_recv(sock, 65536):
        data += piece
    return data


@in_loop
async def test_refusal_by_the_peer_tells_its_alert() -> None:
    """The client refuses our certificate, as a foreign client may."""
    cluster = Cluster.new()
    refusing = SSL.Context(SSL.TLS_CLIENT_METHOD)
    refusing.set_verify(SSL.VERIFY_PEER, lambda *_: False)
    async with tcp_pair() as (theirs, ours, address):
        peer = RawPeer(ours, refusing, server=False)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(
                raises(accept(theirs, address, context=cluster.server), HandshakeFailed)
            )
            await raises(peer.shake_hands(), SSL.Error)
            peer.close()
        assert serving.result().alert in {"unknown ca", "certificate unknown"}


@in_loop
async def test_peer_that_leaves_during_the_handshake_fails_it() -> None:
    cluster = Cluster.new()
    async with tcp_pair() as (theirs, ours, address):
        ours.send(client_hello(cluster.client()))
        ours.shutdown(socket.SHUT_WR)
        error = await raises(
            accept(theirs, address, context=cluster.server), HandshakeFailed
        )
        assert error.reason


@in_loop
async def test_peer_that_resets_before_the_handshake_fails_it() -> None:
    cluster = Cluster.new()
    async with tcp_pair() as (theirs, ours, address):
        RawPeer(ours, cluster.client(), server=False).reset()
        await raises(accept(theirs, address, context=cluster.server), HandshakeFailed)


# Time


def silence(_sock: socket.socket, _context: SSL.Context) -> None:
    pass


def half_a_hello(sock: socket.socket, context: SSL.Context) -> None:
    sock.send(client_hello(context)[:100])


def hello_and_silence(sock: socket.socket, context: SSL.Context) -> None:
    sock.send(client_hello(context))


@pytest.mark.parametrize("speech", [silence, half_a_hello, hello_and_silence])
@in_loop
async def test_handshake_that_stalls_is_given_up(
    speech: Callable[[socket.socket, SSL.Context], None],
) -> None:
    cluster = Cluster.new()
    async with tcp_pair() as (theirs, ours, address):
        speech(ours, cluster.client())
        error = await raises(
            accept(theirs, address, context=cluster.server, limits=BRIEF),
            HandshakeTimedOut,
        )
        assert error.seconds == BRIEF.handshake_seconds_max
        assert theirs.fileno() == -1, "closed"


@in_loop
async def test_silent_connection_takes_no_place_and_a_speaking_one_waits_for_it() -> (
    None
):
    cluster = Cluster.new()
    line = HandshakeLine(1)
    async with (
        tcp_pair() as (quiet, _quiet_peer, quiet_address),
        tcp_pair() as (theirs, ours, address),
        asyncio.TaskGroup() as group,
    ):
        waiting = group.create_task(
            accept(quiet, quiet_address, context=cluster.server, line=line)
        )
        peer = RawPeer(ours, cluster.client(), server=False)
        async with line.turn("another"):
            serving = group.create_task(
                accept(theirs, address, context=cluster.server, line=line)
            )
            group.create_task(peer.shake_hands())
            for _ in range(20):
                await asyncio.sleep(0)
            assert not serving.done(), "no place"
            assert line.waiting == 1
        stream = await serving
        assert line.waiting == 0
        stream.abort()
        waiting.cancel()


@in_loop
async def test_turn_that_never_comes_ends_with_the_whole_time() -> None:
    cluster = Cluster.new()
    limits = TransportLimits(connect_seconds_max=0.05)
    line = HandshakeLine(1)
    async with tcp_pair() as (theirs, ours, address), line.turn("another"):
        ours.send(client_hello(cluster.client()))
        await raises(
            accept(theirs, address, context=cluster.server, limits=limits, line=line),
            HandshakeTimedOut,
        )


@in_loop
async def test_a_handshake_that_stalls_after_its_first_bytes_keeps_no_place() -> None:
    cluster = Cluster.new()
    line = HandshakeLine(1)
    async with (
        tcp_pair() as (slow, slow_peer, slow_address),
        tcp_pair() as (theirs, ours, address),
        asyncio.TaskGroup() as group,
    ):
        slow_peer.send(client_hello(cluster.client())[:7])
        stalled = group.create_task(
            accept(slow, slow_address, context=cluster.server, line=line)
        )
        for _ in range(20):
            await asyncio.sleep(0)
        peer = RawPeer(ours, cluster.client(), server=False)
        group.create_task(peer.shake_hands())
        stream = await accept(theirs, address, context=cluster.server, line=line)
        assert not stalled.done()
        stream.abort()
        stalled.cancel()


# Cancellation


@in_loop
async def test_cancelled_handshake_closes_its_socket() -> None:
    cluster = Cluster.new()
    async with tcp_pair() as (theirs, ours, address):
        ours.send(client_hello(cluster.client()))
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(accept(theirs, address, context=cluster.server))
            await ready(ours)
            serving.cancel()
        assert theirs.fileno() == -1


@in_loop
async def test_cancelled_handshake_waits_until_the_pool_thread_lets_go() -> None:
    """Closed earlier, the descriptor could be another connection's by then."""
    cluster = Cluster.new()
    with CountingPool() as pool:
        pool.gate.clear()
        async with tcp_pair() as (theirs, ours, address):
            ours.send(client_hello(cluster.client()))
            async with asyncio.TaskGroup() as group:
                serving: asyncio.Task[TLSStream] = group.create_task(
                    accept(theirs, address, context=cluster.server, pool=pool)
                )
                await asyncio.to_thread(pool.entered.wait)
                for _ in range(3):
                    serving.cancel()
                    await asyncio.sleep(0)
                assert not serving.done()
                assert theirs.fileno() != -1
                pool.gate.set()
            assert serving.cancelled()
            assert theirs.fileno() == -1


@in_loop
async def test_job_that_the_pool_has_not_begun_is_taken_back() -> None:
    cluster = Cluster.new()
    with CountingPool() as pool:
        pool.gate.clear()
        pool.submit(lambda: None)  # keeps the one thread busy
        async with tcp_pair() as (theirs, ours, address):
            ours.send(client_hello(cluster.client()))
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(
                    accept(theirs, address, context=cluster.server, pool=pool)
                )
                await until(lambda: pool.jobs == 2)
                serving.cancel()
            assert theirs.fileno() == -1, "without waiting for the thread"
        pool.gate.set()


@in_loop
async def test_time_runs_out_while_the_pool_is_busy() -> None:
    cluster = Cluster.new()
    with CountingPool() as pool:
        pool.gate.clear()
        pool.submit(lambda: None)
        async with tcp_pair() as (theirs, ours, address):
            ours.send(client_hello(cluster.client()))
            await raises(
                accept(
                    theirs, address, context=cluster.server, pool=pool, limits=BRIEF
                ),
                HandshakeTimedOut,
            )
            assert theirs.fileno() == -1
        pool.gate.set()


@in_loop
async def test_data_that_came_with_the_handshake_is_delivered() -> None:
    """TLS 1.3 clients may speak with their last flight; no event will announce it."""
    cluster = Cluster.new()
    async with cluster.with_raw_client() as (server, peer):
        await peer.send(b"at once")
        recorder = started(server)
        assert await recorder.received(7) == b"at once"
