"""`icefloe node wizard` below a real icinga2 master: it tells its time to nobody."""

from __future__ import annotations

import subprocess

import pytest
from tests.peers import IcefloeNode, PreparedPKI, RealIcinga, three_levels
from tests.peers.fixtures import Nodes

pytestmark = [pytest.mark.real_peer, pytest.mark.timeout(240)]


def test_an_agent_is_signed_by_a_real_master(
    nodes: Nodes, prepared_pki: PreparedPKI
) -> None:
    master = nodes.make(RealIcinga, "master1")
    master.install_identity(prepared_pki, signer=True)
    master.configure(three_levels(agents=["agent1"]), salt=prepared_pki.salt)
    master.start()
    agent = nodes.make(IcefloeNode, "agent1")
    ticket = master.ticket_for(agent.name)
    answers = (
        *("y", agent.name, master.name, "y", master.host, str(master.port), "n"),
        *("y", ticket, agent.host, str(agent.port), "n", "n", "", "", "n", "y"),
    )
    done = subprocess.run(
        agent.argv("node", "wizard"),
        input="".join(f"{each}\n" for each in answers),
        env=dict(agent.environment()),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert agent.is_signed
    assert "within the dates of the parent's certificate" in " ".join(
        done.stdout.split()
    )
