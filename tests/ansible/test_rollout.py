"""Agents by the dozen, enrolled by the role through a satellite: real ansible-playbook."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from icefloe.pki.certificates import fingerprint
from tests.ansible.controller import (
    ROLLOUT,
    Controller,
    Run,
    files_below,
    kill_tree,
)
from tests.ansible.hosts import Hosts, children, key_and_certificate
from tests.peers import Figures, Stopwatch, wait_until
from tests.peers.clients import WRONG_TICKET
from tests.peers.fixtures import Nodes

AGENTS_VARIABLE = "ICEFLOE_ANSIBLE_AGENTS"
"""How many agents the roll-out enrolls; `make ansible-full` says 100."""

AGENTS = int(os.environ.get(AGENTS_VARIABLE, "10"))

pytestmark = pytest.mark.timeout(600 + 30 * AGENTS)

MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")
"""When a file was written; it stands in its first line."""


@pytest.fixture
def hosts(tmp_path: Path, nodes: Nodes) -> Hosts:
    """Return a maker of hosts."""
    return Hosts(tmp_path, nodes)


def went_well(run: Run) -> Run:
    """Return a run that has to have succeeded on every host."""
    assert run.code == 0, run.output
    assert run.recap, run.output
    return run


def test_agents_enroll_through_a_satellite_and_a_second_run_changes_nothing(
    controller: Controller, hosts: Hosts, figures: Figures
) -> None:
    """Master, satellite and agents, all made by the role from an empty directory."""
    names = [f"agent{number:03}" for number in range(1, AGENTS + 1)]
    below = {"signer": "master1", **hosts.signer("master1")}
    controller.hosts(
        {
            "icefloe_masters": {
                "master1": hosts.variables(
                    "master1",
                    child_zones=[
                        {"name": "dmz", "endpoints": [{"name": "satellite1"}]}
                    ],
                )
            },
            "icefloe_satellites": {
                "satellite1": hosts.variables(
                    "satellite1",
                    zone="dmz",
                    parents=[hosts.parent("master1")],
                    child_zones=children(names),
                    **below,
                )
            },
            "icefloe_agents": {
                name: hosts.variables(
                    name,
                    parent_zone="dmz",
                    parents=[hosts.parent("satellite1")],
                    **below,
                )
                for name in names
            },
        }
    )

    went_well(controller.run(ROLLOUT, "--limit", "icefloe_masters"))
    master = hosts.adopt("master1")
    master.start()
    went_well(controller.run(ROLLOUT, "--limit", "icefloe_satellites"))
    satellite = hosts.adopt("satellite1")
    satellite.start()
    master.wait_until_connected(satellite)

    watch = Stopwatch()
    first = went_well(controller.run(ROLLOUT, "--limit", "icefloe_agents"))
    figures.note(f"{AGENTS}_agents_first_run_s", watch.seconds)
    assert first.counts("changed") == dict.fromkeys(names, 1)
    agents = [hosts.adopt(name) for name in names]
    assert all(agent.is_signed for agent in agents)
    root = master.ca_path.read_bytes()
    assert all(agent.ca_path.read_bytes() == root for agent in agents)
    # What enrolled through the satellite is a member there.
    agents[0].start()
    satellite.wait_until_connected(agents[0])
    agents[0].stop()

    before = [key_and_certificate(agent) for agent in agents]
    watch = Stopwatch()
    second = went_well(controller.run(ROLLOUT))
    figures.note(f"{AGENTS}_agents_second_run_s", watch.seconds)
    assert set(second.counts("changed").values()) == {0}, second.output
    assert second.recap.keys() == {"master1", "satellite1", *names}
    assert [key_and_certificate(agent) for agent in agents] == before


def test_a_check_shows_what_the_run_then_does_and_afterwards_nothing(
    controller: Controller, hosts: Hosts
) -> None:
    """`--check --diff` leaves the disk as it was, on a new host and on a finished one."""
    master = hosts.master()
    controller.hosts(
        {
            "icefloe_agents": {
                "agent1": hosts.variables(
                    "agent1",
                    parents=[hosts.parent("master1")],
                    **hosts.signer("master1"),
                ),
            },
            "others": {"master1": hosts.variables("master1")},
        }
    )
    place = hosts.node_root("agent1")

    foretold = went_well(controller.run(ROLLOUT, "--check", "--diff"))
    assert foretold.counts("changed") == {"agent1": 1}
    assert not place.exists()
    done = went_well(controller.run(ROLLOUT, "--diff"))
    assert done.counts("changed") == {"agent1": 1}
    agent = hosts.adopt("agent1")
    assert agent.is_signed
    assert diff_of(foretold) == diff_of(done)
    assert "identity: there is no key of 'agent1' yet" in diff_of(foretold)
    for name in ("zones.conf", "constants.conf", "features-available/api.conf"):
        made = MOMENT.sub("WHEN", (agent.config_dir / name).read_text()).splitlines()
        lines = [line for line in made if "TicketSalt" not in line]  # not to be shown
        assert [line for line in lines if f"+{line}" not in diff_of(foretold)] == []
    assert master.salt not in foretold.output + done.output

    before = files_below(place)
    afterwards = went_well(controller.run(ROLLOUT, "--check", "--diff"))
    assert afterwards.counts("changed") == {"agent1": 0}
    assert diff_of(afterwards) == ""
    assert files_below(place) == before


def diff_of(run: Run) -> str:
    """Return the lines of the diffs that a run has shown."""
    shown = ("+", "-", " ", "@@", "identity:", "link ", "remove ")
    lines = MOMENT.sub("WHEN", run.output).splitlines()
    return "\n".join(line for line in lines if line.startswith(shown))


def test_a_run_that_is_killed_half_way_is_resumed_by_the_next_one(
    controller: Controller, hosts: Hosts
) -> None:
    """Two agents are finished and two wait for an approval when everything is killed."""
    master = hosts.master()
    parents = [hosts.parent("master1")]
    ticketed, waiting = ["agent1", "agent2"], ["agent3", "agent4"]
    with_ticket = {"parents": parents, **hosts.signer("master1")}
    ca = (master.ca_dir / "ca.crt").read_text()
    without = {"parents": parents, "ca_certificate": ca}
    controller.hosts(
        {
            "icefloe_agents": {
                **{name: hosts.variables(name, **with_ticket) for name in ticketed},
                **{name: hosts.variables(name, **without) for name in waiting},
            },
            "others": {"master1": hosts.variables("master1")},
        }
    )

    process = controller.start(ROLLOUT)
    try:
        wait_until(
            lambda: all(f"changed: [{name}]" in controller.log() for name in ticketed),
            what="the first two agents",
        )
        wait_until(
            lambda: all(master.pending_of(name) for name in waiting),
            what="the requests of the others",
            every_seconds=0.5,
        )
        assert process.poll() is None
    finally:
        kill_tree(process)
    agents = {name: hosts.adopt(name) for name in ticketed + waiting}
    assert [agents[name].is_signed for name in ticketed] == [True, True]
    assert [agents[name].is_signed for name in waiting] == [False, False]
    finished = {name: key_and_certificate(agents[name]) for name in ticketed}
    keys = {name: agents[name].key_path.read_bytes() for name in waiting}

    for name in waiting:
        for request in master.pending_of(name):
            master.ca_sign(request)
    resumed = went_well(controller.run(ROLLOUT))
    assert resumed.counts("changed") == {
        **dict.fromkeys(ticketed, 0),
        **dict.fromkeys(waiting, 1),
    }
    assert all(agent.is_signed for agent in agents.values())
    assert {n: agents[n].key_path.read_bytes() for n in waiting} == keys
    assert {n: key_and_certificate(agents[n]) for n in ticketed} == finished


def test_a_wrong_ticket_fails_with_reason_and_next_step_and_shows_no_secret(
    controller: Controller, hosts: Hosts
) -> None:
    """Not even at -vvv, with --diff; nor does the run that succeeds."""
    master = hosts.master()
    parents = [hosts.parent("master1")]
    ca = (master.ca_dir / "ca.crt").read_text()
    controller.hosts(
        {
            "icefloe_agents": {
                "wrong": hosts.variables(
                    "wrong", parents=parents, ca_certificate=ca, ticket=WRONG_TICKET
                ),
                "right": hosts.variables(
                    "right", parents=parents, **hosts.signer("master1")
                ),
                "pinned": hosts.variables(
                    "pinned",
                    parents=parents,
                    parent_fingerprints=[fingerprint(master.certificate)],
                    ticket=master.ticket_for("pinned"),
                ),
            },
            "others": {"master1": hosts.variables("master1")},
        }
    )

    run = controller.run(ROLLOUT, "-vvv", "--diff")
    assert run.code != 0
    assert run.counts("failed") == {"wrong": 1, "right": 0, "pinned": 0}
    told = run.of_host("wrong")
    assert "(problem: wrong-ticket on master1)" in told, run.output
    assert "Next: Get a ticket for exactly this name on master1" in told
    assert all(hosts.adopt(name).is_signed for name in ("right", "pinned"))
    wrong = hosts.adopt("wrong")
    assert not wrong.ticket_path.exists()
    tickets = [master.ticket_for(name) for name in ("right", "pinned")]
    for secret in (WRONG_TICKET, *tickets, master.salt):
        assert secret not in run.output

    key = wrong.key_path.read_bytes()
    corrected = controller.run(
        ROLLOUT,
        "--limit",
        "wrong",
        "-e",
        f"icefloe_ticket={master.ticket_for('wrong')}",
    )
    went_well(corrected)
    assert wrong.is_signed
    assert wrong.key_path.read_bytes() == key


def test_a_host_without_the_program_is_told_of_and_a_check_goes_on(
    controller: Controller, hosts: Hosts
) -> None:
    """On the first check of a host the role has installed nothing yet."""
    variables = hosts.variables("agent1", parents=[hosts.parent("master1")])
    variables["icefloe_executable"] = str(hosts.node_root("nowhere") / "icefloe")
    controller.hosts({"icefloe_agents": {"agent1": variables}})
    check = went_well(controller.run(ROLLOUT, "--check"))
    assert check.counts("changed") == {"agent1": 1}
    assert "what its set-up would change cannot be shown" in check.output
    run = controller.run(ROLLOUT)
    assert run.counts("failed") == {"agent1": 1}
    assert "Next: Install Icefloe, or say in 'executable' where it is" in run.output


def test_trouble_at_the_signer_is_told_although_its_task_is_silent(
    controller: Controller, hosts: Hosts
) -> None:
    """The task whose result holds the ticket hides its output; its failure is shown."""
    controller.hosts(
        {
            "icefloe_agents": {
                "agent1": hosts.variables(
                    "agent1",
                    parents=[hosts.parent("master1")],
                    **hosts.signer("master1"),
                ),
            },
            "others": {"master1": hosts.variables("master1")},
        }
    )
    run = controller.run(ROLLOUT)
    assert run.counts("failed") == {"agent1": 1}
    assert "master1 gives no ticket" in run.output
    assert "ca/ca.crt' cannot be read: No such file or directory" in run.output
    assert not hosts.node_root("agent1").exists()


def test_a_tree_of_processes_is_killed_as_a_whole() -> None:
    """What the interrupted run rests on."""
    process = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=-1)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    kill_tree(process)
    process.stdout.close()
    wait_until(
        lambda: (
            not Path(f"/proc/{child}").exists()
            or "Z" in Path(f"/proc/{child}/stat").read_text().split(")")[1][:3]
        ),
        what="the end of the child",
    )
