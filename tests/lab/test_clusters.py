"""Storms at clusters of real processes: Icefloe's, real ones, and mixed ones."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from icefloe.lab.asking import ParentAddress
from icefloe.lab.crowd import CrowdPlan, gather_crowd
from icefloe.lab.errors import ProcessFailed
from icefloe.lab.outcomes import Outcome
from icefloe.lab.processes import end, run_command
from icefloe.lab.stage import SALT_FILE, Stage, environment, program
from icefloe.lab.storm import Storm, StormPlan, run_storm
from icefloe.lab.storm_report import StormReport
from tests.lab.habitual_peer import Habits2144
from tests.lab.world import CLOCK, ENTROPY
from tests.peers import NodeUnderTest, PreparedPKI, RealIcinga, three_levels
from tests.peers.fixtures import Nodes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

COUNT = 20


async def stormed(
    parent: ParentAddress, *, salt: str, count: int = COUNT, until_signed: bool = False
) -> StormReport:
    """Let agents with tickets ask, all at once; ask again when all are through."""
    now = CLOCK.now().wall
    storm: Storm = await run_storm(
        StormPlan(
            parent=parent,
            at_once=count,
            until_signed=until_signed,
            ask_again=not until_signed,
            seconds_max=120,
        ),
        await gather_crowd(CrowdPlan(count=count, salt=salt), entropy=ENTROPY, now=now),
        clock=CLOCK,
        entropy=ENTROPY,
    )
    return StormReport.of(storm, trust=None, at=CLOCK.now().wall)


def address_of(node: NodeUnderTest) -> ParentAddress:
    return ParentAddress(host=node.host, port=node.port)


def test_all_agents_are_signed_through_icefloe_on_the_first_connection(
    tmp_path: Path,
) -> None:
    async def story() -> StormReport:
        await stage.start_master()
        await stage.start_satellite(stage.satellite)
        return await stormed(stage.satellite.address, salt=stage.salt)

    stage = Stage.in_directory(tmp_path, [])
    try:
        report = asyncio.run(story())
    finally:
        end(stage.daemons)
    assert report.complaints(expected=Outcome.SIGNED) == []
    assert report.signed == report.asked_again == COUNT
    assert report.doubled == []


def test_the_command_storms_a_cluster_and_judges_it(tmp_path: Path) -> None:
    async def story() -> str:
        await stage.start_master()
        await stage.start_satellite(stage.satellite)
        satellite = stage.satellite.listens
        command = [*program(), "lab", "storm", "--parent", satellite, "--agents", "5"]
        with pytest.raises(ProcessFailed, match="expected 5 signed"):
            await run_command(
                [*command, "--wrong-tickets", "--expect", "signed"],
                environment=environment(),
                what="a storm with wrong tickets",
            )
        return await run_command(
            [
                *command,
                *("--salt-file", str(tmp_path / SALT_FILE), "--expect", "signed"),
                *("--pid", str(stage.daemons[0].pid), "--ask-again", "--json"),
            ],
            environment=environment(),
            what="a storm",
        )

    stage = Stage.in_directory(tmp_path, [])
    try:
        out = asyncio.run(story())
    finally:
        end(stage.daemons)
    report = msgspec.json.decode(out, type=StormReport)
    assert report.first_connection == {"signed": 5}
    assert report.server_cpu_per_certificate is not None


def test_the_command_knows_no_other_release() -> None:
    async def story() -> None:
        await run_command(
            [*program(), "lab", "peer", "2.14.9"], environment=environment(), what="it"
        )

    with pytest.raises(ProcessFailed, match=r"known: 2\.13\.6, 2\.14\.3"):
        asyncio.run(story())


@pytest.fixture
def master(nodes: Nodes, prepared_pki: PreparedPKI) -> RealIcinga:
    """Return a real signer that runs."""
    node = nodes.make(RealIcinga, "master1")
    node.install_identity(prepared_pki, signer=True)
    node.configure(three_levels(), salt=prepared_pki.salt)
    node.start()
    return node


def below(node: NodeUnderTest, master: NodeUnderTest, pki: PreparedPKI) -> None:
    """Start a satellite; wait until its master knows it."""
    node.install_identity(pki)
    node.configure(three_levels(), dials={master.name: master.address})
    node.start()
    master.wait_until_connected(node)
    node.wait_until_connected(master)


@pytest.mark.real_peer
def test_agents_at_a_real_master_are_signed_on_the_first_connection(
    master: RealIcinga, prepared_pki: PreparedPKI
) -> None:
    """And get a second certificate when they ask again: a real signer signs anew."""
    report = asyncio.run(stormed(address_of(master), salt=prepared_pki.salt))
    assert report.first_connection == {"signed": COUNT}
    assert report.wrong == []
    assert len(report.doubled) == COUNT


@pytest.mark.real_peer
def test_agents_at_a_real_satellite_are_told_to_wait_and_signed_later(
    nodes: Nodes, master: RealIcinga, prepared_pki: PreparedPKI
) -> None:
    satellite = nodes.make(RealIcinga, "satellite1")
    below(satellite, master, prepared_pki)
    salt = prepared_pki.salt
    report = asyncio.run(stormed(address_of(satellite), salt=salt, until_signed=True))
    assert report.first_connection == {"pending": COUNT}
    assert report.last_connection == {"signed": COUNT}
    assert report.wrong == []


@pytest.mark.real_peer
def test_the_habits_of_2144_below_a_real_master_cut_every_first_connection_off(
    nodes: Nodes, master: RealIcinga, prepared_pki: PreparedPKI
) -> None:
    """The habitual satellite is a member like any other to a real master."""
    satellite = nodes.make(Habits2144, "satellite1")
    below(satellite, master, prepared_pki)
    salt = prepared_pki.salt
    report = asyncio.run(stormed(address_of(satellite), salt=salt, until_signed=True))
    assert report.first_connection == {"cut-off": COUNT}
    assert report.last_connection == {"signed": COUNT}
    assert report.wrong == []


@pytest.mark.real_peer
def test_a_real_client_sees_at_the_habits_of_2144_what_it_saw_then(
    nodes: Nodes, master: RealIcinga, prepared_pki: PreparedPKI
) -> None:
    """First call: no valid response, exit 1, no root.  Again: signed."""
    satellite = nodes.make(Habits2144, "satellite1")
    below(satellite, master, prepared_pki)
    agent = nodes.make(RealIcinga, "agent1")
    agent.new_certificate()
    agent.save_parent_certificate(satellite)
    ticket = master.ticket_for("agent1")
    first = agent.request_certificate(satellite, ticket)
    assert first.returncode == 1, first.stdout + first.stderr
    assert not agent.ca_path.exists()
    satellite.wait_for_log("certificate came")
    second = agent.request_certificate(satellite, ticket)
    assert second.returncode == 0, second.stdout + second.stderr
    assert agent.ca_path.exists()
