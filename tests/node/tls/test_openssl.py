"""Truth from outside: the `openssl` command as the peer."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.node.tls.joined import Cluster, Recorder, in_loop, started, tcp_pair
from tests.node.tls.key_updates import KeyUpdater, system_libssl
from tests.node.tls.material import Authority, key_pem, pem

from icefloe.node.tls.address import PeerAddress
from icefloe.node.tls.channel import Finished, TLSChannel, Wait
from icefloe.node.tls.connecting import connect
from icefloe.node.tls.handshake import accept
from icefloe.node.tls.transport import TLSStream

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the openssl command is not installed"
)
BOTH = pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])


def write_member(directory: Path, ca: Authority) -> None:
    node = ca.issue("agent")
    (directory / "ca.crt").write_bytes(pem(ca.certificate))
    (directory / "agent.pem").write_bytes(pem(node.certificate) + key_pem(node.key))


class Accepting:
    """Accepts on a port and starts a recorder on each stream."""

    def __init__(self, cluster: Cluster, listening: socket.socket) -> None:
        self._cluster = cluster
        self._listening = listening
        self.port = int(listening.getsockname()[1])
        self.streams: list[TLSStream] = []

    async def next(self) -> tuple[TLSStream, Recorder]:
        loop = asyncio.get_running_loop()
        sock, sockaddr = await loop.sock_accept(self._listening)
        address = PeerAddress.from_sockaddr(sockaddr)
        stream = await accept(sock, address, context=self._cluster.server)
        self.streams.append(stream)
        return stream, started(stream)


@contextlib.asynccontextmanager
async def accepting(cluster: Cluster) -> AsyncIterator[Accepting]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        server = Accepting(cluster, listening)
        try:
            yield server
        finally:
            for stream in server.streams:
                stream.abort()


@contextlib.asynccontextmanager
async def s_client(
    directory: Path, port: int, *options: str, stdin: int = PIPE
) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{port}"),
        *("-CAfile", "ca.crt", "-verify_return_error", "-cert", "agent.pem"),
        *options,
        cwd=directory,
        stdin=stdin,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@BOTH
@in_loop
async def test_s_client_verifies_our_chain_and_hears_our_last_words(
    option: str, tmp_path: Path
) -> None:
    cluster = Cluster.new()
    write_member(tmp_path, cluster.ca)
    options = (option, "-showcerts", "-ign_eof")
    async with (
        accepting(cluster) as server,
        s_client(tmp_path, server.port, *options, stdin=DEVNULL) as process,
    ):
        stream, _ = await server.next()
        assert stream.peer.verified
        stream.write(b"the last words\n")
        report = await stream.drain_close(10)
        assert report.flushed
        assert report.clean
        out, _ = await process.communicate()
    assert out.count(b"BEGIN CERTIFICATE") >= 2
    assert b"Verify return code: 0 (ok)" in out
    assert b"Acceptable client certificate CA names\nCN = Icinga CA" in out
    assert b"the last words" in out
    assert process.returncode == 0


@BOTH
@in_loop
async def test_s_client_that_ends_its_input_is_answered_and_exits(
    option: str, tmp_path: Path
) -> None:
    cluster = Cluster.new()
    write_member(tmp_path, cluster.ca)
    async with (
        accepting(cluster) as server,
        s_client(tmp_path, server.port, option) as process,
    ):
        stream, recorder = await server.next()
        await process.communicate(b"one line\n")
        await recorder.lost.wait()
        assert recorder.data == b"one line\n"
        assert recorder.finished.is_set()
        assert recorder.error is None
        assert (await stream.wait_closed()).flushed


@in_loop
async def test_s_client_cannot_resume(tmp_path: Path) -> None:
    """`-reconnect` tries five times, with the session it got."""
    cluster = Cluster.new()
    write_member(tmp_path, cluster.ca)
    async with (
        accepting(cluster) as server,
        s_client(tmp_path, server.port, "-tls1_2", "-reconnect") as process,
    ):
        for _ in range(6):
            stream, _ = await server.next()
            assert stream.peer.verified
        out, _ = await process.communicate(b"Q\n")
    assert out.count(b"\nNew, ") == 6
    assert b"\nReused, " not in out


@in_loop
async def test_s_client_may_update_its_keys(tmp_path: Path) -> None:
    cluster = Cluster.new()
    write_member(tmp_path, cluster.ca)
    async with (
        accepting(cluster) as server,
        s_client(tmp_path, server.port, "-tls1_3") as process,
    ):
        stream, recorder = await server.next()
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"K\n")  # update, and ask us to
        await process.stderr.readuntil(b"KEYUPDATE\n")
        process.stdin.write(b"with new keys\n")
        assert await recorder.received(14) == b"with new keys\n"
        stream.write(b"mine are new too\n")
        await process.stdout.readuntil(b"mine are new too\n")


@in_loop
async def test_s_client_may_not_renegotiate(tmp_path: Path) -> None:
    cluster = Cluster.new()
    write_member(tmp_path, cluster.ca)
    async with (
        accepting(cluster) as server,
        s_client(tmp_path, server.port, "-tls1_2") as process,
    ):
        _, recorder = await server.next()
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"R\n")
        heard = await process.stderr.read()
        await recorder.lost.wait()
    assert b"no renegotiation" in heard


@BOTH
@in_loop
async def test_our_client_verifies_s_server_and_is_verified(
    option: str, tmp_path: Path
) -> None:
    ca = Authority()
    write_member(tmp_path, ca)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *("openssl", "s_server", option, "-accept", f"127.0.0.1:{port}", "-naccept"),
        *("1", "-cert", "agent.pem", "-CAfile", "ca.crt", "-Verify", "1"),
        *("-verify_return_error", "-rev"),
        cwd=tmp_path,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        assert process.stdout is not None
        await process.stdout.readuntil(b"ACCEPT\n")
        stream = await connect("127.0.0.1", port, context=Cluster.new(ca=ca).client())
        recorder = started(stream)
        assert stream.peer.verified
        stream.write(b"abc\n")
        assert await recorder.received(4) == b"cba\n"
        report = await stream.drain_close(10)
        assert report.flushed
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@in_loop
async def test_flood_of_key_updates_leaves_the_loop_its_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OpenSSL would take in one call all that comes, for as long as it comes."""
    library = system_libssl()
    if library is None:
        pytest.skip("the system has no libssl with SSL_key_update")
    calls = 0
    receive = TLSChannel.receive

    def counted(channel: TLSChannel) -> bytes | Wait | Finished:
        nonlocal calls
        calls += 1
        return receive(channel)

    monkeypatch.setattr(TLSChannel, "receive", counted)
    cluster = Cluster.new()
    async with tcp_pair() as (theirs, ours, address):
        client = KeyUpdater(library, ours)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(accept(theirs, address, context=cluster.server))
            await asyncio.to_thread(client.connect)
        await asyncio.to_thread(client.update_keys, 500)
        await asyncio.to_thread(client.write, b"at last")
        stream = serving.result()
        recorder = started(stream)
        assert await recorder.received(7) == b"at last"
        assert calls >= 500
        stream.abort()
        client.free()
