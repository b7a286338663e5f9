"""A real agent without a ticket waits behind an Icefloe satellite, and is approved."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import pytest
from tests.peers import (
    Figures,
    IcefloeNode,
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


@dataclass(frozen=True, slots=True)
class Waiting:
    """A running cluster in which an agent waits for somebody's approval."""

    master: NodeUnderTest
    satellite: NodeUnderTest
    agent: RealIcinga

    def fingerprint(self) -> str:
        """Return what is to be approved, as soon as the master knows of it."""
        (found,) = wait_until(
            lambda: self.master.pending_of(self.agent.name),
            what="the request to reach the master",
        )
        return found


@pytest.fixture
def waiting(nodes: Nodes, prepared_pki: PreparedPKI, master_product: str) -> Waiting:
    """Start master, satellite and the agent, which nobody has answered yet."""
    zones = three_levels(agents=["agent1"])
    master = nodes.make(PRODUCTS[master_product], "master1")
    master.install_identity(prepared_pki, signer=True)
    master.configure(zones, salt=prepared_pki.salt)
    satellite = nodes.make(IcefloeNode, "satellite1")
    satellite.install_identity(prepared_pki)
    satellite.configure(zones, dials={master.name: master.address})
    master.start()
    satellite.start()
    satellite.wait_until_connected(master)
    agent = nodes.make(RealIcinga, "agent1")
    result = agent.node_setup_agent(satellite)
    assert result.returncode == 0, result.stdout
    assert not agent.is_signed
    assert agent.ca_path.exists()
    agent.start()
    wait_until_it_has_asked(agent, satellite)
    return Waiting(master, satellite, agent)


@pytest.mark.parametrize("master_product", PRODUCTS)
def test_an_approval_reaches_a_waiting_agent_on_the_connection_it_holds(
    waiting: Waiting, figures: Figures, master_product: str
) -> None:
    """And then the agent stays: it installs once, reconnects once, and is a member."""
    master, satellite, agent = waiting.master, waiting.satellite, waiting.agent
    fingerprint = waiting.fingerprint()
    if master_product == "icinga":
        # The satellite has got into the habit of asking every second.
        wait_until(lambda: asked(master) >= ASKED_MIN, what="the satellite to ask on")
    held = sessions(agent)

    command = Stopwatch()
    master.ca_sign(fingerprint)
    wait_until(lambda: agent.is_signed, what="the certificate at the agent")
    figures.note("certificate_after_ca_sign_began_s", command.seconds)
    installed_at = agent.certificate_path.stat().st_mtime
    took = installed_at - decided_at(master, fingerprint)
    figures.note("certificate_after_decision_s", took)
    figures.note("meant_s", MEANT_SECONDS[master_product])
    assert took < 10 * MEANT_SECONDS[master_product]
    assert sessions(agent) == held, "it came on the connection the agent held"

    satellite.wait_until_connected(agent)
    figures.note("member_after_ca_sign_s", command.seconds)
    seconds = observation_seconds(short=25, long=120)
    watch(unrest(agent, satellite), seconds=seconds)
    figures.note("stayed_connected_s", seconds)


@pytest.mark.parametrize("master_product", ["icefloe"])
def test_a_waiting_agent_outlives_restarts_of_its_parents(waiting: Waiting) -> None:
    """It asks again by itself; what waited for approval still does."""
    master, satellite, agent = waiting.master, waiting.satellite, waiting.agent
    fingerprint = waiting.fingerprint()
    mark = agent.log_mark()
    master.restart()
    satellite.restart()
    wait_until_it_has_asked(agent, satellite, after=mark)
    assert waiting.fingerprint() == fingerprint
    master.ca_sign(fingerprint)
    wait_until(lambda: agent.is_signed, what="the certificate at the agent")
    satellite.wait_until_connected(agent)


def wait_until_it_has_asked(
    agent: NodeUnderTest, parent: NodeUnderTest, *, after: int = 0
) -> None:
    """Wait until an agent's daemon has asked on the connection that it holds."""
    asks = "Requesting new certificate for this Icinga instance"
    agent.wait_for_log(asks, after=after)
    agent.wait_until_connected(parent, after=after)


def decided_at(master: NodeUnderTest, fingerprint: str) -> float:
    """Return when `ca sign` made its decision durable; unix seconds."""
    if isinstance(master, RealIcinga):
        return (master.requests_dir / f"{fingerprint}.json").stat().st_mtime
    path = master.data_dir / "icefloe/ledger.sqlite"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
        ((at,),) = ledger.execute("SELECT at FROM decisions")
    return float(at)


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
