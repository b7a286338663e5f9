"""The fault proxy between plain TCP peers: what each side sees, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from icefloe.lab.asking import ParentAddress
from icefloe.lab.proxy import CannotListen, FaultProxy, ProxyEvent
from icefloe.lab.proxy_faults import EveryConnection, Fault

SECONDS_MAX = 20.0
LOOK_SECONDS = 0.005
BIG = bytes(range(256)) * 4096

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Bench:
    """A server, the proxy before it, and what the proxy told."""

    def __init__(self, proxy: FaultProxy, told: list[ProxyEvent]) -> None:
        self.proxy = proxy
        self.told = told

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        where = self.proxy.address
        return await asyncio.open_connection(where.host, where.port)

    async def until(self, event: str, *, count: int = 1) -> ProxyEvent:
        while True:
            found = [each for each in self.told if each.event == event]
            if len(found) >= count:
                return found[0]
            await asyncio.sleep(LOOK_SECONDS)


@contextlib.asynccontextmanager
async def bench(
    serve: Handler, *faults: str, connections_max: int = 50
) -> AsyncIterator[Bench]:
    """Run a server with a proxy before it; what was opened is closed."""
    writers: list[asyncio.StreamWriter] = []

    async def handle(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    told: list[ProxyEvent] = []
    proxy = FaultProxy(
        to=ParentAddress(host=host, port=port),
        plan=EveryConnection(tuple(Fault.parse(each) for each in faults)),
        on_event=told.append,
        connections_max=connections_max,
    )
    proxy.bind()
    async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as group:
        running = group.create_task(proxy.run())
        try:
            yield Bench(proxy, told)
        finally:
            running.cancel()
            proxy.refuse()
            server.close()
            for writer in writers:
                writer.transport.abort()
            await server.wait_closed()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send everything back, and the end after it."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def send_big(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a megabyte without being asked, then wait for the end."""
    writer.write(BIG)
    await writer.drain()
    await reader.read()


async def first_byte(on: Bench) -> bytes:
    reader, writer = await on.connect()
    try:
        return await reader.readexactly(1)
    finally:
        await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def test_without_faults_bytes_and_ends_pass_unchanged() -> None:
    async def scene() -> None:
        async with bench(echo) as on:
            reader, writer = await on.connect()
            writer.write(BIG)
            writer.write_eof()
            assert await reader.read() == BIG
            await closed(writer)
            ended = await on.until("ended")
            assert (ended.up, ended.down) == (len(BIG), len(BIG))
            assert on.proxy.counts.up == on.proxy.counts.down == len(BIG)

    asyncio.run(scene())


@pytest.mark.parametrize("at", [0, 1, 700, 16384, 16385, 100_000])
def test_a_cut_comes_after_exactly_so_many_bytes_and_in_order(at: int) -> None:
    async def scene() -> None:
        async with bench(send_big, f"cut:down@{at}") as on:
            reader, writer = await on.connect()
            assert await reader.read() == BIG[:at]
            await closed(writer)
            assert on.proxy.counts.faults == {"cut": 1}

    asyncio.run(scene())


def test_a_cut_upwards_ends_both_directions() -> None:
    async def scene() -> None:
        async with bench(echo, "cut:up@5") as on:
            reader, writer = await on.connect()
            writer.write(b"0123456789")
            got = await reader.read()
            assert b"01234".startswith(got)
            ended = await on.until("ended")
            assert ended.up == 5
            await closed(writer)

    asyncio.run(scene())


def test_a_reset_is_seen_as_one() -> None:
    async def scene() -> None:
        async with bench(send_big, "reset:down@700") as on:
            reader, writer = await on.connect()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            await closed(writer)

    asyncio.run(scene())


def test_a_half_close_ends_one_direction_and_the_other_goes_on() -> None:
    got: list[bytes] = []

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read())  # to the end, which is the half-close
        writer.write(b"still here")
        writer.write_eof()

    async def scene() -> None:
        async with bench(late, "half-close:up@4") as on:
            reader, writer = await on.connect()
            writer.write(b"0123456789")
            assert await reader.read() == b"still here"
            assert got == [b"0123"]
            await closed(writer)

    asyncio.run(scene())


def test_a_black_hole_swallows_one_direction_and_nobody_is_told() -> None:
    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(2)
        writer.write(b"lost")
        await writer.drain()
        await reader.readexactly(2)  # what goes up still arrives

    async def scene() -> None:
        async with bench(twice, "black-hole:down") as on:
            reader, writer = await on.connect()
            writer.write(b"12")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await reader.read(1)
            writer.write(b"34")
            # The server's end is swallowed, too.
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await reader.read(1)
            await closed(writer)
            assert (await on.until("ended")).down == 4

    asyncio.run(scene())


def test_a_stall_stops_at_its_byte_and_goes_on_without_a_loss() -> None:
    async def scene() -> None:
        async with bench(send_big, "stall:down@700=0.3") as on:
            loop = asyncio.get_running_loop()
            reader, writer = await on.connect()
            began = loop.time()
            assert await reader.readexactly(700) == BIG[:700]
            assert await reader.readexactly(len(BIG) - 700) == BIG[700:]
            assert loop.time() - began >= 0.3
            await closed(writer)

    asyncio.run(scene())


def test_a_delay_and_a_throttle_take_their_time_and_lose_nothing() -> None:
    async def scene() -> None:
        async with bench(echo, "delay:up=0.1", "throttle:down=10000") as on:
            loop = asyncio.get_running_loop()
            reader, writer = await on.connect()
            began = loop.time()
            writer.write(BIG[:3000])
            assert await reader.readexactly(3000) == BIG[:3000]
            # A tenth of a second up, and 3000 bytes at 10000 a second down.
            assert loop.time() - began >= 0.3
            await closed(writer)

    asyncio.run(scene())


def test_a_refused_connection_is_reset_and_never_led_on() -> None:
    async def scene() -> None:
        async with bench(echo, "refuse") as on:
            with pytest.raises(ConnectionResetError):
                await first_byte(on)
            assert (await on.until("refused")).fault == "refuse"
            assert on.proxy.counts.refused == 1

    asyncio.run(scene())


def test_too_many_connections_are_reset_and_those_before_them_stay() -> None:
    async def scene() -> None:
        async with bench(echo, connections_max=1) as on:
            reader, writer = await on.connect()
            await on.until("connected")
            _, second = await on.connect()
            assert (await on.until("refused")).detail == "too many connections"
            writer.write(b"1")
            assert await reader.readexactly(1) == b"1"
            await closed(second)
            await closed(writer)
            # And when one is gone, there is room again.
            await on.until("ended")
            reader, writer = await on.connect()
            writer.write(b"2")
            assert await reader.readexactly(1) == b"2"
            await closed(writer)

    asyncio.run(scene())


def test_a_server_that_is_not_there_is_told_and_the_client_is_reset() -> None:
    async def scene() -> None:
        async with bench(echo) as on:
            on.proxy._to = ParentAddress(host="127.0.0.1", port=1)
            reader, writer = await on.connect()
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
            assert "refused" in (await on.until("unreachable")).detail
            await closed(writer)

    asyncio.run(scene())


def test_a_slow_reader_slows_its_writer_down_and_nothing_piles_up() -> None:
    """Neither side's bytes are kept by the proxy: the kernel's buffers fill up."""
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        del reader
        while sent < 200 * len(BIG):
            writer.write(BIG)
            await writer.drain()
            sent += len(BIG)

    async def scene() -> None:
        async with bench(pour) as on:
            _, writer = await on.connect()
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.2)
            assert sent < 100 * len(BIG)
            await closed(writer)

    asyncio.run(scene())


def test_silence_holds_everything_and_restoring_loses_nothing() -> None:
    async def scene() -> None:
        async with bench(echo) as on:
            reader, writer = await on.connect()
            writer.write(b"before")
            assert await reader.readexactly(6) == b"before"
            on.proxy.silence()
            writer.write(b"during")
            late_reader, late_writer = await on.connect()
            late_writer.write(b"late")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await reader.read(1)
            on.proxy.restore()
            assert await reader.readexactly(6) == b"during"
            assert await late_reader.readexactly(4) == b"late"
            await closed(writer)
            await closed(late_writer)

    asyncio.run(scene())


def test_a_network_that_refuses_is_there_again_at_the_same_address() -> None:
    async def scene() -> None:
        async with bench(echo) as on:
            reader, writer = await on.connect()
            for _ in range(3):
                on.proxy.refuse()
                with pytest.raises(ConnectionError):
                    await on.connect()
                on.proxy.restore()
            new_reader, new_writer = await on.connect()
            for r, w in ((reader, writer), (new_reader, new_writer)):
                w.write(b"x")
                assert await r.readexactly(1) == b"x"
                await closed(w)

    asyncio.run(scene())


@pytest.mark.parametrize("reset", [False, True])
def test_all_connections_are_ended_at_once(*, reset: bool) -> None:
    async def scene() -> None:
        async with bench(echo) as on:
            clients = [await on.connect() for _ in range(5)]
            for reader, writer in clients:
                writer.write(b"x")
                await reader.readexactly(1)
            assert on.proxy.end_all(reset=reset) == 5
            for reader, writer in clients:
                if reset:
                    with pytest.raises(ConnectionResetError):
                        await reader.read()
                else:
                    assert await reader.read() == b""
                await closed(writer)
            await on.until("ended", count=5)
            assert on.proxy.counts.open == 0

    asyncio.run(scene())


def test_an_address_that_is_taken_is_told() -> None:
    async def scene() -> None:
        async with bench(echo) as on:
            other = FaultProxy(
                to=ParentAddress(host="127.0.0.1", port=1), listen=on.proxy.address
            )
            with pytest.raises(CannotListen, match="cannot listen on 127"):
                other.bind()

    asyncio.run(scene())


def test_the_end_of_the_proxy_resets_what_is_open() -> None:
    async def scene() -> None:
        async with bench(echo) as on:
            reader, writer = await on.connect()
            writer.write(b"x")
            await reader.readexactly(1)
            lasting = on
        del lasting
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        await closed(writer)

    asyncio.run(scene())
