"""What the answers of `node setup` ask for, checked as a whole.

Names, hosts, ports, zones, certificates and the ticket's file are all looked at, and
every problem is told with where its answer came from.  Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509

from icefloe.cluster.zones import Endpoint
from icefloe.config.setup import (
    DEFAULT_GLOBAL_ZONES,
    DEFAULT_MASTER_ZONE,
    NodeSetup,
    problems_of_setup,
)
from icefloe.enrollment.requester import Parent
from icefloe.errors import IcefloeError
from icefloe.node.commands.answer_file import is_open_to_all
from icefloe.node.commands.answers import Answers, AnswersInvalid
from icefloe.node.commands.changes import AgentSetup
from icefloe.node.commands.enrolling import (
    DEFAULT_PORT,
    choose_ticket,
    load_pins,
    parse_parent,
    pins_of_text,
)
from icefloe.node.commands.questions import QUESTIONS
from icefloe.pki.certificates import is_ca, load_pem_all
from icefloe.storage.files import read_file
from icefloe.storage.keys import KeyType

__all__ = [
    "WAIT_SECONDS",
    "AnswerInvalid",
    "Asked",
    "read_endpoint",
    "read_listen",
    "wanted_of",
]

WAIT_SECONDS: Final = 120.0

_PORT_MAX: Final = 65535
_PORT_DIGITS_MAX: Final = 5
_BEGIN: Final = "-----BEGIN"


class AnswerInvalid(IcefloeError):
    """One answer has another form than it has to have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a run of `node setup` is asked for.

    Attributes:
        agent: What an agent or a satellite is to become; None for a master.
        master: What a master is to become; None for the others.
        key_type: For a new key, or a new CA.
        rotate_key: Whether a master gets a new key; an agent's wish has its own.
        warnings: What somebody should know.
    """

    agent: AgentSetup | None
    master: NodeSetup | None
    key_type: KeyType
    rotate_key: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def node_name(self) -> str:
        """The node's name."""
        node = self.master if self.agent is None else self.agent.node
        assert node is not None
        return node.node_name

    @property
    def wanted(self) -> AgentSetup | NodeSetup:
        """What `planned_changes` and `preflight` take."""
        wanted = self.master if self.agent is None else self.agent
        assert wanted is not None
        return wanted


def wanted_of(
    answers: Answers,
    problems: tuple[str, ...],
    *,
    default_name: Callable[[], str],
    rotate_key: bool = False,
    verify: bool = False,
) -> Asked:
    """Return what the answers ask for.

    Args:
        answers: Them.
        problems: What is known to be wrong already; told with the rest.
        default_name: The machine's full name; asked for when there is no `cn`.
        rotate_key: See `AgentSetup`.
        verify: See `AgentSetup`.

    Raises:
        AnswersInvalid: With every problem.
    """
    reading = _Reading(answers, [*problems])
    master = answers.flag("master")
    node = reading.node(master=master, default_name=default_name)
    key_type = reading.key_type()
    if master:
        reading.finish()
        assert node is not None
        return Asked(
            agent=None,
            master=node,
            key_type=key_type,
            rotate_key=rotate_key,
            warnings=tuple(_meaningless(answers, verify=verify)),
        )
    parents = tuple(reading.parents())
    pins, ca_pem = reading.pins(), reading.ca_pem()
    ticket, wait = reading.ticket(), reading.wait()
    reading.finish()
    assert node is not None
    agent = AgentSetup(
        node=node,
        parents=parents,
        pins=pins,
        ticket=ticket,
        wait=wait,
        key_type=key_type,
        ca_pem=ca_pem,
        rotate_key=rotate_key,
        verify=verify,
    )
    return Asked(
        agent=agent, master=None, key_type=key_type, warnings=tuple(reading.warnings)
    )


def read_endpoint(text: str) -> Endpoint:
    """Read `cn[,host[,port]]`.

    Raises:
        AnswerInvalid: It has another form.
    """
    name, *rest = (part.strip() for part in text.split(","))
    host = rest[0] if rest else ""
    port = rest[1] if len(rest) > 1 else ""
    if not name or len(rest) > 2 or (port and not _is_port(port)):
        raise AnswerInvalid(f"'{text}' is not of the form CN[,HOST[,PORT]]")
    return Endpoint(name, host or None, port or str(DEFAULT_PORT))


def read_listen(text: str) -> tuple[str | None, int | None]:
    """Read `host[,port]`; None for what is left out.

    Raises:
        AnswerInvalid: It has another form.
    """
    host, _, port = (part.strip() for part in text.partition(","))
    if port and not _is_port(port):
        raise AnswerInvalid(f"'{text}' is not of the form HOST[,PORT]")
    return host or None, int(port) if port else None


# --- Parts ----------------------------------------------------------------------------


@dataclass(slots=True)
class _Reading:
    """Reads one answer after the other, and collects what is wrong."""

    answers: Answers
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def finish(self) -> None:
        if self.problems:
            raise AnswersInvalid(tuple(dict.fromkeys(self.problems)))

    def node(
        self, *, master: bool, default_name: Callable[[], str]
    ) -> NodeSetup | None:
        answers = self.answers
        parents = () if master else tuple(self._endpoints())
        if not master and not answers.texts("endpoint"):
            self.problems.append(
                "a parent is needed: --endpoint CN[,HOST[,PORT]], or --master for a "
                "node without one"
            )
        zone = answers.text("zone") or (DEFAULT_MASTER_ZONE if master else "")
        if not zone:
            self.problems.append("the node's own zone is needed: --zone NAME")
        host: str | None = None
        port: int | None = None
        with self._noting("listen"):
            host, port = read_listen(answers.text("listen") or "")
        endpoints = answers.texts("icefloe_endpoint")
        node = NodeSetup(
            node_name=answers.text("cn") or default_name(),
            zone_name=zone or "-",
            parent_zone=None
            if master
            else answers.text("parent_zone") or DEFAULT_MASTER_ZONE,
            parents=parents,
            global_zones=self._global_zones(),
            bind_host=host,
            bind_port=port,
            accept_config=answers.flag("accept_config"),
            accept_commands=answers.flag("accept_commands"),
            icefloe_endpoints=endpoints or None,
            disable_conf_d=answers.flag("disable_confd"),
        )
        self.problems += problems_of_setup(node)
        return node

    def parents(self) -> Iterator[Parent]:
        for text in self.answers.texts("parent_host"):
            with self._noting("parent_host"):
                yield parse_parent(text)

    def pins(self) -> tuple[x509.Certificate, ...]:
        found: list[x509.Certificate] = []
        for text in self.answers.texts("trustedcert"):
            with self._noting("trustedcert"):
                if _BEGIN in text:
                    source = self.answers.source("trustedcert")
                    found += pins_of_text(text, source=source)
                else:
                    found += load_pins([Path(text)])
        return tuple(found)

    def ca_pem(self) -> bytes | None:
        texts = self.answers.texts("cacert")
        if not texts:
            return None
        with self._noting("cacert"):
            content = texts[0].encode()
            if _BEGIN not in texts[0]:
                content = read_file(Path(texts[0]))
            if len(texts) > 1:
                raise AnswerInvalid("there is one CA; give one certificate")
            if not all(map(is_ca, load_pem_all(content))):
                raise AnswerInvalid("this is not the certificate of a CA")
            return content
        return None

    def ticket(self) -> str:
        answers = self.answers
        file = answers.text("ticket_file")
        if file is None:
            return (answers.text("ticket") or "").strip()
        with self._noting("ticket_file"):
            ticket = choose_ticket(None, Path(file), None)
            if file != "-" and is_open_to_all(Path(file)):
                self.warnings.append(
                    f"{answers.source('ticket_file')}: everybody can read the ticket in "
                    f"'{file}': chmod 0600 '{file}'"
                )
            return ticket
        return ""

    def wait(self) -> float:
        wait = self.answers.number("wait")
        if wait is None:
            return WAIT_SECONDS
        if not wait >= 0:
            source = self.answers.source("wait")
            self.problems.append(f"{source}: it has to be 0 or more seconds")
            return 0.0
        return wait

    def key_type(self) -> KeyType:
        text = self.answers.text("key_type")
        if text is None:
            return KeyType.EC
        with self._noting("key_type"):
            if text.lower() not in set(KeyType):
                known = " or ".join(KeyType)
                raise AnswerInvalid(f"there is no type '{text}': it is {known}")
            return KeyType(text.lower())
        return KeyType.EC

    def _endpoints(self) -> Iterator[Endpoint]:
        for text in self.answers.texts("endpoint"):
            with self._noting("endpoint"):
                yield read_endpoint(text)

    def _global_zones(self) -> tuple[str, ...]:
        answers = self.answers
        without = answers.flag("no_default_global_zones")
        defaults = () if without else DEFAULT_GLOBAL_ZONES
        names = answers.texts("global_zones")
        with self._noting("global_zones"):
            for name in names:
                if name in defaults:
                    raise AnswerInvalid(
                        f"the global zone '{name}' is there by default; leave it out"
                    )
            if len(set(names)) < len(names):
                raise AnswerInvalid("it names a zone twice")
            return (*defaults, *names)
        return defaults

    def _noting(self, name: str) -> _Noting:
        return _Noting(self.problems, self.answers.source(name))


@dataclass(frozen=True, slots=True)
class _Noting:
    """Notes what is wrong with the answer to a question, and goes on."""

    problems: list[str]
    source: str

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: object, _traceback: object) -> bool:
        if isinstance(error, IcefloeError):
            self.problems.append(f"{self.source}: {error.public}")
            return True
        if isinstance(error, ValueError):  # a path with a NUL, a text that is no UTF-8
            self.problems.append(f"{self.source}: it holds characters that are no use")
            return True
        return False


def _meaningless(answers: Answers, *, verify: bool) -> Iterator[str]:
    """Warn about answers that mean nothing for a master (protocol: as Icinga)."""
    for name, question in QUESTIONS.items():
        if not question.for_master and name in answers.given:
            yield f"{answers.source(name)} means nothing for a master and is ignored."
    if verify:
        yield "--verify means nothing for a master and is ignored."


def _is_port(text: str) -> bool:
    digits = text.isascii() and text.isdigit() and len(text) <= _PORT_DIGITS_MAX
    return digits and 1 <= int(text) <= _PORT_MAX
