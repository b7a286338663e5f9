"""The monitoring plugins as processes, against Debian's icinga2."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.peers import NodeUnderTest, PreparedPKI, three_levels, wait_until
from tests.peers.clients import WRONG_TICKET
from tests.peers.fixtures import Nodes
from tests.peers.icefloe_node import IcefloeNode
from tests.peers.real_icinga import RealIcinga

from icefloe.doors import WallTime
from icefloe.node.doors import RealClock, RealEntropy
from icefloe.pki.certificates import common_names, load_pem, to_pem
from icefloe.pki.profiles import (
    LEAF_LIFETIME,
    SERIAL_BYTES,
    self_signed,
    serial_from,
)
from icefloe.pki.tickets import ticket
from icefloe.storage.keys import encode_private_key, generate_key

pytestmark = [pytest.mark.real_peer, pytest.mark.timeout(300)]

CN = "icefloe-canary-test"
TWO_HOURS = 7200.0


class Plugins:
    """`icefloe check` on a machine of its own."""

    def __init__(self, nodes: Nodes, pki: PreparedPKI) -> None:
        self._node = nodes.make(IcefloeNode, "monitoring1")
        self._ca = pki.ca_dir / "ca.crt"
        self._ticket_file = self._node.root / "ticket"
        self._ticket = ticket(CN, pki.salt)

    def canary(
        self,
        parent: NodeUnderTest,
        *options: str,
        given: str = "",
        trust: tuple[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Send one through a node; with another ticket or trust than the right one."""
        self._ticket_file.write_text(given or self._ticket)
        return self._node.cli(
            *("check", "enrollment", "--via", str(parent.address), "--name", "test"),
            *("--ticket-file", str(self._ticket_file)),
            *(trust or ("--ca", str(self._ca))),
            *("--interval", "0", *options),
        )

    def requests(
        self, node: NodeUnderTest, *options: str
    ) -> tuple[int, dict[str, Any]]:
        """Look at what lies at a node; returns exit code and JSON."""
        found = self._node.cli(
            *("check", "requests", "--data-dir", str(node.data_dir)),
            *("--json", *options),
        )
        return found.returncode, msgspec.json.decode(found.stdout)

    def certificate(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Look at a certificate."""
        return self._node.cli("check", "certificate", *options)


@pytest.fixture
def plugins(nodes: Nodes, prepared_pki: PreparedPKI) -> Plugins:
    return Plugins(nodes, prepared_pki)


@pytest.fixture
def master(nodes: Nodes, prepared_pki: PreparedPKI) -> RealIcinga:
    """A real master, not started."""
    made = nodes.make(RealIcinga, "master1")
    made.install_identity(prepared_pki, signer=True)
    made.configure(three_levels(), salt=prepared_pki.salt)
    return made


@pytest.fixture
def satellite(
    nodes: Nodes, prepared_pki: PreparedPKI, master: RealIcinga
) -> RealIcinga:
    """A real satellite that runs, and knows its master."""
    made = nodes.make(RealIcinga, "satellite1")
    made.install_identity(prepared_pki)
    made.configure(three_levels(), dials={master.name: master.address})
    made.start()
    return made


def test_the_plugins_tell_how_debians_icinga2_stands(
    plugins: Plugins, nodes: Nodes, master: RealIcinga, satellite: RealIcinga
) -> None:
    """A satellite without its master, then with it; one story, for time's sake."""
    without_master(plugins, satellite)
    agent = nodes.make(IcefloeNode, "stuck-agent")
    a_request_is_stuck(plugins, agent, satellite)
    master.start()
    satellite.wait_until_connected(master)
    with_master(plugins, master, satellite)
    the_stuck_request_goes_on(plugins, agent, master, satellite)


def without_master(plugins: Plugins, satellite: RealIcinga) -> None:
    code, found = plugins.requests(satellite)
    assert (code, found["kind"]) == (0, "clear")
    done = plugins.canary(satellite, "--timeout", "3")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "its link to the signer is down, or" in done.stdout
    other_ca = plugins.canary(satellite, trust=("--ca-fingerprint", "0" * 64))
    assert other_ca.returncode == 2, other_ca.stdout
    assert "ENROLLMENT CRITICAL - wrong CA or name: " in other_ca.stdout
    shown = plugins.certificate(
        *("--connect", str(satellite.address), "--ca", str(satellite.ca_path)),
        *("--name", "master1"),
    )
    assert shown.returncode == 2, shown.stdout
    assert "it is for 'satellite1', not for 'master1'; 'sat" in shown.stdout


def a_request_is_stuck(
    plugins: Plugins, agent: IcefloeNode, satellite: RealIcinga
) -> None:
    """Asked just now, but for a certificate of two hours ago."""
    old_request(agent)
    agent.save_parent_certificate(satellite)
    agent.request_certificate(satellite, options=("--wait", "0"))
    code, found = plugins.requests(satellite)
    assert (code, found["kind"]) == (2, "unanswered"), found
    (stuck,) = found["unanswered"]
    assert stuck["common_name"] == "stuck-agent"
    assert stuck["age"] >= TWO_HOURS
    assert (found["signs"], found["canaries"]) == (False, 1)


def with_master(plugins: Plugins, master: RealIcinga, satellite: RealIcinga) -> None:
    patient = ("-w", "50", "-c", "60", "--timeout", "60")
    done = plugins.canary(satellite, *patient, "-v")
    assert done.returncode == 0, done.stdout + done.stderr
    first, *details = done.stdout.splitlines()
    assert first.startswith("ENROLLMENT OK - signed through ")
    assert "as with every Icinga satellite" in first
    assert "signed=" in first.partition(" | ")[2]
    # It says what it leaves behind, and that is so.
    assert any("keeps a request file for 7 days" in line for line in details)
    mine = [path for path in satellite.requests_dir.glob("*.json") if has(path, CN)]
    assert len(mine) == 2
    direct = plugins.canary(master, "--first-connection", *patient)
    assert direct.returncode == 0, direct.stdout + direct.stderr
    refused = plugins.canary(master, given=WRONG_TICKET)
    assert refused.returncode == 2, refused.stdout
    assert ", reason wrong-ticket: " in refused.stdout


def the_stuck_request_goes_on(
    plugins: Plugins, agent: IcefloeNode, master: RealIcinga, satellite: RealIcinga
) -> None:
    """Approved, answered, fetched."""
    (name,) = wait_until(
        lambda: master.pending_of(agent.name), what="the request at the master"
    )
    code, found = plugins.requests(master)
    assert (code, found["kind"], found["signs"]) == (2, "unanswered", True)
    assert f"icinga2 ca sign {name}" in " ".join(found["details"])
    master.ca_sign(name)
    # Asked once more, the satellite gets the answer, which lies there then.
    agent.request_certificate(satellite, options=("--wait", "0"))
    stored = satellite.requests_dir / f"{name}.json"
    # Its mode tells without reading it, which would leave a mark.
    wait_until(
        lambda: stored.stat().st_mode & 0o044, what="the answer at the satellite"
    )
    always = ("--unfetched-warning", "@0:")
    code, found = plugins.requests(satellite, *always)
    if found["fetching_is_known"]:
        assert (code, found["kind"]) == (1, "unfetched"), found
        (lies,) = found["unfetched"]
        assert lies["common_name"] == agent.name
    assert agent.request_certificate(satellite).returncode == 0
    assert agent.is_signed
    _, found = plugins.requests(satellite)
    assert (found["unfetched"], found["unanswered"]) == ([], [])


def has(path: Path, name: str) -> bool:
    """Whether a request file is for a name."""
    pem = msgspec.json.decode(path.read_bytes())["cert_request"]
    return name in common_names(load_pem(pem))


def old_request(node: NodeUnderTest) -> None:
    """Give a node a key and a self-signed certificate of two hours ago."""
    key, now = generate_key(), RealClock().now().wall
    certificate = self_signed(
        node.name,
        key,
        serial=serial_from(RealEntropy().bytes(SERIAL_BYTES)),
        not_before=WallTime(now - TWO_HOURS),
        not_after=WallTime(now + LEAF_LIFETIME),
    )
    node.key_path.write_bytes(encode_private_key(key))
    node.certificate_path.write_text(to_pem(certificate))


def test_icinga2_takes_the_definitions(nodes: Nodes, prepared_pki: PreparedPKI) -> None:
    """`icinga2 daemon -C`, with a host that uses every one of them."""
    node = nodes.make(RealIcinga, "master1")
    node.install_identity(prepared_pki, signer=True)
    node.configure(three_levels(), salt=prepared_pki.salt)
    ours = nodes.make(IcefloeNode, "monitoring1")
    node.write_local("commands", ours.must("check", "definitions"))
    node.write_local("services", ours.must("check", "definitions", "--services"))
    node.write_local("host", HOST)
    checked = node.cli("daemon", "-C")
    assert checked.returncode == 0, checked.stdout
    assert "4 Services" in checked.stdout, checked.stdout


HOST = """
object Host "monitoring1" {
  check_command = "dummy"
  vars.icefloe_paths["sat1"] = {
    icefloe_via = "sat1.example.org,5665"
    icefloe_ticket_file = "/etc/icefloe/canary-sat1.ticket"
  }
  vars.icefloe_paths["sat2"] = {
    icefloe_via = "sat2.example.org"
    icefloe_ticket_file = "/etc/icefloe/canary-sat2.ticket"
    icefloe_first_connection = true
  }
  vars.icefloe_certificate = true
  vars.icefloe_requests = true
}
"""
