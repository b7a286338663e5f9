"""The states a node may be in, and what to do about each.

One table: `docs/fleet.md`, where their meaning stands, the JSON, `--only` and the
groups of `--repair` are made of these names.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["DAYS_DEFAULT", "Names", "State"]

DAYS_DEFAULT: Final = 30
"""protocol: Icinga renews in a certificate's last 30 days, so a healthy node is seen
with less only for about a day."""


class State(enum.StrEnum):
    """How a node stands, the worst first; stable, for programs and inventory groups."""

    SELF_SIGNED = "self-signed"
    FOREIGN_CA = "foreign-ca"
    REVOKED = "revoked"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    WRONG_NAME = "wrong-name"
    INVALID = "invalid"
    UNREACHABLE = "unreachable"
    EXPIRING = "expiring"
    UNJUDGED = "unjudged"
    OK = "ok"

    @property
    def rank(self) -> int:
        """Zero for the worst."""
        return _RANKS[self]

    @property
    def is_well(self) -> bool:
        """Whether nothing was found that somebody has to mend."""
        return self in {State.OK, State.UNJUDGED}

    @property
    def next_step(self) -> str:
        """What to do about it; "" when nothing is to be done."""
        return _NEXT_STEPS[self]


_RANKS: Final = {state: rank for rank, state in enumerate(State)}

_NEXT_STEPS: Final = {
    State.SELF_SIGNED: (
        "enroll it: 'icefloe node setup' there keeps its key and asks until it is "
        "signed; what its parent waits for tells 'icefloe enrollment explain NAME', or "
        "'icinga2 ca list'"
    ),
    State.FOREIGN_CA: (
        "find out which cluster it belongs to before you change it; if it is this one, "
        "enroll it anew with this CA's certificate pinned"
    ),
    State.REVOKED: "it was shut out on purpose: ask who did it before you mend it",
    State.EXPIRED: (
        "enroll it anew: what has expired is not renewed by itself; look why renewal "
        "failed (rights of its certs directory, its clock, its parent)"
    ),
    State.NOT_YET_VALID: "compare the clocks of this machine, the node and the signer",
    State.WRONG_NAME: (
        "if you asked by an alias, give NAME=HOST; else the host was cloned or renamed: "
        "set it up under its name"
    ),
    State.INVALID: (
        "look at it with 'icefloe pki save-cert --host HOST --trustedcert FILE', then "
        "set it up anew"
    ),
    State.UNREACHABLE: (
        "look whether its daemon runs and listens, and for firewalls; an agent that "
        "only dials its parent need not be reachable"
    ),
    State.EXPIRING: (
        "look why it was not renewed: is it connected to its parent, may its daemon "
        "write its certs directory?"
    ),
    State.UNJUDGED: "give the cluster's ca.crt with --ca",
    State.OK: "",
}


class Names(enum.StrEnum):
    """How the name in a certificate is compared with the one asked for."""

    EXACT = "exact"
    """protocol: Icinga compares byte for byte."""
    SHORT = "short"
    """Up to the first dot, whatever the case: for lists of short names."""
    ANY = "any"
    """Not at all."""
