"""Runs a tool as it runs itself: its conditions, its lines, its end."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256

from tests.peers import Address, IcefloeNode, NodeUnderTest, ZoneSpec
from tests.peers.node import COMMAND_SECONDS
from tests.tools.sequences import Call, Step, Tool

__all__ = ["Agent", "Ran", "Run", "run_tool"]

WAIT_SECONDS = "3"
"""How long `pki request` goes on while it is pending, in place of a minute."""


class Agent(IcefloeNode):
    """The node that a tool sets up; its daemon is started by the tool's `icinga2`."""

    program: Path
    """The directory that is first in the tool's PATH."""

    def argv(self, *words: str) -> list[str]:
        """Return the command line: the directories are in the environment."""
        return [str(self.program / "icinga2"), *words]

    def environment(self) -> Mapping[str, str]:
        """Return the environment in which a tool runs."""
        return {
            **super().environment(),
            "PATH": f"{self.program}:{os.environ['PATH']}",
            "ICEFLOE_CONFIG_DIR": str(self.config_dir),
            "ICEFLOE_DATA_DIR": str(self.data_dir),
            "ICEFLOE_WAIT": WAIT_SECONDS,
        }

    @property
    def is_signed_now(self) -> bool:
        """Whether it has a certificate of a CA; it may have none at all."""
        return self.certificate_path.exists() and self.is_signed


@dataclass(frozen=True, slots=True)
class Ran:
    """A line that was run."""

    line: str
    code: int
    out: str


@dataclass(slots=True)
class Run:
    """One run of a tool.

    Attributes:
        ran: What was run, in order.
        failed: Whether the tool ends with a failure.
        configured: Whether it came to its end: configuration, service.
    """

    ran: list[Ran] = field(default_factory=list)
    failed: bool = False
    configured: bool = False

    @property
    def asked(self) -> Ran | None:
        """The command that asked for the certificate, if one was run."""
        asking = ("pki request", "pki  request", "node setup")
        found = [ran for ran in self.ran if any(each in ran.line for each in asking)]
        return found[-1] if found else None

    def __str__(self) -> str:
        lines = [f"  $ {ran.line}\n    -> {ran.code}\n{ran.out}" for ran in self.ran]
        return "\n".join([f"failed={self.failed}", *lines])


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a tool is told about its surroundings.

    Attributes:
        parent: The node to be asked.
        parent_zone: Its zone.
        address: Where it is asked: its own address, or that of a proxy before it.
        signer: Makes tickets.
        zones: The tree, as the tool's templates write it.
    """

    parent: NodeUnderTest
    parent_zone: str
    address: Address
    signer: NodeUnderTest
    zones: Sequence[ZoneSpec]


def run_tool(tool: Tool, agent: Agent, site: Site, *, right: bool = True) -> Run:
    """Run a tool once.

    Args:
        tool: Which.
        agent: On which node.
        site: Told where to ask.
        right: Whether it has the right ticket, or salt.
    """
    values = _values(agent, site, right=right)
    run = Run()
    if _exist(tool.stops_when, values, each=False):
        run.failed = True
        return run
    if not (tool.skips_when and _exist(tool.skips_when, values)):
        run.failed = not _enroll(tool, run, agent, site, values)
    if run.failed:
        for step in tool.after_failure:
            _run(step, tool, run, agent, values)
        return run
    configured = (agent.config_dir / "zones.conf").read_text()
    if tool.writes_configuration and not configured:
        dials = {site.parent.name: site.parent.address}
        agent.configure(site.zones, dials=dials)
        if any("enable api" in step.line for step in tool.configuration):
            (agent.config_dir / "features-enabled/api.conf").unlink()
    for step in tool.configuration:
        if _run(step, tool, run, agent, values) and not step.ignored:
            run.failed = True
            return run
    run.configured = True
    return run


def _values(agent: Agent, site: Site, *, right: bool) -> dict[str, str]:
    fingerprint = site.parent.certificate.fingerprint(SHA256()).hex(" ").upper()
    return {
        "program": str(agent.program / "icinga2"),
        "certs": str(agent.certs_dir),
        "cn": agent.name,
        "host": site.address.host,
        "port": str(site.address.port),
        "parent": site.parent.name,
        "parent_zone": site.parent_zone,
        "listen": str(agent.address),
        "fingerprint": fingerprint,
        "salt": site.signer.salt if right else "another-salt",
        "ticket": site.signer.ticket_for(agent.name) if right else "0" * 40,
    }


def _exist(
    files: tuple[str, ...], values: Mapping[str, str], *, each: bool = True
) -> bool:
    there = [Path(file.format(**values)).exists() for file in files]
    return all(there) if each else any(there)


def _enroll(
    tool: Tool, run: Run, agent: Agent, site: Site, values: dict[str, str]
) -> bool:
    forced = False
    for step in tool.enrollment:
        if step.unless and not forced and _exist(step.unless, values):
            continue
        if step.on_signer:
            # `delegate_to`: the same line at the signer, with its own program.
            words = shlex.split(step.line.format(**values))[1:]
            values["ticket"] = site.signer.must(*words).strip()
            continue
        forced = forced or step.forces
        if _run(step, tool, run, agent, values):
            return False
    return True


def _run(
    step: Step, tool: Tool, run: Run, agent: Agent, values: Mapping[str, str]
) -> int:
    line = step.line.format(**values)
    argv = (
        shlex.split(line) if tool.call is Call.SYSTEM else [tool.call.value, "-c", line]
    )
    environment = dict(agent.environment())
    if tool.sets_user:
        environment["ICINGA2_USER"] = pwd.getpwuid(os.geteuid()).pw_name
        environment["ICINGA2_GROUP"] = grp.getgrgid(os.getegid()).gr_name
    done = subprocess.run(
        argv,
        env=environment,
        executable=str(agent.program / argv[0]) if tool.call is Call.SYSTEM else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    run.ran.append(Ran(line, done.returncode, done.stdout))
    return done.returncode
