"""What becomes of one ask for a certificate, at any node.

    asks with                         at a node without CA key   at a signer
    no certificate                    NO_CERTIFICATE             same
    a current certificate of ours     NOTHING_TO_DO              same
    one that is answered in the store SIGNED, the stored one     same
    one that was removed              REMOVED                    same
    one of ours that is due           PENDING                    SIGNED, no ticket asked
    another one, no ticket            PENDING                    PENDING
    another one, wrong ticket         PENDING                    BAD_TICKET
    another one, valid ticket         PENDING                    SIGNED, anew at each ask

An expired certificate of ours is "another one".

Source: protocol, "Decision tree of the receiver".
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass, field

from cryptography import x509

from icefloe.doors import WallTime
from icefloe.habits.authority import Authority
from icefloe.habits.stored import RequestStore
from icefloe.habits.versions import Habits
from icefloe.pki import certificates, trust
from icefloe.pki.errors import PKIError


class Verdict(enum.Enum):
    """How an ask ends for now; the value is the text that goes with it."""

    SIGNED = ""
    NO_CERTIFICATE = "No certificate was presented and none was enclosed."
    NOTHING_TO_DO = "The certificate is valid and not due for renewal."
    REMOVED = "An administrator has removed this request."
    BAD_TICKET = "The ticket is not valid for this name."
    PENDING = "The request is pending: it waits for approval."


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One ask, read.

    Attributes:
        certificate: What is to be signed; None if there is nothing.
        ticket: As given.
        root: The root the requester uses now, PEM; empty if unknown.
    """

    certificate: x509.Certificate | None
    ticket: str = field(repr=False)
    root: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How one ask ends.

    Attributes:
        verdict: The outcome.
        fingerprint: Of the certificate that is to be signed, if the answer names it.
        certificate: The signed one, PEM; only with `SIGNED`.
    """

    verdict: Verdict
    fingerprint: str = ""
    certificate: str = ""


def judge(
    asked: Asked,
    *,
    ca: str,
    store: RequestStore,
    authority: Authority | None,
    habits: Habits,
    now: WallTime,
) -> Judgement:
    """Decide; change nothing.

    Args:
        asked: The ask.
        ca: The own root, PEM.
        store: The stored requests.
        authority: The CA key and salt; None at a node that does not sign.
        habits: The release.
        now: When.

    Raises:
        IcefloeError: The signer cannot sign, or the certificate has no common name.
    """
    request = asked.certificate
    if request is None:
        return Judgement(verdict=Verdict.NO_CERTIFICATE)
    ours = _anchor(ca).is_signed(request, now)
    if ours and not _is_due(request, root=asked.root, ca=ca, habits=habits, now=now):
        return Judgement(verdict=Verdict.NOTHING_TO_DO)
    fingerprint = certificates.fingerprint(request)
    stored = store.get(fingerprint)
    if stored is not None and stored.cert_response:
        return Judgement(
            verdict=Verdict.SIGNED,
            fingerprint=fingerprint,
            certificate=stored.cert_response,
        )
    if stored is None and store.is_removed(fingerprint):
        return Judgement(verdict=Verdict.REMOVED, fingerprint=fingerprint)
    if authority is None:
        return Judgement(verdict=Verdict.PENDING, fingerprint=fingerprint)
    verdict = _permission(request, ours=ours, ticket=asked.ticket, authority=authority)
    return Judgement(
        verdict=verdict,
        fingerprint=fingerprint,
        certificate=authority.sign(request, now) if verdict is Verdict.SIGNED else "",
    )


def _permission(
    request: x509.Certificate, *, ours: bool, ticket: str, authority: Authority
) -> Verdict:
    """Say whether a signer signs, refuses or waits."""
    if ours:
        return Verdict.SIGNED
    if not ticket or not authority.has_salt:
        return Verdict.PENDING
    name = certificates.common_name(request)
    valid = authority.ticket_is_valid(name, ticket)
    return Verdict.SIGNED if valid else Verdict.BAD_TICKET


def _is_due(
    request: x509.Certificate, *, root: str, ca: str, habits: Habits, now: WallTime
) -> bool:
    """Say whether a certificate of ours is to be replaced, itself or its root."""
    if not trust.up_to_date(request, now):
        return True
    if not habits.knows_requestor_ca or not root:
        return False
    try:
        old_root = certificates.load_pem(root)
    except PKIError:
        return False
    return trust.ca_due_for(old_root, _anchor(ca).ca, now)


@functools.lru_cache(maxsize=64)
def _anchor(ca: str) -> trust.TrustAnchor:
    """Read a root, once: the simulator asks for the same one a million times."""
    return trust.TrustAnchor.from_pem(ca)
