"""A gateway in front of real icinga2 nodes, with unmodified clients."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from tests.interop.gateway_node import GatewayUnderTest, options
from tests.lab.habitual_peer import Habits2144
from tests.peers import (
    NodeUnderTest,
    PreparedPKI,
    RealIcinga,
    three_levels,
    wait_until,
)
from tests.peers.fixtures import Nodes

from icefloe.doors import WallTime
from icefloe.lab.crowd import Wish, make_agents
from icefloe.node.doors import RealClock, RealEntropy

pytestmark = [pytest.mark.real_peer, pytest.mark.timeout(400)]

WRONG = "0" * 40
GATEWAY = "gateway.example"


@pytest.fixture
def master(nodes: Nodes, prepared_pki: PreparedPKI) -> RealIcinga:
    """Return a running signer."""
    node = nodes.make(RealIcinga, "master1")
    node.install_identity(prepared_pki, signer=True)
    node.configure(three_levels(), salt=prepared_pki.salt)
    node.start()
    return node


def satellite_of(
    nodes: Nodes,
    pki: PreparedPKI,
    master: NodeUnderTest,
    product: type[NodeUnderTest] = RealIcinga,
) -> NodeUnderTest:
    """Return a running satellite, connected to its master."""
    node = nodes.make(product, "satellite1")
    node.install_identity(pki)
    node.configure(three_levels(), dials={master.name: master.address})
    node.start()
    node.wait_until_connected(master)
    master.wait_until_connected(node)
    return node


@pytest.fixture
def satellite(
    nodes: Nodes, prepared_pki: PreparedPKI, master: RealIcinga
) -> NodeUnderTest:
    """Return a running real satellite."""
    return satellite_of(nodes, prepared_pki, master)


def gateway_to(
    nodes: Nodes, *upstreams: NodeUnderTest, extra: tuple[str, ...] = ()
) -> GatewayUnderTest:
    """Return a running gateway that reaches all of its upstreams."""
    gateway = nodes.make(
        GatewayUnderTest, GATEWAY, daemon_options=options(*upstreams, extra=extra)
    )
    gateway.start()
    for upstream in upstreams:
        gateway.wait_for_log(rf"upstream reached.*name={upstream.name}\b")
    gateway.wait_for_log(rf"\bready\b.*gateway={gateway.name}\b")
    return gateway


def new_client(nodes: Nodes, name: str, parent: NodeUnderTest) -> RealIcinga:
    """Return a real client with key, self-signed certificate and pinned parent.

    Key and certificate are ours: an RSA-4096 key would cost each a second of CPU.
    """
    client = nodes.make(RealIcinga, name)
    made = make_agents(
        [Wish(name=name)], entropy=RealEntropy(), now=WallTime(RealClock().now().wall)
    )
    (agent,) = asyncio.run(made)
    client.key_path.write_bytes(agent.key_pem)
    client.certificate_path.write_text(agent.certificate_pem)
    client.save_parent_certificate(parent)
    return client


def issuer_of(path: Path) -> str:
    """Return the issuer in a certificate file."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return certificate.issuer.rfc4514_string()


def at_once(
    clients: Iterable[RealIcinga],
    ask: Callable[[RealIcinga], subprocess.CompletedProcess[str]],
    *,
    many: int,
) -> list[subprocess.CompletedProcess[str]]:
    """Let clients ask, so many at a time."""
    with ThreadPoolExecutor(many) as pool:
        return list(pool.map(ask, clients))


def belongings(node: NodeUnderTest) -> dict[str, str]:
    """Return a digest of each of the node's files, but those that change by design.

    Stored requests are what a client of any parent leaves; the replay log grows with
    every message that a node sends.
    """
    passed_over = ("certificate-requests", "api/log")
    found = {}
    for base in (node.config_dir, node.data_dir):
        for path in sorted(base.rglob("*")):
            where = path.relative_to(base).as_posix()
            if path.is_file() and not where.startswith(passed_over):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[f"{base.name}/{where}"] = digest
    return found


def test_clients_behind_a_satellite_are_signed_on_their_first_call(
    nodes: Nodes, master: RealIcinga, satellite: NodeUnderTest
) -> None:
    """Which no released satellite does; and nothing in the cluster has changed."""
    before = belongings(master) | belongings(satellite)
    gateway = gateway_to(nodes, satellite)
    clients = [new_client(nodes, f"agent{n}", gateway) for n in range(1, 6)]
    results = at_once(
        clients,
        lambda each: each.request_certificate(gateway, master.ticket_for(each.name)),
        many=5,
    )
    for client, result in zip(clients, results, strict=True):
        assert result.returncode == 0, result.stdout + gateway.log()
        assert client.is_signed, result.stdout + gateway.log()
        assert client.ca_path.read_bytes() == master.ca_path.read_bytes()
    assert gateway.stop() == 0
    assert belongings(master) | belongings(satellite) == before


@pytest.mark.parametrize("product", [RealIcinga, Habits2144], ids=["2.13.6", "2.14.4"])
def test_fifty_clients_twenty_at_once_are_signed_on_their_first_call(
    nodes: Nodes,
    prepared_pki: PreparedPKI,
    master: RealIcinga,
    product: type[NodeUnderTest],
) -> None:
    satellite = satellite_of(nodes, prepared_pki, master, product)
    gateway = gateway_to(nodes, satellite)
    clients = [new_client(nodes, f"many{n:02}", gateway) for n in range(50)]
    at_once(
        clients,
        lambda each: each.request_certificate(gateway, master.ticket_for(each.name)),
        many=20,
    )
    unsigned = [client.name for client in clients if not client.is_signed]
    assert unsigned == [], gateway.log()
    serials = {
        x509.load_pem_x509_certificate(each.certificate_path.read_bytes()).serial_number
        for each in clients
    }
    assert len(serials) == len(clients)


def test_a_wrong_ticket_at_a_master_is_refused_in_its_words_and_can_be_corrected(
    nodes: Nodes, master: RealIcinga
) -> None:
    gateway = gateway_to(nodes, master)
    client = new_client(nodes, "agent1", gateway)
    refused = client.request_certificate(gateway, WRONG)
    assert refused.returncode == 1, refused.stdout
    assert "Invalid ticket for CN 'agent1'" in refused.stdout
    assert not client.ca_path.exists(), "tools take it for success"
    assert not client.is_signed
    signed = client.request_certificate(gateway, master.ticket_for("agent1"))
    assert signed.returncode == 0, signed.stdout
    assert client.is_signed


def test_a_gateway_that_was_killed_takes_up_what_it_had_accepted(
    nodes: Nodes, master: RealIcinga, satellite: NodeUnderTest
) -> None:
    gateway = gateway_to(nodes, satellite)
    client = new_client(nodes, "agent1", gateway)
    satellite.stop()
    ticket = master.ticket_for("agent1")
    pending = client.request_certificate(gateway, ticket)
    assert pending.returncode == 0, pending.stdout + gateway.log()
    assert not client.is_signed
    gateway.kill()
    satellite.start()
    satellite.wait_until_connected(master)
    mark = gateway.log_mark()
    gateway.start()
    gateway.wait_for_log(r"certificate received from parent.*cn=agent1", after=mark)
    again = client.request_certificate(gateway, ticket)
    assert again.returncode == 0, again.stdout
    assert client.is_signed


def test_an_approval_reaches_a_client_that_asks_again(
    nodes: Nodes, master: RealIcinga, satellite: NodeUnderTest
) -> None:
    gateway = gateway_to(nodes, satellite)
    client = new_client(nodes, "agent1", gateway)
    first = client.request_certificate(gateway)
    assert first.returncode == 0, first.stdout
    assert client.ca_path.read_bytes() == master.ca_path.read_bytes()
    assert not client.is_signed
    fingerprints = wait_until(
        lambda: master.pending_of("agent1"), what="the request to reach the master"
    )
    for fingerprint in fingerprints:
        master.ca_sign(fingerprint)
    gateway.wait_for_log(r"certificate received from parent.*cn=agent1")
    assert client.request_certificate(gateway).returncode == 0
    assert client.is_signed


def test_its_own_certificate_is_signed_with_a_ticket_and_shown_from_the_start(
    nodes: Nodes, tmp_path: Path, master: RealIcinga, satellite: NodeUnderTest
) -> None:
    ticket = tmp_path / "ticket"
    ticket.write_text(master.ticket_for(GATEWAY) + "\n")
    gateway = gateway_to(nodes, satellite, extra=("--ticket-file", str(ticket)))
    client = new_client(nodes, "agent1", gateway)
    assert issuer_of(client.trusted_parent_path) == "CN=Icinga CA"
    assert issuer_of(gateway.own_certificate) == "CN=Icinga CA"
    signed = client.request_certificate(gateway, master.ticket_for("agent1"))
    assert signed.returncode == 0
    assert client.is_signed
    assert ticket.exists()
    assert master.ticket_for("agent1") not in gateway.log()


def test_a_node_set_up_at_the_gateway_joins_its_satellite(
    nodes: Nodes, master: RealIcinga, satellite: NodeUnderTest
) -> None:
    """`node setup`: only the parent host is the gateway's."""
    satellite.write_zones(
        three_levels(agents=["agent1"]), dials={master.name: master.address}
    )
    satellite.restart()
    satellite.wait_until_connected(master)
    gateway = gateway_to(nodes, satellite)
    agent = nodes.make(RealIcinga, "agent1")
    agent.save_parent_certificate(gateway)
    result = agent.cli(
        *("node", "setup", "--cn", "agent1", "--zone", "agent1"),
        *("--parent_zone", "satellite"),
        *("--endpoint", f"{satellite.name},{satellite.address}"),
        *("--parent_host", str(gateway.address)),
        *("--trustedcert", str(agent.trusted_parent_path)),
        *("--ticket", master.ticket_for("agent1"), "--listen", str(agent.address)),
        *("--accept-config", "--accept-commands"),
    )
    assert result.returncode == 0, result.stdout
    assert agent.is_signed, "on the first call"
    agent.start()
    satellite.wait_until_connected(agent)


def test_a_gateway_with_a_signed_certificate_is_still_nobody_to_a_real_master(
    nodes: Nodes, tmp_path: Path, master: RealIcinga
) -> None:
    """It shows its certificate to its clients only."""
    ticket = tmp_path / "ticket"
    ticket.write_text(master.ticket_for(GATEWAY))
    gateway = gateway_to(nodes, master, extra=("--ticket-file", str(ticket)))
    assert issuer_of(gateway.own_certificate) == "CN=Icinga CA"
    client = new_client(nodes, "agent1", gateway)
    mark = master.log_mark()
    client.request_certificate(gateway, master.ticket_for("agent1"))
    assert client.is_signed
    said = master.log(mark)
    assert "(no client certificate)" in said
    assert GATEWAY not in said
