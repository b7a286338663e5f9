"""Whole nodes over real TLS: the main job, and what may happen on the way."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from tests.node.cluster import (
    SALT,
    Authority,
    Running,
    Zones,
    free_port,
    running,
    start_node,
    unsigned,
    until,
    write_node,
)
from tests.node.tls.joined import in_loop

from icefloe.enrollment import administration
from icefloe.enrollment.model import RequestState
from icefloe.node.doors import RealClock
from icefloe.node.tls.connecting import connect
from icefloe.node.tls.contexts import TLSIdentity, client_context
from icefloe.pki.certificates import key_id, load_pem, to_pem
from icefloe.pki.tickets import ticket
from icefloe.storage.keys import encode_private_key, generate_key
from icefloe.storage.ledger import SQLiteLedger
from icefloe.wire.jsonrpc import encode_request
from icefloe.wire.netstring import NetstringReader, Payload, encode

WRONG = "0" * 40


class Agent:
    """A client as simple as `pki request`: one connection, one ask."""

    def __init__(self, cn: str = "agent") -> None:
        self.cn = cn
        self.key = generate_key()
        self.certificate = unsigned(cn, self.key)
        self.ticket = ticket(cn, SALT)

    async def ask(self, port: int, given: str | None = None) -> dict[str, Any] | None:
        """Ask once; returns the result, or None when the connection ended before."""
        identity = TLSIdentity(
            certificate_pem=to_pem(self.certificate).encode(),
            key_pem=encode_private_key(self.key),
        )
        stream = await connect("127.0.0.1", port, context=client_context(identity))
        handler = _Answer()
        stream.start(handler)
        params = {"ticket": self.ticket if given is None else given}
        stream.write(encode(encode_request("pki::RequestCertificate", params, "x")))
        result = await asyncio.wait_for(handler.result, 40)
        await asyncio.wait_for(stream.wait_closed(), 40)
        return result


class _Answer:
    def __init__(self) -> None:
        self.result: asyncio.Future[dict[str, Any] | None] = (
            asyncio.get_running_loop().create_future()
        )
        self._reader = NetstringReader(1_000_000)

    def data_received(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            assert isinstance(frame, Payload)
            message = msgspec.json.decode(frame.data)
            if message.get("id") == "x" and not self.result.done():
                self.result.set_result(message["result"])

    def peer_finished(self) -> None:
        pass

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.result.done():
            self.result.set_result(None)


@contextlib.asynccontextmanager
async def cluster(
    root: Path, *, parent_dials: bool = False, relays: int = 1
) -> AsyncIterator[tuple[Running, list[Running]]]:
    """A master and relays in a row, connected."""
    ca = Authority()
    names = ["m1", *(f"s{number}" for number in range(1, relays + 1))]
    zones: dict[str, tuple[str | None, dict[str, int | None]]] = {}
    for number, name in enumerate(names):
        zones[f"z{number}"] = (
            f"z{number - 1}" if number else None,
            {name: free_port()},
        )
    zones["agent"] = (f"z{relays}", {"agent": None})
    tree = Zones(zones)
    written = []
    for number, name in enumerate(names):
        if parent_dials:
            dialled = {names[number + 1]} if number < relays else set()
        else:
            dialled = {names[number - 1]} if number else set()
        written.append(
            write_node(root, name, tree, dialled=dialled, ca=ca, signer=number == 0)
        )
    async with running(*written) as nodes:
        for node in nodes:
            await until(functools.partial(node.logs.seen, "connected"), "connected")
        yield nodes[0], nodes[1:]


def check(result: dict[str, Any] | None, agent: Agent) -> x509.Certificate:
    """The result is a certificate for this agent's key."""
    assert result is not None
    assert result["status_code"] == 0, result
    certificate = load_pem(result["cert"])
    assert key_id(certificate) == key_id(agent.certificate)
    certificate.verify_directly_issued_by(load_pem(result["ca"]))
    return certificate


def approve(node: Running, cn: str) -> None:
    """Decide as `ca sign` does, in another process."""
    ledger = SQLiteLedger.open(node.directories.ledger)
    try:
        (request,) = [r for r in ledger.requests() if r.cn == cn]
        ledger.begin()
        ledger.apply(
            administration.approve(
                ledger,
                request,
                actor="root",
                at=RealClock().now().wall,
                reserved=False,
                reserved_names=frozenset(),
                node_name="m1",
            )
        )
        ledger.commit()
    finally:
        ledger.close()


@pytest.mark.parametrize("parent_dials", [False, True])
@in_loop
async def test_an_agent_is_signed_through_a_relay_on_its_first_connection(
    tmp_path: Path,
    parent_dials: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    async with cluster(tmp_path, parent_dials=parent_dials) as (_, (satellite,)):
        agent = Agent()
        check(await agent.ask(satellite.port), agent)


@in_loop
async def test_two_relays_in_a_row_sign_on_the_first_connection(tmp_path: Path) -> None:
    async with cluster(tmp_path, relays=2) as (_, relays):
        agent = Agent()
        result = await agent.ask(relays[-1].port)
        check(result, agent)
        assert result is not None
        told = [(hop["node"], hop["did"]) for hop in result["icefloe"]["hops"]]
        assert ("m1", "signed") in told
        assert ("s1", "forwarded") in told
        assert ("s2", "answered") in told


@in_loop
async def test_a_wrong_ticket_is_refused_through_a_relay_and_a_corrected_one_signed(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as (_, (satellite,)):
        agent = Agent()
        result = await agent.ask(satellite.port, WRONG)
        assert result is not None
        assert result["status_code"] == 1
        assert result["icefloe"] == {"hop": "m1", "reason": "wrong-ticket"}
        assert "ca" not in result
        check(await agent.ask(satellite.port), agent)


@in_loop
async def test_an_approval_reaches_the_next_asking_at_the_relay(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (master, (satellite,)):
        agent = Agent()
        result = await agent.ask(satellite.port, "")
        assert result is not None
        assert result["status_code"] == 2
        approve(master, "agent")
        await until(
            lambda: satellite.logs.seen("certificate received from parent"), "pushed"
        )
        check(await agent.ask(satellite.port, ""), agent)


@in_loop
async def test_a_relay_without_a_parent_forwards_when_it_comes(tmp_path: Path) -> None:
    ca = Authority()
    tree = Zones(
        {"master": (None, {"m1": free_port()}), "sat": ("master", {"s1": free_port()})}
    )
    below = write_node(tmp_path, "s1", tree, dialled={"m1"}, ca=ca)
    above = write_node(tmp_path, "m1", tree, dialled=set(), ca=ca, signer=True)
    async with running(below) as (satellite,):
        agent = Agent()
        result = await agent.ask(satellite.port)
        assert result is not None
        assert (result["status_code"], result["icefloe"]["reason"]) == (
            2,
            "parent-unreachable",
        )
        async with running(above):
            await until(
                lambda: satellite.logs.seen("certificate received from parent"),
                "signed after the parent came",
            )
            check(await agent.ask(satellite.port), agent)


@in_loop
async def test_a_daemon_without_a_certificate_enrolls_itself(tmp_path: Path) -> None:
    ca = Authority()
    tree = Zones(
        {
            "master": (None, {"m1": free_port()}),
            "agent": ("master", {"agent": free_port()}),
        }
    )
    key = generate_key()
    above = write_node(tmp_path, "m1", tree, dialled=set(), ca=ca, signer=True)
    below = write_node(
        tmp_path,
        "agent",
        tree,
        dialled={"m1"},
        ca=ca,
        certificate=unsigned("agent", key),
        key=key,
        ticket=ticket("agent", SALT),
    )
    async with running(above, below) as (master, agent):
        await until(lambda: agent.logs.seen("own certificate installed"), "installed")
        certificate = load_pem(below.node_certificate("agent").read_text())
        certificate.verify_directly_issued_by(ca.certificate)
        assert not below.ticket.exists()

        def member() -> bool:
            return any(
                event == "connected" and fields["standing"] == "member"
                for _, event, fields in master.logs.events
            )

        await until(member, "came back as a member")
        await until(
            lambda: _state(master, "agent") is RequestState.CONFIRMED, "confirmed"
        )


def _state(node: Running, cn: str) -> RequestState:
    ledger = SQLiteLedger.open(node.directories.ledger)
    try:
        return next(r.state for r in ledger.requests() if r.cn == cn)
    finally:
        ledger.close()


@in_loop
async def test_a_restarted_relay_hands_out_what_it_had(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_, (satellite,)):
        agent = Agent()
        first = check(await agent.ask(satellite.port), agent)
        await satellite.stop()
        again = await start_node(satellite.directories)
        try:
            assert check(await agent.ask(again.port, ""), agent) == first
        finally:
            await again.stop()


@in_loop
async def test_a_reload_with_broken_files_changes_nothing(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_, (satellite,)):
        zones = satellite.directories.zones_conf
        before = zones.read_text()
        zones.write_text("object Endpoint {")
        satellite.node.reload()
        event = "reload refused, running on as before"
        await until(lambda: satellite.logs.seen(event), "refused")
        zones.write_text(before)
        satellite.node.reload()
        await until(lambda: satellite.logs.seen("reloaded"), "reloaded")
        agent = Agent()
        check(await agent.ask(satellite.port), agent)
