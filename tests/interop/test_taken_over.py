"""A master set up by icinga2 runs under Icefloe for a while, and goes back.

Its files are as icinga2's package and `node setup` left them, the RSA CA included.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from tests.peers import (
    Figures,
    IcefloeNode,
    NodeUnderTest,
    PreparedPKI,
    RealIcinga,
    Stopwatch,
    ZoneSpec,
)
from tests.peers.clients import calls_until_signed, new_client
from tests.peers.fixtures import Nodes
from tests.peers.layout import zones_conf
from tests.peers.waiting import is_listening

pytestmark = [pytest.mark.real_peer, pytest.mark.timeout(500)]

PACKAGED = Path("/etc/icinga2")


@pytest.fixture
def master(nodes: Nodes) -> RealIcinga:
    """Return a master that icinga2 has set up, with a zone for an agent; not started."""
    node = nodes.make(RealIcinga, "master1")
    if os.access(PACKAGED, os.R_OK | os.X_OK):
        # Only root and the daemon's user may read them.
        shutil.rmtree(node.config_dir)
        shutil.copytree(PACKAGED, node.config_dir, symlinks=True)
    else:
        node.write_local("host", 'object Host NodeName { check_command = "dummy" }\n')
    result = node.node_setup_master()
    assert result.returncode == 0, result.stdout
    agent = ZoneSpec(name="agent1", endpoints=("agent1",), parent="master")
    with (node.config_dir / "zones.conf").open("a") as file:
        file.write(zones_conf([agent], {}))
    return node


def test_a_master_is_taken_over_and_given_back(
    nodes: Nodes, master: RealIcinga, prepared_pki: PreparedPKI, figures: Figures
) -> None:
    """It enrolls under Icefloe; icinga2 goes on with the same files afterwards."""
    master.start()
    waiting = new_client(nodes, RealIcinga, "waiting", master, prepared_pki)
    assert waiting.request_certificate(master).returncode == 0
    assert master.stop() == 0
    before = digests(master)

    ours = nodes.in_place_of(
        master, IcefloeNode, daemon_options=("--without-monitoring",)
    )
    stopwatch = Stopwatch()
    ours.start()
    figures.note("start_s", stopwatch.seconds)
    assert "configured to monitor" in ours.log()
    agent = nodes.make(RealIcinga, "agent1")
    ticket = ours.ticket_for(agent.name)
    result = agent.node_setup_agent(ours, ticket=ticket, parent_zone="master")
    assert result.returncode == 0, result.stdout
    assert agent.certificate.issuer.rfc4514_string() == "CN=Icinga CA"
    # Who was waiting for icinga2's approval is not forgotten.
    (fingerprint,) = ours.pending_of(waiting.name)
    ours.ca_sign(fingerprint)
    assert calls_until_signed(waiting, ours, "") == 1
    assert ours.stop() == 0
    assert digests(master) == before, "Icefloe writes in a directory of its own only"

    enrolled = agent.certificate
    master.start()
    agent.start()
    master.wait_until_connected(agent)
    agent.wait_until_connected(master)
    assert agent.certificate == enrolled
    assert master.stop() == 0


def test_without_the_flag_it_says_which_objects_would_not_be_checked(
    nodes: Nodes, master: RealIcinga
) -> None:
    """Exit 1, before a socket is opened; with the file and the remedy."""
    ours = nodes.in_place_of(master, IcefloeNode)
    for options in ([], ["--validate"]):
        result = ours.cli("daemon", *options)
        output = result.stdout + result.stderr
        assert result.returncode == 1, output
        assert "Host" in output
        assert str(master.config_dir) in output
        assert "icefloe gateway" in output
        assert "--without-monitoring" in output
    assert not is_listening(*ours.address)
    assert ours.cli("daemon", "--validate", "--without-monitoring").returncode == 0


def test_without_the_flag_it_says_who_else_is_in_its_zone(nodes: Nodes) -> None:
    """Exit 1, with the zone, the file and the remedy, which works."""
    ours = nodes.make(IcefloeNode, "master1")
    zone = ZoneSpec(name="master", endpoints=("master1", "master2"))
    result = ours.node_setup_master()
    assert result.returncode == 0, result.stdout + result.stderr
    ours.configure([zone], salt=ours.salt)
    for options in ([], ["--validate"]):
        result = ours.cli("daemon", *options)
        output = result.stdout + result.stderr
        assert result.returncode == 1, output
        assert "zone 'master'" in output
        assert "'master2'" in output
        assert str(ours.config_dir / "zones.conf") in output
        assert 'IcefloeEndpoints = [ "master2" ]' in output
        assert str(ours.config_dir / "constants.conf") in output
    assert not is_listening(*ours.address)
    ours.configure([zone], salt=ours.salt, icefloe_endpoints=["master2"])
    assert ours.cli("daemon", "--validate").returncode == 0


def digests(node: NodeUnderTest) -> dict[str, str]:
    """Return what stands in every file of a node that icinga2 might read again.

    Left out are Icefloe's own directory and what a stopped icinga2 itself rewrites.
    """
    own = node.data_dir / "icefloe"
    return {
        str(path.relative_to(node.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for base in (node.config_dir, node.data_dir)
        for path in sorted(base.rglob("*"))
        if path.is_file() and own not in path.parents
    }
