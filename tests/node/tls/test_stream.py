"""Data, pauses, limits and orderly ends of an established connection."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Coroutine
from typing import Any

import pytest
from OpenSSL import SSL
from tests.node.tls.joined import (
    LIMITS,
    Cluster,
    Recorder,
    in_loop,
    raises,
    ready,
    started,
    until,
)

from icefloe.node.errors import Aborted, PeerClosed, ReaderTooSlow, TLSViolated
from icefloe.node.tls.stream_interface import CloseReport, TransportLimits
from icefloe.node.tls.transport import RECORDS_PER_TURN, TLSStream

BOTH = pytest.mark.parametrize("tls", ["TLSv1.2", "TLSv1.3"])
MEGABYTE = 1024 * 1024
CLEAN = CloseReport(flushed=True, clean=True, error=None)


async def both(
    first: Coroutine[Any, Any, CloseReport], second: Coroutine[Any, Any, CloseReport]
) -> tuple[CloseReport, CloseReport]:
    async with asyncio.TaskGroup() as group:
        tasks = group.create_task(first), group.create_task(second)
    return tasks[0].result(), tasks[1].result()


async def turns(count: int) -> None:
    """Let the loop go round: for things that must *not* happen."""
    for _ in range(count):
        await asyncio.sleep(0)


# Data


@BOTH
@in_loop
async def test_large_data_crosses_both_ways_at_once(tls: str) -> None:
    cluster = Cluster.new()
    up, down = os.urandom(9 * MEGABYTE), os.urandom(9 * MEGABYTE)
    async with cluster.joined(cluster.client(tls=tls)) as (server, client):
        at_server, at_client = started(server), started(client)
        assert client.write(up)
        assert server.write(down)
        assert await at_server.received(len(up)) == up
        assert await at_client.received(len(down)) == down
        assert server.buffered_bytes == client.buffered_bytes == 0


@in_loop
async def test_small_writes_leave_joined_in_order() -> None:
    async with Cluster.new().with_raw_client() as (server, peer):
        pieces = [b"%d:" % number for number in range(1000)]
        for piece in pieces:
            assert server.write(piece)
        assert await peer.receive() == b"".join(pieces), "one record"


@in_loop
async def test_data_sent_before_start_waits_for_it() -> None:
    async with Cluster.new().with_raw_client() as (server, peer):
        await peer.send(b"early")
        await ready(server._channel.socket)
        recorder = started(server)
        assert await recorder.received(5) == b"early"


@in_loop
async def test_every_record_of_a_burst_is_delivered() -> None:
    """More records than a turn takes; OpenSSL or the kernel holds the rest."""
    async with Cluster.new().with_raw_client() as (server, peer):
        recorder = started(server)
        for number in range(RECORDS_PER_TURN * 5):
            await peer.send(bytes((number,)))
        assert len(await recorder.received(RECORDS_PER_TURN * 5)) == 80


@in_loop
async def test_busy_peer_does_not_keep_the_loop_from_others() -> None:
    async with Cluster.new().with_raw_client() as (server, peer):
        for _ in range(RECORDS_PER_TURN * 3):
            await peer.send(b"x")
        recorder = started(server)
        taken_by_turn = []
        while len(recorder.data) < RECORDS_PER_TURN * 3:
            await asyncio.sleep(0)
            taken_by_turn.append(len(recorder.data))
        assert taken_by_turn[0] <= RECORDS_PER_TURN
        assert len(set(taken_by_turn)) >= 3


@in_loop
async def test_paused_stream_delivers_nothing_until_resumed() -> None:
    async with Cluster.new().with_raw_client() as (server, peer):
        recorder = started(server)
        server.pause_reading()
        await peer.send(b"later")
        await ready(server._channel.socket)
        await turns(3)
        assert recorder.data == b""
        server.resume_reading()
        assert await recorder.received(5) == b"later"


@in_loop
async def test_pause_in_the_middle_of_a_burst_holds_the_rest_back() -> None:
    async with Cluster.new().with_raw_client() as (server, peer):
        for _ in range(10):
            await peer.send(b"x")
        recorder = Recorder()
        recorder.on_data = lambda _data: server.pause_reading()
        server.start(recorder)
        for expected in range(1, 11):
            assert len(await recorder.received(expected)) == expected
            await turns(3)
            assert len(recorder.data) == expected
            server.resume_reading()


@in_loop
async def test_times_of_last_bytes_move_with_the_bytes() -> None:
    async with Cluster.new().with_raw_client() as (server, peer):
        recorder = started(server)
        await turns(3)
        received, sent = server.last_received, server.last_sent
        assert server.opened <= received
        await peer.send(b"x")
        await recorder.received(1)
        assert server.last_received > received
        assert server.last_sent == sent
        server.write(b"y")
        await peer.receive()
        assert server.last_sent > sent


@in_loop
async def test_part_of_a_record_counts_as_a_sign_of_life() -> None:
    """A slow link takes seconds for one record; the peer is alive all the while."""
    async with Cluster.new().with_raw_client() as (server, peer):
        recorder = started(server)
        await turns(3)
        before = server.last_received
        peer.socket.send(b"\x17\x03\x03\x40")
        await until(lambda: server.last_received != before)
        assert recorder.data == b""


# Limits


@in_loop
async def test_peer_that_does_not_read_is_given_up_at_the_limit() -> None:
    async with Cluster.new().with_raw_client() as (server, _peer):
        server.outbound_bytes_max = 6 * MEGABYTE
        recorder = started(server)
        while server.write(b"x" * MEGABYTE):
            await turns(1)
        await recorder.lost.wait()
        error = recorder.error
        assert isinstance(error, ReaderTooSlow)
        assert error.outbound_bytes_max == 6 * MEGABYTE
        assert error.buffered_bytes > 6 * MEGABYTE
        assert server.is_closed
        assert not server.write(b"more")


@in_loop
async def test_reading_peer_may_take_more_than_the_limit_in_all() -> None:
    async with Cluster.new().joined() as (server, client):
        server.outbound_bytes_max = MEGABYTE
        at_client = started(client)
        for count in range(1, 9):
            assert server.write(b"x" * MEGABYTE)
            await until(lambda: server.buffered_bytes == 0)
            await at_client.received(count)
        assert await at_client.received(8 * MEGABYTE)


# Orderly ends


@BOTH
@in_loop
async def test_drain_with_an_answering_peer_is_clean(tls: str) -> None:
    cluster = Cluster.new()
    async with cluster.joined(cluster.client(tls=tls)) as (server, client):
        at_server, at_client = started(server), started(client)
        server.write(b"goodbye")
        assert await server.drain_close(10) == CLEAN
        await at_client.lost.wait()
        assert at_client.data == b"goodbye"
        assert at_client.finished.is_set()
        assert at_client.error is None
        await at_server.lost.wait()
        assert at_server.error is None
        assert not at_server.finished.is_set(), "we finished, not the peer"


@BOTH
@in_loop
async def test_both_sides_draining_at_once_end_clean(tls: str) -> None:
    cluster = Cluster.new()
    async with cluster.joined(cluster.client(tls=tls)) as (server, client):
        reports = await both(server.drain_close(10), client.drain_close(10))
        assert reports == (CLEAN, CLEAN)


@in_loop
async def test_stream_that_was_never_started_drains() -> None:
    async with Cluster.new().joined() as (server, client):
        started(client)
        server.write(b"no room")
        assert await server.drain_close(10) == CLEAN


@BOTH
@in_loop
async def test_eight_megabytes_reach_a_slow_reader_before_close_notify(
    tls: str,
) -> None:
    cluster = Cluster.new()
    data = os.urandom(8 * MEGABYTE)
    async with cluster.with_raw_client(cluster.client(tls=tls)) as (server, peer):
        assert server.write(data)
        async with asyncio.TaskGroup() as group:
            closing = group.create_task(server.drain_close(15))
            await turns(50)  # the system's buffers are full by now
            assert not closing.done()
            assert await peer.receive_all() == data
            assert not closing.done(), "the peer has not answered yet"
            peer.send_close_notify()
        assert closing.result() == CLEAN


@in_loop
async def test_still_sending_peer_gets_our_answer_whole() -> None:
    """Closing with its bytes unread would reset the connection under our answer."""
    answer = os.urandom(2 * MEGABYTE)
    async with Cluster.new().with_raw_client() as (server, peer):
        recorder = started(server)
        await peer.send(b"request")
        await recorder.received(7)
        server.write(answer)
        async with asyncio.TaskGroup() as group:
            closing = group.create_task(server.drain_close(15))
            await peer.send(b"x" * 4 * MEGABYTE)
            assert await peer.receive_all() == answer
            await peer.send(b"x" * MEGABYTE)
            peer.send_close_notify()
        assert closing.result() == CLEAN
        assert recorder.data == b"request", "a draining stream delivers nothing"


@in_loop
async def test_silent_peer_is_cut_at_the_deadline() -> None:
    async with Cluster.new().with_raw_client() as (server, peer):
        recorder = started(server)
        server.write(b"anybody?")
        report = await server.drain_close(0.05)
        assert report.flushed
        assert not report.clean
        assert isinstance(report.error, Aborted)
        assert server.is_closed
        await recorder.lost.wait()
        assert recorder.error is None
        assert await peer.receive_all() == b"anybody?"


@in_loop
async def test_peer_that_does_not_read_is_cut_at_the_deadline_unflushed() -> None:
    async with Cluster.new().with_raw_client() as (server, _peer):
        server.write(b"x" * 20 * MEGABYTE)
        report = await server.drain_close(0.05)
        assert not report.flushed
        assert not report.clean


@in_loop
async def test_peer_that_only_closes_tcp_after_our_close_is_clean() -> None:
    async with Cluster.new().with_raw_client() as (server, peer):
        server.write(b"goodbye")
        async with asyncio.TaskGroup() as group:
            closing = group.create_task(server.drain_close(10))
            assert await peer.receive_all() == b"goodbye"
            peer.close()
        assert closing.result() == CLEAN


@in_loop
async def test_tcp_ends_behind_our_close_notify_although_we_still_read() -> None:
    """Some peers wait for the end of TCP and know nothing of close_notify."""
    async with Cluster.new().with_raw_client() as (server, peer):
        async with asyncio.TaskGroup() as group:
            closing = group.create_task(server.drain_close(10))
            assert await peer.receive_all() == b""
            loop = asyncio.get_running_loop()
            assert await loop.sock_recv(peer.socket, 1) == b""
            assert not closing.done()
            peer.send_close_notify()
        assert closing.result() == CLEAN


@in_loop
async def test_peer_that_resets_during_the_drain_is_not_clean() -> None:
    async with Cluster.new().with_raw_client() as (server, peer):
        server.write(b"goodbye")
        async with asyncio.TaskGroup() as group:
            closing = group.create_task(server.drain_close(10))
            await peer.receive()
            peer.reset()
        report = closing.result()
        assert not report.clean
        assert isinstance(report.error, PeerClosed)


@BOTH
@in_loop
async def test_close_notify_of_the_peer_is_answered(tls: str) -> None:
    """Real `icinga2 pki` commands wait for the answer without a limit."""
    cluster = Cluster.new()
    async with cluster.with_raw_client(cluster.client(tls=tls)) as (server, peer):
        recorder = started(server)
        await peer.send(b"last")
        peer.send_close_notify()
        assert await peer.receive_all() == b""
        await recorder.lost.wait()
        assert recorder.data == b"last"
        assert recorder.finished.is_set()
        assert recorder.error is None
        assert await server.wait_closed() == CLEAN


@in_loop
async def test_what_waits_is_sent_before_the_peers_close_is_answered() -> None:
    data = os.urandom(8 * MEGABYTE)
    async with Cluster.new().with_raw_client() as (server, peer):
        recorder = started(server)
        recorder.on_finished = lambda: asserted(server.write(b"and finally"))
        server.write(data)
        peer.send_close_notify()
        await recorder.finished.wait()
        assert not server.write(b"too late")
        assert await peer.receive_all() == data + b"and finally"
        assert await server.wait_closed() == CLEAN


def asserted(value: bool) -> None:  # noqa: FBT001 - that is all it is
    assert value


@in_loop
async def test_peer_that_closed_and_does_not_read_is_cut_in_time() -> None:
    limits = TransportLimits(
        answer_seconds_max=0.05, outbound_bytes_max=LIMITS.outbound_bytes_max
    )
    async with Cluster.new().with_raw_client(limits=limits) as (server, peer):
        started(server)
        server.write(b"x" * 20 * MEGABYTE)
        peer.send_close_notify()
        report = await server.wait_closed()
        assert not report.flushed


@in_loop
async def test_earlier_deadline_replaces_a_later_one_and_never_the_reverse() -> None:
    async with Cluster.new().with_raw_client() as (server, _peer):
        server.start_drain(1000)
        server.start_drain(0.05)
        server.start_drain(1000)
        report = await server.wait_closed()
        assert not report.clean


@in_loop
async def test_drain_of_a_closed_stream_tells_how_it_ended() -> None:
    async with Cluster.new().joined() as (server, client):
        started(client)
        first = await server.drain_close(10)
        assert await server.drain_close(10) == first == CLEAN


@in_loop
async def test_cancelled_drain_aborts() -> None:
    async with Cluster.new().with_raw_client() as (server, _peer):
        recorder = started(server)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await server.drain_close(1000)
        assert server.is_closed
        await recorder.lost.wait()
        assert isinstance(recorder.error, Aborted)


@in_loop
async def test_drain_begun_in_a_callback_stops_delivery_at_once() -> None:
    async with Cluster.new().with_raw_client() as (server, peer):
        for _ in range(5):
            await peer.send(b"x")
        recorder = Recorder()
        recorder.on_data = lambda _data: server.start_drain(10)
        server.start(recorder)
        assert await peer.receive_all() == b""
        peer.send_close_notify()
        assert await server.wait_closed() == CLEAN
        assert recorder.data == b"x"


@in_loop
async def test_paused_stream_drains() -> None:
    async with Cluster.new().with_raw_client() as (server, peer):
        started(server)
        server.pause_reading()
        await peer.send(b"unread")
        peer.send_close_notify()
        assert await server.drain_close(10) == CLEAN


# Other ends


@in_loop
async def test_end_of_file_without_close_notify_is_a_loss() -> None:
    async with Cluster.new().with_raw_client() as (server, peer):
        recorder = started(server)
        await peer.send(b"half a mess")
        peer.socket.shutdown(socket.SHUT_WR)
        await recorder.lost.wait()
        assert recorder.data == b"half a mess"
        assert isinstance(recorder.error, PeerClosed)
        assert not recorder.error.reset
        assert not recorder.finished.is_set()


@in_loop
async def test_end_of_file_within_a_record_is_a_loss() -> None:
    async with Cluster.new().with_raw_client() as (server, peer):
        recorder = started(server)
        peer.socket.send(b"\x17\x03\x03\x40\x00half")
        peer.socket.shutdown(socket.SHUT_WR)
        await recorder.lost.wait()
        assert isinstance(recorder.error, PeerClosed)


@in_loop
async def test_reset_is_a_loss_after_everything_sent_was_delivered() -> None:
    async with Cluster.new().with_raw_client() as (server, peer):
        recorder = started(server)
        server.write(b"never read")
        await ready(peer.socket)
        await peer.send(b"the answer")
        peer.close()  # with our bytes unread: the kernel sends a reset
        await recorder.lost.wait()
        assert recorder.data == b"the answer"
        assert isinstance(recorder.error, PeerClosed)
        assert recorder.error.reset


@in_loop
async def test_write_into_a_dead_connection_does_not_cost_the_unread_answer() -> None:
    """After a failed write OpenSSL reads nothing more, so we do not write."""
    async with Cluster.new().with_raw_client() as (server, peer):
        recorder = started(server)
        server.pause_reading()
        server.write(b"never read")
        await ready(peer.socket)
        await peer.send(b"the answer")
        peer.close()
        await until(server._channel.peer_has_reset)
        server.write(b"hello?")
        await turns(3)
        assert not server.is_closed
        server.resume_reading()
        await recorder.lost.wait()
        assert recorder.data == b"the answer"
        assert isinstance(recorder.error, PeerClosed)


@BOTH
@in_loop
async def test_garbage_after_the_handshake_is_a_violation_with_an_alert(
    tls: str,
) -> None:
    cluster = Cluster.new()
    async with cluster.with_raw_client(cluster.client(tls=tls)) as (server, peer):
        recorder = started(server)
        peer.socket.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        await recorder.lost.wait()
        assert isinstance(recorder.error, TLSViolated)
        heard = await raises(peer.receive(), SSL.Error)
        assert "alert bad record mac" in str(heard)


@in_loop
async def test_alert_of_the_peer_is_told() -> None:
    async with Cluster.new().joined() as (server, client):
        at_server, at_client = started(server), started(client)
        client._channel.socket.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        await at_server.lost.wait()
        await at_client.lost.wait()
        assert isinstance(at_client.error, TLSViolated)
        assert at_client.error.alert == "bad record mac"


@in_loop
async def test_aborted_stream_says_so_once() -> None:
    async with Cluster.new().joined() as (server, client):
        at_server, at_client = started(server), started(client)
        server.abort()
        server.abort()
        await at_server.lost.wait()
        await at_client.lost.wait()
        assert isinstance(at_server.error, Aborted)
        assert isinstance(at_client.error, PeerClosed)


@in_loop
async def test_stream_that_died_before_start_tells_its_handler() -> None:
    async with Cluster.new().joined() as (server, _client):
        server.abort()
        recorder = started(server)
        await recorder.lost.wait()
        assert isinstance(recorder.error, Aborted)


@in_loop
async def test_closed_callbacks_are_called_early_or_late() -> None:
    async with Cluster.new().joined() as (server, _client):
        reports: list[CloseReport] = []
        server.on_closed(reports.append)
        server.abort()
        await turns(2)
        server.on_closed(reports.append)
        await turns(2)
        assert len(reports) == 2


@pytest.mark.parametrize("place", ["on_data", "on_finished"])
@in_loop
async def test_failing_handler_is_reported_and_costs_its_connection(
    place: str,
) -> None:
    reported: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    bug = ZeroDivisionError("a bug")

    def fail(*_arguments: object) -> None:
        raise bug

    async with Cluster.new().with_raw_client() as (server, peer):
        recorder = Recorder()
        setattr(recorder, place, fail)
        server.start(recorder)
        await peer.send(b"x")
        peer.send_close_notify()
        await recorder.lost.wait()
        assert reported == [bug]
        assert isinstance(recorder.error, Aborted)


@in_loop
async def test_closed_streams_leave_nothing_behind() -> None:
    cluster = Cluster.new()
    async with cluster.joined() as (server, client):
        started(server)
        started(client)
        await server.drain_close(10)
        await client.wait_closed()
    await turns(2)
    del server, client
    gc.collect()
    assert not [o for o in gc.get_objects() if isinstance(o, TLSStream)]
