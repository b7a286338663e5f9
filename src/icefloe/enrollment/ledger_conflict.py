"""The rules that a write to a ledger must not break.

A broken rule is a bug of whoever made the write, and a good database refuses it:
better no transaction than two certificates for one request. Every implementation
of the ledger refuses the same writes, which its contract test holds.
"""

from __future__ import annotations

import enum

from icefloe.enrollment.ledger import LedgerUnavailableError
from icefloe.enrollment.model import CertificateRecord


class LedgerRule(enum.Enum):
    """What a refused write would have broken. The value is worded for a log."""

    REQUEST_EXISTS = "it belongs to a request that the ledger does not hold"
    REQUEST_IS_FIXED = "a request keeps its name, its key and what it renews"
    ATTEMPT_IS_FIXED = "an attempt keeps its request and its fingerprint"
    ONE_INTENT = "its request has an intent already"
    ONE_CERTIFICATE = "its request has a certificate already"
    SERIAL_IS_UNIQUE = "its serial number stands for something else already"
    HISTORY_IS_KEPT = "a request with an intent or a certificate is never forgotten"
    CANARIES_ALONE = "only a canary's request is forgotten with its certificate"


class LedgerConflictError(LedgerUnavailableError):
    """A write contradicts what the ledger holds; its transaction must be rolled back.

    Unlike other failures of a ledger this one does not pass by waiting: the same
    write fails again.

    Attributes:
        rule: What it would have broken.
        about: Id of the request or attempt, or serial number of the certificate.
    """

    def __init__(self, rule: LedgerRule, *, about: str) -> None:
        super().__init__(rule, about)
        self.rule = rule
        self.about = about

    def __str__(self) -> str:
        return f"The ledger refused a write about {self.about}: {self.rule.value}."


def same_certificate(old: CertificateRecord, new: CertificateRecord) -> bool:
    """Return whether two records of one serial number say the same.

    Who handed it down and when may differ: two parents, or one asked twice, give
    the same certificate, and the first record stays.
    """
    return (old.request_id, old.certificate, old.surplus) == (
        new.request_id,
        new.certificate,
        new.surplus,
    )
