"""Whether a certificate is to be believed, and every reason why not.

The rules are those OpenSSL applies for Icinga, written as pure functions over one
certificate, one `TrustAnchor` and one moment.  Each call starts from nothing: no
verification state outlives it or is shared with TLS (CVE-2025-48057 came from that).
`X509_V_FLAG_X509_STRICT` and `cryptography.x509.verification` are not used, because
they refuse real Icinga certificates, which have no key identifiers.

A node's certificate is signed directly by a certificate of `ca.crt`.  Every CA
certificate in that file is trusted for itself; no chain is built.  Where Icinga "loads
the CA", the first one counts.

What is checked, each with its own `ReasonCode`:

* issued under the name of a CA in the file, and signed by its key;
* the CA is within its validity, the certificate within its own;
* not on the CA's revocation list, when there are lists (`revocation`);
* not itself a CA (`basicConstraints`);
* key and signature algorithm are accepted ones (`keys`);
* no critical extension that nobody here understands (RFC 5280 section 4.2).

Which *names* are acceptable is not decided here, except by `verify_issued`, which
holds a new certificate against what was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from icefloe.doors import WallTime
from icefloe.pki import certificates
from icefloe.pki._checks import (
    ca_problems,
    issuer_validity_problems,
    leaf_extension_problems,
    name_problems,
    purpose_problems,
    strength_problems,
    validity_problems,
)
from icefloe.pki._openssl_text import name_text
from icefloe.pki.errors import CertificateInvalid, Reason, ReasonCode
from icefloe.pki.keys import require_supported
from icefloe.pki.revocation import RevocationList, load_revocation_lists

__all__ = [
    "CA_RENEWAL_WINDOW",
    "LEAF_RENEWAL_WINDOW",
    "TrustAnchor",
    "ca_due_for",
    "ca_up_to_date",
    "up_to_date",
    "verify_issued",
]

_DAY: Final = 24 * 3600

LEAF_RENEWAL_WINDOW: Final = 30 * _DAY
"""Seconds before its end from which a node certificate is due; protocol: Icinga 2."""

CA_RENEWAL_WINDOW: Final = 397 * _DAY
"""Seconds before its end from which a CA certificate is due; protocol: Icinga 2.13.9,
2.14.1 and later.  A leaf's lifetime, so that no leaf outlives its CA."""

_FORCED_RENEWAL_BEFORE: Final = WallTime(1483228800.0)
"""2017-01-01T00:00:00Z; protocol: whatever was issued earlier is renewed, for Icinga
before 2.4 made certificates with faulty version and serial numbers."""


CLOCKS_APART_SECONDS_MAX: Final = 300.0
"""How far a signer's clock may be ahead of a node's.  Machines with a time service are
apart by less than a second, those without by some minutes a year."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustAnchor:
    """What this node trusts: the certificates of `ca.crt`, and the lists of `crl_path`.

    Attributes:
        ca: The first certificate of the file: the CA, where there can be only one.
        all_cas: Every CA certificate of the file, the first one first.
        revocation_lists: Checked lists; empty means revocation is not looked at.
    """

    ca: x509.Certificate
    all_cas: tuple[x509.Certificate, ...] = field(repr=False)
    revocation_lists: tuple[RevocationList, ...] = field(default=(), repr=False)

    @classmethod
    def from_pem(cls, ca_pem: str | bytes, crl_pem: str | bytes | None = None) -> Self:
        """Read a trust anchor.

        Args:
            ca_pem: The content of `ca.crt`.  Certificates after the first that are
                not fit to be a CA are passed over, as OpenSSL does.
            crl_pem: The content of the file at `crl_path`; None when there is none.

        Raises:
            CertificateInvalid: A certificate cannot be read, or the first one is not
                fit to be a CA: not CA:TRUE, not allowed to sign, weak, or bound by
                constraints that are not supported.  Validity is not looked at here.
            RevocationListInvalid: A list cannot be relied upon.
        """
        first, *others = certificates.load_pem_all(ca_pem)
        problems = ca_problems(first)
        if problems:
            raise CertificateInvalid(problems)
        all_cas = (first, *(ca for ca in others if not ca_problems(ca)))
        lists = () if crl_pem is None else load_revocation_lists(crl_pem, all_cas)
        return cls(ca=first, all_cas=all_cas, revocation_lists=lists)

    @property
    def pem(self) -> str:
        """PEM text of the first certificate, as results carry it in `ca`."""
        return certificates.to_pem(self.ca)

    def verify(self, cert: x509.Certificate, at: WallTime) -> None:
        """Check that a node's certificate is to be believed.

        Args:
            cert: The certificate, from a loader of `certificates`.
            at: The moment to judge by.

        Raises:
            CertificateInvalid: It is not; with every reason.
        """
        reasons = self.problems(cert, at)
        if reasons:
            raise CertificateInvalid(reasons)

    def problems(self, cert: x509.Certificate, at: WallTime) -> tuple[Reason, ...]:
        """Return every reason for which `verify` would raise; empty when it would not."""
        return tuple(self._problems(cert, _moment(at)))

    def is_signed(self, cert: x509.Certificate, at: WallTime) -> bool:
        """Say whether `verify` accepts the certificate: it may be renewed unasked.

        protocol: an *expired* certificate is not signed in this sense.
        """
        # One reason is enough: a stranger's certificate costs no look at its signature.
        return next(self._problems(cert, _moment(at)), None) is None

    def issuer_of(self, cert: x509.Certificate) -> x509.Certificate | None:
        """Return the CA certificate whose name and key the certificate bears, or None.

        Compare its key id with that of `ca` to see whether a certificate is from the
        current CA or from an older one that is still trusted.
        """
        issuers = self._issuers(cert)
        return issuers[0] if issuers else None

    def check_successor(self, new_ca: x509.Certificate, at: WallTime) -> None:
        """Check that a new CA certificate may take the place of this one.

        It may when a trusted CA's key signed it: the same key under a new date, as
        Icinga's CA renewal makes, or a new key signed by the old one.

        Raises:
            CertificateInvalid: It may not; with every reason.
        """
        reasons = [*ca_problems(new_ca), *validity_problems(new_ca, _moment(at))]
        if not self._is_signed_by_any(new_ca):
            reasons.append(
                Reason(
                    ReasonCode.NOT_VOUCHED_FOR,
                    "no CA that this node trusts has signed it; a CA with a new key "
                    "has to be installed by hand",
                )
            )
        if reasons:
            raise CertificateInvalid(reasons)

    def _is_signed_by_any(self, cert: x509.Certificate) -> bool:
        """Say whether any trusted CA's key made the signature, whatever the names."""
        return any(_is_signed_by(cert, ca) for ca in self.all_cas)

    def _issuers(self, cert: x509.Certificate) -> list[x509.Certificate]:
        """Return the CAs that issued a certificate: two only after a CA's renewal."""
        return [
            ca
            for ca in self.all_cas
            if ca.subject == cert.issuer and _is_signed_by(cert, ca)
        ]

    def _problems(self, cert: x509.Certificate, at: datetime) -> Iterator[Reason]:
        """Find every reason against a node's certificate."""
        yield from self._issuer_problems(cert, at)
        yield from validity_problems(cert, at)
        yield from self._revocation_problems(cert, at)
        if certificates.is_ca(cert):
            yield Reason(
                ReasonCode.IS_A_CA, "it is a CA certificate, not that of a node"
            )
        yield from strength_problems(cert)
        yield from leaf_extension_problems(cert)

    def _issuer_problems(
        self, cert: x509.Certificate, at: datetime
    ) -> Iterator[Reason]:
        """Find what speaks against who issued it.

        Name and key have to be those of *one* CA; that each of them is known by
        itself proves nothing.
        """
        periods = [issuer_validity_problems(ca, at) for ca in self._issuers(cert)]
        if periods:
            if all(periods):
                yield from periods[0]
            return
        names = {ca.subject for ca in self.all_cas}
        if cert.issuer not in names:
            yield Reason(
                ReasonCode.ISSUER_UNKNOWN,
                f"it was issued by {name_text(cert.issuer)}, but this node trusts "
                + " and ".join(sorted(map(name_text, names))),
            )
            if not self._is_signed_by_any(cert):
                yield Reason(
                    ReasonCode.BAD_SIGNATURE, "it is not signed by the trusted CA's key"
                )
            return
        yield Reason(
            ReasonCode.BAD_SIGNATURE,
            "its signature is not by the key of the CA it names: it was changed, or "
            "another CA of the same name signed it",
        )

    def _revocation_problems(
        self, cert: x509.Certificate, at: datetime
    ) -> Iterator[Reason]:
        """Find what the revocation lists say; nothing when there are none."""
        if not self.revocation_lists:
            return
        lists = [each for each in self.revocation_lists if each.issuer == cert.issuer]
        if not lists:
            yield Reason(
                ReasonCode.REVOCATION_LIST_MISSING,
                f"crl_path holds no revocation list of {name_text(cert.issuer)}",
            )
            return
        newest = max(lists, key=lambda each: each.this_update)
        problem = newest.problem(certificates.serial_number(cert), at)
        if problem is not None:
            yield problem


# --- Decisions ------------------------------------------------------------------------


def verify_issued(
    cert: x509.Certificate,
    *,
    cn: str,
    key_id: str,
    anchor: TrustAnchor,
    at: WallTime,
) -> None:
    """Check a certificate before it is released to, or accepted by, its owner.

    Args:
        cert: The new certificate: just signed, or received from a parent.
        cn: The common name that was asked for.
        key_id: The id of the key it was asked for.
        anchor: What the owner trusts.
        at: The moment to judge by; see `moment_for`.

    Raises:
        CertificateInvalid: With every reason: those of `TrustAnchor.verify`; another
            or a second name, a SAN without the name, another key, the CA's own key, a
            serial number that is not positive, or a use that TLS would not allow.
    """
    at = moment_for(cert, at)
    reasons = [*anchor.problems(cert, at), *name_problems(cert, cn)]
    own_key_id = certificates.key_id(cert)
    if own_key_id != key_id:
        reasons.append(Reason(ReasonCode.OTHER_KEY, "it is for another key"))
    if any(own_key_id == certificates.key_id(ca) for ca in anchor.all_cas):
        reasons.append(Reason(ReasonCode.CA_KEY, "its key is the CA's own"))
    if certificates.serial_number(cert) <= 0:
        reasons.append(
            Reason(ReasonCode.SERIAL_NUMBER, "its serial number is not positive")
        )
    reasons += purpose_problems(cert)
    if reasons:
        raise CertificateInvalid(reasons)


def moment_for(cert: x509.Certificate, at: WallTime) -> WallTime:
    """Return the moment to judge a new certificate by.

    An Icinga signer dates its certificates from the second it signs (protocol), and
    signs anew at each ask.  A node whose clock is a little behind the signer's would
    never see a valid one, however often it asked.  So a certificate that begins within
    `CLOCKS_APART_SECONDS_MAX` counts as begun.  Who owns it, or a peer that judges a
    TLS handshake by its own clock, may still have to wait for its beginning.

    Args:
        cert: Just signed, or received from a parent.
        at: Now, by the node's own clock.
    """
    begins = cert.not_valid_before_utc.timestamp()
    if at < begins <= at + CLOCKS_APART_SECONDS_MAX:
        return WallTime(begins)
    return at


def up_to_date(cert: x509.Certificate, at: WallTime) -> bool:
    """Say whether a node certificate need not be renewed yet.

    protocol: at least 30 days left, and not issued before 2017.
    """
    return (
        cert.not_valid_after_utc.timestamp() >= at + LEAF_RENEWAL_WINDOW
        and cert.not_valid_before_utc.timestamp() >= _FORCED_RENEWAL_BEFORE
    )


def ca_up_to_date(ca: x509.Certificate, at: WallTime) -> bool:
    """Say whether a CA certificate need not be renewed yet.

    protocol: at least 397 days left.
    """
    return ca.not_valid_after_utc.timestamp() >= at + CA_RENEWAL_WINDOW


def ca_due_for(
    requestor_ca: x509.Certificate | None, own_ca: x509.Certificate, at: WallTime
) -> bool:
    """Say whether a requester has to be given our CA certificate in place of its own.

    protocol: its root ends within 397 days, and ours at least one day later.

    Args:
        requestor_ca: The root the requester uses now; None when it is not known.
        own_ca: Ours.
        at: The moment to judge by.
    """
    if requestor_ca is None or ca_up_to_date(requestor_ca, at):
        return False
    gained = own_ca.not_valid_after_utc - requestor_ca.not_valid_after_utc
    return gained.total_seconds() >= _DAY


# --- Parts ----------------------------------------------------------------------------


def _moment(at: WallTime) -> datetime:
    return datetime.fromtimestamp(at, tz=UTC)


# A signature that was looked at lately is not looked at again: a node's certificate is
# judged in each handshake and each asking.  Dates and revocation are, every time.  Kept
# by the fingerprints of both: a stranger's certificate itself may be large.
_signed: dict[bytes, bool] = {}
_SIGNED_MAX: Final = 1024


def _is_signed_by(cert: x509.Certificate, ca: x509.Certificate) -> bool:
    """Say whether the CA's key signed a certificate; the CA's key is an accepted one."""
    both = cert.fingerprint(hashes.SHA256()) + ca.fingerprint(hashes.SHA256())
    known = _signed.get(both)
    if known is not None:
        return known
    is_signed = certificates.is_signed_with(cert, require_supported(ca.public_key()))
    if len(_signed) >= _SIGNED_MAX:
        _signed.clear()  # in one step, for threads share it
    _signed[both] = is_signed
    return is_signed
