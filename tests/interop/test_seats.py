"""Every seat taken by Icefloe or by a real icinga2: what a new agent sees.

The rows of the table "Every seat" (README): client, satellite and master are each
one of the two, which makes eight clusters; in each an agent asks with a valid
ticket, without one, and with a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tests.peers import (
    Figures,
    NodeUnderTest,
    PreparedPKI,
    Stopwatch,
    three_levels,
    wait_until,
)
from tests.peers.clients import (
    PRODUCTS,
    WRONG_TICKET,
    calls_until_signed,
    new_client,
)
from tests.peers.fixtures import Nodes

pytestmark = [pytest.mark.real_peer, pytest.mark.timeout(400)]


@dataclass(frozen=True, slots=True)
class Cluster:
    """A master and a satellite, connected."""

    master: NodeUnderTest
    satellite: NodeUnderTest

    def ticket(self, name: str) -> str:
        """Return a name's ticket."""
        return self.master.ticket_for(name)

    def approve(self, name: str) -> None:
        """Do what an administrator does who is asked for a certificate."""
        for fingerprint in wait_until(
            lambda: self.master.pending_of(name), what="the request at the master"
        ):
            self.master.ca_sign(fingerprint)


@dataclass(frozen=True, slots=True)
class Clients:
    """Makes new agents of one product."""

    nodes: Nodes
    product: type[NodeUnderTest]
    pki: PreparedPKI

    def new(self, name: str, parent: NodeUnderTest) -> NodeUnderTest:
        """Return one with a key, a self-signed certificate and a pinned parent."""
        return new_client(self.nodes, self.product, name, parent, self.pki)


@pytest.fixture
def cluster(
    nodes: Nodes,
    prepared_pki: PreparedPKI,
    satellite_product: str,
    master_product: str,
) -> Cluster:
    """Start the parents; both from one RSA CA, as Icinga makes it."""
    master = nodes.make(PRODUCTS[master_product], "master1")
    master.install_identity(prepared_pki, signer=True)
    master.configure(three_levels(), salt=prepared_pki.salt)
    satellite = nodes.make(PRODUCTS[satellite_product], "satellite1")
    satellite.install_identity(prepared_pki)
    satellite.configure(three_levels(), dials={master.name: master.address})
    master.start()
    satellite.start()
    satellite.wait_until_connected(master)
    master.wait_until_connected(satellite)
    return Cluster(master, satellite)


@pytest.fixture
def clients(nodes: Nodes, prepared_pki: PreparedPKI, client_product: str) -> Clients:
    """Return a maker of agents."""
    return Clients(nodes, PRODUCTS[client_product], prepared_pki)


@pytest.mark.parametrize("client_product", PRODUCTS)
@pytest.mark.parametrize("master_product", PRODUCTS)
@pytest.mark.parametrize("satellite_product", ["icefloe"])
def test_through_an_icefloe_satellite(
    cluster: Cluster, clients: Clients, figures: Figures
) -> None:
    """Signed on the first call; pending, approved, signed; refused with the reason."""
    satellite = cluster.satellite

    ticketed = clients.new("ticketed", satellite)
    watch = Stopwatch()
    calls = calls_until_signed(ticketed, satellite, cluster.ticket("ticketed"))
    figures.note("ticketed_command_s", watch.seconds)
    assert calls == 1

    approved = clients.new("approved", satellite)
    first = approved.request_certificate(satellite)
    assert first.returncode == 0, first.stdout + first.stderr
    assert not approved.is_signed
    assert approved.ca_path.exists()
    cluster.approve("approved")
    has_it = came_down_to(satellite, "approved")
    wait_until(has_it, what="the certificate at the satellite")
    assert calls_until_signed(approved, satellite, "") == 1

    refused = clients.new("refused", satellite)
    result = refused.request_certificate(satellite, WRONG_TICKET)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "ticket" in (result.stdout + result.stderr).lower()
    assert not refused.ca_path.exists()
    assert not refused.is_signed
    # A corrected ticket with the same key is then signed.
    assert calls_until_signed(refused, satellite, cluster.ticket("refused")) == 1


@pytest.mark.parametrize("client_product", ["icinga"])
@pytest.mark.parametrize("master_product", PRODUCTS)
@pytest.mark.parametrize("satellite_product", ["icinga"])
def test_icingas_client_through_icingas_satellite(
    cluster: Cluster, clients: Clients, master_product: str
) -> None:
    """What real nodes do, whatever the master: signed on the second call."""
    satellite = cluster.satellite

    ticketed = clients.new("ticketed", satellite)
    ticket = cluster.ticket("ticketed")
    first = ticketed.request_certificate(satellite, ticket)
    assert first.returncode == 0, first.stdout
    assert not ticketed.is_signed
    wait_until(stored_answer(satellite), what="the answer at the satellite")
    assert calls_until_signed(ticketed, satellite, ticket) == 1

    approved = clients.new("approved", satellite)
    assert approved.request_certificate(satellite).returncode == 0
    assert not approved.is_signed
    cluster.approve("approved")
    calls = calls_until_signed(approved, satellite, "")
    # A real master tells of its approval only when it is asked again.
    assert calls >= 2 or master_product == "icefloe"

    refused = clients.new("refused", satellite)
    result = refused.request_certificate(satellite, WRONG_TICKET)
    assert result.returncode == 0, result.stdout
    assert not refused.is_signed


@pytest.mark.parametrize("client_product", ["icefloe"])
@pytest.mark.parametrize("master_product", PRODUCTS)
@pytest.mark.parametrize("satellite_product", ["icinga"])
def test_icefloes_client_through_icingas_satellite(
    cluster: Cluster, clients: Clients, figures: Figures
) -> None:
    """One command ends signed; a refusal cannot pass, and the client says so."""
    satellite = cluster.satellite

    ticketed = clients.new("ticketed", satellite)
    ticket = cluster.ticket("ticketed")
    watch = Stopwatch()
    assert calls_until_signed(ticketed, satellite, ticket, "--wait", "60") == 1
    figures.note("ticketed_command_s", watch.seconds)

    approved = clients.new("approved", satellite)
    first = approved.request_certificate(satellite, options=("--wait", "0"))
    assert first.returncode == 0, first.stdout + first.stderr
    assert not approved.is_signed
    assert approved.ca_path.exists()
    cluster.approve("approved")
    assert calls_until_signed(approved, satellite, "", "--wait", "60") == 1

    refused = clients.new("refused", satellite)
    result = refused.request_certificate(
        satellite, WRONG_TICKET, options=("--wait", "3")
    )
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    assert not refused.is_signed
    assert "cannot pass a refusal on" in output, output


def came_down_to(satellite: NodeUnderTest, cn: str) -> Callable[[], bool]:
    """Return a look at whether an Icefloe satellite got the certificate for a name."""

    def look() -> bool:
        return any(
            "certificate received from parent" in line and f"cn={cn}" in line
            for line in satellite.log().splitlines()
        )

    return look


def stored_answer(satellite: NodeUnderTest) -> Callable[[], bool]:
    """Return a look at whether a real satellite has a certificate to hand out."""

    def look() -> bool:
        return any(
            '"cert_response"' in path.read_text()
            for path in satellite.requests_dir.glob("*.json")
        )

    return look
