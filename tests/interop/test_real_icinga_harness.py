"""The harness tells the truth: real icinga2 nodes behave as protocol facts say.

If one of these fails, no other test with a real peer means anything.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography import x509
from tests.peers import (
    IcingaAPI,
    NodeUnderTest,
    PreparedPKI,
    RealIcinga,
    checked_hosts,
    three_levels,
    wait_until,
)
from tests.peers.fixtures import Nodes
from tests.peers.layout import checked_hosts_conf

pytestmark = [pytest.mark.real_peer, pytest.mark.timeout(300)]

HOSTS = [f"host{number:02}" for number in range(40)]
CHECK_SECONDS = 2.0


def issuer_of(node: NodeUnderTest) -> str:
    """Return the issuer in the node's certificate file."""
    certificate = x509.load_pem_x509_certificate(node.certificate_path.read_bytes())
    return certificate.issuer.rfc4514_string()


@pytest.fixture
def master(nodes: Nodes, prepared_pki: PreparedPKI) -> RealIcinga:
    """Return a configured signer, not started."""
    node = nodes.make(RealIcinga, "master1")
    node.install_identity(prepared_pki, signer=True)
    node.configure(three_levels(), salt=prepared_pki.salt)
    return node


@pytest.fixture
def satellite(
    nodes: Nodes, prepared_pki: PreparedPKI, master: RealIcinga
) -> RealIcinga:
    """Return a configured satellite that dials the master, not started."""
    node = nodes.make(RealIcinga, "satellite1")
    node.install_identity(prepared_pki)
    node.configure(three_levels(), dials={master.name: master.address})
    return node


@pytest.fixture
def agent(nodes: Nodes) -> RealIcinga:
    """Return an agent that has nothing yet."""
    return nodes.make(RealIcinga, "agent1")


def test_a_ticket_at_the_master_is_signed_at_once(nodes: Nodes) -> None:
    """`node setup` in every seat; a valid ticket at a signer ends with a certificate."""
    master, satellite, agent = (
        nodes.make(RealIcinga, name) for name in ("master1", "satellite1", "agent1")
    )
    assert master.node_setup_master().returncode == 0
    master.write_zones(three_levels())
    master.start()
    first = satellite.node_setup_satellite(
        master, ticket=master.ticket_for(satellite.name)
    )
    assert first.returncode == 0, first.stdout
    assert issuer_of(satellite) == "CN=Icinga CA"
    assert satellite.ca_path.read_bytes() == master.ca_path.read_bytes()
    assert satellite.ticket_path.read_text() == master.ticket_for(satellite.name)
    satellite.start()
    satellite.wait_until_connected(master)
    # The salt that `node setup` made is the one the command line uses, too.
    assert master.must(
        "pki", "ticket", "--cn", agent.name, "--salt", master.salt
    ).strip() == master.ticket_for(agent.name)
    second = agent.node_setup_agent(satellite, ticket=master.ticket_for(agent.name))
    assert second.returncode == 0, second.stdout
    assert issuer_of(agent) == f"CN={agent.name}"


def test_a_ticket_through_a_satellite_is_signed_on_the_second_call(
    master: RealIcinga, satellite: RealIcinga, agent: RealIcinga
) -> None:
    """No released version signs on the first connection through a satellite."""
    master.start()
    satellite.start()
    satellite.wait_until_connected(master)
    agent.new_certificate()
    agent.save_parent_certificate(satellite)
    ticket = master.ticket_for(agent.name)

    first = agent.request_certificate(satellite, ticket)
    assert first.returncode == 0, first.stdout
    assert issuer_of(agent) == f"CN={agent.name}"
    assert agent.ca_path.exists()

    wait_until(has_answer(satellite), what="the satellite to store the certificate")
    second = agent.request_certificate(satellite, ticket)
    assert second.returncode == 0, second.stdout
    assert issuer_of(agent) == "CN=Icinga CA"


def test_a_wrong_ticket_through_a_satellite_stays_pending(
    master: RealIcinga, satellite: RealIcinga, agent: RealIcinga
) -> None:
    """A refusal does not travel back through a real satellite."""
    master.start()
    satellite.start()
    satellite.wait_until_connected(master)
    agent.new_certificate()
    agent.save_parent_certificate(satellite)
    for _attempt in range(2):
        mark = master.log_mark()
        result = agent.request_certificate(satellite, "0" * 40)
        assert result.returncode == 0, result.stdout
        master.wait_for_log(f"Ticket.*'{agent.name}' is invalid", after=mark)
    assert issuer_of(agent) == f"CN={agent.name}"
    assert not has_answer(satellite)()


def test_a_waiting_agent_gets_its_certificate_after_the_approval(
    master: RealIcinga, satellite: RealIcinga, agent: RealIcinga
) -> None:
    """The daemon of an agent without ticket polls until `ca sign`, then joins.

    The parent dials nobody; the agent's tree is the one that `node setup` wrote.
    """
    master.start()
    satellite.write_zones(
        three_levels(agents=[agent.name]), dials={master.name: master.address}
    )
    satellite.start()
    satellite.wait_until_connected(master)
    assert agent.node_setup_agent(satellite).returncode == 0
    agent.start()
    fingerprints = wait_until(
        lambda: master.pending_of(agent.name), what="the request to reach the master"
    )
    for fingerprint in fingerprints:
        master.ca_sign(fingerprint)
    satellite.wait_until_connected(agent)
    assert issuer_of(agent) == "CN=Icinga CA"


def test_a_satellite_that_is_dialled_by_its_master_checks_40_hosts(
    master: RealIcinga, satellite: RealIcinga
) -> None:
    """The other direction of dialling; freshness is seen at the master's API."""
    satellite.configure(three_levels())
    satellite.enable("checker")
    master.write_zones(three_levels(), dials={satellite.name: satellite.address})
    master.write_zone_config(
        "satellite",
        "hosts",
        checked_hosts_conf(HOSTS, interval_seconds=CHECK_SECONDS),
    )
    IcingaAPI.allow(master)
    satellite.start()
    master.start()

    def all_checked() -> dict[str, float] | None:
        seen = checked_hosts(master)
        return seen if seen and min(seen.values()) > 0 else None

    first = wait_until(all_checked, what="40 hosts to be checked")
    assert sorted(first) == HOSTS
    wait_until(
        lambda: min(checked_hosts(master).values()) > max(first.values()),
        what="all 40 hosts to be checked again",
    )


def test_a_killed_node_comes_back_on_the_same_port(master: RealIcinga) -> None:
    """Signal 9 ends all of icinga2's processes, and nothing of them keeps the port."""
    master.start()
    before = master.pid
    master.kill()
    assert not master.is_running
    master.start()
    assert master.pid != before
    assert master.stop() == 0


def has_answer(satellite: NodeUnderTest) -> Callable[[], bool]:
    """Return a look at whether the satellite has a certificate to hand out."""

    def look() -> bool:
        return any(
            '"cert_response"' in path.read_text()
            for path in satellite.requests_dir.glob("*.json")
        )

    return look
