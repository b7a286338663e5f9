"""SIGTERM and SIGHUP sent to real processes: nobody loses an answer or a connection."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from tests.peers import (
    Figures,
    IcefloeNode,
    NodeUnderTest,
    PreparedPKI,
    RealIcinga,
    three_levels,
    wait_until,
)
from tests.peers.fixtures import Nodes

from icefloe.doors import WallTime
from icefloe.lab.asking import ParentAddress, ask
from icefloe.lab.crowd import Agent, CrowdPlan, gather_crowd
from icefloe.lab.outcomes import Attempt, Outcome
from icefloe.node.doors import RealClock, RealEntropy
from icefloe.pki.certificates import load_pem, to_pem
from icefloe.pki.profiles import BACKDATE, LEAF_LIFETIME, assemble, leaf_tbs, sign_tbs
from icefloe.storage.keys import read_private_key

pytestmark = [pytest.mark.real_peer, pytest.mark.timeout(300)]

MasterT = TypeVar("MasterT", bound=NodeUnderTest)
SatelliteT = TypeVar("SatelliteT", bound=NodeUnderTest)

AGENTS = 80
APART_SECONDS = 0.03
ENTROPY = RealEntropy()


@pytest.fixture
def cluster(nodes: Nodes, prepared_pki: PreparedPKI) -> tuple[IcefloeNode, IcefloeNode]:
    """Start a master and a satellite of ours."""
    return started(nodes, prepared_pki, IcefloeNode, IcefloeNode)


def started(
    nodes: Nodes,
    pki: PreparedPKI,
    master_product: type[MasterT],
    satellite_product: type[SatelliteT],
) -> tuple[MasterT, SatelliteT]:
    master = nodes.make(master_product, "master1")
    master.install_identity(pki, signer=True)
    master.configure(three_levels(), salt=pki.salt)
    satellite = nodes.make(satellite_product, "satellite1")
    satellite.install_identity(pki)
    satellite.configure(three_levels(), dials={master.name: master.address})
    master.start()
    satellite.start()
    satellite.wait_until_connected(master)
    master.wait_until_connected(satellite)
    return master, satellite


# --- A storm of agents ----------------------------------------------------------------


async def agents_for(pki: PreparedPKI) -> list[Agent]:
    plan = CrowdPlan(count=AGENTS, prefix="storm-", salt=pki.salt)
    return await gather_crowd(plan, entropy=ENTROPY, now=RealClock().now().wall)


async def until_signed(agent: Agent, parent: NodeUnderTest) -> list[Attempt]:
    """Ask until there is a certificate; returns what every connection came to."""
    attempts = []
    place = ParentAddress(host=parent.host, port=parent.port)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        attempt = await ask(agent, place, entropy=ENTROPY, seconds_max=30)
        attempts.append(attempt)
        if attempt.outcome is Outcome.SIGNED:
            return attempts
        await asyncio.sleep(0.1)
    return attempts


async def storm(
    agents: list[Agent], parent: NodeUnderTest, meanwhile: asyncio.Task[None]
) -> list[list[Attempt]]:
    """Let the agents come one after another while something happens."""
    async with asyncio.TaskGroup() as group:
        tasks = []
        for agent in agents:
            tasks.append(group.create_task(until_signed(agent, parent)))
            await asyncio.sleep(APART_SECONDS)
        await meanwhile
    return [task.result() for task in tasks]


def outcomes(attempts: list[list[Attempt]]) -> Counter[Outcome]:
    return Counter(each.outcome for those in attempts for each in those)


@pytest.mark.parametrize("seat", ["satellite", "master"])
def test_a_restart_under_a_storm_loses_no_answer(
    cluster: tuple[IcefloeNode, IcefloeNode],
    prepared_pki: PreparedPKI,
    figures: Figures,
    *,
    seat: str,
) -> None:
    """Every connection that came about has an answer; all are signed in the end."""
    master, satellite = cluster
    victim = satellite if seat == "satellite" else master
    codes = []

    async def restart() -> None:
        await asyncio.sleep(0.3 * AGENTS * APART_SECONDS)
        codes.append(await asyncio.to_thread(victim.stop))
        await asyncio.to_thread(victim.start)

    async def run() -> list[list[Attempt]]:
        agents = await agents_for(prepared_pki)
        return await storm(agents, satellite, asyncio.create_task(restart()))

    attempts = asyncio.run(run())
    assert codes == [0]
    came = outcomes(attempts)
    figures.note("outcomes", " ".join(f"{o.value}:{n}" for o, n in came.items()))
    # A refused connection is one that never was: between two processes.
    assert set(came) <= {Outcome.SIGNED, Outcome.PENDING, Outcome.UNREACHABLE}, came
    assert came[Outcome.SIGNED] == AGENTS
    said = re.search(r"everyone has an answer\b.*", victim.log())
    assert said is not None
    figures.note("said", said[0])
    assert "unrecorded=0" in said[0]
    assert "gone=0" in said[0]


def test_reloads_under_a_storm_lose_no_answer_and_no_member(
    cluster: tuple[IcefloeNode, IcefloeNode], prepared_pki: PreparedPKI
) -> None:
    """Signed on the first connection, all of them."""
    master, satellite = cluster
    marks = [node.log_mark() for node in cluster]

    async def reload() -> None:
        for _ in range(10):
            await asyncio.sleep(0.1 * AGENTS * APART_SECONDS)
            for node in cluster:
                send(node, signal.SIGHUP)

    async def run() -> list[list[Attempt]]:
        agents = await agents_for(prepared_pki)
        return await storm(agents, satellite, asyncio.create_task(reload()))

    assert outcomes(asyncio.run(run())) == {Outcome.SIGNED: AGENTS}
    for node, mark in zip(cluster, marks, strict=True):
        log = node.log(mark)
        assert "reloaded" in log
        assert not re.search(r"session\.ended\b.*standing=member", log)
    assert master.stop() == satellite.stop() == 0


def send(node: NodeUnderTest, number: signal.Signals) -> None:
    """Send a signal to a node's daemon."""
    assert node._process is not None
    node._process.send(number)


# --- A real node at the other end -----------------------------------------------------


class Authority:
    """The run's CA, used as an operator uses it."""

    def __init__(self, pki: PreparedPKI) -> None:
        self.certificate = load_pem((pki.ca_dir / "ca.crt").read_text())
        self.key = read_private_key(pki.ca_dir / "ca.key")

    def renew(self, node: NodeUnderTest) -> None:
        """Give a node another certificate for its key."""
        now = time.time()
        tbs = leaf_tbs(
            cn=node.name,
            public_key=read_private_key(node.key_path).public_key(),
            issuer=self.certificate,
            serial=time.time_ns(),
            not_before=WallTime(now - BACKDATE),
            not_after=WallTime(now + LEAF_LIFETIME),
        )
        new = assemble(tbs, sign_tbs(self.key, tbs), self.key.public_key())
        node.certificate_path.write_text(to_pem(new))

    def revoke(self, path: Path, *certificates: x509.Certificate) -> None:
        """Write a revocation list."""
        now = datetime.fromtimestamp(time.time(), UTC)
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=self.certificate.subject,
            last_update=now - timedelta(days=1),
            next_update=now + timedelta(days=30),
        )
        for certificate in certificates:
            entry = x509.RevokedCertificateBuilder(
                serial_number=certificate.serial_number,
                revocation_date=now - timedelta(hours=1),
            )
            builder = builder.add_revoked_certificate(entry.build())
        crl = builder.sign(self.key, hashes.SHA256())
        path.write_bytes(crl.public_bytes(Encoding.PEM))


def reload(node: NodeUnderTest) -> None:
    mark = node.log_mark()
    send(node, signal.SIGHUP)
    node.wait_for_log(r"\breloaded\b", after=mark)


DISCONNECTED = r"API client disconnected for identity '{}'"


@pytest.mark.parametrize("ours", ["master", "satellite"])
def test_a_real_node_stays_connected_through_reloads_until_it_is_revoked(
    nodes: Nodes, prepared_pki: PreparedPKI, *, ours: str
) -> None:
    """Our certificate is renewed, a list comes, a zone comes; then the list names it."""
    if ours == "master":
        node, real = started(nodes, prepared_pki, IcefloeNode, RealIcinga)
    else:
        real, node = started(nodes, prepared_pki, RealIcinga, IcefloeNode)
    authority = Authority(prepared_pki)
    crl = node.certs_dir / "revoked.crl"
    mark = real.log_mark()

    authority.renew(node)
    reload(node)
    authority.revoke(crl)
    api = node.config_dir / "features-available/api.conf"
    api.write_text(api.read_text().replace("{\n", f'{{\n  crl_path = "{crl}"\n', 1))
    reload(node)
    zones = node.config_dir / "zones.conf"
    zones.write_text(
        zones.read_text() + '\nobject Endpoint "new" {}\n'
        'object Zone "new" { endpoints = [ "new" ]; parent = "satellite" }\n'
    )
    reload(node)
    # Long enough for a heartbeat; a close would be seen at once.
    assert not re.search(DISCONNECTED.format(node.name), real.log(mark))
    assert not re.search(r"session\.ended\b.*standing=member", node.log())

    authority.revoke(crl, real.certificate)
    reload(node)
    closed = node.wait_for_log(r"connection closed by a reload\b.*")
    assert f"peer={real.name}" in closed[0]
    assert "reason=certificate-not-valid" in closed[0]
    real.wait_for_log(DISCONNECTED.format(node.name), after=mark)


def test_two_signals_and_a_reload_just_before_the_end_end_with_0(
    cluster: tuple[IcefloeNode, IcefloeNode],
) -> None:
    """SIGINT does as SIGTERM does, and twice is sooner, not worse."""
    master, satellite = cluster
    for number in (signal.SIGINT, signal.SIGTERM):
        send(satellite, number)
    wait_until(lambda: not satellite.is_running, what="the end")
    assert satellite.stop() == 0
    send(master, signal.SIGHUP)
    assert master.stop() == 0
