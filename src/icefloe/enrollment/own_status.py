"""How it stands with a node's own certificate, in one record for people and tools.

The daemon tells it whenever it changes (`commands.TellOwnStatus`), the shell keeps it in
a file, and `icefloe enrollment status` reads it there, whether the daemon runs or not.
It holds no secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from icefloe.doors import WallTime

State = Literal[
    "no-certificate",
    "pending",
    "refused",
    "unreachable",
    "unconfirmed",
    "healthy",
    "due",
    "expired",
    "rolled-back",
    "signer",
]
"""What the record can say, in one word.

    no-certificate   there is no certificate to run with, or no CA to trust
    pending          asked, and there is no decision yet
    refused          a signer refused, or no parent accepts the certificate
    unreachable      there is no connection to a parent to ask
    unconfirmed      a new certificate is in place, and no parent has accepted it yet
    healthy          nothing to do
    due              to be renewed, and asked for
    expired          it has ended
    rolled-back      no parent accepted the new certificate: the older one is back
    signer           healthy, and this node holds the CA key
"""


@dataclass(frozen=True, slots=True)
class OwnStatus:
    """One moment's record.

    Attributes:
        state: see `State`.
        since: when this state began, as far as is known.
        parent: whom it is about: who answered last, or who refuses; may be "".
        next_attempt: when a parent is asked next by itself; None: when one connects, or
            never.
        code: of `icefloe.enrollment.problems`; "" when all is well.
        detail: the same for a person, in a sentence; may be "".
        certificate_ends: of the certificate in use; None for a self-signed one.
        renew_at: when it is due.
    """

    state: State
    since: WallTime
    parent: str = ""
    next_attempt: WallTime | None = None
    code: str = ""
    detail: str = ""
    certificate_ends: WallTime | None = None
    renew_at: WallTime | None = None
