"""A fleet of hundreds in every state, real nodes among them, seen from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.node.fleet.rig import Rig, rig_of
from tests.node.tls.material import key_pem, pem, self_signed
from tests.peers import (
    Figures,
    IcefloeNode,
    NodeUnderTest,
    PreparedPKI,
    RealIcinga,
    Stopwatch,
    ZoneSpec,
    three_levels,
)
from tests.peers.fixtures import Nodes
from tests.peers.habitual_node import HabitualNode

pytestmark = [pytest.mark.real_peer, pytest.mark.timeout(300)]

FLEET = 500

SIGNED_ICINGA = "master1"
"""A name that many tests use: making its RSA key takes a while."""


@dataclass
class Fleet:
    """Real nodes, and a CA file that covers theirs and the rig's."""

    nodes: dict[str, NodeUnderTest]
    rig: Rig
    ca: Path

    def targets(self) -> dict[str, str]:
        """Return each one's name and what the command takes for it."""
        real = {
            name: f"{name}={node.host}:{node.port}" for name, node in self.nodes.items()
        }
        return real | {seat.name: seat.target for seat in self.rig.seats}


@pytest.fixture
def fleet(nodes: Nodes, prepared_pki: PreparedPKI, tmp_path: Path) -> Iterator[Fleet]:
    """Of each product a signed node and one that is stuck in enrollment."""
    kinds: dict[str, type[NodeUnderTest]] = {
        SIGNED_ICINGA: RealIcinga,
        "icinga-stuck": RealIcinga,
        "icefloe-signed": IcefloeNode,
        "icefloe-stuck": IcefloeNode,
    }
    with rig_of() as rig:
        ca = tmp_path / "both-ca.crt"
        theirs = (prepared_pki.ca_dir / "ca.crt").read_bytes()
        ca.write_bytes(pem(rig.materials.ca.certificate) + theirs)
        made = {name: nodes.make(kind, name) for name, kind in kinds.items()}
        for name, node in made.items():
            node.configure([ZoneSpec(name=name, endpoints=(name,))])
            if name == SIGNED_ICINGA:
                node.install_identity(prepared_pki)  # RSA, by icinga2's own commands
            else:
                install(node, rig)
            node.start()
        yield Fleet(made, rig, ca)


def install(node: NodeUnderTest, rig: Rig) -> None:
    """Give a node a key of its own, signed by the rig's CA or by itself."""
    stuck = node.name.endswith("stuck")
    made = self_signed(node.name) if stuck else rig.materials.issue(node.name)
    node.key_path.write_bytes(key_pem(made.key))
    node.certificate_path.write_bytes(pem(made.certificate))
    node.ca_path.write_bytes(pem(rig.materials.ca.certificate))


def icefloe(*words: object) -> Any:
    """Run the command as an operator does; return its code and its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "icefloe", "fleet", *map(str, words), "--json"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "ICEFLOE_DATA_DIR": "/nonexistent"},
    )
    assert done.stdout, done.stderr
    return done.returncode, msgspec.json.decode(done.stdout)


def test_five_hundred_nodes_in_every_state_are_each_named(
    fleet: Fleet, tmp_path: Path, figures: Figures
) -> None:
    fleet.rig.populate(FLEET - len(fleet.nodes))
    crl = tmp_path / "ca.crl"
    crl.write_bytes(fleet.rig.materials.crl())
    words = tmp_path / "fleet.txt"
    words.write_text("\n".join(fleet.targets().values()))
    watch = Stopwatch()
    code, facts = icefloe("audit", f"@{words}", "--ca", fleet.ca, "--crl", crl)
    figures.note(f"audit_of_{FLEET}_seconds", watch.seconds)
    hosts = {host["host"]: (host["state"], host["cause"]) for host in facts["hosts"]}
    expected: dict[str, tuple[str, str | None]] = {
        SIGNED_ICINGA: ("ok", None),
        "icefloe-signed": ("ok", None),
        "icinga-stuck": ("self-signed", None),
        "icefloe-stuck": ("self-signed", None),
    }
    for seat in fleet.rig.seats:
        expected[seat.name] = (seat.state, seat.cause)
    assert len(expected) == FLEET
    wrong = {
        name: hosts.get(name) for name in expected if hosts[name] != expected[name]
    }
    assert wrong == {}
    assert code == 1


def test_real_nodes_tell_their_version_to_anybody_and_keep_nothing(
    fleet: Fleet, nodes: Nodes
) -> None:
    satellite = nodes.make(HabitualNode, "satellite1", daemon_options=("2.14.4",))
    satellite.configure(three_levels())
    install(satellite, fleet.rig)
    satellite.start()
    fleet.nodes["satellite1"] = satellite
    before = files_of(fleet)
    code, facts = icefloe(
        "advisories", *fleet.targets().values(), "--role", "satellite=satellite1"
    )
    told = {node["host"]: node for node in facts["nodes"]}
    for name in (SIGNED_ICINGA, "icinga-stuck"):
        assert told[name]["release"].startswith("2."), told[name]
        assert told[name]["unknown"] is None
        # An anonymous connection without a certificate, and no request on it.
        log = fleet.nodes[name].log()
        assert "no client certificate" in log
        assert "certificate request" not in log.lower()
        requests = fleet.nodes[name].requests_dir
        assert not requests.exists() or list(requests.iterdir()) == []
    for name in ("icefloe-signed", "icefloe-stuck"):
        assert told[name]["runs"].startswith("Icefloe ")
        assert told[name]["concerns"] == []
    assert told["satellite1"]["concerns"][0]["id"] == "icinga2-10330"
    assert facts["upgrade"][0]["host"] == "satellite1"
    assert code == 1
    assert files_of(fleet) == before


def files_of(fleet: Fleet) -> dict[str, set[str]]:
    """Return the names of all files that nodes keep."""
    return {
        name: {str(path) for path in node.data_dir.rglob("*")}
        for name, node in fleet.nodes.items()
    }
