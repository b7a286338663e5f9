"""Each guide, pasted by the suite as a reader would."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from icefloe.lab.stage import Stage
from tests.cli.wizard_stage import staged
from tests.guides.running import blocks_of, follow
from tests.guides.shells import Machines
from tests.guides.stage import RealCluster, give_icinga, new_agent, serve
from tests.peers import PreparedPKI, free_port
from tests.peers.fixtures import Nodes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """Return machines to paste on; whatever they started ends with the test."""
    made = Machines(tmp_path / "machines")
    try:
        yield made
    finally:
        made.end()


def test_a_new_user_enrolls_a_first_and_a_second_agent(machines: Machines) -> None:
    values = {
        "MASTER_HOST": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WEB1_PORT": str(free_port()),
        "WEB2_PORT": str(free_port()),
    }
    outcome = follow(blocks_of("first-agent.md"), machines, values)
    assert outcome.wrong == [], "\n".join(outcome.wrong)
    assert len(outcome.not_run) == 1


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, prepared_pki: PreparedPKI
) -> Iterator[RealCluster]:
    """Return a real master and satellite, which the guides do not change."""
    root = tmp_path_factory.mktemp("cluster")
    nodes = Nodes(root)
    try:
        yield RealCluster(nodes, root, prepared_pki)
    finally:
        nodes.end()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Return a master and a satellite that are both Icefloe."""
    with staged(tmp_path_factory.mktemp("stage")) as made:
        yield made


@pytest.mark.real_peer
def test_a_gateway_beside_a_real_satellite_and_away_again(
    machines: Machines, nodes: Nodes, tmp_path: Path, cluster: RealCluster
) -> None:
    give_icinga(machines["satellite"], cluster.satellite)
    give_icinga(machines["master"], cluster.master)
    agent = new_agent(nodes, machines["agent"], tmp_path, "web1.example.org")
    values = cluster.values | {
        "GATEWAY_HOST": "127.0.0.3",
        "GATEWAY_PORT": str(free_port()),
        "AGENT": agent.name,
    }
    outcome = follow(blocks_of("gateway.md"), machines, values)
    assert outcome.wrong == [], "\n".join(outcome.wrong)
    assert outcome.not_run == ["the suite has no service manager"]
    assert agent.is_signed


@pytest.mark.real_peer
def test_what_icinga_for_windows_runs_is_signed_through_a_gateway(
    machines: Machines, nodes: Nodes, tmp_path: Path, cluster: RealCluster
) -> None:
    give_icinga(machines["master"], cluster.master)
    new_agent(nodes, machines["agent"], tmp_path, "win1.example.org")
    shutil.copy(cluster.satellite.ca_path, machines["gateway"].home)
    values = cluster.values | {
        "GATEWAY_HOST": "127.0.0.3",
        "GATEWAY_PORT": str(free_port()),
        "AGENT": "win1.example.org",
    }
    outcome = follow(blocks_of("windows-through-a-gateway.md"), machines, values)
    assert outcome.wrong == [], "\n".join(outcome.wrong)
    assert outcome.not_run == ["Windows", "Windows"]


def test_an_agent_that_only_its_parent_can_reach_gets_its_certificate(
    machines: Machines, stage: Stage
) -> None:
    for name, actor in (("parent", stage.satellite), ("master", stage.master)):
        machines[name].live_in(actor.directories.config_dir, actor.directories.data_dir)
    serve(machines["parent"], "icefloe", stage.daemons[1].pid)
    shutil.copy(stage.satellite.directories.trusted_ca, machines["agent"].home)
    values = {
        "PARENT": stage.satellite.name,
        "PARENT_ZONE": stage.satellite.name,
        "ZONES_CONF": "$ICEFLOE_CONFIG_DIR/zones.conf",
        "DATA": "$ICEFLOE_DATA_DIR",
        "AGENT": "web1.example.org",
        "AGENT_HOST": "127.0.0.4",
        "AGENT_PORT": str(free_port()),
    }
    outcome = follow(blocks_of("one-way-firewall.md"), machines, values)
    assert outcome.wrong == [], "\n".join(outcome.wrong)
    assert outcome.not_run == []


def test_the_upgrade_of_january_2025_is_rehearsed_and_noticed(
    machines: Machines,
) -> None:
    values = {"MASTER_PORT": str(free_port()), "SATELLITE_PORT": str(free_port())}
    outcome = follow(blocks_of("upgrade.md"), machines, values)
    assert outcome.wrong == [], "\n".join(outcome.wrong)
    assert len(outcome.not_run) == 3
