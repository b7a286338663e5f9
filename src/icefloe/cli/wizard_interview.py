"""The wizard's questions in their order, and what the answers come to.

protocol: the order is that of Icinga's wizard.  Nothing is written here, and nobody is
asked for anything but his certificate.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509

from icefloe.cli.wizard_asking import Asker, Choice
from icefloe.cli.wizard_questions import (
    QUESTIONS,
    Validator,
    address_problem,
    global_zone_problem,
    host_problem,
    name_problem,
    parent_name_problem,
    port_problem,
    ticket_hint,
    zone_problem,
)
from icefloe.cli.wizard_screen import Screen
from icefloe.cluster.zones import Endpoint, ZoneTree
from icefloe.config.host import fully_qualified_name
from icefloe.config.loading import load
from icefloe.config.setup import DEFAULT_GLOBAL_ZONES, DEFAULT_MASTER_ZONE, NodeSetup
from icefloe.enrollment.requester import Parent
from icefloe.errors import IcefloeError
from icefloe.node.acceptance import tidy
from icefloe.node.commands.changes import AgentSetup
from icefloe.node.commands.enrolling import DEFAULT_PORT
from icefloe.node.commands.looking import Look, look_at_all
from icefloe.node.commands.setting import Setting
from icefloe.pki.certificates import common_names, is_ca
from icefloe.storage.keys import KeyType

__all__ = ["Declined", "Interview"]

_PARENTS_MAX: Final = 16
_GLOBAL_ZONES_MAX: Final = 100
"""Nobody has so many; a pipe that says yes for ever ends."""

_HOSTS_FILE: Final = Path("/etc/hosts")
_HOSTS_MAX: Final = 500


class Declined(IcefloeError):
    """The operator said no; nothing was changed."""


@dataclass(slots=True)
class Known:
    """What can be offered for completion: read from this machine, all of it optional."""

    hosts: list[str] = field(default_factory=list)
    endpoints: list[str] = field(default_factory=list)
    zones: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, setting: Setting) -> Known:
        """Read `zones.conf` and the hosts file, as far as they can be read."""
        known = cls()
        with suppress(OSError, UnicodeDecodeError):
            for line in _HOSTS_FILE.read_text().splitlines()[:_HOSTS_MAX]:
                known.hosts += line.partition("#")[0].split()[1:]
        tree: ZoneTree | None = None
        with suppress(IcefloeError):
            directories = setting.directories
            tree = load(directories.config_dir, directories.data_dir).zones
        if tree is not None:
            known.zones = sorted(tree.zones)
            known.endpoints = sorted(tree.endpoints)
            known.hosts += [each.host for each in tree.endpoints.values() if each.host]
        known.hosts = sorted(set(known.hosts))
        return known


class Interview:
    """Asks, and keeps what was answered."""

    def __init__(
        self, asker: Asker, screen: Screen, setting: Setting, *, key_type: KeyType
    ) -> None:
        """Nothing is asked yet."""
        self._asker = asker
        self._screen = screen
        self._setting = setting
        self._key_type = key_type
        self._known = Known.of(setting)

    def run(self) -> AgentSetup | NodeSetup:
        """Ask everything.

        Raises:
            Declined: The parent's certificate is not the right one, or the parent
                cannot be had.
            NoAnswer: An answer is missing.
            KeyboardInterrupt, EOFError: As the operator likes.
        """
        self._screen.heading("This node")
        if self._yes("agent"):
            return self._agent()
        return self._master()

    # --- Agents and satellites ---

    def _agent(self) -> AgentSetup:
        name = self._name()
        self._screen.heading("Its parents")
        parents, asked = self._parents(name)
        pins: tuple[x509.Certificate, ...] = ()
        ticket = ""
        if asked:
            # protocol: the last parent with a host is the one that is asked.
            parent, endpoint = asked[-1]
            parent, leaf = self._confirmed(parent, endpoint)
            parents = [
                Endpoint(each.name, parent.host, str(parent.port))
                if each.name == endpoint
                else each
                for each in parents
            ]
            asked = [(parent, endpoint)]
            pins = (leaf,)
            ticket = self.ticket()
        host, port = self._listening()
        accept_config = self._yes("accept config")
        accept_commands = self._yes("accept commands")
        self._screen.heading("Zones")
        zone = self._text(
            "zone",
            name,
            lambda text: zone_problem(text, taken=DEFAULT_GLOBAL_ZONES),
            completions=self._known.zones,
        )
        parent_zone = self._text(
            "parent zone",
            DEFAULT_MASTER_ZONE,
            lambda text: zone_problem(text, taken=(zone, *DEFAULT_GLOBAL_ZONES)),
            completions=self._known.zones,
        )
        return AgentSetup(
            node=NodeSetup(
                node_name=name,
                zone_name=zone,
                parent_zone=parent_zone,
                parents=tuple(parents),
                global_zones=self._global_zones((zone, parent_zone)),
                bind_host=host,
                bind_port=port,
                accept_config=accept_config,
                accept_commands=accept_commands,
                disable_conf_d=self._yes("conf.d"),
            ),
            parents=tuple(parent for parent, _ in asked),
            pins=pins,
            ticket=ticket,
            key_type=self._key_type,
        )

    def _parents(self, own: str) -> tuple[list[Endpoint], list[tuple[Parent, str]]]:
        """Ask for the endpoints above; also return those that can be asked."""
        parents: list[Endpoint] = []
        asked: list[tuple[Parent, str]] = []
        while len(parents) < _PARENTS_MAX:
            taken = [each.name for each in parents]
            name = self._text(
                "parent",
                None,
                lambda text, taken=taken: parent_name_problem(  # type: ignore[misc]
                    text, own=own, others=taken
                ),
                completions=[each for each in self._known.endpoints if each != own],
            )
            if self._yes("connect"):
                parent = self._where(name)
                parents.append(Endpoint(name, parent.host, str(parent.port)))
                asked.append((parent, name))
            else:
                parents.append(Endpoint(name))
            if not self._yes("more parents"):
                break
        return parents, asked

    def _where(self, name: str) -> Parent:
        host = self._text(
            "host", None, host_problem, completions=[*self._known.hosts, name]
        )
        port = self._text("port", str(DEFAULT_PORT), port_problem)
        return Parent(host, int(port))

    def _confirmed(
        self, parent: Parent, endpoint: str
    ) -> tuple[Parent, x509.Certificate]:
        """Show a parent's certificate until somebody says that it is the right one."""
        self._screen.heading("Trust")
        while True:
            with self._screen.waiting(f"Looking at {parent} ..."):
                (look,) = look_at_all([parent], clock=self._setting.clock)
            if look.leaf is not None and not is_ca(look.leaf):
                break
            parent = self._elsewhere(look, endpoint)
        self._screen.text(f"{parent} shows this certificate:")
        self._screen.certificate(look.leaf)
        name = tidy((common_names(look.leaf) or ("",))[0])
        if name != endpoint:
            self._screen.blank()
            self._screen.alarm(
                f"It bears the name '{name}', and you named the parent '{endpoint}': "
                "the daemon would not talk to it."
            )
        self._screen.why(QUESTIONS["certificate"].why)
        if not self._asker.yes(QUESTIONS["certificate"], strict=True):
            raise Declined(
                f"The certificate of {parent} was not confirmed. Nothing was changed."
            )
        return parent, look.leaf

    def _elsewhere(self, look: Look, endpoint: str) -> Parent:
        """Say why a parent's certificate cannot be had; ask what to do."""
        why = look.problem or "it shows the certificate of a CA"
        self._screen.alarm(f"No certificate from {look.parent}: {why}.")
        if not self._asker.interactive:
            raise Declined(
                f"The certificate of {look.parent} cannot be had. Nothing was changed."
            )
        choices = (
            Choice("a", "look again"),
            Choice("c", "connect to another host or port"),
            Choice("s", "stop; nothing was changed"),
        )
        match self.choice(choices):
            case "a":
                return look.parent
            case "c":
                return self._where(endpoint)
        raise Declined("Stopped. Nothing was changed.")

    def ticket(self) -> str:
        """Ask for the ticket; it does not show on the screen."""
        return self._text("ticket", "", lambda _: "", hint=ticket_hint, secret=True)

    def choice(self, choices: Sequence[Choice], *, default: str = "") -> str:
        """Ask what to do; the default is the first choice, or the one named."""
        ordered = sorted(choices, key=lambda each: each.letter != default)
        for each in ordered:
            self._screen.item(each.letter, each.text, pad=2)
        return self._asker.choose("What now?", ordered)

    # --- Masters ---

    def _master(self) -> NodeSetup:
        name = self._name()
        zone = self._text(
            "master zone",
            DEFAULT_MASTER_ZONE,
            lambda text: zone_problem(text, taken=DEFAULT_GLOBAL_ZONES),
            completions=self._known.zones,
        )
        zones = self._global_zones((zone,))
        host, port = self._listening()
        return NodeSetup(
            node_name=name,
            zone_name=zone,
            global_zones=zones,
            bind_host=host,
            bind_port=port,
            disable_conf_d=self._yes("conf.d"),
        )

    # --- Both ---

    def _name(self) -> str:
        return self._text("name", fully_qualified_name(), name_problem)

    def _listening(self) -> tuple[str | None, int | None]:
        self._screen.heading("Listening")
        host = self._text("bind host", "", address_problem)
        port = self._text("bind port", "", port_problem)
        return host or None, int(port) if port else None

    def _global_zones(self, taken: Sequence[str]) -> tuple[str, ...]:
        zones = list(DEFAULT_GLOBAL_ZONES)
        more = self._yes("global zones")
        while more and len(zones) < _GLOBAL_ZONES_MAX:
            others = (*taken, *zones)
            zones.append(
                self._text(
                    "global zone",
                    None,
                    lambda text, others=others: global_zone_problem(  # type: ignore[misc]
                        text, taken=others
                    ),
                    completions=[
                        each for each in self._known.zones if each not in others
                    ],
                )
            )
            more = self._yes("another global zone")
        return tuple(zones)

    def _yes(self, what: str) -> bool:
        question = QUESTIONS[what]
        self._screen.why(question.why)
        return self._asker.yes(question)

    def _text(
        self,
        what: str,
        default: str | None,
        validate: Validator,
        *,
        completions: Sequence[str] = (),
        hint: Validator | None = None,
        secret: bool = False,
    ) -> str:
        question = QUESTIONS[what]
        self._screen.why(question.why)
        return self._asker.text(
            question,
            default=default,
            validate=validate,
            completions=completions,
            hint=hint,
            secret=secret,
        )
