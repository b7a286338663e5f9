"""Listening: admission, limits, exhaustion, reload, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.node.tls.joined import Cluster, in_loop, started, until
from tests.node.tls.material import Authority

from icefloe.node.errors import BindFailed, HandshakeFailed, PeerClosed
from icefloe.node.tls.address import PeerAddress
from icefloe.node.tls.connecting import connect
from icefloe.node.tls.contexts import server_context
from icefloe.node.tls.listener import (
    AcceptPaused,
    Admission,
    ConnectionRefused,
    HandshakeRefused,
    Listener,
    ListenerEvent,
    ListenerLimits,
    listening_socket,
)
from icefloe.node.tls.stream_interface import TransportLimits
from icefloe.node.tls.transport import TLSStream


class Owner:
    """Takes what a listener hands over."""

    def __init__(self) -> None:
        self.taken: asyncio.Queue[tuple[TLSStream, Admission]] = asyncio.Queue()
        self.events: list[ListenerEvent] = []
        self.streams: list[TLSStream] = []

    def on_stream(self, stream: TLSStream, admission: Admission) -> None:
        self.streams.append(stream)
        self.taken.put_nowait((stream, admission))


@contextlib.asynccontextmanager
async def listening(
    cluster: Cluster, owner: Owner, **options: Any
) -> AsyncIterator[Listener]:
    merged: dict[str, Any] = {
        "host": "127.0.0.1",
        "on_stream": owner.on_stream,
    } | options
    listener = Listener(
        port=0, context=cluster.server, on_event=owner.events.append, **merged
    )
    listener.bind()
    async with asyncio.TaskGroup() as group:
        group.create_task(listener.serve())
        try:
            yield listener
        finally:
            for stream in owner.streams:
                stream.abort()
            listener.stop()


async def dial(cluster: Cluster, listener: Listener) -> TLSStream:
    host, port = listener.address
    return await connect(host, port, context=cluster.client())


def tcp(listener: Listener, *, source: str = "127.0.0.1") -> socket.socket:
    """Connect and say nothing."""
    sock = socket.create_connection(listener.address, source_address=(source, 0))
    sock.settimeout(0)
    return sock


async def closed_by_peer(sock: socket.socket) -> bool:
    loop = asyncio.get_running_loop()
    try:
        return await loop.sock_recv(sock, 1) == b""
    except ConnectionError:
        return True


# Streams


@in_loop
async def test_established_streams_reach_the_owner() -> None:
    cluster, owner = Cluster.new(), Owner()
    async with listening(cluster, owner) as listener:
        client = await dial(cluster, listener)
        server, _ = await owner.taken.get()
        at_client = started(client)
        server.write(b"welcome")
        assert await at_client.received(7) == b"welcome"
        assert server.peer.verified
        assert listener.counts.accepted == listener.counts.established == 1
        client.abort()


@in_loop
async def test_many_connections_at_once_are_all_established() -> None:
    cluster, owner = Cluster.new(), Owner()
    limits = ListenerLimits(handshake_threads=1)
    async with listening(cluster, owner, limits=limits) as listener:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(dial(cluster, listener)) for _ in range(50)]
        for _ in tasks:
            await owner.taken.get()
        assert listener.counts.established == 50
        assert listener.strangers == 50
        for task in tasks:
            task.result().abort()


@in_loop
async def test_owner_that_fails_costs_one_connection_only() -> None:
    cluster, owner = Cluster.new(), Owner()
    reported: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    bug = ZeroDivisionError("a bug")

    def fail(_stream: TLSStream, _admission: Admission) -> None:
        raise bug

    async with listening(cluster, owner, on_stream=fail) as listener:
        for _ in range(2):
            client = await dial(cluster, listener)
            recorder = started(client)
            await recorder.lost.wait()
            assert isinstance(recorder.error, PeerClosed)
        assert reported == [bug, bug]
        assert listener.strangers == 0


@in_loop
async def test_failed_handshake_is_counted_and_told() -> None:
    cluster, owner = Cluster.new(), Owner()
    async with listening(cluster, owner) as listener:
        with tcp(listener) as sock:
            sock.send(b"GET / HTTP/1.0\r\n\r\n")
            sock.shutdown(socket.SHUT_WR)
            await until(lambda: bool(owner.events))
        (event,) = owner.events
        assert isinstance(event, HandshakeRefused)
        assert isinstance(event.error, HandshakeFailed)
        assert event.address.host == "127.0.0.1"
        assert listener.counts.handshakes_failed == 1
        assert listener.strangers == 0


@in_loop
async def test_silent_connection_is_closed_in_time() -> None:
    cluster, owner = Cluster.new(), Owner()
    brief = TransportLimits(handshake_seconds_max=0.05)
    async with listening(cluster, owner, transport_limits=brief) as listener:
        with tcp(listener) as sock:
            assert await closed_by_peer(sock)
        await until(lambda: listener.strangers == 0)


# Limits


@pytest.mark.parametrize(
    "limits, name, count",
    [
        (
            ListenerLimits(strangers_max=2, strangers_few=2),
            "strangers_max",
            "refused_total",
        ),
        (
            ListenerLimits(strangers_per_source_max=2),
            "strangers_per_source_max",
            "refused_source",
        ),
    ],
)
@in_loop
async def test_stranger_over_a_limit_is_closed_and_counted(
    limits: ListenerLimits, name: str, count: str
) -> None:
    cluster, owner = Cluster.new(), Owner()
    async with listening(cluster, owner, limits=limits) as listener:
        with tcp(listener), tcp(listener):
            await until(lambda: listener.strangers == 2)
            with tcp(listener) as third:
                assert await closed_by_peer(third)
        assert getattr(listener.counts, count) == 1
        refused = [e for e in owner.events if isinstance(e, ConnectionRefused)]
        assert [event.limit for event in refused] == [name]


@in_loop
async def test_a_source_with_few_connections_finds_a_place_when_others_took_all() -> (
    None
):
    cluster, owner = Cluster.new(), Owner()
    limits = ListenerLimits(strangers_max=2, strangers_few=1, strangers_reserve=1)
    async with listening(cluster, owner, limits=limits) as listener:
        with tcp(listener), tcp(listener):
            await until(lambda: listener.strangers == 2)
            with tcp(listener) as third:
                assert await closed_by_peer(third)
            with tcp(listener, source="127.0.0.2"):
                await until(lambda: listener.strangers == 3)
                with tcp(listener, source="127.0.0.3") as late:
                    assert await closed_by_peer(late)
        assert listener.counts.refused_total == 2


@in_loop
async def test_released_admission_makes_room_although_the_member_stays() -> None:
    cluster, owner = Cluster.new(), Owner()
    limits = ListenerLimits(strangers_max=1)
    async with listening(cluster, owner, limits=limits) as listener:
        members = []
        for _ in range(3):
            members.append(await dial(cluster, listener))
            _, admission = await owner.taken.get()
            admission.release()
            admission.release()
        assert listener.strangers == 0
        assert all(stream.is_open for stream in owner.streams)
        assert listener.counts.refused_total == 0
        for member in members:
            member.abort()


@in_loop
async def test_closed_stranger_makes_room() -> None:
    cluster, owner = Cluster.new(), Owner()
    limits = ListenerLimits(strangers_max=1)
    async with listening(cluster, owner, limits=limits) as listener:
        for _ in range(3):
            client = await dial(cluster, listener)
            server, admission = await owner.taken.get()
            client.abort()
            server.abort()
            await until(lambda: listener.strangers == 0)
            admission.release()
        assert listener.strangers == 0


@pytest.mark.parametrize(
    "host, source",
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%lo", "fe80::/64"),
    ],
)
def test_source_is_what_one_customer_has(host: str, source: str) -> None:
    assert PeerAddress.from_sockaddr((host, 1, 0, 0)).source == source


# Exhaustion


@in_loop
async def test_accepting_pauses_without_descriptors_and_goes_on() -> None:
    cluster, owner = Cluster.new(), Owner()
    limits = ListenerLimits(accept_pause_seconds=0.01)
    context = cluster.client()
    async with listening(cluster, owner, limits=limits) as listener:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as sock:
            sock.settimeout(0)
            free = os.dup(0)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            try:
                sock.connect_ex(listener.address)
                await until(lambda: listener.counts.accept_pauses >= 2)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            event = owner.events[0]
            assert isinstance(event, AcceptPaused)
            assert "Too many open files" in event.reason
        host, port = listener.address
        client = await connect(host, port, context=context)
        await owner.taken.get()
        client.abort()


# The address


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@in_loop
async def test_dual_stack_takes_both_families(address: str) -> None:
    cluster, owner = Cluster.new(), Owner()
    async with listening(cluster, owner, host="::") as listener:
        context = cluster.client()
        client = await connect(address, listener.address[1], context=context)
        server, _ = await owner.taken.get()
        assert server.peer.address == address
        client.abort()


def test_system_without_ipv6_gets_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def without_ipv6(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported")
        return real(family, kind)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    with listening_socket("::", 0, backlog=1) as sock:
        assert sock.family == socket.AF_INET


def test_taken_address_is_a_typed_error_with_a_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(BindFailed) as caught:
            listening_socket("127.0.0.1", port, backlog=1)
    assert caught.value.errno == errno.EADDRINUSE
    assert str(port) in str(caught.value)
    assert "ss -ltnp" in caught.value.remedy


@pytest.mark.parametrize("host", ["192.0.2.1", "does-not-exist.invalid", "a\0b", ".."])
def test_unusable_address_is_a_typed_error(host: str) -> None:
    with pytest.raises(BindFailed) as caught:
        listening_socket(host, 0, backlog=1)
    assert caught.value.host == host
    assert caught.value.remedy


@in_loop
async def test_address_is_free_again_after_the_end() -> None:
    cluster, owner = Cluster.new(), Owner()
    async with listening(cluster, owner) as listener:
        client = await dial(cluster, listener)
        await owner.taken.get()
        port = listener.address[1]
        client.abort()
    listening_socket("127.0.0.1", port, backlog=1).close()


# Reload and end


@in_loop
async def test_replaced_context_serves_new_connections_and_spares_old_ones() -> None:
    old, new = Cluster.new(), Cluster.new()
    owner = Owner()
    async with listening(old, owner) as listener:
        first = await dial(old, listener)
        first_server, _ = await owner.taken.get()
        listener.replace_context(new.server)
        second = await dial(new, listener)
        second_server, _ = await owner.taken.get()
        assert first_server.peer.verified
        assert second_server.peer.verified
        assert second.peer.verified
        at_first = started(first)
        first_server.write(b"still here")
        assert await at_first.received(10) == b"still here"
        first.abort()
        second.abort()


@in_loop
async def test_stop_closes_unfinished_handshakes_and_leaves_streams_alone() -> None:
    cluster, owner = Cluster.new(), Owner()
    listener = Listener(
        host="127.0.0.1", port=0, context=cluster.server, on_stream=owner.on_stream
    )
    listener.bind()
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(listener.serve())
        client = await dial(cluster, listener)
        server, _ = await owner.taken.get()
        with tcp(listener) as silent:
            await until(lambda: listener.strangers == 2)
            listener.stop()
            await serving
            assert await closed_by_peer(silent)
    assert server.is_open
    recorder = started(client)
    server.write(b"goodbye")
    await server.drain_close(10)
    await recorder.lost.wait()
    assert recorder.data == b"goodbye"


@in_loop
async def test_revoked_trust_shows_from_the_next_connection_on() -> None:
    ca = Authority()
    node = ca.issue("agent")
    cluster, owner = Cluster.new(ca=ca), Owner()
    crl = ca.revocation_list(node.certificate)
    async with listening(cluster, owner) as listener:
        for verified in (True, False):
            host, port = listener.address
            client = await connect(host, port, context=cluster.client(node))
            server, _ = await owner.taken.get()
            assert server.peer.verified is verified
            client.abort()
            listener.replace_context(
                server_context(ca.issue("master").identity(ca, crl=crl))
            )
