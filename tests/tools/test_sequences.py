"""Each tool as it comes, all going well; and the link that makes us its `icinga2`."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.peers import wait_until
from tests.peers.fixtures import Nodes, nodes
from tests.tools.cells import Parent
from tests.tools.parents import Parents
from tests.tools.program import forked_program, linked_program
from tests.tools.running import Agent, Run, Site, run_tool
from tests.tools.sequences import TOOLS

__all__ = ["nodes"]

pytestmark = pytest.mark.timeout(240)

AGENTS = [*TOOLS, "delegated"]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Path]:
    """Return the directory with a program that starts quickly."""
    with forked_program(tmp_path / "bin") as directory:
        yield directory


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """Return the directory with the link of the document."""
    return linked_program(tmp_path / "linked")


@pytest.fixture
def parents(nodes: Nodes, tmp_path: Path) -> Iterator[Parents]:
    """Return an Icefloe satellite and its signer, connected."""
    made = Parents(Parent.ICEFLOE, nodes, tmp_path, AGENTS)
    made.start_signer()
    yield made
    for node in (made.satellite, made.signer):
        node.stop()


def agent_of(nodes: Nodes, name: str, program: Path) -> Agent:
    agent = nodes.make(Agent, name)
    agent.program = program
    return agent


AFTERWARDS = {
    "ansible": [0],  # daemon --validate
    "puppet": [],
    "director": None,  # it gives up: "a certificate already exists"
    "windows": [0, 0, 0],  # feature list, feature enable, daemon -C
    "setup": [0, 0],
}
"""The exit codes of what a second run still runs."""


def test_every_tool_enrolls_a_node_and_its_second_run_changes_nothing(
    nodes: Nodes, parents: Parents, program: Path
) -> None:
    def enroll(name: str) -> tuple[Agent, Run, Run]:
        agent, tool = agent_of(nodes, name, program), TOOLS[name]
        satellite = parents.satellite
        site = Site(
            parent=satellite,
            parent_zone="satellite",
            address=satellite.address,
            signer=parents.signer,
            zones=parents.zones,
        )
        first = run_tool(tool, agent, site)
        assert agent.is_signed_now, first
        signed = agent.certificate_path.read_bytes()
        second = run_tool(tool, agent, site)
        assert agent.certificate_path.read_bytes() == signed, second
        return agent, first, second

    with ThreadPoolExecutor(len(TOOLS)) as pool:
        ended = list(pool.map(enroll, TOOLS))
    for name, (agent, first, second) in zip(TOOLS, ended, strict=True):
        assert not first.failed, first
        assert first.configured
        assert {ran.code for ran in first.ran} <= {0}, first
        codes = AFTERWARDS[name]
        assert [ran.code for ran in second.ran] == (codes or []), second
        assert second.failed is (codes is None), second
        if name == "setup":
            continue
        # A module that is to come to the Ansible collection reads these lines.
        asked = first.asked
        assert asked is not None
        certs = agent.certs_dir
        for what, file in (
            ("CA certificate", agent.ca_path),
            ("signed certificate", certs / f"{name}.crt"),
        ):
            assert f"information/cli: Writing {what} to file '{file}'" in asked.out
    listed = next(r for r in ended[3][2].ran if "feature list" in r.line).out
    disabled, enabled = as_windows_reads(listed)
    assert "api" in enabled
    assert "checker" in disabled


def as_windows_reads(listed: str) -> tuple[list[str], list[str]]:
    """Take `feature list` apart as Icinga for Windows does, by its two labels."""
    disabled, enabled = listed.split("Enabled features: ")
    disabled = disabled.replace("Disabled features: ", "")
    return disabled.split(), enabled.split()


def test_a_node_that_ansible_leaves_a_ticket_is_signed_by_its_daemon(
    nodes: Nodes, parents: Parents, program: Path
) -> None:
    """The role's `delegate_pki`: nobody is asked but by the daemon."""
    agent = agent_of(nodes, "delegated", program)
    shutil.copy(parents.signer.ca_dir / "ca.crt", agent.ca_path)
    agent.new_certificate()
    ticket = parents.signer.must("pki", "ticket", "--cn", agent.name).strip()
    agent.ticket_path.write_text(ticket)
    satellite = parents.satellite
    agent.configure(parents.zones, dials={satellite.name: satellite.address})
    agent.must("daemon", "--validate")
    agent.start()
    wait_until(lambda: agent.is_signed, what="the daemon to be signed")
    assert agent.stop() == 0
    assert not agent.ticket_path.exists()


def run(agent: Agent, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line as a shell does."""
    return subprocess.run(
        ["sh", "-c", line],
        env=dict(agent.environment()),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


MASTERS = {
    "ansible": ('"', "icinga2"),
    "puppet": ("", '"{program}"'),
}


@pytest.mark.parametrize("quote, icinga2", MASTERS.values(), ids=MASTERS)
def test_a_tool_makes_a_master(
    nodes: Nodes, linked: Path, quote: str, icinga2: str
) -> None:
    """`ca_host: none` of the role, `icinga2::pki::ca` of the module."""
    master = agent_of(nodes, "master", linked)
    icinga2 = icinga2.format(program=linked / "icinga2")

    def quoted(path: object) -> str:
        return f"{quote}{path}{quote}"

    key, csr, cert = (
        quoted(master.certs_dir / f"master.{end}") for end in ("key", "csr", "crt")
    )
    lines = (
        f"{icinga2} pki new-ca",
        f"{icinga2} pki new-cert --cn {quoted('master')} --key {key} --csr {csr}",
        f"{icinga2} pki sign-csr --csr {csr} --cert {cert}",
    )
    for line in lines:
        done = run(master, line)
        assert done.returncode == 0, done.stderr
    shutil.copy(master.ca_dir / "ca.crt", master.ca_path)
    verify = f"icinga2 pki verify --cert {cert} --cacert {master.ca_path} --cn master"
    assert run(master, verify).returncode == 0
    assert run(master, lines[0]).returncode == 1, "the CA that is there stays"


VERSIONS = {
    "puppet's fact": (
        "icinga2 -V|grep -E 'icinga2.+version: (v|r)?'",
        re.compile(r"(\d+\.\d+\.\d+)"),
    ),
    "director's script": (
        r"icinga2 --version | grep -oPi '\(version: [rv]?\K\d+\.\d+\.\d+[^\)]*'",
        re.compile(r"^(\d+\.\d+\.\d+)$"),
    ),
}


@pytest.mark.parametrize("line, form", VERSIONS.values(), ids=VERSIONS)
def test_tools_read_the_version(
    nodes: Nodes, linked: Path, line: str, form: re.Pattern[str]
) -> None:
    done = run(agent_of(nodes, "any", linked), line)
    found = form.search(done.stdout.strip())
    assert found is not None, done.stdout
    assert tuple(map(int, found[1].split("."))) >= (2, 12, 0)


def test_the_program_speaks_of_itself_by_the_name_it_was_called(
    nodes: Nodes, linked: Path
) -> None:
    agent = agent_of(nodes, "any", linked)
    unknown = run(agent, "icinga2 object list")
    assert unknown.returncode == 1
    assert "No such command 'object'" in unknown.stderr
    assert "'icinga2 --help'" in unknown.stderr
    assert run(agent, "icinga2 pki").returncode == 0
    usage = run(agent, "icinga2 pki request --help").stdout
    assert "Usage: icinga2 pki request" in usage
