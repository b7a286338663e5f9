"""The filter `icefloe.icefloe.ticket`: a ticket from the salt, without asking a signer."""

import hashlib
from typing import Any, Dict

ITERATIONS = 50000
TICKET_BYTES = 20


def ticket(cn: str, salt: str) -> str:
    """Return the ticket of a name.

    Args:
        cn: The node's common name, as its certificate bears it.
        salt: The signer's TicketSalt. A secret.
    """
    made = hashlib.pbkdf2_hmac(
        "sha1", str(cn).encode(), str(salt).encode(), ITERATIONS, TICKET_BYTES
    )
    return made.hex()


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> Dict[str, Any]:
        """Return the filters by name."""
        return {"ticket": ticket}
