"""What the histories reached, and what none of them did.

A promise that is kept where nothing happens says little.  So every history counts the
faults that struck, the states and transitions that stood in a ledger, the events and
commands of the core, the reasons that were told, and how each requester ended; and the
summary of many histories names what was never reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, get_args

from icefloe.enrollment.commands import Command
from icefloe.enrollment.events import Event
from icefloe.enrollment.model import (
    TRANSITIONS,
    AttemptState,
    DecisionKind,
    RequestState,
)
from icefloe.enrollment.reasons import HopDid, Reason
from icefloe.simulation import cast, exercised, faults
from icefloe.simulation.reached import attempted, decided, hopped, moved, played, struck

AREAS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "requester": "requesters",
        "ended": "ended",
        "came": "asks brought",
        "fault": "faults",
        "seat": "seats",
        "cluster": "clusters",
        "rude": "rude parents",
        "rude-child": "rude children",
        "exempt": "exemptions",
        "signer": "at signers",
        "relay": "at relays",
        "attempt": "attempts",
        "decision": "decisions",
        "hop": "hops",
        "reason": "reasons",
        "event": "events",
        "command": "commands",
    }
)
"""What stands before the dot in a name, and the words for it."""

_RELAYS: Final = frozenset({RequestState.FORWARDED, RequestState.ANSWERED})
_SIGNERS: Final = frozenset(
    {
        RequestState.AWAITING_APPROVAL,
        RequestState.DECIDED,
        RequestState.INTENDED,
        RequestState.ISSUED,
    }
)


def _transitions() -> Iterable[str]:
    """Return every step that the table allows, by the role that may make it."""
    for old, following in TRANSITIONS.items():
        for new in following:
            for signs in (False, True):
                if _may_make(old, new, signs=signs):
                    yield moved(signs=signs, old=old, new=new)
    for signs in (False, True):
        yield moved(signs=signs, old=None, new=RequestState.RECEIVED)


def _may_make(old: RequestState, new: RequestState, *, signs: bool) -> bool:
    """Whether a role makes a step; only what it is to become says whose step it is.

    `FORWARDED -> DECIDED` is a signer's: it was a relay until it was given the CA key.
    """
    if new in _RELAYS:
        return not signs
    if new in _SIGNERS:
        return signs
    if old in _RELAYS:
        return not signs
    return signs or old not in _SIGNERS


def _every_name() -> Iterable[str]:
    yield from (struck(kind) for kind in faults.FAULT_KINDS)
    yield from _transitions()
    yield from (attempted(state) for state in AttemptState)
    yield from (decided(kind) for kind in DecisionKind)
    yield from (hopped(did.value) for did in HopDid)
    yield from (f"event.{one.__name__}" for one in get_args(Event))
    yield from (f"command.{one.__name__}" for one in get_args(Command))
    yield from (f"reason.{reason.value}" for reason in Reason)
    yield from (played(kind) for kind in dict.fromkeys(cast.KINDS))
    yield from exercised.NAMES


_NEW_ROLE: Final = "no node is given, loses or changes a CA key here"
_NOT_YET: Final = "nothing makes such a decision yet"

UNREACHABLE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "decision.token": _NOT_YET,
        "signer.forwarded -> awaiting-approval": _NEW_ROLE,
        "signer.forwarded -> decided": _NEW_ROLE,
        "signer.intended -> decided": _NEW_ROLE,
        "relay.awaiting-approval -> forwarded": _NEW_ROLE,
        "relay.awaiting-approval -> answered": _NEW_ROLE,
        "relay.decided -> forwarded": _NEW_ROLE,
        "relay.decided -> answered": _NEW_ROLE,
        "relay.intended -> forwarded": _NEW_ROLE,
        "relay.intended -> answered": _NEW_ROLE,
        "signer.decided -> awaiting-approval": "the command refuses such an approval",
    }
)
"""What no history can reach, and why; kept tiny.  `tests/enrollment` has tests of each
that there is code for."""

TO_REACH: Final = frozenset(_every_name()) - UNREACHABLE.keys()
"""Everything that many histories together must reach."""


def never_reached(totals: Mapping[str, float]) -> list[str]:
    """Return what is missing in figures added up over many histories, sorted."""
    return sorted(name for name in TO_REACH if not totals.get(name))
