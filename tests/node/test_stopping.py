"""The end of a node: everyone gets an answer, nobody is turned away."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.node.cluster import (
    Authority,
    Running,
    Zones,
    free_port,
    start_node,
    until,
    write_node,
)
from tests.node.test_node import Agent, check, cluster
from tests.node.tls.joined import in_loop, started

from icefloe.config.layout import NodeDirectories
from icefloe.enrollment import commands as cmd
from icefloe.node import stopping
from icefloe.node.errors import ConnectFailed
from icefloe.node.tls.connecting import connect
from icefloe.node.tls.contexts import TLSIdentity, client_context
from icefloe.pki.certificates import to_pem
from icefloe.storage.keys import encode_private_key
from icefloe.wire.jsonrpc import encode_request
from icefloe.wire.netstring import encode

FOR_EVER = 1000.0


def write_pair(root: Path) -> tuple[NodeDirectories, NodeDirectories]:
    """A master and a satellite that dials it."""
    ca = Authority()
    tree = Zones(
        {"master": (None, {"m1": free_port()}), "sat": ("master", {"s1": free_port()})}
    )
    above = write_node(root, "m1", tree, dialled=set(), ca=ca, signer=True)
    below = write_node(root, "s1", tree, dialled={"m1"}, ca=ca)
    return above, below


@contextlib.asynccontextmanager
async def node_of(directories: NodeDirectories) -> AsyncIterator[Running]:
    node = await start_node(directories)
    try:
        yield node
    finally:
        if not node.task.done():
            await node.stop()
        node.ledger.close()


@contextlib.asynccontextmanager
async def held_agent(node: Running) -> AsyncIterator[asyncio.Task[Any]]:
    """An agent that waits for its answer at a node."""
    agent = Agent()
    task = asyncio.create_task(agent.ask(node.port))
    await until(lambda: node.node._hub.owed, "the agent waits")
    await until(lambda: node.node._runner.is_idle, "its request is recorded")
    try:
        yield task
    finally:
        await asyncio.wait([task])


def told(node: Running) -> dict[str, Any]:
    """What the log says about who was told what."""
    (fields,) = (f for _, e, f in node.logs.events if e == "everyone has an answer")
    return {k: fields[k] for k in ("answered", "parked", "unrecorded", "gone")}


# --- Who waits ------------------------------------------------------------------------


@in_loop
async def test_who_waits_gets_the_certificate_when_it_comes_in_time(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as (master, (satellite,)):
        withheld: list[cmd.Command] = []
        workers = master.node._workers
        carry_out = workers.carry_out
        workers.carry_out = withheld.append  # type: ignore[assignment,method-assign]
        agent = Agent()
        asking = asyncio.create_task(agent.ask(satellite.port))
        await until(lambda: withheld, "the master has its request")
        satellite.node.stop()
        await until(lambda: satellite.logs.seen("stopping"), "it stops")
        workers.carry_out = carry_out  # type: ignore[method-assign]
        carry_out(withheld[0])  # type: ignore[arg-type]
        check(await asking, agent)
        await satellite.task
        assert told(satellite) == {
            "answered": 1,
            "parked": 0,
            "unrecorded": 0,
            "gone": 0,
        }


@in_loop
async def test_who_waits_in_vain_is_told_pending_and_signed_in_the_next_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "ANSWER_SECONDS", 0.05)
    above, below = write_pair(tmp_path)
    async with node_of(below) as satellite, held_agent(satellite) as asking:
        await satellite.stop()
        result = await asking
        assert result is not None
        assert result["status_code"] == 2
        assert result["icefloe"] == {"hop": "s1", "reason": "node-stops"}
        assert result["ca"]
        assert told(satellite)["parked"] == 1
    async with node_of(above), node_of(below) as again:
        event = "certificate received from parent"
        await until(lambda: again.logs.seen(event), "nobody had to ask again")


@in_loop
async def test_a_second_signal_waits_for_no_certificate_and_answers_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "ANSWER_SECONDS", FOR_EVER)
    monkeypatch.setattr(stopping, "ENTER_SECONDS", FOR_EVER)
    _, below = write_pair(tmp_path)
    async with node_of(below) as satellite, held_agent(satellite) as asking:
        satellite.node.stop()
        await until(lambda: satellite.logs.seen("stopping"), "the first one")
        satellite.node.stop()
        await satellite.task
        assert (await asking)["status_code"] == 2


@in_loop
async def test_a_request_that_was_not_recorded_is_refused_and_a_recorded_one_parked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANSWER", "PARK", "DRAIN"):
        monkeypatch.setattr(stopping, f"{name}_SECONDS", 0.2)
    _, below = write_pair(tmp_path)
    async with node_of(below) as satellite, held_agent(satellite) as recorded:
        begin, works_again = satellite.ledger.begin, threading.Event()

        def stuck() -> None:
            works_again.wait(15)
            begin()

        monkeypatch.setattr(satellite.ledger, "begin", stuck)
        unrecorded = asyncio.create_task(Agent("other").ask(satellite.port))
        await until(lambda: satellite.node._hub.owed == 2, "another one asks")
        satellite.node.stop()
        kept, refused = await recorded, await unrecorded
        works_again.set()
        await satellite.task
        assert (kept["status_code"], kept["icefloe"]["reason"]) == (2, "node-stops")
        assert refused is not None
        assert refused["status_code"] == 1
        assert refused["icefloe"]["reason"] == "ledger-fault"
        assert refused["icefloe"]["retry_after"] > 0
        assert told(satellite) == {
            "answered": 0,
            "parked": 1,
            "unrecorded": 1,
            "gone": 0,
        }


@in_loop
async def test_why_a_process_does_not_end_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread cannot be ended from outside, and it may hang in the disk for ever."""
    for name in ("ANSWER", "PARK", "DRAIN", "LAST"):
        monkeypatch.setattr(stopping, f"{name}_SECONDS", 0.1)
    _, below = write_pair(tmp_path)
    hangs = "the ledger hangs, which keeps this process from its end"
    async with node_of(below) as satellite:
        begin, works_again = satellite.ledger.begin, threading.Event()

        def stuck() -> None:
            works_again.wait(30)
            begin()

        monkeypatch.setattr(satellite.ledger, "begin", stuck)
        asking = asyncio.create_task(Agent().ask(satellite.port))
        await until(lambda: satellite.node._hub.owed, "it waits")
        satellite.node.stop()
        assert await asking is not None
        await until(lambda: satellite.logs.seen(hangs), "it is said")
        assert not satellite.task.done()
        works_again.set()
        await satellite.task


@in_loop
async def test_a_core_that_comes_back_late_answers_nobody_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANSWER", "PARK"):
        monkeypatch.setattr(stopping, f"{name}_SECONDS", 0.1)
    _, below = write_pair(tmp_path)
    async with node_of(below) as satellite:
        begin, works_again = satellite.ledger.begin, threading.Event()

        def stuck() -> None:
            works_again.wait(15)
            begin()

        monkeypatch.setattr(satellite.ledger, "begin", stuck)
        agent = Agent()
        stream = await connect("127.0.0.1", satellite.port, context=context_of(agent))
        heard = started(stream)
        # It keeps its side open, so that an answer too many would reach it.
        stream.write(encode(encode_request("pki::RequestCertificate", {}, "x")))
        await until(lambda: satellite.node._hub.owed, "it waits")
        satellite.node.stop()
        await until(lambda: b"ledger-fault" in heard.data, "answered for the core")
        works_again.set()
        await satellite.task
        await stream.wait_closed()
        assert heard.data.count(b'"result"') == 1


# --- Who comes ------------------------------------------------------------------------


def context_of(agent: Agent) -> Any:
    identity = TLSIdentity(
        certificate_pem=to_pem(agent.certificate).encode(),
        key_pem=encode_private_key(agent.key),
    )
    return client_context(identity)


@pytest.mark.parametrize("late", [0.0, 0.1, 0.3, 0.6])
@in_loop
async def test_who_has_only_just_connected_is_waited_for(
    tmp_path: Path, late: float
) -> None:
    above, _ = write_pair(tmp_path)
    async with node_of(above) as master:
        agent = Agent()
        stream = await connect("127.0.0.1", master.port, context=context_of(agent))
        heard = started(stream)
        master.node.stop()
        await asyncio.sleep(late)
        params = {"ticket": agent.ticket}
        stream.write(encode(encode_request("pki::RequestCertificate", params, "x")))
        await stream.wait_closed()
        await master.task
        assert b'"status_code":0' in heard.data


@in_loop
async def test_what_had_come_unread_is_heard_before_the_connection_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last look: a request that lies in the socket when its turn to close comes."""
    above, _ = write_pair(tmp_path)
    async with node_of(above) as master:
        hub = master.node._hub
        agent = Agent()
        stream = await connect("127.0.0.1", master.port, context=context_of(agent))
        heard = started(stream)
        await until(lambda: hub.open_links, "it is in")
        (link,) = hub._links.values()
        monkeypatch.setattr(link, "begun", 0.0)  # as if it had been here for long
        params = {"ticket": agent.ticket}
        # On its way before the node looks; not read, for the loop has had no turn.
        channel = stream._channel
        channel.send(encode(encode_request("pki::RequestCertificate", params, "x")))
        hub.leave(link, "node-stops")
        assert hub.owed == 1
        await stream.wait_closed()
        assert b'"status_code":0' in heard.data


async def ask_until_heard(agent: Agent, port: int) -> tuple[dict[str, Any] | None, int]:
    """Ask as a client whose kernel may be refused a connection between two lives."""
    refused = 0
    while True:
        try:
            return await agent.ask(port), refused
        except ConnectFailed:
            refused += 1
            await asyncio.sleep(0.05)


@in_loop
async def test_requests_at_any_moment_of_a_restart_are_all_answered(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as (_, (satellite,)):
        agents = [Agent(f"agent{number}") for number in range(24)]
        tasks = []

        async def come() -> None:
            for agent in agents:
                tasks.append(
                    asyncio.create_task(ask_until_heard(agent, satellite.port))
                )
                await asyncio.sleep(0.04)

        coming = asyncio.create_task(come())
        await asyncio.sleep(0.3)
        await satellite.stop()
        again = await start_node(satellite.directories)
        try:
            await coming
            came = [result for result, _ in await asyncio.gather(*tasks)]
        finally:
            await again.stop()
        assert None not in came, "a connection was closed without an answer"
        assert {result["status_code"] for result in came if result} <= {0, 2}
        assert told(satellite)["gone"] == 0
        assert told(satellite)["unrecorded"] == 0


@in_loop
async def test_who_comes_after_the_signal_waits_for_the_next_life_and_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "ANSWER_SECONDS", FOR_EVER)
    above, below = write_pair(tmp_path)
    async with node_of(below) as satellite, held_agent(satellite):
        satellite.node.stop()
        await until(lambda: satellite.logs.seen("stopping"), "nobody new comes in")
        counts = satellite.node._listener.counts
        before = counts.accepted
        agent = Agent("late")
        late = asyncio.create_task(ask_until_heard(agent, satellite.port))
        await asyncio.sleep(0.2)
        assert counts.accepted == before
        satellite.node.stop()
        await satellite.task
        async with node_of(above), node_of(below):
            result, _ = await late
            check(result, agent)


# --- Connections ----------------------------------------------------------------------


@in_loop
async def test_members_and_strangers_see_an_orderly_close(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (master, (satellite,)):
        stream = await connect("127.0.0.1", master.port, context=client_context(None))
        heard = started(stream)
        stream.write(encode(b'{"method":"icinga::Hello","params":{}}'))
        await heard.received(1)
        await master.stop()
        assert (await stream.wait_closed()).clean
        assert heard.finished.is_set()
        ended = [f for _, e, f in satellite.logs.events if e == "session.ended"]
        assert [fields["reason"] for fields in ended] == ["peer-finished"]


@in_loop
async def test_idlers_at_the_door_do_not_keep_a_node_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "ENTER_SECONDS", FOR_EVER)
    above, _ = write_pair(tmp_path)
    async with node_of(above) as master:
        idler, writer = await asyncio.open_connection("127.0.0.1", master.port)
        await until(lambda: master.node._listener.strangers, "in a handshake")
        await master.stop()
        with contextlib.suppress(ConnectionError):
            assert await idler.read() == b""
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@in_loop
async def test_a_reload_that_is_asked_for_at_the_end_is_passed_over(
    tmp_path: Path,
) -> None:
    above, _ = write_pair(tmp_path)
    async with node_of(above) as master:
        master.node.reload()
        master.node.stop()
        master.node.reload()
        await master.task
        assert master.logs.seen("not reloaded: this node stops")


def test_the_end_fits_into_what_a_service_manager_allows() -> None:
    assert stopping.seconds_max() < 30
