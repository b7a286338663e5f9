"""A reload: new files hold at once, and nobody who still stands is dropped."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from tests.node.cluster import (
    Authority,
    Logs,
    Running,
    Zones,
    free_port,
    running,
    until,
    write_node,
)
from tests.node.test_node import Agent, check
from tests.node.test_stopping import held_agent, node_of
from tests.node.tls.joined import in_loop, started

from icefloe.config.layout import NodeDirectories
from icefloe.enrollment import commands as cmd
from icefloe.enrollment.commands import Level
from icefloe.node import dialer as dialer_module
from icefloe.node import node as node_module
from icefloe.node.material import read_material
from icefloe.node.tls.connecting import connect
from icefloe.node.tls.contexts import TLSIdentity, client_context
from icefloe.pki.certificates import load_der, load_pem, to_pem
from icefloe.pki.tickets import ticket
from icefloe.storage.keys import encode_private_key, generate_key, read_private_key
from icefloe.wire.catalogue import RequestCertificate
from icefloe.wire.netstring import encode

CLOSED = "connection closed by a reload"


class House:
    """A master, two satellites that dial it, and their CA."""

    def __init__(self, root: Path) -> None:
        self.ca = Authority()
        self.zones = Zones(
            {
                "master": (None, {"m1": free_port()}),
                "sat": ("master", {"s1": free_port()}),
                "sat2": ("master", {"s2": free_port()}),
            }
        )
        self.above = write_node(
            root, "m1", self.zones, dialled=set(), ca=self.ca, signer=True
        )
        self.below = [
            write_node(root, name, self.zones, dialled={"m1"}, ca=self.ca)
            for name in ("s1", "s2")
        ]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[Running, Running, Running]]:
        async with running(self.above, *self.below) as (master, first, second):
            await connected(master, "s1", "s2")
            yield master, first, second

    def certificate_of(self, name: str) -> x509.Certificate:
        (where,) = (d for d in self.everybody if name in d.config_dir.parts)
        return load_pem(where.node_certificate(name).read_text())

    @property
    def everybody(self) -> list[NodeDirectories]:
        return [self.above, *self.below]

    def revoke(
        self,
        *names: str,
        next_update: float = 86_400.0 * 30,
        at: NodeDirectories | None = None,
    ) -> None:
        """Give a node, the master, a revocation list, and have it look there."""
        where = at or self.above
        now = datetime.fromtimestamp(time.time(), UTC)
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=self.ca.certificate.subject,
            last_update=now - timedelta(days=2),
            next_update=now + timedelta(seconds=next_update),
        )
        for name in names:
            entry = x509.RevokedCertificateBuilder(
                serial_number=self.certificate_of(name).serial_number,
                revocation_date=now - timedelta(hours=1),
            )
            builder = builder.add_revoked_certificate(entry.build())
        crl = builder.sign(self.ca.key, hashes.SHA256())
        path = where.certs / "revoked.crl"
        path.write_bytes(crl.public_bytes(Encoding.PEM))
        set_listener(where, "crl_path", f'"{path}"')


def set_listener(directories: NodeDirectories, attribute: str, value: str) -> None:
    api = directories.feature_enabled("api")
    lines = [
        line
        for line in api.read_text().splitlines()
        if not line.strip().startswith(f"{attribute} ")
    ]
    lines.insert(1, f"  {attribute} = {value}")
    api.write_text("\n".join(lines) + "\n")


async def connected(node: Running, *names: str) -> None:
    await until(lambda: set(node.node._hub.connected) >= set(names), str(names))


def link_to(node: Running, name: str) -> Any:
    hub = node.node._hub
    link_id = hub._connections.link_of(name)
    assert link_id is not None, name
    return hub._links[link_id]


async def reload(node: Running, event: str = "reloaded") -> None:
    """Reload, and wait for the end of it."""

    def count() -> int:
        return sum(e == event for _, e, _ in node.logs.events)

    before = count()
    node.node.reload()
    await until(lambda: count() > before, event)


def closed(node: Running) -> dict[str, str]:
    """Whose connections reloads closed, and why."""
    return {f["peer"]: f["reason"] for _, e, f in node.logs.events if e == CLOSED}


def ends(logs: Logs) -> int:
    return sum(event == "session.ended" for _, event, _ in logs.events)


# --- Who stays ------------------------------------------------------------------------


@in_loop
async def test_our_own_renewed_certificate_is_shown_and_nobody_is_dropped(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    async with house.running() as (master, first, second):
        links = [link_to(master, name) for name in ("s1", "s2")]
        key = read_private_key(house.above.node_key("m1"))
        new = house.ca.issue("m1", key)
        house.above.node_certificate("m1").write_text(to_pem(new))
        await reload(master)
        stream = await connect("127.0.0.1", master.port, context=client_context(None))
        assert load_der(stream.peer.certificate or b"") == new
        stream.abort()
        assert [link_to(master, name) for name in ("s1", "s2")] == links
        assert not any(link.ended for link in links)
        assert ends(first.logs) == ends(second.logs) == 0


@in_loop
async def test_an_endpoint_more_and_a_ticket_salt_more_drop_nobody(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    async with house.running() as (master, first, second):
        for where in house.everybody:
            text = where.zones_conf.read_text()
            where.zones_conf.write_text(
                text + 'object Endpoint "s3" {}\n'
                'object Zone "sat3" { endpoints = [ "s3" ]; parent = "master" }\n'
            )
        constants = house.above.constants_conf
        constants.write_text(constants.read_text().replace("0123456789abcdef", "other"))
        for node in (master, first, second):
            await reload(node)
        assert ends(master.logs) == ends(first.logs) == ends(second.logs) == 0
        agent = Agent()
        agent.ticket = ticket("agent", "other")
        check(await agent.ask(first.port), agent)


@in_loop
async def test_a_ca_certificate_more_drops_nobody_and_lets_its_members_in(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    other = Authority()
    async with house.running() as (master, first, second):
        house.above.trusted_ca.write_text(house.ca.pem + other.pem)
        await reload(master)
        assert ends(first.logs) == ends(second.logs) == 0
        key = generate_key()
        stranger = TLSIdentity(
            certificate_pem=to_pem(other.issue("s9", key)).encode(),
            key_pem=encode_private_key(key),
        )
        context = client_context(stranger)
        stream = await connect("127.0.0.1", master.port, context=context)
        started(stream)
        stream.write(encode(b'{"method":"icinga::Hello","params":{}}'))
        await until(lambda: master.node._hub.open_links == 3, "it is there")
        (link,) = (
            each
            for each in master.node._hub._links.values()
            if each.peer.common_name == "s9"
        )
        assert link.peer.verified
        stream.abort()


@in_loop
async def test_a_request_under_way_through_a_reload_is_answered(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.running() as (master, first, _):
        agents = [Agent(f"agent{number}") for number in range(12)]
        asking = []
        for number, agent in enumerate(agents):
            asking.append(asyncio.create_task(agent.ask(first.port)))
            await asyncio.sleep(0.01)
            if number % 5 == 0:
                first.node.reload()
                master.node.reload()
        for agent, result in zip(agents, await asyncio.gather(*asking), strict=True):
            check(result, agent)
        assert ends(first.logs) == len(agents), "the agents' connections and no other"


# --- Who goes -------------------------------------------------------------------------


@in_loop
async def test_a_revoked_member_is_closed_in_order_and_the_others_stay(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    async with house.running() as (master, first, second):
        stays = link_to(master, "s2")
        house.revoke("s1")
        await reload(master)
        assert closed(master) == {"s1": "certificate-not-valid"}
        await until(lambda: ends(first.logs), "s1 sees the close")
        assert ends(second.logs) == 0
        assert link_to(master, "s2") is stays
        await until(
            lambda: any(
                event == "connected" and fields["standing"] == "anonymous"
                for _, event, fields in master.logs.events
            ),
            "s1 comes again, as a stranger",
        )


@in_loop
async def test_a_removed_endpoint_is_closed_and_one_of_another_zone_comes_again(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    async with house.running() as (master, _, _):
        moved = link_to(master, "s2")
        text = house.above.zones_conf.read_text()
        text = text.replace('"sat2" {', '"elsewhere" {')
        text = "\n".join(line for line in text.splitlines() if '"s1"' not in line)
        house.above.zones_conf.write_text(text + "\n")
        await reload(master)
        assert closed(master) == {"s1": "endpoint-removed", "s2": "standing-changed"}
        await until(lambda: moved.ended, "closed")
        await connected(master, "s2")
        assert link_to(master, "s2").peer.zone == "elsewhere"


@in_loop
async def test_a_verified_stranger_that_becomes_an_endpoint_comes_again_as_a_member(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    zones_conf = house.above.zones_conf
    whole = zones_conf.read_text()
    part = "\n".join(line for line in whole.splitlines() if '"s1"' not in line)
    zones_conf.write_text(part + "\n")
    async with running(house.above, house.below[0]) as (master, _):
        await until(
            lambda: any(e == "connected" for _, e, _ in master.logs.events), "s1"
        )
        assert not master.node._hub.connected
        zones_conf.write_text(whole)
        await reload(master)
        await connected(master, "s1")


@in_loop
async def test_a_handshake_that_began_under_the_old_list_is_judged_by_the_new_one(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    async with node_of(house.above) as master:
        where = house.below[0]
        identity = TLSIdentity(
            certificate_pem=where.node_certificate("s1").read_bytes(),
            key_pem=where.node_key("s1").read_bytes(),
            ca_pem=where.trusted_ca.read_bytes(),
        )
        taken: list[Any] = []
        accepted = master.node._hub.take_stream

        def keep(*given: Any, **named: Any) -> None:
            taken.append(lambda: accepted(*given, **named))

        master.node._hub.take_stream = keep  # type: ignore[method-assign]
        context = client_context(identity)
        stream = await connect("127.0.0.1", master.port, context=context)
        await until(lambda: taken, "the handshake is done")
        master.node._hub.take_stream = accepted  # type: ignore[method-assign]
        house.revoke("s1")
        await reload(master)
        assert taken[0]() is None
        assert closed(master) == {"s1": "certificate-not-valid"}
        heard = started(stream)
        await heard.lost.wait()


@in_loop
async def test_whom_we_began_to_dial_under_the_old_list_is_judged_by_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parent was down, so that its address did not answer for a while."""
    house, dialled, answers = House(tmp_path), asyncio.Event(), asyncio.Event()

    async def late(*given: Any, **named: Any) -> Any:
        dialled.set()
        await answers.wait()
        return await connect(*given, **named)

    monkeypatch.setattr(dialer_module, "connect", late)
    async with node_of(house.above), node_of(house.below[0]) as satellite:
        await dialled.wait()
        house.revoke("m1", at=house.below[0])
        await reload(satellite)
        answers.set()
        await until(lambda: closed(satellite), "the parent is found revoked")
        assert closed(satellite) == {"m1": "certificate-not-valid"}
        assert not satellite.node._hub.connected


@in_loop
async def test_who_was_a_stranger_to_its_peers_reconnects_with_its_certificate(
    tmp_path: Path,
) -> None:
    """By hand here; a daemon that enrolls itself does the same (test_node)."""
    house = House(tmp_path)
    where = house.below[0]
    key = generate_key()
    signed = house.ca.issue("s1", key)
    agent = Agent("s1")
    where.node_key("s1").write_bytes(encode_private_key(agent.key))
    where.node_certificate("s1").write_text(to_pem(agent.certificate))
    async with running(house.above, where) as (master, below):
        await connected(below, "m1")
        assert not master.node._hub.connected
        where.node_key("s1").write_bytes(encode_private_key(key))
        where.node_certificate("s1").write_text(to_pem(signed))
        await reload(below)
        await connected(master, "s1")


# --- Revocation lists out of date -----------------------------------------------------

OUT_OF_DATE = "revocation list out of date: no new connection is a member's"


@in_loop
async def test_a_list_that_is_out_of_date_is_not_taken_in_place_of_a_good_one(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    async with house.running() as (master, _, _):
        house.revoke("s1", next_update=-60.0)
        await reload(master, "reload refused, running on as before")
        assert not closed(master)
        house.revoke(next_update=3600.0)
        await reload(master)
        assert not closed(master)
        assert master.logs.seen("revocation list ends soon")


@in_loop
async def test_with_a_list_that_grew_old_members_stay_nobody_comes_and_all_hear_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path)
    house.revoke(next_update=3600.0)
    async with house.running() as (master, first, second):
        # It runs with the list when its time is over.
        monkeypatch.setattr(node_module, "read_material", later(master))
        house.revoke(next_update=-60.0)
        await reload(master)
        assert (Level.ERROR, OUT_OF_DATE) in [(v, e) for v, e, _ in master.logs.events]
        assert ends(first.logs) == ends(second.logs) == 0
        await second.stop()
        async with node_of(house.below[1]) as again:
            await connected(again, "m1")
            await until(
                lambda: any(
                    event == "connected" and fields["standing"] == "anonymous"
                    for _, event, fields in master.logs.events
                ),
                "who comes now is a stranger",
            )
            assert "s2" not in master.node._hub.connected
            assert "s1" in master.node._hub.connected


def later(node: Running) -> Any:
    """Read files as a node that finds its own list out of date by now."""
    read = read_material

    def read_and_forget(*given: Any, **named: Any) -> Any:
        material = read(*given, **named)
        # As if the list in use were this one, of which only the time has passed.
        object.__setattr__(node.node._material, "crl_pem", material.crl_pem)
        return material

    return read_and_forget


# --- What can not be reloaded ---------------------------------------------------------


@in_loop
async def test_another_node_name_is_refused(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with node_of(house.below[0]) as node:
        constants = house.below[0].constants_conf
        constants.write_text(
            constants.read_text().replace('NodeName = "s1"', 'NodeName = "s2"')
        )
        where = house.below[0]
        where.node_certificate("s2").write_bytes(
            where.node_certificate("s1").read_bytes()
        )
        where.node_key("s2").write_bytes(where.node_key("s1").read_bytes())
        await reload(node, "reload refused, running on as before")
        (detail,) = (f["detail"] for _, e, f in node.logs.events if "refused" in e)
        assert "restart" in detail or "s2" in detail


@in_loop
async def test_another_address_is_said_to_need_a_restart_and_all_else_is_taken(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    async with house.running() as (master, first, _):
        set_listener(house.above, "bind_port", str(free_port()))
        set_listener(house.above, "max_anonymous_clients", "77")
        await reload(master)
        event = "listening where it did: another address needs a restart"
        assert master.logs.seen(event)
        assert ends(first.logs) == 0
        assert master.node._listener._limits.strangers_max == 77


@in_loop
async def test_what_is_wrong_is_said_with_file_and_line(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.running() as (master, first, second):
        zones_conf = house.above.zones_conf
        zones_conf.write_text("\n\nobject Endpoint {\n")
        await reload(master, "reload refused, running on as before")
        ((level, detail),) = (
            (level, f["detail"]) for level, e, f in master.logs.events if "refused" in e
        )
        assert level == Level.ERROR
        assert f"{zones_conf}:4:1: expected a name" in detail
        assert ends(first.logs) == ends(second.logs) == 0


# --- Reloads and other things at once -------------------------------------------------


@in_loop
async def test_reloads_that_come_during_a_reload_are_one_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path)
    async with node_of(house.above) as master:
        read, go_on, runs = read_material, threading.Event(), []

        def slowly(*given: Any, **named: Any) -> Any:
            runs.append(threading.current_thread())
            go_on.wait(10)
            return read(*given, **named)

        monkeypatch.setattr(node_module, "read_material", slowly)
        master.node.reload()
        await until(lambda: runs, "it reads")
        agent = Agent()
        check(await agent.ask(master.port), agent)  # the loop goes on meanwhile
        for _ in range(5):
            master.node.reload()
        go_on.set()
        await until(
            lambda: sum(e == "reloaded" for _, e, _ in master.logs.events) == 2, "both"
        )
        await asyncio.sleep(0.1)
        assert len(runs) == 2
        assert threading.main_thread() not in runs


@in_loop
async def test_an_end_during_a_reload_is_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path)
    async with node_of(house.above) as master:
        read, go_on, runs = read_material, threading.Event(), []

        def slowly(*given: Any, **named: Any) -> Any:
            runs.append(1)
            go_on.wait(10)
            return read(*given, **named)

        monkeypatch.setattr(node_module, "read_material", slowly)
        master.node.reload()
        await until(lambda: runs, "it reads")
        master.node.stop()
        await master.task
        go_on.set()
        assert not master.logs.seen("reloaded")


@in_loop
async def test_a_held_agent_is_held_through_a_reload(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with (
        node_of(house.below[0]) as satellite,
        held_agent(satellite) as asking,
    ):
        await reload(satellite)
        assert not asking.done()
        async with node_of(house.above):
            result = await asking
        assert result is not None
        assert result["status_code"] in (0, 2)


# --- The service manager --------------------------------------------------------------


@in_loop
async def test_the_service_manager_hears_of_reload_and_end(tmp_path: Path) -> None:
    house = House(tmp_path)
    heard: list[str] = []
    async with node_of(house.above) as master:
        master.node._notify = heard.append
        await reload(master)
        await until(lambda: len(heard) == 2, "told")
        await master.stop()
    begins, ready, stopping = heard
    assert begins.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert (ready, stopping) == ("READY=1", "STOPPING=1")


# --- Asks on a connection that closes -------------------------------------------------


@in_loop
async def test_an_ask_on_a_connection_that_closes_is_told_at_once(
    tmp_path: Path,
) -> None:
    """The parent closes; what is asked then is not dropped until the link is down."""
    house = House(tmp_path)
    async with house.running() as (_, first, _):
        link = link_to(first, "m1")
        submitted: list[Any] = []
        hub = first.node._hub
        submit = hub._submit

        def note(event: Any) -> bool:
            submitted.append(event)
            return True

        hub._submit = note
        link.drain("test")
        hub.carry_out(cmd.Ask(link.link_id, "call", RequestCertificate()))
        hub._submit = submit
        kinds = [type(event).__name__ for event in submitted]
        assert kinds == ["LinkEnding", "ParentFailed"]
        for event in submitted:
            submit(event)
