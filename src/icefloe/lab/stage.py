"""The small cluster of the demo: its nodes, their directories, their commands.

    master1 ── sat1 ── agent1          Icefloe, three daemons
       ├────── sat-2.14.3              the habits of that release
       ├────── sat-2.14.4
       └────── sat-2.14.5

Everything is done by the commands that an operator would type.  Only the zone trees
that the master and `sat1` have to know are written here, as operators do by hand.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from icefloe.cluster.zones import Endpoint, Zone
from icefloe.config.host import GROUP_VARIABLE, USER_VARIABLE
from icefloe.config.layout import (
    CONFIG_DIR_VARIABLE,
    DATA_DIR_VARIABLE,
    NodeDirectories,
)
from icefloe.config.loading import load_constants
from icefloe.config.setup import zones_text
from icefloe.lab.asking import ParentAddress
from icefloe.lab.processes import LoggingDaemon, run_command
from icefloe.node.commands.enrolling import TICKET_VARIABLE
from icefloe.pki.tickets import ticket
from icefloe.storage.files import write_file

HOST: Final = "127.0.0.1"
SALT_FILE: Final = "ticket-salt"
"""For storms at a cluster that is kept; beside the nodes' directories, mode 0600."""

MASTER_ZONE: Final = "master"
SECRET_FILE_MODE: Final = 0o600
_NOTE: Final = "Written by 'icefloe demo'."
_UNWANTED: Final = frozenset(
    {
        CONFIG_DIR_VARIABLE,
        DATA_DIR_VARIABLE,
        USER_VARIABLE,
        GROUP_VARIABLE,
        TICKET_VARIABLE,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """One node.

    Attributes:
        name: Of the node and of its zone, but for the master's zone.
        root: Where its files are.
        port: Where it listens.
        habits: The release whose habits it has; None for Icefloe's own.
        host: The address of loopback where it listens.
    """

    name: str
    root: Path
    port: int
    habits: str | None = None
    host: str = HOST

    @classmethod
    def on_disk(
        cls,
        name: str,
        root: Path,
        *,
        port: int,
        habits: str | None = None,
        host: str = HOST,
    ) -> Actor:
        """Make its empty directories below `root`.

        The owner of a data directory is who the node's files will belong to.
        """
        made = cls(name=name, root=root / name, port=port, habits=habits, host=host)
        made.directories.data_dir.mkdir(parents=True)
        made.directories.config_dir.mkdir()
        return made

    @property
    def directories(self) -> NodeDirectories:
        """Its two directories, in Icinga's layout."""
        return NodeDirectories(
            config_dir=self.root / "etc", data_dir=self.root / "data"
        )

    @property
    def address(self) -> ParentAddress:
        """Where it is asked."""
        return ParentAddress(host=self.host, port=self.port)

    @property
    def listens(self) -> str:
        """The same, as options take it."""
        return f"{self.host},{self.port}"

    @property
    def certificate(self) -> Path:
        """Its certificate file, which others pin."""
        return self.directories.node_certificate(self.name)

    def argv(self, *words: str) -> list[str]:
        """Return a command line for this node."""
        return [
            *program(),
            *("--config-dir", str(self.directories.config_dir)),
            *("--data-dir", str(self.directories.data_dir)),
            *words,
        ]

    def daemon_argv(self) -> list[str]:
        """Return the command line that runs it."""
        if self.habits is not None:
            return self.argv("lab", "peer", self.habits, "--log-format", "json")
        return self.argv("daemon", "--log-format", "json")


def program() -> list[str]:
    """Return how this very Icefloe is run, whatever the path and the directory."""
    return [sys.executable, "-P", "-m", "icefloe"]


def environment(**further: str) -> dict[str, str]:
    """Return ours, without what would move directories, change owners or colour lines.

    The files belong to whoever runs the demo: a daemon user of a package could not
    enter the temporary directory.
    """
    kept = {name: text for name, text in os.environ.items() if name not in _UNWANTED}
    return {**kept, "NO_COLOR": "1", **further}


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody has at this moment."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


@dataclass(slots=True)
class Stage:
    """All nodes of the demo.

    Attributes:
        master: The signer.
        satellite: Icefloe's.
        habitual: Satellites with the habits of other releases.
        agent: The node that is enrolled through `satellite`.
        started: The nodes whose daemons have been started, in that order.
        daemons: Their daemons; whoever made the stage ends them.
    """

    master: Actor
    satellite: Actor
    habitual: tuple[Actor, ...]
    agent: Actor
    started: list[Actor] = field(default_factory=list)
    daemons: list[LoggingDaemon] = field(default_factory=list)

    @classmethod
    def in_directory(cls, root: Path, releases: Sequence[str]) -> Stage:
        """Lay it out in an empty directory; nothing runs yet."""
        ports = iter(free_ports(3 + len(releases)))

        def actor(name: str, habits: str | None = None) -> Actor:
            return Actor.on_disk(name, root, port=next(ports), habits=habits)

        return cls(
            master=actor("master1"),
            satellite=actor("sat1"),
            habitual=tuple(actor(f"sat-{each}", each) for each in releases),
            agent=actor("agent1"),
        )

    @property
    def satellites(self) -> tuple[Actor, ...]:
        """All satellites, Icefloe's last."""
        return (*self.habitual, self.satellite)

    @property
    def salt(self) -> str:
        """The ticket salt that setting up the master has made."""
        where = self.master.directories
        return load_constants(where.config_dir, where.data_dir).ticket_salt

    async def start_master(self) -> None:
        """Set the master up, tell it of all satellites, and start it."""
        master = self.master
        await run_command(
            master.argv(
                *("node", "setup", "--master", "--cn", master.name),
                *("--zone", MASTER_ZONE, "--listen", master.listens),
            ),
            environment=environment(),
            what="icefloe node setup --master",
        )
        self._write_zones(master, below=(*self.satellites, self.agent))
        write_file(
            master.root.parent / SALT_FILE, self.salt.encode(), mode=SECRET_FILE_MODE
        )
        daemon = self._start(master)
        await daemon.wait_for(event="ready")

    async def start_satellite(self, satellite: Actor) -> None:
        """Set a satellite up below the master, start it, wait for the connection."""
        await self.set_up(satellite, self.master, parent_zone=MASTER_ZONE)
        if satellite is self.satellite:
            self._write_zones(satellite, below=(self.agent,))
        self._start(satellite)
        master = self.daemons[0]
        await master.wait_for(event="connected", peer=satellite.name)

    async def start_agent(self) -> None:
        """Start the agent, which is set up; wait until `sat1` knows it as a member."""
        self._start(self.agent)
        above = next(d for d in self.daemons if d.what == self.satellite.name)
        await above.wait_for(event="connected", peer=self.agent.name, standing="member")

    async def set_up(
        self, node: Actor, parent: Actor, *, parent_zone: str
    ) -> dict[str, Any]:
        """Set a node up with `icefloe node setup` and its ticket.

        Returns:
            What the command tells of the enrollment (its `--json`).
        """
        out = await run_command(
            node.argv(
                *("node", "setup", "--json", "--cn", node.name, "--zone", node.name),
                *("--parent_zone", parent_zone),
                *("--endpoint", f"{parent.name},{parent.listens}"),
                *("--parent_host", parent.listens),
                *("--trustedcert", str(parent.certificate)),
                *("--listen", node.listens),
            ),
            environment=environment(**{TICKET_VARIABLE: ticket(node.name, self.salt)}),
            what=f"icefloe node setup --cn {node.name}",
        )
        return msgspec.json.decode(out, type=dict[str, Any])

    def _start(self, actor: Actor) -> LoggingDaemon:
        daemon = LoggingDaemon(
            actor.daemon_argv(),
            environment=environment(),
            what=actor.name,
            log=actor.root / "log",
        )
        self.started.append(actor)
        self.daemons.append(daemon)
        return daemon

    def _write_zones(self, actor: Actor, *, below: Sequence[Actor]) -> None:
        """Let a node know the tree, as far as it concerns it."""
        parents = {each.name: MASTER_ZONE for each in self.satellites}
        parents[self.agent.name] = self.satellite.name
        dials = actor is not self.master
        endpoints = [
            Endpoint(self.master.name, HOST if dials else None, str(self.master.port))
        ]
        zones = [Zone(MASTER_ZONE, (self.master.name,))]
        known = [*([actor] if dials else []), *below]
        endpoints += [Endpoint(each.name) for each in known]
        zones += [Zone(each.name, (each.name,), parents[each.name]) for each in known]
        text = zones_text(endpoints, zones, note=_NOTE)
        actor.directories.zones_conf.write_text(text)
