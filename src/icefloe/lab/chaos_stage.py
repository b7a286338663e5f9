"""The cluster that chaos plays with.

    agents ── downlink ──> sat1 (relay) ── uplink ──> master1 (signer)

The links are fault proxies.  In each of the two seats stands Icefloe, Debian's icinga2
or the habits of one release; all of them on files that Icefloe's own commands made.
"""

from __future__ import annotations

import grp
import os
import pwd
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from icefloe.cluster.zones import Endpoint, Zone
from icefloe.config.loading import load_constants
from icefloe.config.setup import icinga2_text, zones_text
from icefloe.lab.asking import ParentAddress
from icefloe.lab.chaos_keeper import Keeper
from icefloe.lab.errors import LabError
from icefloe.lab.faked_clock import FakedClock
from icefloe.lab.processes import run_command
from icefloe.lab.proxy import FaultProxy
from icefloe.lab.stage import MASTER_ZONE, Actor, environment
from icefloe.node.commands.enrolling import TICKET_VARIABLE
from icefloe.pki.tickets import ticket
from icefloe.pki.trust import TrustAnchor

ICEFLOE: Final = "icefloe"
ICINGA2: Final = "icinga2"
"""What stands in a seat, besides the releases in `icefloe.habits`."""

MARK: Final = "ICEFLOE_CHAOS"
"""In the environment of every process of a run: by it, those left over are found."""

DAEMON_AGENTS_MAX: Final = 200
_NOTE: Final = "Written by 'icefloe lab chaos'."
_SIGNER_PORT: Final = 5665
_RELAY_PORT: Final = 5666
_AGENTS_PORT: Final = 6000
_COMMANDS_PORT: Final = 10_000
_COMMANDS_PORTS: Final = 10_000
_PATHS: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


class NoIcinga2(LabError):
    """There is no icinga2 on this machine."""


@dataclass(slots=True)
class Seat:
    """One of the two nodes that chaos is about.

    Attributes:
        actor: Its files and its port.
        product: What stands there.
        clock: Its clock, if that can be stepped.
        keeper: Keeps its daemon running.
    """

    actor: Actor
    product: str
    clock: FakedClock | None = None
    keeper: Keeper = field(init=False, default=None)  # type: ignore[assignment]

    @property
    def is_icefloe(self) -> bool:
        """Whether it has a ledger, and keeps Icefloe's promises."""
        return self.product == ICEFLOE

    @property
    def log(self) -> Path:
        """What its daemon prints."""
        return self.actor.root / "log"


class ChaosStage:
    """The cluster on disk, and its two links.

    Attributes:
        root: The directory of it all.
        mark: What its processes are marked with, see `MARK`.
        signer: `master1`.
        relay: `sat1`.
        uplink: Between the two.
        downlink: Before the relay.
    """

    def __init__(
        self,
        root: Path,
        *,
        signer: str = ICEFLOE,
        relay: str = ICEFLOE,
        clock_library: Path | None = None,
    ) -> None:
        """Lay it out in an empty directory.

        Args:
            root: The directory.
            signer: What stands in the signer's seat.
            relay: What stands in the relay's.
            clock_library: libfaketime; None leaves the clocks alone.
        """
        self.root = root
        self.mark = secrets.token_hex(8)
        self._host = _own_host()
        self.signer = Seat(self._actor("master1", port=_SIGNER_PORT), signer)
        self.relay = Seat(self._actor("sat1", port=_RELAY_PORT), relay)
        if clock_library is not None:
            for seat in self.seats:
                seat.clock = FakedClock(clock_library, seat.actor.root / "clock")
        here = ParentAddress(host=self._host, port=0)
        self.uplink = FaultProxy(to=self.signer.actor.address, listen=here)
        self.downlink = FaultProxy(to=self.relay.actor.address, listen=here)
        self.salt = ""
        self._number = 0

    @property
    def seats(self) -> tuple[Seat, Seat]:
        """Signer and relay."""
        return self.signer, self.relay

    def environment(self, **further: str) -> dict[str, str]:
        """Return what every process of the run is started with."""
        return environment(**{MARK: self.mark}, **further)

    async def set_up(self) -> None:
        """Make all files; the links listen, the signer must run for the relay's.

        Raises:
            LabError: Something did not work.
        """
        self.uplink.bind()
        self.downlink.bind()
        master = self.signer.actor
        key_type = ("--key-type", "rsa") if not self.signer.is_icefloe else ()
        await self._command(
            master.argv(
                *("node", "setup", "--master", "--cn", master.name),
                *("--zone", MASTER_ZONE, "--listen", master.listens, *key_type),
            ),
            what="icefloe node setup --master",
        )
        self.salt = _salt_of(master)
        self._complete(self.signer)
        self.signer.keeper = self._keeper(self.signer)

    async def set_up_relay(self) -> None:
        """Enroll the relay; the signer runs.

        Raises:
            LabError: Something did not work.
        """
        relay, master = self.relay.actor, self.signer.actor
        above = self.uplink.address
        await self._command(
            relay.argv(
                *("node", "setup", "--cn", relay.name, "--zone", relay.name),
                *("--parent_zone", MASTER_ZONE),
                *("--endpoint", f"{master.name},{above.host},{above.port}"),
                *("--parent_host", f"{above.host},{above.port}"),
                *("--trustedcert", str(master.certificate)),
                *("--listen", relay.listens),
            ),
            what="icefloe node setup",
            **{TICKET_VARIABLE: self.ticket(relay.name)},
        )
        self._complete(self.relay)
        self.relay.keeper = self._keeper(self.relay)

    def ticket(self, name: str) -> str:
        """Return the ticket of a name."""
        return ticket(name, self.salt)

    @property
    def trust(self) -> TrustAnchor:
        """The CA of all."""
        where = self.signer.actor.directories
        return TrustAnchor.from_pem(where.trusted_ca.read_bytes())

    def end(self) -> None:
        """Kill the daemons, if they run, and let nobody in any more."""
        for seat in self.seats:
            if seat.keeper is not None:
                seat.keeper.kill()
        for link in (self.uplink, self.downlink):
            link.refuse()

    # Agents.

    def new_agent(self, kind: str) -> Actor:
        """Make an agent's empty directories."""
        self._number += 1
        port = _COMMANDS_PORT + self._number % _COMMANDS_PORTS
        return self._actor(f"{kind}-{self._number}", port=port)

    def daemon_agent(self, number: int) -> Actor:
        """Make the directories of an agent that the relay knows as an endpoint."""
        return self._actor(_daemon_name(number), port=_AGENTS_PORT + number)

    def set_up_argv(self, agent: Actor, *, wait: float) -> list[str]:
        """Return the command that enrolls an agent through the relay."""
        below = self.downlink.address
        return agent.argv(
            *("node", "setup", "--cn", agent.name, "--zone", agent.name),
            *("--parent_zone", self.relay.actor.name, "--listen", agent.listens),
            *("--endpoint", f"{self.relay.actor.name},{below.host},{below.port}"),
            *("--parent_host", f"{below.host},{below.port}"),
            *("--trustedcert", str(self.relay.actor.certificate)),
            *("--wait", f"{wait:g}"),
        )

    async def prepare_daemon(self, agent: Actor) -> Keeper:
        """Set an agent up whose daemon is to ask for its certificate.

        As on a machine with a prepared image: key, ticket and the CA are there.
        """
        below = self.downlink.address
        agent.directories.certs.mkdir(mode=0o700)
        ca = self.signer.actor.directories.trusted_ca
        shutil.copy(ca, agent.directories.trusted_ca)
        await self._command(
            agent.argv(
                *("node", "setup", "--cn", agent.name, "--zone", agent.name),
                *("--parent_zone", self.relay.actor.name, "--listen", agent.listens),
                *("--endpoint", f"{self.relay.actor.name},{below.host},{below.port}"),
            ),
            what="icefloe node setup, asking nobody",
            **{TICKET_VARIABLE: self.ticket(agent.name)},
        )
        return Keeper(
            agent.name,
            agent.daemon_argv(),
            environment=self.environment(),
            log=agent.root / "log",
        )

    async def prepare_real(self, agent: Actor) -> None:
        """Make the key and the certificate that `icinga2 pki request` begins with."""
        where = agent.directories
        where.certs.mkdir(mode=0o700)
        await self._command(
            agent.argv(
                *("pki", "new-cert", "--cn", agent.name, "--key-type", "rsa"),
                *("--key", str(where.node_key(agent.name))),
                *("--cert", str(where.node_certificate(agent.name))),
            ),
            what="icefloe pki new-cert",
        )

    def real_request_argv(self, agent: Actor, ticket: str) -> list[str]:
        """Return the command that enrolls it.

        Raises:
            NoIcinga2: It is not installed.
        """
        where, below = agent.directories, self.downlink.address
        return [
            *(icinga2_program(), "pki", "request", "--ticket", ticket),
            *("--host", below.host, "--port", str(below.port)),
            *("--key", str(where.node_key(agent.name))),
            *("--cert", str(where.node_certificate(agent.name))),
            *("--trustedcert", str(self.relay.actor.certificate)),
            *("--ca", str(where.trusted_ca)),
        ]

    # Inside.

    def _actor(self, name: str, *, port: int) -> Actor:
        return Actor.on_disk(name, self.root, port=port, host=self._host)

    async def _command(self, argv: Sequence[str], *, what: str, **further: str) -> None:
        await run_command(argv, environment=self.environment(**further), what=what)

    def _complete(self, seat: Seat) -> None:
        """Let a seat know the tree; give icinga2 the files that it needs besides."""
        self._write_zones(seat)
        if seat.product == ICINGA2:
            conf = seat.actor.directories.icinga2_conf
            conf.write_text(icinga2_text(note=_NOTE))

    def _write_zones(self, seat: Seat) -> None:
        master, relay = self.signer.actor, self.relay.actor
        dials = seat is self.relay
        above = self.uplink.address
        endpoints = [
            Endpoint(master.name, above.host, str(above.port))
            if dials
            else Endpoint(master.name),
            Endpoint(relay.name),
        ]
        zones = [
            Zone(MASTER_ZONE, (master.name,)),
            Zone(relay.name, (relay.name,), MASTER_ZONE),
        ]
        for number in range(1, DAEMON_AGENTS_MAX + 1):
            name = _daemon_name(number)
            endpoints.append(Endpoint(name))
            zones.append(Zone(name, (name,), relay.name))
        text = zones_text(endpoints, zones, note=_NOTE)
        seat.actor.directories.zones_conf.write_text(text)

    def _keeper(self, seat: Seat) -> Keeper:
        actor = seat.actor
        if seat.product == ICINGA2:
            argv, further = icinga2_argv(actor), icinga2_environment()
        elif seat.is_icefloe:
            argv, further = actor.daemon_argv(), {}
        else:
            words = ("lab", "peer", seat.product, "--log-format", "json")
            argv, further = actor.argv(*words), {}
        clock = seat.clock.environment if seat.clock is not None else {}
        return Keeper(
            actor.name,
            argv,
            environment=self.environment(**further, **clock),
            log=seat.log,
        )


def icinga2_program() -> str:
    """Return where icinga2 is.

    Raises:
        NoIcinga2: It is not installed.
    """
    program = shutil.which(ICINGA2, path=f"{os.environ.get('PATH', '')}:{_PATHS}")
    if program is None:
        raise NoIcinga2(
            "icinga2 is not installed (Debian: apt-get install icinga2-bin)"
        )
    return program


def icinga2_argv(actor: Actor) -> list[str]:
    """Return the command line of Debian's icinga2 on a node's files.

    Raises:
        NoIcinga2: It is not installed.
    """
    program = icinga2_program()
    where = actor.directories
    constants = {
        "ConfigDir": where.config_dir,
        "ZonesDir": where.zones_d,
        "DataDir": where.data_dir,
        "LogDir": actor.root / "icinga2/log",
        "CacheDir": actor.root / "icinga2/cache",
        "SpoolDir": actor.root / "icinga2/spool",
        "InitRunDir": actor.root / "icinga2/run",
    }
    for directory in constants.values():
        directory.mkdir(parents=True, exist_ok=True)
    definitions = [
        word
        for name, directory in constants.items()
        for word in ("-D", f"Configuration.{name}={directory}")
    ]
    # Behind the sub-command: in front of it 2.13 prints its help and exits with 0.
    return [program, "daemon", *definitions]


def icinga2_environment() -> Mapping[str, str]:
    """Name ourselves as icinga2's user: our directories are for us alone."""
    return {
        "ICINGA2_USER": pwd.getpwuid(os.geteuid()).pw_name,
        "ICINGA2_GROUP": grp.getgrgid(os.getegid()).gr_name,
    }


def _own_host() -> str:
    """Draw an address of loopback that is nobody else's, most probably.

    A daemon that was killed must find its port again: on 127.0.0.1 anybody could have
    it meanwhile, be it for an outgoing connection.
    """
    drawn = secrets.token_bytes(3)
    return f"127.{64 + drawn[0] % 128}.{drawn[1]}.{1 + drawn[2] % 254}"


def _daemon_name(number: int) -> str:
    return f"agent-{number}"


def _salt_of(master: Actor) -> str:
    where = master.directories
    return load_constants(where.config_dir, where.data_dir).ticket_salt
