"""What `node wizard` asks: the words, the reason for each question, and what it takes.

protocol: the questions, their order and their defaults are those of Icinga's
`node wizard` (checked by running it), so that whoever knows that one is at home, and
scripts that feed it answers through a pipe go on working.  The words are ours, and each
question says in one line why it is asked.

Validators return what is wrong with an answer, "" for a good one.  They run at each
key that is pressed, so they look at nothing but their arguments.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from icefloe.config.setup import DEFAULT_GLOBAL_ZONES
from icefloe.pki.canaries import check_node_name
from icefloe.pki.errors import CommonNameInvalid

__all__ = [
    "QUESTIONS",
    "Question",
    "Validator",
    "address_problem",
    "global_zone_problem",
    "host_problem",
    "name_problem",
    "parent_name_problem",
    "port_problem",
    "ticket_hint",
    "yes_or_no",
    "zone_problem",
]

Validator: TypeAlias = Callable[[str], str]

_PORT_MAX: Final = 65535
_HOST_CHARACTERS_MAX: Final = 253
_ZONE_CHARACTERS_MAX: Final = 255
_ICINGA_TICKET: Final = 40
"""protocol: a ticket is a PBKDF2-SHA1 digest in hex."""

_HOST: Final = re.compile(r"[A-Za-z0-9_:%.-]+")
_HEX: Final = re.compile(r"[0-9a-fA-F]*")


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        text: What is asked, without default and colon.
        why: One line: what the answer is for.
        default: What an empty answer means; None: it depends, or there is none.
    """

    text: str
    why: str
    default: str | bool | None = None


QUESTIONS: Final = {
    "agent": Question(
        "Is this an agent or a satellite? (n: a master)",
        "Agents and satellites get a certificate through a parent; a master signs.",
        default=True,
    ),
    "name": Question(
        "Common name",
        "What the cluster calls this node; its certificate bears this name.",
    ),
    "parent": Question(
        "Parent's common name",
        "The name in the parent's certificate: the node above this one.",
    ),
    "connect": Question(
        "Does this node connect to the parent?",
        "One of the two opens the connection. No: the parent connects to this node.",
        default=True,
    ),
    "host": Question(
        "Parent's host",
        "Its name in the DNS or its address: where this node connects to.",
    ),
    "port": Question(
        "Parent's port",
        "Where the parent listens; 5665 unless somebody has changed it.",
        default="5665",
    ),
    "more parents": Question(
        "Is there another parent?",
        "With two in the parent zone, this node stays connected when one is down.",
        default=False,
    ),
    "certificate": Question(
        "Is this the certificate of the parent?",
        "Who shows it is told the ticket. See on the parent: pki verify --cert FILE",
        default=False,
    ),
    "ticket": Question(
        "Ticket (empty: somebody approves)",
        "It lets the signer sign at once. There: icefloe pki ticket --cn NAME",
        default="",
    ),
    "bind host": Question(
        "Address to listen on (empty: all)",
        "The daemon listens for other nodes; one address narrows that down.",
        default="",
    ),
    "bind port": Question(
        "Port to listen on (empty: 5665)",
        "Parents that connect to this node have to know it.",
        default="",
    ),
    "accept config": Question(
        "Accept configuration from the parent?",
        "Yes lets the parent say what is checked here.",
        default=False,
    ),
    "accept commands": Question(
        "Accept commands from the parent?",
        "Yes lets the parent run check commands on this machine.",
        default=False,
    ),
    "zone": Question(
        "This node's zone",
        "An agent is a zone of its own; the nodes of a satellite zone share its name.",
    ),
    "parent zone": Question(
        "The parent's zone",
        "The zone above this one, as the parent's own zones.conf has it.",
        default="master",
    ),
    "global zones": Question(
        "Are there more global zones?",
        "global-templates and director-global are always there; name others here.",
        default=False,
    ),
    "global zone": Question(
        "Name of the global zone",
        "As the master's zones.conf has it.",
    ),
    "another global zone": Question(
        "Is there another one?",
        "Until all of them are named.",
        default=False,
    ),
    "conf.d": Question(
        "Leave conf.d out?",
        "It holds the package's example hosts, which are not for a cluster's node.",
        default=True,
    ),
    "master zone": Question(
        "The master's zone",
        "The zone at the top; all others lie below it.",
        default="master",
    ),
    "go": Question(
        "Set the node up like this?",
        "Nothing has been changed so far. No ends the wizard.",
        default=True,
    ),
}
"""By what they are for."""


# --- Validators -----------------------------------------------------------------------


def name_problem(text: str) -> str:
    """Say what is wrong with a node's name."""
    try:
        check_node_name(text)
    except CommonNameInvalid as error:
        return f"{error.problem}; {error.advice}"
    return ""


def parent_name_problem(text: str, *, own: str, others: Iterable[str]) -> str:
    """Say what is wrong with a parent's name."""
    if text == own:
        return "that is this node itself; the parent has another name"
    if text in others:
        return "that parent was named already"
    return name_problem(text)


def host_problem(text: str) -> str:
    """Say what is wrong with a host to connect to; the DNS is not asked."""
    if not text:
        return "a name or an address is needed"
    if len(text) > _HOST_CHARACTERS_MAX:
        return f"longer than the {_HOST_CHARACTERS_MAX} characters a host name may have"
    if not _HOST.fullmatch(text):
        bad = next(each for each in text if not _HOST.fullmatch(each))
        return f"{_shown(bad)} cannot be in a host name or an address"
    if _looks_like_address(text) and not _is_address(text):
        return "that is no address: four numbers up to 255, or an IPv6 address"
    return ""


def address_problem(text: str) -> str:
    """Say what is wrong with an address to listen on; empty is all of them."""
    return host_problem(text) if text else ""


def port_problem(text: str) -> str:
    """Say what is wrong with a port; empty is the default."""
    if not text:
        return ""
    if not text.isascii() or not text.isdigit():
        return "a port is a number"
    if len(text) > len(str(_PORT_MAX)) or not 1 <= int(text) <= _PORT_MAX:
        return f"a port is a number from 1 to {_PORT_MAX}"
    return ""


def zone_problem(text: str, *, taken: Sequence[str] = ()) -> str:
    """Say what is wrong with a zone's name.

    Args:
        text: The name.
        taken: Zones that this one must not be.
    """
    if not text:
        return "a zone has a name"
    if "!" in text:
        return "Icinga takes no '!' in a name"
    if not text.isprintable():
        return "there is a character in it that cannot be printed"
    if len(text) > _ZONE_CHARACTERS_MAX:
        return f"longer than {_ZONE_CHARACTERS_MAX} characters"
    if text != text.strip():
        return "it begins or ends with a blank"
    if text in taken:
        return f"the zone '{text}' is another one"
    return ""


def global_zone_problem(text: str, *, taken: Sequence[str]) -> str:
    """Say what is wrong with a further global zone's name."""
    if text in DEFAULT_GLOBAL_ZONES:
        return f"'{text}' is there by default"
    return zone_problem(text, taken=taken)


def ticket_hint(text: str) -> str:
    """Say what is odd about a ticket; it is taken all the same.

    Only its form can be seen here: whether it is the right one, the signer says.
    """
    if not text or len(text) == _ICINGA_TICKET:
        return ""
    if _HEX.fullmatch(text):
        return f"{len(text)} characters; a ticket of 'pki ticket' has {_ICINGA_TICKET}"
    return ""


def yes_or_no(text: str) -> bool | None:
    """Read yes or no; None for anything else."""
    return {"y": True, "yes": True, "n": False, "no": False}.get(text.strip().lower())


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _looks_like_address(text: str) -> bool:
    """Say whether this can only be meant for an address."""
    return ":" in text or text.rsplit(".", maxsplit=1)[-1].isdigit()


def _shown(character: str) -> str:
    return "a blank" if character == " " else f"'{character}'"
