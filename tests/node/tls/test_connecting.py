"""Dialling: addresses, deadlines, names and pins."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tests.node.tls.joined import Cluster, in_loop, raises
from tests.node.tls.material import self_signed

from icefloe.node.errors import (
    ConnectFailed,
    HandshakeFailed,
    HandshakeTimedOut,
    PeerNotPinned,
)
from icefloe.node.tls import connecting
from icefloe.node.tls.connecting import connect
from icefloe.node.tls.stream_interface import TransportLimits
from icefloe.node.tls.verdict import CertificatePinned

BRIEF = TransportLimits(connect_seconds_max=0.2, handshake_seconds_max=0.05)


@contextlib.contextmanager
def silent_listener() -> Iterator[int]:
    """Takes TCP connections (the kernel does) and says nothing; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def refusing_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@in_loop
async def test_refused_connection_is_a_typed_error_with_the_reason() -> None:
    context = Cluster.new().client()
    port = refusing_port()
    error = await raises(connect("127.0.0.1", port, context=context), ConnectFailed)
    assert error.host == "127.0.0.1"
    assert error.port == port
    assert [attempt.address for attempt in error.attempts] == ["127.0.0.1"]
    assert "refused" in str(error)


@pytest.mark.parametrize(
    "host, port",
    [
        ("127.0.0.1", "5665x"),
        ("127.0.0.1", 0),
        ("127.0.0.1", 65536),
        ("127.0.0.1", "-1"),
        ("", 5665),
        ("a\0b", 5665),
        ("a" * 64 + ".example", 5665),
        ("..", 5665),
        ("does-not-exist.invalid", 5665),
    ],
)
@in_loop
async def test_unusable_host_or_port_is_a_connect_failure(
    host: str, port: int | str
) -> None:
    context = Cluster.new().client()
    error = await raises(connect(host, port, context=context), ConnectFailed)
    assert error.attempts


@in_loop
async def test_port_may_be_text_as_in_the_configuration() -> None:
    cluster = Cluster.new()
    with silent_listener() as port:
        error = await raises(
            connect("127.0.0.1", str(port), context=cluster.client(), limits=BRIEF),
            HandshakeFailed,
        )
    assert isinstance(error, HandshakeTimedOut)


@in_loop
async def test_next_address_is_tried_when_one_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster.new()
    resolve_to(monkeypatch, ["127.0.0.2", "127.0.0.1"])
    async with cluster.joined() as (_, client):
        assert client.peer.address == "127.0.0.1"


@in_loop
async def test_every_failed_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, ["127.0.0.2", "127.0.0.3"])
    context = Cluster.new().client()
    error = await raises(
        connect("master", refusing_port(), context=context), ConnectFailed
    )
    assert [one.address for one in error.attempts] == ["127.0.0.2", "127.0.0.3"]


@in_loop
async def test_address_that_answers_wrongly_is_told_rather_than_a_silent_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve_to(monkeypatch, ["127.0.0.1", "127.0.0.2"])
    context = Cluster.new().client()
    with silent_listener() as port:
        error = await raises(
            connect("master", port, context=context, limits=BRIEF), HandshakeFailed
        )
    assert error.address == "127.0.0.1"


@in_loop
async def test_dead_first_address_leaves_time_for_the_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A black hole swallows SYNs: connecting takes for ever."""
    cluster = Cluster.new()
    resolve_to(monkeypatch, ["127.0.0.9", "127.0.0.1"])
    loop = asyncio.get_running_loop()
    connect_really = loop.sock_connect

    async def sock_connect(sock: socket.socket, address: Any) -> None:
        if address[0] == "127.0.0.9":
            await loop.create_future()
        await connect_really(sock, address)

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    limits = TransportLimits(connect_seconds_max=0.4)
    async with cluster.joined(client_limits=limits) as (_, client):
        assert client.peer.address == "127.0.0.1"


@in_loop
async def test_whole_attempt_ends_at_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()

    async def getaddrinfo(*_: object, **__: object) -> None:
        await loop.create_future()

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    context = Cluster.new().client()
    limits = TransportLimits(connect_seconds_max=0.05)
    error = await raises(
        connect("master", 5665, context=context, limits=limits), ConnectFailed
    )
    assert "0.05 s" in str(error)


def resolve_to(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
    """Have every name resolve to these."""

    async def resolve(_host: str, port: int | str) -> list[tuple[Any, Any]]:
        return [(socket.AF_INET, (address, int(port))) for address in addresses]

    monkeypatch.setattr(connecting, "_resolve", resolve)


@in_loop
async def test_server_that_never_speaks_is_a_handshake_timeout() -> None:
    context = Cluster.new().client()
    with silent_listener() as port:
        await raises(
            connect("127.0.0.1", port, context=context, limits=BRIEF),
            HandshakeTimedOut,
        )


@in_loop
async def test_server_that_speaks_no_tls_is_a_handshake_failure() -> None:
    context = Cluster.new().client()
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        async with asyncio.TaskGroup() as group:
            dialling = group.create_task(
                raises(
                    connect("127.0.0.1", listening.getsockname()[1], context=context),
                    HandshakeFailed,
                )
            )
            sock, _ = await loop.sock_accept(listening)
            with sock:
                await loop.sock_sendall(sock, b"220 mail.example ESMTP\r\n")
                while await loop.sock_recv(sock, 65536):
                    pass
    assert dialling.result().reason


@in_loop
async def test_other_certificate_than_the_pinned_one_is_refused() -> None:
    cluster = Cluster.new()
    pinned = CertificatePinned(self_signed("master").der)
    with pytest.raises(ExceptionGroup) as caught:
        async with cluster.joined(expectation=pinned):
            pass
    assert caught.group_contains(PeerNotPinned)


@in_loop
async def test_cancelled_dialling_closes_its_socket() -> None:
    context = Cluster.new().client()
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        async with asyncio.TaskGroup() as group:
            dialling = group.create_task(
                connect("127.0.0.1", listening.getsockname()[1], context=context)
            )
            sock, _ = await loop.sock_accept(listening)
            dialling.cancel()
        with sock:
            while await loop.sock_recv(sock, 65536):
                pass  # a hello, perhaps, and the end


@in_loop
async def test_no_descriptor_left_is_a_connect_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_socket(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    context = Cluster.new().client()
    monkeypatch.setattr(socket, "socket", no_socket)
    error = await raises(connect("127.0.0.1", 5665, context=context), ConnectFailed)
    assert "Too many open files" in str(error)
