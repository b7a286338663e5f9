"""What was seen of a node: its certificate and what it said of itself, or why nothing.

Everything in a sighting comes from the other end and is unverified.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, TypeAlias

from icefloe.node.fleet.targets import Target

__all__ = ["Cause", "Greeting", "Look", "Presented", "Sighting", "Unreached"]


class Cause(enum.StrEnum):
    """Why nothing was seen; stable, for programs."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    NOT_RESOLVED = "not-resolved"
    TLS_FAILED = "tls-failed"
    NETWORK = "network"
    """Anything else that the network says: no route, reset, network down."""

    @property
    def words(self) -> str:
        """What it means, for people."""
        return _WORDS[self]


_WORDS: Final = {
    Cause.REFUSED: "nothing listens on that port",
    Cause.TIMEOUT: "no answer in time: it is down, or a firewall drops what is sent",
    Cause.NOT_RESOLVED: "the name has no address",
    Cause.TLS_FAILED: "something answers there, but TLS does not come about",
    Cause.NETWORK: "the network does not lead there",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What a node's `icinga::Hello` says.

    Attributes:
        version: 10000 major + 100 minor + patch; None when it names none (protocol:
            Icinga 2.12 and older say Hello without it).
        icefloe: Version of an Icefloe node, "" when it names none; None for others.
    """

    version: int | None
    icefloe: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """A node showed a certificate.

    Attributes:
        leaf: Its certificate, DER; None when TLS came about without one.
        chain: What it sent along, DER, the first few.
        greeting: Its Hello; None when it said none, or was not spoken to.
        no_greeting: Why there is none, though it was waited for; "" otherwise.
    """

    leaf: bytes | None
    chain: tuple[bytes, ...] = ()
    greeting: Greeting | None = None
    no_greeting: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreached:
    """Nobody showed anything.

    Attributes:
        cause: Why, for programs.
        detail: What the system, OpenSSL or the deadline said.
    """

    cause: Cause
    detail: str


Sighting: TypeAlias = Presented | Unreached


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of one target."""

    target: Target
    sighting: Sighting
