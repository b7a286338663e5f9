"""A gateway before upstreams that do as a script says, over real TLS."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from tests.lab import world
from tests.node.cluster import (
    SALT,
    Authority,
    Zones,
    free_port,
    running,
    until,
    write_node,
)
from tests.node.gateway.world import (
    CUT,
    HOST,
    NAME,
    SILENCE,
    Act,
    Fails,
    KnownCA,
    Raw,
    Upstream,
    clients,
    gateway_to,
    one_after_another,
    refuses,
    says_pending,
    signs,
)
from tests.node.tls.joined import in_loop

from icefloe.doors import WallTime
from icefloe.lab.outcomes import Outcome
from icefloe.node import runner as runner_module
from icefloe.node.client import fetch_certificate
from icefloe.node.gateway import gateway as gateway_module
from icefloe.node.gateway.options import UpstreamPlace
from icefloe.node.gateway.upstream import ForwarderLimits
from icefloe.pki.certificates import is_self_issued, load_pem
from icefloe.pki.profiles import ca_certificate
from icefloe.pki.tickets import ticket
from icefloe.storage.files import FileProblem
from icefloe.storage.identity import install_ca
from icefloe.wire.catalogue import RequestCertificate
from icefloe.wire.netstring import encode

STRAY_ANSWER = encode(b'{"jsonrpc":"2.0","id":"another","result":{}}')

# --- One client, and what its upstream does -------------------------------------------


@in_loop
async def test_a_master_upstream_answers_and_the_client_is_signed(
    tmp_path: Path,
) -> None:
    ca = Authority()
    async with (
        Upstream(ca, signs).running() as upstream,
        gateway_to(tmp_path, upstream, ca=ca) as gateway,
    ):
        (agent,) = await clients(1, ticket="the ticket")
        attempt = await gateway.ask(agent)
        assert attempt.outcome is Outcome.SIGNED
        assert load_pem(attempt.ca) == ca.certificate
        asked = [each for each in upstream.asks if each.ticket]
        assert [each.ticket for each in asked] == ["the ticket"]
        assert asked[0].cert_request == agent.certificate_pem
        again = await gateway.ask(agent)
        assert again.certificate == attempt.certificate
        assert upstream.names().count("agent1") == 1, "the answer was in the ledger"


@in_loop
async def test_upstreams_are_shown_no_certificate(tmp_path: Path) -> None:
    """2.15.0 and later close on one of their CA that belongs to no Endpoint."""
    ca = Authority()
    async with (
        Upstream(ca, signs).running() as upstream,
        gateway_to(tmp_path, upstream, ca=ca, ticket="own") as gateway,
    ):
        (agent,) = await clients(1)
        await gateway.ask(agent)
        assert not is_self_issued(gateway.gateway.shown.certificate)
        assert set(upstream.presented) == {None}


@pytest.mark.parametrize(
    "acts",
    [
        (CUT, signs),
        (CUT, CUT, CUT, signs),
        (says_pending, signs),
        (says_pending, CUT, says_pending, signs),
        (Fails(), signs),
        (Raw(b"these are no frames"), signs),
        (Raw(STRAY_ANSWER + b"and garbage"), signs),
    ],
    ids=["cut", "cut-thrice", "pending", "mixed", "error", "garbage", "stray"],
)
@in_loop
async def test_a_client_with_a_ticket_is_signed_on_its_first_call_whatever_comes_first(
    tmp_path: Path, acts: tuple[Act, ...]
) -> None:
    ca = Authority()
    async with (
        Upstream(ca, one_after_another(*acts)).running() as upstream,
        gateway_to(tmp_path, upstream, ca=ca) as gateway,
    ):
        (agent,) = await clients(1)
        attempt = await gateway.ask(agent)
        assert attempt.outcome is Outcome.SIGNED, attempt
        assert upstream.names().count("agent1") == len(acts)


@in_loop
async def test_a_refusal_arrives_in_the_masters_words_and_without_a_ca(
    tmp_path: Path,
) -> None:
    ca = Authority()
    async with (
        Upstream(ca, refuses).running() as upstream,
        gateway_to(tmp_path, upstream, ca=ca) as gateway,
    ):
        (agent,) = await clients(1)
        attempt = await gateway.ask(agent)
        assert attempt.outcome is Outcome.REFUSED
        assert attempt.detail == "Invalid ticket for CN 'agent1'."
        assert attempt.ca == ""
        upstream.script = signs
        corrected = await gateway.ask(agent)
        assert corrected.outcome is Outcome.SIGNED, "a refusal is not replayed"


@in_loop
async def test_without_a_ticket_the_first_pending_is_passed_on(tmp_path: Path) -> None:
    ca = Authority()
    async with (
        Upstream(ca, says_pending).running() as upstream,
        gateway_to(tmp_path, upstream, ca=ca) as gateway,
    ):
        (agent,) = await clients(1, ticket="")
        attempt = await gateway.ask(agent)
        assert attempt.outcome is Outcome.PENDING
        assert attempt.seconds < 5
        assert load_pem(attempt.ca) == ca.certificate
        upstream.script = signs
        await until(lambda: upstream.signed, "the gateway to ask again by itself")
        approved = await gateway.ask(agent)
        assert approved.outcome is Outcome.SIGNED


@in_loop
async def test_a_certificate_that_does_not_fit_is_not_passed_on(tmp_path: Path) -> None:
    ca, other = Authority(), Authority()

    def signs_with_another_ca(upstream: Upstream, asked: RequestCertificate) -> Act:
        upstream.ca = other
        try:
            return signs(upstream, asked)
        finally:
            upstream.ca = ca

    script = one_after_another(signs_with_another_ca, signs)
    async with (
        Upstream(ca, script).running() as upstream,
        gateway_to(tmp_path, upstream, ca=ca) as gateway,
    ):
        (agent,) = await clients(1)
        attempt = await gateway.ask(agent)
        assert attempt.outcome is Outcome.SIGNED
        ca_of_it = load_pem(attempt.certificate)
        ca_of_it.verify_directly_issued_by(ca.certificate)
        assert gateway.seen("certificate from parent is not passed on") == 1


# --- Whether the upstream is there ----------------------------------------------------


@in_loop
async def test_an_upstream_that_is_away_leaves_clients_pending_and_nothing_lost(
    tmp_path: Path,
) -> None:
    ca = Authority()
    upstream = Upstream(ca, signs)
    (agent,) = await clients(1)
    async with gateway_to(tmp_path, upstream, ca=ca, is_reached=False) as gateway:
        attempt = await gateway.ask(agent)
        assert attempt.outcome is Outcome.PENDING
        assert "no connection to a parent" in attempt.detail
        assert attempt.seconds < 10
        assert gateway.seen("upstream not reached")
        async with upstream.running():
            await until(lambda: "agent1" in upstream.names(), "the request to go up")
            await until(
                lambda: gateway.seen("certificate received from parent"), "an answer"
            )
            assert (await gateway.ask(agent)).outcome is Outcome.SIGNED


@in_loop
async def test_an_upstream_that_goes_away_is_noticed_and_found_again(
    tmp_path: Path,
) -> None:
    ca = Authority()
    upstream = Upstream(ca, signs)
    first, second, third = await clients(3)
    async with gateway_to(tmp_path, upstream, ca=ca, is_reached=False) as gateway:
        async with upstream.running():
            await gateway.reached()
            assert (await gateway.ask(first)).outcome is Outcome.SIGNED
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(gateway.ask(second))
            await until(lambda: gateway.seen("upstream lost"), "the loss")
            async with upstream.running():
                assert (await waiting).outcome is Outcome.SIGNED
                assert (await gateway.ask(third)).outcome is Outcome.SIGNED


@in_loop
async def test_the_second_upstream_serves_when_the_first_is_down(
    tmp_path: Path,
) -> None:
    ca = Authority()
    down = Upstream(ca, signs, name="satellite2")
    async with (
        Upstream(ca, signs).running() as upstream,
        gateway_to(tmp_path, down, upstream, ca=ca) as gateway,
    ):
        (agent,) = await clients(1)
        assert (await gateway.ask(agent)).outcome is Outcome.SIGNED
        assert down.asks == []


@in_loop
async def test_a_silent_upstream_is_passed_over_for_the_other(tmp_path: Path) -> None:
    ca = Authority()
    async with (
        Upstream(ca, one_after_another(SILENCE)).running() as silent,
        Upstream(ca, signs, name="satellite2").running() as other,
        gateway_to(tmp_path, silent, other, ca=ca) as gateway,
    ):
        await gateway.reached(2)
        (agent,) = await clients(1)
        attempt = await gateway.ask(agent)
        assert attempt.outcome is Outcome.SIGNED
        assert attempt.seconds < 8


# --- Who is an upstream ---------------------------------------------------------------


@in_loop
async def test_an_upstream_of_another_ca_is_told_nothing(tmp_path: Path) -> None:
    ca = Authority()
    async with (
        Upstream(ca, signs, issued_by=Authority()).running() as stranger,
        gateway_to(tmp_path, stranger, ca=ca, is_reached=False) as gateway,
    ):
        (agent,) = await clients(1)
        assert (await gateway.ask(agent)).outcome is Outcome.PENDING
        assert stranger.asks == []
        assert "not to be trusted" in gateway.fields("upstream not reached")["detail"]


@in_loop
async def test_an_agent_in_the_upstreams_place_is_told_nothing(tmp_path: Path) -> None:
    """It has a certificate of the CA, as all agents have: the name tells them apart."""
    ca = Authority()
    satellite = Upstream(ca, signs)
    async with satellite.running(), gateway_to(tmp_path, satellite, ca=ca) as gateway:
        assert gateway.home.met == {satellite.place.label: "satellite1"}
    agent = Upstream(ca, signs, name="agent7", port=satellite.port)
    async with (
        agent.running(),
        gateway_to(tmp_path, agent, ca=ca, is_reached=False) as gateway,
    ):
        await until(lambda: gateway.seen("upstream not reached"), "the refusal")
        detail = gateway.fields("upstream not reached")["detail"]
        assert "it is 'agent7' and not 'satellite1'" in detail
        assert f"--upstream {HOST},{agent.port},agent7" in detail
        assert agent.asks == []
    said = UpstreamPlace(host=HOST, port=agent.port, name="agent7")
    async with agent.running(), gateway_to(tmp_path, said, ca=ca) as gateway:
        assert gateway.seen("upstream reached"), "when the operator says so"


@in_loop
async def test_an_upstream_with_the_gateways_own_name_is_refused(
    tmp_path: Path,
) -> None:
    """Or the gateway would ask for the certificate of a node of the cluster."""
    ca = Authority()
    async with (
        Upstream(ca, signs, name=NAME).running() as upstream,
        gateway_to(
            tmp_path, upstream, ca=ca, ticket="own", is_reached=False
        ) as gateway,
    ):
        await until(lambda: gateway.seen("upstream not reached"), "the refusal")
        assert "own name" in gateway.fields("upstream not reached")["detail"]
        assert upstream.asks == []


# --- Load, restart, end ---------------------------------------------------------------


@in_loop
async def test_connections_to_an_upstream_are_bounded(tmp_path: Path) -> None:
    ca = Authority()
    async with (
        Upstream(ca, signs).running() as upstream,
        gateway_to(tmp_path, upstream, ca=ca) as gateway,
    ):
        agents = await clients(60)
        attempts = await asyncio.gather(*map(gateway.ask, agents))
        assert {each.outcome for each in attempts} == {Outcome.SIGNED}
        assert 1 < upstream.connections_max <= ForwarderLimits().connections_max + 1
        assert upstream.signed == 60 + upstream.names().count(NAME)


@in_loop
async def test_a_restarted_gateway_takes_up_what_it_had_accepted(
    tmp_path: Path,
) -> None:
    ca = Authority()
    upstream = Upstream(ca, signs)
    (agent,) = await clients(1)
    async with gateway_to(tmp_path, upstream, ca=ca, is_reached=False) as gateway:
        assert (await gateway.ask(agent)).outcome is Outcome.PENDING
    async with upstream.running(), gateway_to(tmp_path, upstream, ca=ca) as gateway:
        await until(lambda: "agent1" in upstream.names(), "the request to go up")
        assert (await gateway.ask(agent)).outcome is Outcome.SIGNED
        assert upstream.names().count("agent1") == 1
        assert upstream.asks[upstream.names().index("agent1")].ticket == "ticket"


@in_loop
async def test_told_to_stop_it_lets_a_waiting_client_have_its_certificate(
    tmp_path: Path,
) -> None:
    ca = Authority()
    async with (
        Upstream(ca, says_pending).running() as upstream,
        gateway_to(tmp_path, upstream, ca=ca) as gateway,
        asyncio.TaskGroup() as group,
    ):
        (agent,) = await clients(1)
        waiting = group.create_task(gateway.ask(agent))
        await until(lambda: "agent1" in upstream.names(), "the client to be held")
        gateway.gateway.stop()
        await until(lambda: gateway.seen("stopping"), "the wait")
        upstream.script = signs
        assert (await waiting).outcome is Outcome.SIGNED
        await asyncio.wait([gateway.task])
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection(HOST, gateway.port)


@in_loop
async def test_told_twice_it_waits_for_no_certificate_and_says_pending(
    tmp_path: Path,
) -> None:
    ca = Authority()
    async with (
        Upstream(ca, says_pending).running() as upstream,
        gateway_to(tmp_path, upstream, ca=ca) as gateway,
        asyncio.TaskGroup() as group,
    ):
        (agent,) = await clients(1)
        waiting = group.create_task(gateway.ask(agent))
        await until(lambda: "agent1" in upstream.names(), "the client to be held")
        began = time.monotonic()
        gateway.gateway.stop()
        gateway.gateway.stop()
        await asyncio.wait([gateway.task])
        assert time.monotonic() - began < 8
        answer = await waiting
        assert answer.outcome is Outcome.PENDING
        assert answer.facts["reason"] == "node-stops"
        assert gateway.fields("everyone has an answer")["parked"] == 1


# --- Its own certificate --------------------------------------------------------------


@in_loop
async def test_its_certificate_is_signed_before_the_first_client_sees_it(
    tmp_path: Path,
) -> None:
    ca = Authority()
    script = one_after_another(CUT, says_pending, signs)
    async with (
        Upstream(ca, signs, own=script).running() as upstream,
        gateway_to(tmp_path, upstream, ca=ca, ticket="own ticket") as gateway,
    ):
        shown = await fetch_certificate(HOST, gateway.port)
        shown.leaf.verify_directly_issued_by(ca.certificate)
        assert set(upstream.names()) == {NAME}
        assert {each.ticket for each in upstream.asks} == {"own ticket"}
    async with upstream.running(), gateway_to(tmp_path, upstream, ca=ca) as gateway:
        assert (await fetch_certificate(HOST, gateway.port)).leaf == shown.leaf


@in_loop
async def test_what_clients_have_pinned_is_shown_until_the_operator_says_otherwise(
    tmp_path: Path,
) -> None:
    """An approval that comes later must not break a client between two commands."""
    ca = Authority()
    async with (
        Upstream(ca, signs, own=says_pending).running() as upstream,
        gateway_to(tmp_path, upstream, ca=ca) as gateway,
    ):
        pinned = (await fetch_certificate(HOST, gateway.port)).leaf
        assert is_self_issued(pinned)
        upstream.own = signs
        await until(lambda: gateway.seen("own certificate stored"), "the approval")
        assert (await fetch_certificate(HOST, gateway.port)).leaf == pinned
        gateway.gateway.reload()
        await until(lambda: gateway.seen("certificate shown to clients"), "shown")
        shown = (await fetch_certificate(HOST, gateway.port)).leaf
        shown.verify_directly_issued_by(ca.certificate)


def _file_named(root: Path, name: str) -> Path:
    (found,) = root.rglob(name)
    return found


@in_loop
async def test_what_is_wrong_with_the_stored_files_leaves_it_as_it_was(
    tmp_path: Path,
) -> None:
    ca = Authority()
    async with (
        Upstream(ca, signs, own=signs).running() as upstream,
        gateway_to(tmp_path, upstream, ca=ca) as gateway,
    ):
        shown = (await fetch_certificate(HOST, gateway.port)).leaf
        stored = _file_named(tmp_path, f"{NAME}.crt")
        before = stored.read_bytes()
        stored.write_text("no certificate")
        gateway.gateway.reload()
        event = "reload refused, running on as before"
        await until(lambda: gateway.seen(event), "refused")
        assert (await fetch_certificate(HOST, gateway.port)).leaf == shown
        stored.write_bytes(before)
        gateway.gateway.reload()
        await until(lambda: gateway.seen("reloaded"), "reloaded")
        (agent,) = await clients(1)
        assert (await gateway.ask(agent)).outcome is Outcome.SIGNED


@in_loop
async def test_it_serves_although_its_own_certificate_is_refused(
    tmp_path: Path,
) -> None:
    ca = Authority()
    async with (
        Upstream(ca, signs, own=refuses).running() as upstream,
        gateway_to(tmp_path, upstream, ca=ca, ticket="wrong") as gateway,
    ):
        event = "own certificate refused; clients are served all the same"
        assert gateway.fields(event)["detail"] == f"Invalid ticket for CN '{NAME}'."
        (agent,) = await clients(1)
        assert (await gateway.ask(agent)).outcome is Outcome.SIGNED


@in_loop
async def test_a_renewed_ca_is_taken_over_and_a_strange_one_is_not(
    tmp_path: Path,
) -> None:
    ca = Authority()
    async with (
        Upstream(ca, signs).running() as upstream,
        gateway_to(tmp_path, upstream, ca=ca) as gateway,
    ):
        first, second, third = await clients(3)
        upstream.ca = Authority()
        upstream.script = says_pending
        (stranger,) = await clients(1, ticket="", prefix="other")
        attempt = await gateway.ask(stranger)
        assert load_pem(attempt.ca) == ca.certificate
        assert gateway.seen("another CA from upstream not taken") == 1
        upstream.ca = ca
        upstream.script = signs
        assert (await gateway.ask(first)).outcome is Outcome.SIGNED
        old = ca.certificate
        now = time.time()
        ca.certificate = ca_certificate(
            ca.key,
            serial=2,
            not_before=WallTime(now - 60),
            not_after=WallTime(now + 9e8),
        )
        assert (await gateway.ask(second)).outcome is Outcome.SIGNED
        assert gateway.seen("renewed CA taken") == 1
        renewed = await gateway.ask(third)
        assert load_pem(renewed.ca) == ca.certificate != old
        assert gateway.home.files.ca.read_text() == ca.pem


@in_loop
async def test_a_renewed_ca_that_could_not_be_stored_is_taken_over_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full just when the upstream first showed it."""
    ca = Authority()

    def no_room(files: Any, **_how: object) -> bool:
        raise FileProblem(files.ca, action="write", reason="no space")

    monkeypatch.setattr(gateway_module, "CA_AGAIN_SECONDS", 0.0)
    async with (
        Upstream(ca, signs).running() as upstream,
        gateway_to(tmp_path, upstream, ca=ca) as gateway,
    ):
        now = time.time()
        ca.certificate = ca_certificate(
            ca.key,
            serial=2,
            not_before=WallTime(now - 60),
            not_after=WallTime(now + 9e8),
        )
        first, second = await clients(2)
        monkeypatch.setattr(gateway_module, "install_ca", no_room)
        assert (await gateway.ask(first)).outcome is Outcome.SIGNED
        assert gateway.seen("another CA from upstream not taken")
        monkeypatch.setattr(gateway_module, "install_ca", install_ca)
        assert (await gateway.ask(second)).outcome is Outcome.SIGNED
        assert gateway.seen("renewed CA taken") == 1
        assert gateway.home.files.ca.read_text() == ca.pem


@in_loop
async def test_a_ticket_is_nowhere_on_disk_once_its_request_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is cleared in the ledger stands in its log until that is emptied."""
    monkeypatch.setattr(runner_module, "MAINTAIN_SECONDS", 0.0)
    ca = Authority()
    async with (
        Upstream(ca, signs).running() as upstream,
        gateway_to(tmp_path, upstream, ca=ca) as gateway,
    ):
        (client,) = await clients(1, ticket="5ec2e7" * 7)
        assert (await gateway.ask(client)).outcome is Outcome.SIGNED
        secret = client.ticket.encode()
        ledger = gateway.home.directories.ledger

        def places() -> list[str]:
            files = ledger.parent.glob(f"{ledger.name}*")
            return [each.name for each in files if secret in each.read_bytes()]

        await until(lambda: not places(), "the ticket is gone")


# --- In front of Icefloe ------------------------------------------------------------


@pytest.mark.parametrize("before", ["master", "satellite"])
@in_loop
async def test_before_icefloe_certificates_and_refusals_pass_on_the_first_call(
    tmp_path: Path, before: str
) -> None:
    ca = Authority()
    tree = Zones(
        {"master": (None, {"m1": free_port()}), "s": ("master", {"s1": free_port()})}
    )
    master = write_node(tmp_path, "m1", tree, dialled=set(), ca=ca, signer=True)
    satellite = write_node(tmp_path, "s1", tree, dialled={"m1"}, ca=ca)
    async with running(master, satellite) as (up, down):
        await until(lambda: up.logs.seen("connected"), "the satellite")
        port = (up if before == "master" else down).port
        place = UpstreamPlace(host=HOST, port=port)
        own = ticket(NAME, SALT)
        async with gateway_to(tmp_path, place, ca=ca, ticket=own) as gateway:
            assert not is_self_issued(gateway.gateway.shown.certificate)
            (agent,) = await clients(1, ticket=ticket("agent1", SALT))
            signed = await gateway.ask(agent)
            assert signed.outcome is Outcome.SIGNED
            (other,) = await clients(1, ticket="0" * 40, prefix="other")
            refused = await gateway.ask(other)
            assert refused.outcome is Outcome.REFUSED
            assert refused.facts["hop"] == "m1"
            assert refused.facts["reason"] == "wrong-ticket"
            (third,) = await clients(1, ticket="", prefix="third")
            assert (await gateway.ask(third)).outcome is Outcome.PENDING


# --- In front of the habits of releases -----------------------------------------------


@pytest.mark.parametrize("version", ["2.13.6", "2.14.3", "2.14.4", "2.14.5", "2.16.5"])
@in_loop
async def test_twenty_clients_behind_each_release_are_signed_on_their_first_call(
    tmp_path: Path, version: str
) -> None:
    async with world.cluster(tmp_path, version) as (satellite, _master):
        place = UpstreamPlace(host=HOST, port=satellite.parent.port)
        ca = KnownCA(world.ca_pem())
        async with gateway_to(tmp_path, place, ca=ca) as gateway:
            agents = await world.agents(20)
            attempts = await asyncio.gather(*map(gateway.ask, agents))
            assert {each.outcome for each in attempts} == {Outcome.SIGNED}
