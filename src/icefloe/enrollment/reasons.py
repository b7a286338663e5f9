"""Stable codes: why an attempt was refused or waits, and what a hop did.

The codes travel in `result.icefloe.reason` and in logs; the words beside them
are for people and may change.
"""

from __future__ import annotations

import enum


class Reason(enum.StrEnum):
    """Why an attempt was refused, or why a request waits."""

    WRONG_TICKET = "wrong-ticket"
    DECLINED = "declined"
    NO_CERTIFICATE = "no-certificate"
    BAD_CERTIFICATE = "bad-certificate"
    BAD_NAME = "bad-name"
    NO_POSSESSION = "no-possession"
    LIMIT = "limit"
    TOO_MANY_WRONG_TICKETS = "too-many-wrong-tickets"
    SIGNER_FAULT = "signer-fault"
    LEDGER_FAULT = "ledger-fault"
    REFUSED_BY_PARENT = "refused-by-parent"
    NOTHING_TO_DO = "nothing-to-do"
    AWAITING_APPROVAL = "awaiting-approval"
    RESERVED_NAME = "reserved-name"
    OUTSIDE_SUBTREE = "outside-subtree"
    REVOKED_KEY = "revoked-key"
    TOO_MANY_CERTIFICATES = "too-many-certificates"
    PARENT_UNREACHABLE = "parent-unreachable"
    PARENT_PENDING = "parent-pending"
    NODE_STOPS = "node-stops"


TEMPORARY = frozenset(
    {
        Reason.LIMIT.value,
        Reason.TOO_MANY_WRONG_TICKETS.value,
        Reason.SIGNER_FAULT.value,
        Reason.LEDGER_FAULT.value,
    }
)
"""A refusal for these reasons is about the node that refused, or about the moment, not
about the request: asking again later, or another parent, may help."""

OF_THE_NODE = frozenset({Reason.SIGNER_FAULT.value, Reason.LEDGER_FAULT.value})
"""Those that are about the node and nobody's request: everybody may hear of them."""

NEED_RESERVED = frozenset({Reason.RESERVED_NAME.value, Reason.REVOKED_KEY.value})
"""What waits for one of these takes an approval with `ca sign --reserved`."""


class HopDid(enum.StrEnum):
    """What a node did with a request."""

    RECEIVED = "received"
    FORWARDED = "forwarded"
    PENDING = "pending"
    APPROVED = "approved"
    SIGNED = "signed"
    REFUSED = "refused"
    ANSWERED = "answered"


def reason_in_words(words: str) -> Reason:
    """Read what a real Icinga signer's refusal means: it has words and no codes.

    Args:
        words: its `error`. Nothing but a reason to show depends on what is read here.

    Source: Icinga 2.13.6, by running it.
    """
    if words.startswith("Invalid ticket"):
        return Reason.WRONG_TICKET
    if words.rstrip(".").endswith(" declined by administrator"):
        return Reason.DECLINED
    return Reason.REFUSED_BY_PARENT


def reason_in_note(note: str) -> Reason:
    """Read what a request awaits approval for: the ledger keeps it in words alone.

    Args:
        note: `RequestRecord.note`, the text of a `Gate`; a test holds the two together.
    """
    for words, reason in _NOTES:
        if words in note:
            return reason
    return Reason.AWAITING_APPROVAL


_NOTES = (
    ("is a reserved name", Reason.RESERVED_NAME),
    ("which is not below zone", Reason.OUTSIDE_SUBTREE),
    ("the last certificate of this key", Reason.REVOKED_KEY),
    ("keys signed for", Reason.TOO_MANY_CERTIFICATES),
)
