"""A plain icinga2 agent, enrolled by the collection: a real client, odd parents."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256

from tests.ansible.controller import Controller, Run, files_below
from tests.peers import (
    IcefloeNode,
    NodeUnderTest,
    PreparedPKI,
    RealIcinga,
    three_levels,
)
from tests.peers.clients import WRONG_TICKET
from tests.peers.fixtures import Nodes
from tests.peers.habitual_node import HabitualNode

pytestmark = [pytest.mark.real_peer, pytest.mark.timeout(400)]


class Plain:
    """One icinga2 agent as a host of Ansible, with a playbook that enrolls it."""

    def __init__(
        self, controller: Controller, agent: RealIcinga, parent: NodeUnderTest
    ) -> None:
        """Take the agent's directories; nothing is in them."""
        self._controller = controller
        self.agent = agent
        self.parent = {"name": parent.name, "host": parent.host, "port": parent.port}
        self._options: dict[str, Any] = {
            "cn": agent.name,
            "certs_dir": str(agent.certs_dir),
            "executable": agent.argv()[0],
            "parents": [self.parent],
            "ca_certificate": parent.ca_path.read_text(),
        }
        controller.hosts({"agents": {agent.name: {}}})

    def enroll(self, *words: str, **options: Any) -> Run:
        """Run the module with these options besides the usual ones."""
        task = {
            "name": "Enroll",
            "icefloe.icefloe.icinga2_enrollment": {**self._options, **options},
            "register": "enrolled",
        }
        tell = {
            "name": "Tell",
            "ansible.builtin.debug": {
                "msg": "code={{ enrolled.code }} state={{ enrolled.state }} "
                "asks={{ enrolled.asks }} attempts={{ enrolled.attempts }}"
            },
        }
        book = self._controller.playbook("enroll", [task, tell])
        return self._controller.run(book, *words)

    def fail_one_after_the_other(self, *several: dict[str, Any]) -> Run:
        """Run the module with each of these options; none may succeed."""
        tasks = [
            {
                "name": "Enroll",
                "icefloe.icefloe.icinga2_enrollment": {**self._options, **options},
                "ignore_errors": True,
            }
            for options in several
        ]
        run = self._controller.run(self._controller.playbook("fail", tasks))
        assert run.counts("ignored") == {self.agent.name: len(several)}, run.output
        return run

    def changed(self, run: Run) -> int:
        """Return how many tasks changed something in a run that went well."""
        assert run.code == 0, run.output
        return run.counts("changed")[self.agent.name]


@pytest.fixture
def master(nodes: Nodes, prepared_pki: PreparedPKI) -> IcefloeNode:
    """Return a running signer."""
    node = nodes.make(IcefloeNode, "master1")
    node.install_identity(prepared_pki, signer=True)
    node.configure(three_levels(), salt=prepared_pki.salt)
    node.start()
    return node


def satellite_of(
    nodes: Nodes, pki: PreparedPKI, master: NodeUnderTest, habits: str
) -> HabitualNode:
    """Return a running satellite that does what one release of Icinga 2 does."""
    node = nodes.make(HabitualNode, "satellite1", daemon_options=(habits,))
    node.install_identity(pki)
    node.configure(three_levels(), dials={master.name: master.address})
    node.start()
    node.wait_until_connected(master)
    return node


def test_behind_a_satellite_of_2_14_4_it_is_signed_with_the_key_it_began_with(
    nodes: Nodes, prepared_pki: PreparedPKI, master: IcefloeNode, controller: Controller
) -> None:
    """The first answer is cut off; a check before and after tells the truth."""
    satellite = satellite_of(nodes, prepared_pki, master, "2.14.4")
    agent = nodes.make(RealIcinga, "agent1")
    plain = Plain(controller, agent, satellite)
    ticket = master.ticket_for(agent.name)

    foretold = plain.enroll("--check", "--diff", ticket=ticket)
    assert plain.changed(foretold) == 1
    assert "+key: a new one" in foretold.output
    assert list(agent.certs_dir.iterdir()) == []

    # A tool that makes the pair and then loses the answer leaves this behind.
    agent.install_newcomer(prepared_pki)
    key = agent.key_path.read_bytes()
    run = plain.enroll("-vvv", "--diff", ticket=ticket, deadline=120)
    assert plain.changed(run) == 1
    assert "cut-off: " in run.output
    assert agent.is_signed
    assert agent.key_path.read_bytes() == key
    assert agent.ca_path.read_bytes() == master.ca_path.read_bytes()
    assert ticket not in run.output
    assert not agent.ticket_path.exists()
    (backup,) = agent.certs_dir.with_name("certs-backups").iterdir()
    made = prepared_pki.newcomer(agent.name) / "node.crt"
    assert (backup / "agent1.crt").read_bytes() == made.read_bytes()

    before = files_below(agent.data_dir)
    assert plain.changed(plain.enroll(ticket=ticket)) == 0
    after = plain.enroll("--check", "--diff", ticket=ticket)
    assert plain.changed(after) == 0
    assert "\n+" not in after.output
    assert files_below(agent.data_dir) == before


def test_a_wrong_ticket_is_told_and_leaves_no_ca_crt_for_other_tools_to_stumble_over(
    master: IcefloeNode, nodes: Nodes, controller: Controller
) -> None:
    """With the right ticket the same key is signed."""
    agent = nodes.make(RealIcinga, "agent1")
    plain = Plain(controller, agent, master)
    agent.certs_dir.rmdir()  # as on a machine where icinga2 never ran
    refused = plain.enroll("-vvv", ticket=WRONG_TICKET)
    assert refused.code != 0
    told = refused.of_host(agent.name)
    assert "refused: " in told
    assert "(problem: wrong-ticket)" in told
    assert "Next: Get a ticket for exactly this name" in told
    assert WRONG_TICKET not in refused.output
    assert sorted(path.name for path in agent.certs_dir.iterdir()) == [
        "agent1.crt",
        "agent1.key",
    ]
    key = agent.key_path.read_bytes()
    assert plain.changed(plain.enroll(ticket=master.ticket_for(agent.name))) == 1
    assert agent.is_signed
    assert agent.key_path.read_bytes() == key


def test_a_request_that_is_pending_is_not_called_signed(
    nodes: Nodes, prepared_pki: PreparedPKI, master: IcefloeNode, controller: Controller
) -> None:
    """Whoever waits for the certificate is told; whoever only asks goes on."""
    satellite = satellite_of(nodes, prepared_pki, master, "2.14.5")
    agent = nodes.make(RealIcinga, "agent1")
    agent.install_newcomer(prepared_pki)
    plain = Plain(controller, agent, satellite)
    waited = plain.enroll(deadline=3)
    assert waited.code != 0
    assert "(problem: pending)" in waited.of_host(agent.name)
    assert "Next: Approve it on the signer" in waited.of_host(agent.name)
    assert not agent.is_signed
    assert agent.ca_path.exists()  # the daemon goes on from here
    asked = plain.enroll(wait_for="asked")
    assert plain.changed(asked) == 0
    assert "code=pending state=requested" in asked.output
    assert "has no certificate yet" in asked.output

    for fingerprint in master.pending_of(agent.name):
        master.ca_sign(fingerprint)
    assert plain.changed(plain.enroll(deadline=120)) == 1
    assert agent.is_signed


def test_who_is_not_trusted_is_told_nothing(
    master: IcefloeNode, nodes: Nodes, controller: Controller
) -> None:
    """Neither a parent of another CA nor one with another name."""
    stranger = nodes.make(IcefloeNode, "stranger")
    stranger.must("pki", "new-ca")
    agent = nodes.make(RealIcinga, "agent1")
    plain = Plain(controller, agent, master)
    ticket = master.ticket_for(agent.name)
    run = plain.fail_one_after_the_other(
        {"ticket": ticket, "ca_certificate": (stranger.ca_dir / "ca.crt").read_text()},
        {"ticket": ticket, "parents": [{**plain.parent, "name": "master2"}]},
        {"ticket": ticket, "ca_certificate": ""},
    )
    told = run.of_host(agent.name)
    assert told.count("(problem: trust-mismatch)") == 2, run.output
    assert "certificate of 'master1', and 'master2' is expected" in told
    assert told.count("(problem: trust-missing)") == 1
    assert agent.certificate.issuer == agent.certificate.subject
    assert master.pending() == {}
    pinned = [fingerprint_of(master)]
    run = plain.enroll(ticket=ticket, ca_certificate="", parent_fingerprints=pinned)
    assert plain.changed(run) == 1
    assert agent.is_signed


def fingerprint_of(node: NodeUnderTest) -> str:
    """Return a fingerprint as `pki verify` prints it."""
    return node.certificate.fingerprint(SHA256()).hex(" ").upper()
