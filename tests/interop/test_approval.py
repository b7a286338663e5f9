"""A real agent without a ticket waits behind an Icefloe satellite, and is approved."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from tests.peers import (
    Figures,
    NodeUnderTest,
    PreparedPKI,
    RealIcinga,
    Stopwatch,
    observation_seconds,
    three_levels,
    wait_until,
    watch,
)
from tests.peers.clients import PRODUCTS
from tests.peers.fixtures import Nodes

pytestmark = [pytest.mark.real_peer, pytest.mark.timeout(500)]

MEANT_SECONDS = {"icefloe": 1.0, "icinga": 3.0}
"""What is promised on an idle machine.  Asserted is ten times that."""

ASKED_MIN = 6
"""A relay asks a real parent after 0.25, 0.5 and 1 s, then every second."""


@pytest.mark.parametrize("master_product", PRODUCTS)
def test_an_approval_reaches_a_waiting_agent_on_the_connection_it_holds(
    nodes: Nodes, prepared_pki: PreparedPKI, figures: Figures, master_product: str
) -> None:
    """And then the agent stays: it installs once, reconnects once, and is a member."""
    zones = three_levels(agents=["agent1"])
    master = nodes.make(PRODUCTS[master_product], "master1")
    master.install_identity(prepared_pki, signer=True)
    master.configure(zones, salt=prepared_pki.salt)
    satellite = nodes.make(PRODUCTS["icefloe"], "satellite1")
    satellite.install_identity(prepared_pki)
    satellite.configure(zones, dials={master.name: master.address})
    master.start()
    satellite.start()
    satellite.wait_until_connected(master)
    agent = waiting_agent(nodes, satellite)
    # Its daemon has asked, too, on the connection that it holds.
    agent.wait_for_log(r"Requesting new certificate for this Icinga instance")
    agent.wait_until_connected(satellite)
    (fingerprint,) = wait_until(
        lambda: master.pending_of(agent.name), what="the request to reach the master"
    )
    if master_product == "icinga":
        # Its relay has got into the habit of asking every second.
        wait_until(lambda: asked(master) >= ASKED_MIN, what="the satellite to ask on")
    held = sessions(agent)

    from_start = Stopwatch()
    master.ca_sign(fingerprint)
    from_end = Stopwatch()
    wait_until(lambda: agent.is_signed, what="the certificate at the agent")
    took = from_end.seconds
    figures.note("meant_s", MEANT_SECONDS[master_product])
    figures.note("certificate_after_ca_sign_ended_s", took)
    figures.note("certificate_after_ca_sign_began_s", from_start.seconds)
    assert took < 10 * MEANT_SECONDS[master_product]
    assert sessions(agent) == held, "it came on the connection the agent held"

    satellite.wait_until_connected(agent)
    figures.note("member_after_ca_sign_s", from_start.seconds)
    seconds = observation_seconds(short=25, long=120)
    watch(unrest(agent, satellite), seconds=seconds)
    figures.note("stayed_connected_s", seconds)


def waiting_agent(nodes: Nodes, satellite: NodeUnderTest) -> RealIcinga:
    """Return a running agent, set up by icinga2, that has asked and was not answered."""
    agent = nodes.make(RealIcinga, "agent1")
    result = agent.node_setup_agent(satellite)
    assert result.returncode == 0, result.stdout
    assert not agent.is_signed
    assert agent.ca_path.exists()
    agent.start()
    return agent


def asked(master: NodeUnderTest) -> int:
    """Return how often a real master has said "pending"."""
    return len(re.findall(r"is pending. Waiting for approval", master.log()))


def sessions(agent: NodeUnderTest) -> int:
    """Return how many connections an agent has begun."""
    return len(re.findall(r"New client connection for identity", agent.log()))


def unrest(agent: NodeUnderTest, satellite: NodeUnderTest) -> Callable[[], str]:
    """Return a look at whether an agent reinstalled or reconnected."""
    certificate, begun = agent.certificate_path.read_bytes(), sessions(agent)
    mark, updates = satellite.log_mark(), installs(agent)

    def look() -> str:
        if not agent.is_running:
            return "the agent ended"
        if agent.certificate_path.read_bytes() != certificate:
            return "the agent has another certificate"
        if installs(agent) != updates:
            return "the agent installed its certificate again"
        if sessions(agent) != begun:
            return "the agent reconnected"
        ended = re.search(rf"session.ended.*peer={agent.name}\b", satellite.log(mark))
        return ended[0] if ended else ""

    return look


def installs(agent: NodeUnderTest) -> int:
    """Return how many certificates an agent has been sent."""
    return len(re.findall(r"Received certificate update message", agent.log()))
