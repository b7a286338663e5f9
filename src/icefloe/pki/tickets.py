"""Icinga's enrollment tickets: a proof that somebody who knows the salt allowed a CN.

protocol: a ticket is PBKDF2-HMAC-SHA1 over the common name, salted with the bytes of
the constant `TicketSalt` as they are written (a salt that looks like hex is not
decoded), 50,000 rounds, 20 bytes, as 40 *lower-case* hex digits.

A ticket is bound to nothing but the name: it does not expire and can be used again.
Whoever knows the salt can mint every ticket, so the salt is worth as much as the CA
key.  Neither ever appears in an error or a log.

One ticket costs 10 to 20 ms of CPU.  The core therefore never computes one in a turn;
it orders `CheckTicket` and the shell calls this module in its thread pool.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from icefloe.pki.errors import TicketInvalid

__all__ = ["TICKET_ROUNDS", "is_ticket", "ticket", "ticket_matches"]

TICKET_ROUNDS: Final = 50_000
"""PBKDF2 iterations; fixed by the protocol."""

_TICKET_BYTES: Final = 20
_TICKET: Final = re.compile(r"[0-9a-f]{40}")


def ticket(cn: str, salt: str) -> str:
    """Compute the ticket that allows `cn` a certificate.

    Args:
        cn: The common name, exactly as the certificate will bear it.
        salt: The value of `TicketSalt`, as text.

    Returns:
        40 lower-case hex digits.

    Raises:
        TicketInvalid: The name or the salt is empty (Icinga takes an empty salt for
            "no automatic signing"), or is not text that UTF-8 can carry.
    """
    for value, what in ((cn, "the common name"), (salt, "the ticket salt")):
        if not value:
            raise TicketInvalid(f"{what} is empty")
    digest = hashlib.pbkdf2_hmac(
        "sha1",
        _utf8(cn, what="the common name"),
        _utf8(salt, what="the ticket salt"),
        TICKET_ROUNDS,
        _TICKET_BYTES,
    )
    return digest.hex()


def is_ticket(text: str) -> bool:
    """Say whether `text` has the form of an Icinga ticket: 40 lower-case hex digits.

    Cheap, and reveals nothing: what has another form is refused before PBKDF2 is paid
    for.  Upper-case digits are not a ticket, as in Icinga.
    """
    return _TICKET.fullmatch(text) is not None


def ticket_matches(given: str, cn: str, salt: str) -> bool:
    """Say whether `given` is the ticket for `cn`, in constant time.

    Args:
        given: What the requester sent; any text.
        cn: The common name the certificate would bear.
        salt: The value of `TicketSalt`; an empty one matches nothing.

    Returns:
        True only for exactly the text `ticket(cn, salt)` returns.
    """
    if not is_ticket(given):
        return False
    try:
        expected = ticket(cn, salt)
    except TicketInvalid:
        return False
    return hmac.compare_digest(given.encode("ascii"), expected.encode("ascii"))


def _utf8(text: str, *, what: str) -> bytes:
    """Encode text; a lone surrogate (an undecodable argument) is a typed error."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        # "from None": the original error carries the whole text, which may be a salt.
        raise TicketInvalid(f"{what} is not valid Unicode text") from None
