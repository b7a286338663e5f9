"""Being worn out: bytes, nesting, connections and silence, before anybody is known."""

from __future__ import annotations

import asyncio
import functools
import resource
import ssl
from pathlib import Path

import pytest
from tests.attacks.attacker import (
    Attacker,
    Cluster,
    attack,
    client_context,
    cluster,
    issued,
    nobody,
)
from tests.cluster.helpers import SETTINGS, stranger
from tests.node.cluster import until
from tests.node.tls.joined import in_loop

from icefloe.cluster.effects import Finish
from icefloe.cluster.session import Session
from icefloe.cluster.states import Role
from icefloe.doors import MonotonicTime, Now, WallTime


async def expect_alive(victims: Cluster) -> None:
    """The master still answers somebody new, and still has its satellite."""
    async with attack(victims.master.port, nobody("honest")) as honest:
        assert (await honest.ask(ticket=""))["status_code"] == 2
    assert victims.master.node is not None
    assert all(not node.task.done() for node in victims.nodes)


def memory_kilobytes() -> int:
    """The most memory this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# -- CVE-2018-6532, CVE-2018-6534 ---------------------------------------------------------


@pytest.mark.parametrize(
    "announced", [1_048_577, 10**9, 10**40], ids=["1-MiB", "1-GB", "a-novel"]
)
@in_loop
async def test_cve_2018_6532_a_stranger_announces_more_than_it_may_send(
    tmp_path: Path, announced: int
) -> None:
    """CVE-2018-6532/-6534: JSON-RPC messages of strangers had no limit."""
    async with cluster(tmp_path) as victims:
        async with attack(victims.master.port, nobody()) as attacker:
            attacker.raw(b"%d:" % announced + b"x" * 100_000)
            await attacker.ended()
        await expect_alive(victims)


@in_loop
async def test_cve_2018_6532_a_stranger_sends_without_end_and_no_message_ends(
    tmp_path: Path,
) -> None:
    """CVE-2018-6532/-6534: what never becomes a message must not be kept."""
    async with cluster(tmp_path) as victims:
        before = memory_kilobytes()
        async with attack(victims.master.port, nobody()) as attacker:
            attacker.raw(b"1048576:")
            try:
                for _ in range(400):
                    attacker.raw(b"x" * 100_000)
                    await asyncio.wait_for(attacker.writer.drain(), 10)
            except (OSError, ssl.SSLError):
                pass  # it was thrown out meanwhile
        await expect_alive(victims)
        assert memory_kilobytes() - before < 60_000


JUNK = [
    b"null",
    b"[]",
    b"5",
    b'"x"',
    b"{}",
    b'{"jsonrpc":"2.0"}',
    b'{"jsonrpc":"2.0","method":null}',
    b'{"jsonrpc":"2.0","method":5,"id":5}',
    b'{"jsonrpc":"2.0","method":"pki::RequestCertificate","params":null}',
    b'{"jsonrpc":"2.0","method":"pki::RequestCertificate","params":[],"id":"q"}',
    b'{"jsonrpc":"2.0","method":"pki::RequestCertificate","params":{"ticket":5},"id":1}',
    b'{"jsonrpc":"2.0","method":"pki::RequestCertificate","params":{},"id":{"a":[]}}',
    b'{"jsonrpc":"2.0","method":"icinga::Hello","params":"x"}',
    b'{"jsonrpc":"2.0","method":"log::SetLogPosition","params":{"log_position":"x"}}',
    b'{"jsonrpc":"2.0","id":"x","result":null}',
    b'{"jsonrpc":"2.0","id":null,"error":{}}',
    b"\xff\xfe\x00",
    b"",
]


@pytest.mark.parametrize("seat", ["stranger", "member"])
@in_loop
async def test_cve_2018_6534_messages_without_what_they_should_have(
    tmp_path: Path, seat: str
) -> None:
    """CVE-2018-6534 (#6135): missing parameters were dereferenced."""
    async with cluster(tmp_path) as victims:
        member = issued(victims.ca, "o1")
        for junk in JUNK:
            who = member if seat == "member" else nobody()
            async with attack(victims.master.port, who) as attacker:
                attacker.payload(junk)
                attacker.say("event::Heartbeat", {})
                await asyncio.sleep(0)
        await expect_alive(victims)
        assert not victims.master.logs.seen("internal error")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /v1/actions/x HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n"
        + b"a" * 9999,
        b"GET / HTTP/1.1\r\n" + b"X-Header: y\r\n" * 5000,
        b"GET /" + b"a" * 100_000,
    ],
    ids=["body", "headers", "path"],
)
@in_loop
async def test_cve_2018_6532_http_is_refused_before_anything_is_read(
    tmp_path: Path, request_bytes: bytes
) -> None:
    """CVE-2018-6532: bodies and headers were read before authentication."""
    async with cluster(tmp_path) as victims:
        async with attack(victims.master.port) as attacker:
            attacker.raw(request_bytes)
            async with asyncio.timeout(15):
                answer = await attacker.reader.read(4096)
            assert answer.startswith((b"HTTP/1.", b"")), answer
            assert b" 200 " not in answer.split(b"\r\n")[0]
        await expect_alive(victims)


# -- GHSA-wh38-wg57-5w7g ------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [b"[", b'{"a":', b'[{"a":'], ids=["list", "map", "both"]
)
@pytest.mark.parametrize("seat", ["stranger", "member"])
@in_loop
async def test_ghsa_wh38_json_as_deep_as_a_message_is_long(
    tmp_path: Path, shape: bytes, seat: str
) -> None:
    """GHSA-wh38-wg57-5w7g: nested JSON overflowed the stack, unauthenticated."""
    async with cluster(tmp_path) as victims:
        who = issued(victims.ca, "o1") if seat == "member" else nobody()
        async with attack(victims.master.port, who) as attacker:
            for depth in (33, 1_000, 1_000_000 // len(shape)):
                deep = shape * depth
                attacker.payload(deep)
                attacker.payload(
                    b'{"jsonrpc":"2.0","method":"icinga::Hello","params":' + deep
                )
            await asyncio.sleep(0.1)
        await expect_alive(victims)


# -- GHSA-wm63-p2jg-5665 -------------------------------------------------------------------


@in_loop
async def test_ghsa_wm63_a_child_announces_a_gigabyte(tmp_path: Path) -> None:
    """GHSA-wm63-p2jg-5665: children, hacked agents all, could send 1 GB messages."""
    async with cluster(tmp_path) as victims:
        async with attack(victims.master.port, issued(victims.ca, "o1")) as child:
            child.say("icinga::Hello", {})
            await until(functools.partial(connected, victims, "o1"), "the child is in")
            child.raw(b"%d:" % (16 * 1024 * 1024 + 1) + b"x" * 1000)
            await child.ended()
        await expect_alive(victims)


@in_loop
async def test_ghsa_wm63_what_a_child_may_send_is_not_held_in_memory(
    tmp_path: Path,
) -> None:
    """GHSA-wm63-p2jg-5665: 16 MiB from each of a thousand children is much, too."""
    async with cluster(tmp_path) as victims:
        async with attack(victims.master.port, issued(victims.ca, "o1")) as child:
            child.say("icinga::Hello", {})
            await until(functools.partial(connected, victims, "o1"), "the child is in")
            before = memory_kilobytes()
            head = b'{"jsonrpc":"2.0","method":"event::CheckResult","params":{"x":"'
            size = 16 * 1024 * 1024
            child.raw(b"%d:" % size + head)
            rest = size - len(head)
            while rest:
                part = min(rest, 65_536)
                child.raw(b"a" * part)
                await asyncio.wait_for(child.writer.drain(), 10)
                rest -= part
            child.raw(b",")
            answer = await child.ask(cert_request="junk")
            assert answer["status_code"] == 1
            assert memory_kilobytes() - before < 15_000
        await expect_alive(victims)


def connected(victims: Cluster, name: str) -> bool:
    return any(
        event == "connected" and fields.get("peer") == name
        for _, event, fields in victims.master.logs.events
    )


# -- connections that do nothing -------------------------------------------------------------


def test_8230_a_stranger_that_only_lives_is_let_go() -> None:
    """2.11.6 #8230, #8479: anonymous connections stayed for ever; heartbeats kept them."""
    at = 100.0

    def now() -> Now:
        return Now(wall=WallTime(1.8e9 + at), mono=MonotonicTime(at))

    session = Session(role=Role.LISTENER, peer=stranger(), settings=SETTINGS, now=now())
    session.start(now())
    beat = b'{"jsonrpc":"2.0","method":"event::Heartbeat","params":{}}'
    ended = None
    while ended is None and at < 200.0:
        at += 1.0
        effects = [
            *session.receive(b"%d:%b," % (len(beat), beat), now()),
            *session.tick(now()),
        ]
        if any(isinstance(effect, Finish) for effect in effects):
            ended = at
    assert ended is not None
    assert ended - 100.0 <= SETTINGS.anonymous_seconds + 2.0


@in_loop
async def test_10929_a_peer_that_neither_reads_nor_closes_is_left(
    tmp_path: Path,
) -> None:
    """2.16.4 #10929: a TLS shutdown that hung kept the connection, and its name."""
    async with cluster(tmp_path) as victims:
        async with attack(victims.master.port, nobody()) as attacker:
            # The answer and the close come; nothing is read and nothing closed.
            attacker.writer.transport.pause_reading()  # type: ignore[attr-defined]
            attacker.say("pki::RequestCertificate", {"ticket": "0" * 40}, id="x")
            await attacker.writer.drain()
            ended = functools.partial(victims.master.logs.seen, "session.ended")
            await until(ended, "the session has ended", 18)
        await expect_alive(victims)


@in_loop
async def test_8224_connections_that_never_speak_tls_keep_nobody_out(
    tmp_path: Path,
) -> None:
    """2.12.0 #7809, #8224: sockets of handshakes that never ended added up.

    Sixty of them, silent, half a hello, junk; then somebody honest comes.
    """
    async with cluster(tmp_path) as victims:
        writers = []
        for number in range(60):
            _, writer = await asyncio.open_connection("127.0.0.1", victims.master.port)
            writer.write((b"", b"\x16\x03\x01\x02\x00\x01", b"\x00" * 300)[number % 3])
            writers.append(writer)
        try:
            await expect_alive(victims)
        finally:
            for writer in writers:
                writer.transport.abort()


@in_loop
async def test_7532_one_connection_asks_much_and_in_pieces(tmp_path: Path) -> None:
    """2.11.3 #7532: handlers of one connection ran beside each other and crashed."""
    async with cluster(tmp_path) as victims:
        async with attack(victims.master.port, issued(victims.ca, "o1")) as child:
            frames = Recorder()
            for number in range(150):
                frames.say("icinga::Hello", {"version": 21600})
                frames.say("pki::RequestCertificate", {"cert_request": "x"}, id=number)
                frames.say("log::SetLogPosition", {"log_position": number})
            data = bytes(frames.data)
            for start in range(0, len(data), 997):
                child.raw(data[start : start + 997])
                if start % 5 == 0:
                    await child.writer.drain()
            for number in range(150):
                async with asyncio.timeout(15):
                    while True:
                        message = await child.message()
                        assert message is not None
                        if message.get("id") == number:
                            break
        await expect_alive(victims)


class Recorder(Attacker):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        self.data = bytearray()

    def raw(self, data: bytes) -> None:
        self.data += data


# -- TLS that is too old ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "ciphers", ["AES128-SHA:AES256-SHA", "AES128-GCM-SHA256", "ECDHE+AES+SHA256:!GCM"]
)
@in_loop
async def test_2_11_0_weak_ciphers_are_refused(tmp_path: Path, ciphers: str) -> None:
    """2.11.0, 2.14: CBC, and keys exchanged without forward secrecy."""
    async with cluster(tmp_path) as victims:
        context = client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
        offered = {entry["name"] for entry in context.get_ciphers()}
        assert not any("ECDHE" in n and "GCM" in n for n in offered if "TLS_" not in n)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", victims.master.port, ssl=context)
        await expect_alive(victims)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@in_loop
async def test_2_11_0_tls_1_1_is_refused(tmp_path: Path) -> None:
    """2.11.0: TLS 1.0 and 1.1."""
    async with cluster(tmp_path) as victims:
        context = client_context()
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", victims.master.port, ssl=context)
        await expect_alive(victims)
