"""One entry of the catalogue of problems, and the words that stand in its texts.

Five words stand for what a case knows; `fill` puts it in their place:

    HOP          the node that refused, or that is to be looked at
    PARENT       the parent that was asked, with its port
    HOST         the same without its port
    CN           this node's name
    FINGERPRINT  of the certificate that is the request
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Code", "Outlook", "Problem", "fill"]


class Code:
    """The codes that are no `Reason`, for those who find such a problem out."""

    SIGNED: Final = "signed"
    PENDING: Final = "pending"
    NAME_NOT_RESOLVED: Final = "name-not-resolved"
    UNREACHABLE: Final = "unreachable"
    TLS_FAILED: Final = "tls-failed"
    CUT_OFF: Final = "cut-off"
    TRUST_MISMATCH: Final = "trust-mismatch"
    TRUST_MISSING: Final = "trust-missing"
    INVALID_CERTIFICATE: Final = "invalid-certificate"
    INVALID_ANSWER: Final = "invalid-answer"
    CLOCK_WRONG: Final = "clock-wrong"
    FILE_RIGHTS: Final = "file-rights"
    DISK_FULL: Final = "disk-full"
    FILE_TROUBLE: Final = "file-trouble"
    IDENTITY_BROKEN: Final = "identity-broken"
    CONFIGURATION_INVALID: Final = "configuration-invalid"
    PORT_IN_USE: Final = "port-in-use"
    TICKET_UNREADABLE: Final = "ticket-unreadable"
    INTERRUPTED: Final = "interrupted"
    OTHER_TROUBLE: Final = "other-trouble"
    NOT_ENROLLED: Final = "not-enrolled"
    DAEMON_NOT_RUNNING: Final = "daemon-not-running"
    STATUS_UNKNOWN: Final = "status-unknown"
    UNCONFIRMED: Final = "unconfirmed"
    ROLLED_BACK: Final = "rolled-back"
    CERTIFICATE_REFUSED: Final = "certificate-refused"
    RENEWAL_FAILING: Final = "renewal-failing"
    CERTIFICATE_EXPIRED: Final = "certificate-expired"


class Outlook(enum.StrEnum):
    """Whether somebody has to do something."""

    WELL = "well"
    """Nothing is wrong."""

    WAITS = "waits"
    """It goes on by itself; `retry_after`, or the daemon, says when."""

    PERSON = "needs-a-person"
    """It stays as it is until somebody does what the next step says."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One entry of the catalogue.

    Attributes:
        code: stable, kebab-case.
        title: a few words.
        meaning: what is the case.
        next_step: what to do; may hold the words that `fill` replaces.
        cause: what it typically comes from.
        commands: what to run, in this order; may hold the same words.  One that is to
            be run on another node begins with `HOP$` or `PARENT$`.
        outlook: whether somebody has to do something.
    """

    code: str
    title: str
    meaning: str
    next_step: str
    cause: str = ""
    commands: tuple[str, ...] = ()
    outlook: Outlook = Outlook.PERSON

    def fill(
        self, *, hop: str = "", parent: str = "", cn: str = "", fingerprint: str = ""
    ) -> str:
        """Return the next step for one case; what is not known stays as it stands."""
        return fill(
            self.next_step, hop=hop, parent=parent, cn=cn, fingerprint=fingerprint
        )


_WORD: Final = re.compile(r"\b(?:HOP|PARENT|HOST|CN|FINGERPRINT)\b")


def fill(
    text: str, *, hop: str = "", parent: str = "", cn: str = "", fingerprint: str = ""
) -> str:
    """Put what is known into a text of the catalogue."""
    known = {
        "HOP": hop,
        "PARENT": parent,
        "HOST": parent.rpartition(":")[0],
        "CN": cn,
        "FINGERPRINT": fingerprint,
    }
    return _WORD.sub(lambda found: known[found[0]] or found[0], text)
