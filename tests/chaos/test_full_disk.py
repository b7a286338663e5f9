"""A full disk: refused with a reason, alarmed once, and over when there is room again.

Real daemons whose data lie on a small file system, which only this test run sees.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from icefloe.lab.small_disk import SmallDisk, why_no_small_disk
from tests.peer_gate import peers_are_required
from tests.peers import IcefloeNode, three_levels, wait_until
from tests.peers.fixtures import Nodes

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        why_no_small_disk() is not None and not peers_are_required(),
        reason=str(why_no_small_disk()),
    ),
]

MASTER, SATELLITE = "master1", "satellite1"
KILOBYTES = 4096
ALARM = "ledger not writable, nothing was recorded"
OVER = "ledger works again"


@pytest.fixture
def cleanup() -> Iterator[contextlib.ExitStack]:
    """Return what is undone before the nodes' directories go."""
    with contextlib.ExitStack() as stack:
        yield stack


def put_on_small_disk(node: IcefloeNode, cleanup: contextlib.ExitStack) -> SmallDisk:
    """Let a node that has no data yet keep them on a small disk."""
    disk = cleanup.enter_context(SmallDisk.mounted(node.data_dir, kilobytes=KILOBYTES))
    node.certs_dir.mkdir(mode=0o700)
    cleanup.callback(node.kill)
    return disk


def set_up(master: IcefloeNode, satellite: IcefloeNode) -> None:
    """Let a master and a satellite run, connected."""
    assert master.node_setup_master().returncode == 0
    master.write_zones(three_levels())
    master.start()
    satellite.save_parent_certificate(master)
    ticket = master.ticket_for(satellite.name)
    done = satellite.node_setup_satellite(master, ticket=ticket)
    assert done.returncode == 0, done.stderr
    satellite.start()
    master.wait_until_connected(satellite)
    satellite.wait_until_connected(master)


def new_agent(nodes: Nodes, name: str, parent: IcefloeNode) -> IcefloeNode:
    agent = nodes.make(IcefloeNode, name)
    agent.new_certificate()
    agent.save_parent_certificate(parent)
    return agent


def is_signed(node: IcefloeNode) -> bool:
    return node.is_signed


def said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def lines_with(words: str, node: IcefloeNode) -> list[str]:
    return [line for line in node.log().splitlines() if words in line]


def quick_check(node: IcefloeNode) -> list[str]:
    path = node.data_dir / "icefloe/ledger.sqlite"
    with closing(sqlite3.connect(path)) as ledger:
        return [row[0] for row in ledger.execute("PRAGMA quick_check")]


@pytest.mark.parametrize("full", [SATELLITE, MASTER])
def test_a_full_disk_is_told_alarmed_once_and_over_by_itself(
    nodes: Nodes, cleanup: contextlib.ExitStack, full: str
) -> None:
    """The same agent is signed afterwards, and nobody restarted anything."""
    master = nodes.make(IcefloeNode, MASTER)
    satellite = nodes.make(IcefloeNode, SATELLITE)
    victim = master if full == MASTER else satellite
    disk = put_on_small_disk(victim, cleanup)
    set_up(master, satellite)
    agent = new_agent(nodes, "agent1", satellite)
    ticket = master.ticket_for(agent.name)

    disk.fill()
    # It asks for half a minute, again and again; of a request that is kept, once.
    done = agent.request_certificate(satellite, ticket, options=("--wait", "1"))
    assert not is_signed(agent)
    assert f"{victim.name} could not record the request (disk full" in said(done)
    assert f"{victim.name}, reason: ledger-fault." in said(done)
    assert f"Next: Look at the log and the disk of {victim.name}" in said(done)
    assert done.returncode == (1 if victim is satellite else 0), said(done)
    assert victim.is_running
    (alarm,) = lines_with(ALARM, victim)
    assert "critical" in alarm
    assert "the disk or the quota is full" in alarm
    assert "Free some space and try again; what was committed is safe." in alarm
    assert not lines_with(OVER, victim)
    assert len(victim.log().splitlines()) < 60, victim.log()

    disk.free()
    done = agent.request_certificate(satellite, ticket, options=("--wait", "60"))
    assert is_signed(agent), said(done)
    assert len(lines_with(ALARM, victim)) == 1
    assert len(lines_with(OVER, victim)) == 1
    assert {node.stop() for node in (satellite, master)} == {0}
    assert quick_check(master) == quick_check(satellite) == ["ok"]


class LogsOnItsDisk(IcefloeNode):
    """A node whose log lies beside its data."""

    @property
    def log_path(self) -> Path:
        return self.data_dir / "daemon.log"


def test_a_log_on_the_full_disk_costs_lines_and_nothing_else(
    nodes: Nodes, cleanup: contextlib.ExitStack
) -> None:
    """The daemon goes on, and its alarm is there when there is room again."""
    master = nodes.make(LogsOnItsDisk, MASTER)
    satellite = nodes.make(IcefloeNode, SATELLITE)
    disk = put_on_small_disk(master, cleanup)
    set_up(master, satellite)
    agent = new_agent(nodes, "agent1", satellite)
    ticket = master.ticket_for(agent.name)
    disk.fill()
    done = agent.request_certificate(satellite, ticket, options=("--wait", "1"))
    assert f"{MASTER}, reason: ledger-fault." in said(done)
    disk.free()
    done = agent.request_certificate(satellite, ticket, options=("--wait", "60"))
    assert is_signed(agent), said(done)
    master.wait_for_log(re.escape(OVER))
    assert master.stop() == 0
    assert lines_with(ALARM, master)
    assert lines_with("stopped", master)


def test_a_certificate_that_finds_no_room_is_installed_when_there_is_some(
    nodes: Nodes, cleanup: contextlib.ExitStack
) -> None:
    """An agent's daemon waits for its certificate, which comes to a full disk."""
    master = nodes.make(IcefloeNode, MASTER)
    satellite = nodes.make(IcefloeNode, SATELLITE)
    disk = put_on_small_disk(satellite, cleanup)
    assert master.node_setup_master().returncode == 0
    master.write_zones(three_levels())
    shutil.copy(master.ca_path, satellite.ca_path)
    ticket = master.ticket_for(satellite.name)
    satellite.must(
        *("node", "setup", "--cn", SATELLITE, "--zone", "satellite"),
        *("--parent_zone", "master", "--endpoint", f"{MASTER},{master.address}"),
        *("--listen", str(satellite.address), "--ticket", ticket),
    )
    satellite.start()
    disk.fill()
    key = satellite.key_path.read_bytes()
    before = satellite.certificate
    master.start()
    satellite.wait_for_log("own certificate could not be installed, trying again")
    assert satellite.certificate == before
    disk.free()
    wait_until(lambda: satellite.is_signed, what="the certificate to be installed")
    assert satellite.key_path.read_bytes() == key
    master.wait_until_connected(satellite)
    assert satellite.is_running
    leftovers = [path for path in satellite.certs_dir.iterdir() if ".tmp." in path.name]
    assert leftovers == []


def test_a_daemon_that_finds_no_room_at_its_start_says_so_and_starts_later(
    nodes: Nodes, cleanup: contextlib.ExitStack
) -> None:
    """It is a service manager's to start it again."""
    master = nodes.make(IcefloeNode, MASTER)
    disk = put_on_small_disk(master, cleanup)
    assert master.node_setup_master().returncode == 0
    disk.fill()
    done = master.cli("daemon")
    assert done.returncode == 1
    assert "cannot run" in said(done)
    assert "full" in said(done) or "No space left" in said(done)
    assert "Traceback" not in said(done)
    disk.free()
    master.start()
    assert master.stop() == 0
    assert quick_check(master) == ["ok"]
