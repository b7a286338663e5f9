"""One `icefloe node setup` ends signed, whatever its parents are and do."""

from __future__ import annotations

import subprocess

import pytest
from tests.peers import (
    Address,
    Figures,
    IcefloeNode,
    NodeUnderTest,
    PreparedPKI,
    RealIcinga,
    Stopwatch,
    free_port,
    three_levels,
)
from tests.peers.clients import PRODUCTS, WRONG_TICKET
from tests.peers.fixtures import Nodes
from tests.peers.habitual_node import HabitualNode

pytestmark = [pytest.mark.real_peer, pytest.mark.timeout(400)]

REFUSED_SECONDS = 20.0
"""A refusal is there within 2 s on an idle machine; this one has other work, too."""


@pytest.fixture
def master(
    nodes: Nodes, prepared_pki: PreparedPKI, master_product: str
) -> NodeUnderTest:
    """Return a running signer with the RSA CA."""
    node = nodes.make(PRODUCTS[master_product], "master1")
    node.install_identity(prepared_pki, signer=True)
    node.configure(three_levels(agents=["agent1"]), salt=prepared_pki.salt)
    node.start()
    return node


def start_below(
    master: NodeUnderTest, satellite: NodeUnderTest, pki: PreparedPKI
) -> None:
    """Start a satellite that connects to the master."""
    satellite.install_identity(pki)
    satellite.configure(three_levels(), dials={master.name: master.address})
    satellite.start()
    satellite.wait_until_connected(master)
    master.wait_until_connected(satellite)


def set_up(
    agent: NodeUnderTest, parent: NodeUnderTest, ticket: str, *hosts: Address
) -> subprocess.CompletedProcess[str]:
    """Run `node setup` with the given `--parent_host`s; the parent is pinned."""
    asked = [word for host in hosts for word in ("--parent_host", str(host))]
    return agent.cli(
        *("node", "setup", "--cn", agent.name, "--zone", agent.name),
        *("--endpoint", f"{parent.name},{parent.address}", "--parent_zone", "master"),
        *("--trustedcert", str(agent.trusted_parent_path), *asked),
        *("--ticket", ticket, "--listen", str(agent.address)),
    )


@pytest.mark.parametrize("master_product", PRODUCTS)
def test_a_master_is_asked_directly_after_a_parent_that_is_down(
    nodes: Nodes, master: NodeUnderTest, figures: Figures
) -> None:
    """Direct enrollment, and the fallback to the second `--parent_host`."""
    direct = nodes.make(IcefloeNode, "direct1")
    direct.save_parent_certificate(master)
    ticket = master.ticket_for(direct.name)
    stopwatch = Stopwatch()
    result = set_up(direct, master, ticket, master.address)
    figures.note("direct_command_s", stopwatch.seconds)
    assert result.returncode == 0, result.stdout + result.stderr
    assert direct.is_signed
    assert direct.ca_path.read_bytes() == master.ca_path.read_bytes()
    assert not direct.ticket_path.exists()

    agent = nodes.make(IcefloeNode, "agent1")
    agent.save_parent_certificate(master)
    nobody = Address("127.0.0.1", free_port())
    ticket = master.ticket_for(agent.name)
    stopwatch = Stopwatch()
    result = set_up(agent, master, ticket, nobody, master.address)
    figures.note("fallback_command_s", stopwatch.seconds)
    assert result.returncode == 0, result.stdout + result.stderr
    assert agent.is_signed
    # And the node that was set up is one: it starts, and is a member.
    agent.start()
    agent.wait_until_connected(master)
    master.wait_until_connected(agent)


@pytest.mark.parametrize("master_product", PRODUCTS)
@pytest.mark.parametrize("habits", ["2.14.3", "2.14.4", "2.14.5"])
def test_habits_of_a_satellite_do_not_keep_one_command_from_ending_signed(
    nodes: Nodes,
    prepared_pki: PreparedPKI,
    master: NodeUnderTest,
    figures: Figures,
    habits: str,
) -> None:
    """Also those of 2.14.4, which cuts its pending answers off."""
    satellite = nodes.make(HabitualNode, "satellite1", daemon_options=(habits,))
    start_below(master, satellite, prepared_pki)
    agent = nodes.make(IcefloeNode, "agent1")
    agent.save_parent_certificate(satellite)
    ticket = master.ticket_for(agent.name)
    stopwatch = Stopwatch()
    result = agent.node_setup_agent(satellite, ticket=ticket)
    figures.note("command_s", stopwatch.seconds)
    assert result.returncode == 0, result.stdout + result.stderr
    assert agent.is_signed
    assert agent.ca_path.exists()


@pytest.mark.parametrize("master_product", PRODUCTS)
def test_a_wrong_ticket_is_refused_through_an_icefloe_satellite(
    nodes: Nodes, prepared_pki: PreparedPKI, master: NodeUnderTest, figures: Figures
) -> None:
    """Both clients fail at once; ours names the hop, the reason and the next step."""
    satellite = nodes.make(IcefloeNode, "satellite1")
    start_below(master, satellite, prepared_pki)

    theirs = nodes.make(RealIcinga, "theirs")
    theirs.install_newcomer(prepared_pki)
    theirs.save_parent_certificate(satellite)
    stopwatch = Stopwatch()
    result = theirs.request_certificate(satellite, WRONG_TICKET)
    took = stopwatch.seconds
    figures.note("icinga_pki_request_refused_s", took)
    assert result.returncode != 0, result.stdout
    assert "ticket" in result.stdout.lower(), result.stdout
    assert took < REFUSED_SECONDS
    assert not theirs.ca_path.exists()

    ours = nodes.make(IcefloeNode, "ours")
    ours.new_certificate()
    ours.save_parent_certificate(satellite)
    stopwatch = Stopwatch()
    result = ours.request_certificate(satellite, WRONG_TICKET)
    took = stopwatch.seconds
    figures.note("icefloe_pki_request_refused_s", took)
    check_refusal(result, master)
    assert took < REFUSED_SECONDS
    assert not ours.ca_path.exists()

    agent = nodes.make(IcefloeNode, "agent1")
    agent.save_parent_certificate(satellite)
    stopwatch = Stopwatch()
    result = agent.node_setup_agent(satellite, ticket=WRONG_TICKET)
    figures.note("icefloe_node_setup_refused_s", stopwatch.seconds)
    check_refusal(result, master)
    assert not agent.ca_path.exists()
    # The same command with the right ticket goes on with the same key.
    key = agent.key_path.read_bytes()
    right = agent.node_setup_agent(satellite, ticket=master.ticket_for(agent.name))
    assert right.returncode == 0, right.stdout + right.stderr
    assert agent.is_signed
    assert agent.key_path.read_bytes() == key


def check_refusal(
    result: subprocess.CompletedProcess[str], master: NodeUnderTest
) -> None:
    """Look at what our client says about a wrong ticket."""
    output = result.stdout + result.stderr
    assert result.returncode == 1, output
    assert f"Refused by {master.name}, reason: wrong-ticket" in output
    assert "Next: Get a ticket" in output
    assert WRONG_TICKET not in output
