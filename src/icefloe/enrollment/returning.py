"""A node whose certificate ended while it was off comes back, if the policy says so.

`renew_expired_days` of a signer says how long ago a certificate may have ended to be
renewed without a ticket; 0, the default, leaves that to tickets and people.  What speaks
for such an asking is the key: its owner shows it in TLS, or a member forwards for it, as
with a certificate that is still good.  Against it: who got hold of a disk that was
thrown away has the key, too, for so many days longer (docs/security.md).
"""

from __future__ import annotations

from typing import Final

from cryptography import x509

from icefloe.doors import WallTime
from icefloe.enrollment.model import AttemptRecord, Origin
from icefloe.enrollment.renewal import DAY_SECONDS
from icefloe.enrollment.settings import EnrollmentSettings
from icefloe.enrollment.turn import Turn
from icefloe.pki.certificates import common_name, key_id, load_der
from icefloe.pki.errors import ReasonCode
from icefloe.pki.trust import TrustAnchor

_ONLY_ITS_END: Final = frozenset({ReasonCode.EXPIRED})


def may_come_back(
    turn: Turn,
    settings: EnrollmentSettings,
    *,
    cn: str,
    certificate: x509.Certificate,
    origin: Origin,
) -> bool:
    """Whether a signer's policy renews an expired certificate without a ticket.

    Args:
        turn: for the time and the ledger.
        settings: what the node stands on.
        cn: the name in the certificate.
        certificate: as it was presented.
        origin: how it came; what a stranger posts proves no possession.

    Returns:
        True when it ended no longer ago than the policy says, was good on its last day,
        has not been revoked, and its key is the one that is known for the name.
    """
    days, anchor, at = (
        settings.renewal.renew_expired_days,
        settings.anchor,
        turn.now.wall,
    )
    if not days or anchor is None or not settings.signs or origin is Origin.POSTED:
        return False
    ended = certificate.not_valid_after_utc.timestamp()
    if not ended < at <= ended + days * DAY_SECONDS:
        return False
    known = turn.ledger.known_key(cn)
    if known is None or known.key_id != key_id(certificate):
        return False
    return not _is_doubtful(certificate, anchor, at=at, ended=WallTime(ended))


def attempt_may_come_back(
    turn: Turn, settings: EnrollmentSettings, attempt: AttemptRecord
) -> bool:
    """Say the same of an attempt that was recorded."""
    certificate = load_der(attempt.certificate)
    return may_come_back(
        turn,
        settings,
        cn=common_name(certificate),
        certificate=certificate,
        origin=attempt.origin,
    )


def _is_doubtful(
    certificate: x509.Certificate,
    anchor: TrustAnchor,
    *,
    at: WallTime,
    ended: WallTime,
) -> bool:
    """Whether more than its end speaks against it: then, its CA; now, a list."""
    without_lists = TrustAnchor(ca=anchor.ca, all_cas=anchor.all_cas)
    if not without_lists.is_signed(certificate, ended):
        return True
    reasons = anchor.problems(certificate, at)
    return any(reason.code not in _ONLY_ITS_END for reason in reasons)
