"""What a requester makes of a parent's answer, and whom it believes.

protocol: Icinga's client takes whatever `ca` and `cert` the pinned parent sends and
writes them down.  Here an answer has to prove itself first (promise 6):

* the certificate is for our own key and name, and verifies against the CA that came;
* that CA is the one in `ca.crt`, or one that its key vouches for;
* where there is no `ca.crt` yet, the parent's own certificate, which the operator has
  pinned, has to be from that CA.  A man in the middle does not have the pinned one's
  key, and a pinned parent cannot hand out a CA that it does not live under itself.

Pure functions over values; the connection is `icefloe.node.client`.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509

from icefloe.doors import WallTime
from icefloe.enrollment.problems import Code
from icefloe.enrollment.reasons import Reason, reason_in_words
from icefloe.enrollment.requester import AskResult, Came
from icefloe.pki.certificates import common_name, is_self_issued, load_pem, to_pem
from icefloe.pki.errors import CertificateInvalid, PKIError, ReasonCode
from icefloe.pki.errors import Reason as PKIReason
from icefloe.pki.trust import TrustAnchor, verify_issued
from icefloe.storage.identity import NodeIdentity
from icefloe.wire.catalogue import (
    STATUS_ERROR,
    STATUS_SIGNED,
    CertificateResult,
)

__all__ = [
    "WORDS_MAX",
    "Applicant",
    "Distrust",
    "ca_in_chain",
    "is_from",
    "peer_problem",
    "result_of",
    "tidy",
    "trust_problem",
]

WORDS_MAX: Final = 2000
"""Characters of a peer's words that are passed on: a few lines."""

_TIME: Final = frozenset(
    {
        ReasonCode.EXPIRED,
        ReasonCode.NOT_YET_VALID,
        ReasonCode.ISSUER_EXPIRED,
        ReasonCode.ISSUER_NOT_YET_VALID,
    }
)
"""Reasons that do not speak against a certificate's origin."""

_REPLACED: Final = (
    "if the CA was replaced on purpose, move ca.crt away and ask again; if not, "
    "somebody may be between you and the parent"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """Who asks, with what, and whom it believes.

    Attributes:
        identity: Key and certificate; the certificate is the request.
        ticket: What proves that the name may be had, or "".
        pins: Certificates of which the parent has to show one, byte for byte.  Empty:
            it has to have a valid one of the CA in `ca.crt`, and one of `names`.
        names: Common names that a parent without a pin may have; empty allows any.
        anchor: The CA in `ca.crt`; None when there is none yet.
    """

    identity: NodeIdentity
    ticket: str = field(default="", repr=False)
    pins: tuple[x509.Certificate, ...] = field(default=(), repr=False)
    names: frozenset[str] = frozenset()
    anchor: TrustAnchor | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Distrust:
    """Why a parent is not believed.

    Attributes:
        text: One or more reasons, without a full stop.
        code: A code of `icefloe.enrollment.problems`.
    """

    text: str
    code: str = Code.TRUST_MISMATCH


def trust_problem(
    applicant: Applicant, leaf: x509.Certificate, at: WallTime
) -> Distrust | None:
    """Say why a parent is not to be told our ticket; None when it may be.

    Args:
        applicant: Who asks.
        leaf: What the parent showed in the TLS handshake.
        at: The time.
    """
    return peer_problem(
        leaf,
        pins=applicant.pins,
        anchor=applicant.anchor,
        names=applicant.names,
        at=at,
    )


def peer_problem(
    leaf: x509.Certificate,
    *,
    pins: tuple[x509.Certificate, ...],
    anchor: TrustAnchor | None,
    names: frozenset[str],
    at: WallTime,
) -> Distrust | None:
    """Say the same without an applicant: before there is a key (see `Applicant`).

    Raises:
        PKIError: The certificate bears no name.
    """
    if pins and leaf not in pins:
        return Distrust(
            "its certificate is not the trusted one; if it was renewed, fetch it anew "
            "with 'pki save-cert'"
        )
    if anchor is None:
        if pins:
            return None
        return Distrust("nothing tells whom to trust", Code.TRUST_MISSING)
    if not pins:
        return _member_problem(names, anchor, leaf, at)
    if is_self_issued(leaf) or is_from(anchor, leaf, at):
        # Self-signed: a parent that waits for its own certificate.  It is pinned, and
        # what it answers is judged below.
        return None
    return Distrust(f"its certificate is not from the CA in ca.crt; {_REPLACED}")


def _member_problem(
    names: frozenset[str], anchor: TrustAnchor, leaf: x509.Certificate, at: WallTime
) -> Distrust | None:
    """Say what speaks against a parent that is known by its CA and name alone.

    Every node of the cluster has a certificate of that CA, so the name has to fit: an
    agent must not be able to collect tickets.
    """
    found = tuple(anchor.problems(leaf, at))
    reasons: list[str] = list(found)
    name = common_name(leaf)
    named = not names or name in names
    if not named:
        wanted = ", ".join(sorted(names))
        reasons.append(f"its name is '{tidy(name)}', not {wanted}")
    if not reasons:
        return None
    clock = named and _only_time(found)
    code = Code.CLOCK_WRONG if clock else Code.TRUST_MISMATCH
    return Distrust("; ".join(reasons), code)


def _only_time(reasons: Iterable[PKIReason]) -> bool:
    """Say whether nothing but the time speaks against a certificate."""
    found = tuple(reasons)
    return bool(found) and all(reason.code in _TIME for reason in found)


def is_from(anchor: TrustAnchor, leaf: x509.Certificate, at: WallTime) -> bool:
    """Say whether a CA of the anchor issued a certificate, however long ago.

    Time is left out: it says nothing about who somebody is, and a new machine's clock
    may be wrong.
    """
    return all(reason.code in _TIME for reason in anchor.problems(leaf, at))


def result_of(
    answer: CertificateResult,
    *,
    applicant: Applicant,
    leaf: x509.Certificate,
    at: WallTime,
    icefloe: bool,
) -> AskResult:
    """Judge a parent's answer.

    Args:
        answer: The `result` it sent.
        applicant: Who asked.
        leaf: What the parent showed in the TLS handshake.
        at: The time to verify by.
        icefloe: Whether the parent introduced itself as an Icefloe node.

    Returns:
        SIGNED only with a certificate to be installed; `ca` only if it is believed.
    """
    facts = dict(answer.icefloe)
    icefloe = icefloe or bool(facts)
    if answer.status_code == STATUS_ERROR:
        came = _refusal_kind(answer, applicant)
        if came is Came.REFUSED and answer.reason is None:
            meant = reason_in_words(answer.error)
            if meant is not Reason.REFUSED_BY_PARENT:
                facts["reason"] = meant.value
        return AskResult(
            came=came,
            detail=tidy(answer.error),
            facts=facts,
            temporary=answer.retry_after is not None,
            icefloe=icefloe,
        )
    try:
        ca = _believed_ca(answer.ca, applicant, leaf, at)
        if answer.status_code != STATUS_SIGNED:
            # protocol: for Icinga's client, too, every other number is "not yet".
            return AskResult(
                came=Came.PENDING,
                detail=tidy(answer.error),
                ca=answer.ca if ca is not None else "",
                facts=facts,
                icefloe=icefloe,
            )
        _verify(answer.cert, applicant, ca, at)
    except PKIError as error:
        return AskResult(
            came=Came.INVALID,
            detail=str(error),
            facts=facts,
            icefloe=icefloe,
            code=_code_of(error),
        )
    return AskResult(
        came=Came.SIGNED,
        certificate=answer.cert,
        ca=answer.ca,
        facts=facts,
        icefloe=icefloe,
    )


def ca_in_chain(
    chain: Iterable[x509.Certificate],
    *,
    applicant: Applicant,
    leaf: x509.Certificate,
    at: WallTime,
) -> str:
    """Find a CA certificate to be believed among those a parent sent along in TLS.

    protocol: an Icinga node sends its root with its own certificate.  So a requester
    learns the CA even from a parent that cuts its answers off, as 2.14.4 does.

    Args:
        chain: What the parent sent beside its own certificate.
        applicant: Who asked.
        leaf: The parent's own certificate.
        at: The time to verify by.

    Returns:
        PEM, or "" when there is none.
    """
    for candidate in chain:
        with suppress(PKIError):
            if is_self_issued(candidate):
                pem = to_pem(candidate)
                _believed_ca(pem, applicant, leaf, at)
                return pem
    return ""


def tidy(words: str) -> str:
    """Make a peer's words fit for a terminal: one line, printable, not endless."""
    line = " ".join(words.split())
    shown = "".join(
        each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in line
    )
    return shown if len(shown) <= WORDS_MAX else shown[:WORDS_MAX] + "..."


def _code_of(error: PKIError) -> str:
    reasons = error.reasons if isinstance(error, CertificateInvalid) else ()
    return Code.CLOCK_WRONG if _only_time(reasons) else Code.INVALID_CERTIFICATE


def _refusal_kind(answer: CertificateResult, applicant: Applicant) -> Came:
    if answer.reason is not None:
        nothing = answer.reason == Reason.NOTHING_TO_DO.value
        return Came.NOTHING_TO_DO if nothing else Came.REFUSED
    # protocol: Icinga says so with neither `ca` nor fingerprint, and only of a
    # certificate that its CA has signed.
    bare = not answer.ca and not answer.fingerprint_request
    signed = not is_self_issued(applicant.identity.certificate)
    return Came.NOTHING_TO_DO if bare and signed else Came.REFUSED


def _believed_ca(
    ca_pem: str, applicant: Applicant, leaf: x509.Certificate, at: WallTime
) -> TrustAnchor | None:
    """Return the CA that came when it is to be believed; None when none came.

    Raises:
        PKIError: It is not to be believed.
    """
    if not ca_pem:
        return None
    # The first certificate is what gets installed, so it alone is judged by: behind
    # it could stand the CA that a lying parent really lives under.
    first = TrustAnchor.from_pem(ca_pem).ca
    offered = TrustAnchor(ca=first, all_cas=(first,))
    present = applicant.anchor
    if present is None:
        if not is_from(offered, leaf, at):
            raise PKIError(
                "the parent hands out a CA certificate from which its own certificate "
                "is not; look at ca.crt on the parent"
            )
    elif offered.ca not in present.all_cas:
        try:
            present.check_successor(offered.ca, at)
        except CertificateInvalid as error:
            raise PKIError(
                "the parent hands out another CA than the one in ca.crt: "
                f"{'; '.join(error.reasons)}; {_REPLACED}"
            ) from error
    return offered


def _verify(
    pem: str, applicant: Applicant, ca: TrustAnchor | None, at: WallTime
) -> None:
    """Check a certificate that came.

    Raises:
        PKIError: It is not to be installed.
    """
    anchor = ca or applicant.anchor
    if anchor is None:
        raise PKIError("the parent sent a certificate without its CA certificate")
    identity = applicant.identity
    verify_issued(
        load_pem(pem),
        cn=identity.node_name,
        key_id=identity.key_id,
        anchor=anchor,
        at=at,
    )
