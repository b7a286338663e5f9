"""kill -9 between two steps of a request: signed after the restart, once.

Real processes, real files, real clients; the simulator does the same between any two
effects, a thousand times.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest
from tests.interop import crashing_daemon
from tests.peers import (
    Figures,
    IcefloeNode,
    NodeUnderTest,
    PreparedPKI,
    Stopwatch,
    three_levels,
    wait_until,
)
from tests.peers.clients import PRODUCTS, calls_until_signed, new_client
from tests.peers.fixtures import Nodes

pytestmark = [pytest.mark.real_peer, pytest.mark.timeout(400)]

SATELLITE, MASTER = "satellite1", "master1"

CRASHES = [
    pytest.param(SATELLITE, crashing_daemon.STORED, id="satellite-stored"),
    pytest.param(MASTER, crashing_daemon.INTENDED, id="master-intended"),
    pytest.param(MASTER, crashing_daemon.SIGNATURE_MADE, id="master-signature-made"),
    pytest.param(MASTER, crashing_daemon.TO_BE_ANSWERED, id="master-to-be-answered"),
    pytest.param(
        SATELLITE, crashing_daemon.TO_BE_ANSWERED, id="satellite-to-be-answered"
    ),
]


class CrashingIcefloe(IcefloeNode):
    """An Icefloe node whose daemon kills itself once, at `point`."""

    product: ClassVar[str] = "icefloe"
    point: str = ""

    @property
    def marker(self) -> Path:
        """Is there once it has crashed."""
        return self.root / "crashed"

    def argv(self, *words: str) -> list[str]:
        """Return the command line; the daemon is the one that crashes."""
        if words[:1] != ("daemon",) or not self.point:
            return super().argv(*words)
        return [
            *(sys.executable, crashing_daemon.__file__, self.point, str(self.marker)),
            *(str(self.config_dir), str(self.data_dir)),
        ]

    def wait_for_crash(self) -> None:
        """Wait until it has killed itself."""
        wait_until(
            lambda: self.marker.exists() and not self.is_running,
            what=f"{self!r} to crash",
        )
        self.kill()  # nothing of it is left; its exit code is read


@pytest.fixture
def cluster(
    nodes: Nodes, prepared_pki: PreparedPKI
) -> tuple[CrashingIcefloe, CrashingIcefloe]:
    """Return a master and a satellite, configured and not started."""
    master = nodes.make(CrashingIcefloe, MASTER)
    master.install_identity(prepared_pki, signer=True)
    master.configure(three_levels(), salt=prepared_pki.salt)
    satellite = nodes.make(CrashingIcefloe, SATELLITE)
    satellite.install_identity(prepared_pki)
    satellite.configure(three_levels(), dials={master.name: master.address})
    return master, satellite


@pytest.mark.parametrize("client_product", PRODUCTS)
@pytest.mark.parametrize("crashing, point", CRASHES)
def test_a_crash_loses_nothing_and_signs_nothing_twice(
    nodes: Nodes,
    prepared_pki: PreparedPKI,
    cluster: tuple[CrashingIcefloe, CrashingIcefloe],
    figures: Figures,
    *,
    crashing: str,
    point: str,
    client_product: str,
) -> None:
    """The command under way, or the next one, gets the only certificate there is."""
    master, satellite = cluster
    victim = next(node for node in cluster if node.name == crashing)
    victim.point = point
    master.start()
    satellite.start()
    satellite.wait_until_connected(master)
    client = new_client(
        nodes, PRODUCTS[client_product], "agent1", satellite, prepared_pki
    )
    ticket = master.ticket_for(client.name)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(
            client.request_certificate, satellite, ticket, options=insisting(client)
        )
        victim.wait_for_crash()
        watch = Stopwatch()
        victim.start()
        first = asking.result()
    figures.note("first_command_exit", first.returncode)
    if not client.is_signed:
        # Icinga's client was cut off, or told "pending"; ours insists by itself.
        assert client_product == "icinga", first.stdout + first.stderr
        assert calls_until_signed(client, satellite, ticket, *insisting(client)) <= 2
    figures.note("signed_after_restart_s", watch.seconds)

    serial = f"{client.certificate.serial_number:x}"
    for node in cluster:
        assert [int(found, 16) for found in certificates(node)] == [int(serial, 16)]
    assert [int(found, 16) for found in intents(master)] == [int(serial, 16)]
    figures.note("serial_numbers", len(certificates(master)))


def insisting(client: NodeUnderTest) -> Sequence[str]:
    """Return the options of one command that goes on until it is signed."""
    return ("--wait", "60") if isinstance(client, IcefloeNode) else ()


def certificates(node: NodeUnderTest) -> list[str]:
    """Return the serial numbers of all certificates in a node's ledger."""
    return _column(node, "SELECT serial FROM certificates")


def intents(node: NodeUnderTest) -> list[str]:
    """Return the serial numbers that a signer was ever about to sign."""
    return _column(node, "SELECT serial FROM intents")


def _column(node: NodeUnderTest, query: str) -> list[str]:
    path = node.data_dir / "icefloe/ledger.sqlite"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
        return [str(row[0]) for row in ledger.execute(query)]
