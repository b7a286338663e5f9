"""The role and the daemon: started, restarted when it is owed, left alone when not.

systemd is a script here: what the role asks it for is written down.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are not installed

from tests.ansible.controller import COLLECTION, ROLLOUT, Controller, Run, files_below
from tests.ansible.hosts import EXECUTABLE, Hosts, children
from tests.peers.fixtures import Nodes

pytestmark = pytest.mark.timeout(300)

NAME = "master1"

SYSTEMCTL = """#!/bin/sh
cd {place}
case "$*" in
*ExecStart*) cat exec-start 2> /dev/null ;;
show\\ --property*) cat state ;;
show\\ *) echo LoadState=loaded; echo "ActiveState=$(cat state)" ;;
is-enabled*) [ -e enabled ] ;;
enable*) touch enabled ;;
start*) echo active > state; echo start >> said ;;
restart*) echo restart >> said ;;
daemon-reload*) echo reload >> said ;;
esac
"""

PROGRAM = """#!/bin/sh
[ "$1" != --version ] || exec cat {place}/version
echo "$@" >> {place}/ran
exec {executable} "$@"
"""


class Machine:
    """One host whose daemon is run by a systemd that only writes down what it is told."""

    def __init__(self, controller: Controller, hosts: Hosts, place: Path) -> None:
        """Make the programs; the host is a master, which needs nobody."""
        self._controller = controller
        self._hosts = hosts
        self._place = place
        (place / "state").write_text("inactive\n")
        self.upgrade("1")
        for name, text in (("systemctl", SYSTEMCTL), ("icefloe", PROGRAM)):
            program = place / name
            program.write_text(text.format(place=place, executable=EXECUTABLE))
            program.chmod(0o755)
        self.root = hosts.node_root(NAME)
        self.children = self.root / "etc/icefloe-children.conf"

    def upgrade(self, version: str) -> None:
        """Put another release there, and tell nobody."""
        (self._place / "version").write_text(f"{version}\n")

    def drop_in(self, command: str) -> None:
        """Let the unit run this command."""
        (self._place / "exec-start").write_text(f"{command}\n")

    def ran(self) -> list[str]:
        """Return the command lines of the program so far."""
        return (self._place / "ran").read_text().splitlines()

    def run(self, *words: str, **own: Any) -> Run:
        """Run the role with these variables of the host besides the usual ones."""
        variables = self._hosts.variables(NAME, **own)
        variables |= {
            "icefloe_executable": str(self._place / "icefloe"),
            "icefloe_service": True,
            "icefloe_service_unit": False,  # it would be written into this machine
            "icefloe_service_name": "icefloe-of-a-test",
        }
        variables |= {f"icefloe_{key}": value for key, value in own.items()}
        self._controller.hosts({"icefloe_masters": {NAME: variables}})
        return self._controller.run(ROLLOUT, *words)

    def said(self) -> list[str]:
        """Return what systemd was told since the last call, reloads apart."""
        path = self._place / "said"
        words = path.read_text().split() if path.exists() else []
        path.write_text("")
        return [word for word in words if word != "reload"]


@pytest.fixture
def machine(
    controller: Controller,
    tmp_path: Path,
    nodes: Nodes,
    monkeypatch: pytest.MonkeyPatch,
) -> Machine:
    """Return a host with nothing on it."""
    place = tmp_path / "programs"
    place.mkdir()
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    return Machine(controller, Hosts(tmp_path, nodes), place)


def changed(run: Run) -> int:
    """Return how many tasks changed something in a run that went well."""
    assert run.code == 0, run.output
    return run.counts("changed")[NAME]


def test_a_restart_that_a_killed_run_owed_is_made_by_the_next_one_and_only_once(
    machine: Machine,
) -> None:
    """What was changed is found by what is there, not by what a run remembers."""
    assert changed(machine.run()) > 0
    assert machine.said() == ["start"]  # a daemon that was just started owes nothing
    before = files_below(machine.root)
    assert changed(machine.run()) == 0
    assert machine.said() == []
    assert files_below(machine.root) == before

    machine.drop_in("icefloe daemon --without-monitoring")
    machine.upgrade("2")
    assert changed(machine.run("--check")) == 1
    assert machine.said() == []
    assert files_below(machine.root) == before
    assert changed(machine.run()) > 0
    assert machine.said() == ["restart"]
    assert machine.ran()[-1].endswith("daemon --validate --without-monitoring")
    assert changed(machine.run()) == 0
    assert machine.said() == []


def test_what_a_run_that_ended_early_has_not_read_or_restarted_is_not_forgotten() -> (
    None
):
    tasks = yaml.safe_load((COLLECTION / "roles/icefloe/tasks/run.yml").read_text())
    start = tasks[-1]["ansible.builtin.systemd_service"]
    assert start["daemon_reload"] == "{{ icefloe_service_unit | bool }}"
    plays = yaml.safe_load((COLLECTION / "playbooks/rollout.yml").read_text())
    assert [play.get("force_handlers") for play in plays] == [True] * 3


def test_zones_that_are_no_longer_given_are_taken_away(machine: Machine) -> None:
    changed(machine.run(child_zones=children(["agent1"])))
    assert 'object Zone "agent1"' in machine.children.read_text()
    machine.said()
    assert changed(machine.run()) > 0
    assert "object" not in machine.children.read_text()
    assert machine.said() == ["restart"]
    assert changed(machine.run()) == 0
    assert machine.said() == []


def test_what_would_end_the_daemon_is_taken_back_told_and_never_restarted_with(
    machine: Machine,
) -> None:
    """A running master keeps what it runs with; what was right before is run."""
    good, bad = children(["agent1"]), children(["agent1"])
    bad[0]["parent"] = "mastr"
    refused = machine.run(child_zones=bad)
    assert refused.code != 0
    assert "has the parent 'mastr', which does not exist" in refused.of_host(NAME)
    assert "Next: Correct icefloe_child_zones" in refused.of_host(NAME)
    assert "object" not in machine.children.read_text()
    assert machine.said() == []
    assert changed(machine.run(child_zones=good)) > 0
    assert machine.said() == ["start"]

    kept = machine.children.read_bytes()
    refused = machine.run(child_zones=bad, global_zones=["more"])
    assert refused.counts("failed") == {NAME: 1}, refused.output
    assert "has the parent 'mastr', which does not exist" in refused.of_host(NAME)
    assert machine.children.read_bytes() == kept
    assert machine.said() == ["restart"]  # for the global zone, though the play failed

    constants = machine.root / "etc/constants.conf"
    constants.write_text(constants.read_text() + "nonsense here\n")
    refused = machine.run(child_zones=good, global_zones=["more", "and more"])
    assert refused.code != 0
    assert "constants.conf:" in refused.of_host(NAME)
    assert machine.said() == []
