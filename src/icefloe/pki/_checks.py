"""Single questions about one certificate, each answered by the reasons against it.

Pure functions over plain values; `trust` puts them together and makes the decisions.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from icefloe.pki import certificates
from icefloe.pki._openssl_text import name_text, time_text
from icefloe.pki.errors import KeyInvalid, Reason, ReasonCode
from icefloe.pki.keys import require_supported, signature_algorithm_problem
from icefloe.pki.spans import span_text

__all__ = [
    "ca_problems",
    "issuer_validity_problems",
    "leaf_extension_problems",
    "name_problems",
    "purpose_problems",
    "strength_problems",
    "validity_problems",
]

_CRITICAL_IN_LEAF: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)
_CRITICAL_IN_CA: Final = frozenset(
    {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE}
)


def ca_problems(ca: x509.Certificate) -> list[Reason]:
    """Find every reason why a certificate is not fit to be a trust anchor."""
    reasons = []
    # A self-signed X.509v1 certificate cannot bear basicConstraints; Icinga before
    # 2.4 made its CA so, and OpenSSL takes it as a root.
    is_old_root = ca.version is x509.Version.v1 and certificates.is_self_issued(ca)
    if not certificates.is_ca(ca) and not is_old_root:
        reasons.append(
            Reason(
                ReasonCode.NOT_A_CA,
                f"{name_text(ca.subject)} is not a CA certificate (basicConstraints "
                "CA:TRUE); put the CA's own certificate there",
            )
        )
    usage = _key_usage(ca)
    if usage is not None and not usage.key_cert_sign:
        reasons.append(
            Reason(
                ReasonCode.NOT_A_CA, "its keyUsage does not allow signing certificates"
            )
        )
    reasons += _key_problems(ca)
    reasons += _critical_extension_problems(ca, _CRITICAL_IN_CA)
    return reasons


def validity_problems(cert: x509.Certificate, at: datetime) -> list[Reason]:
    """Compare a moment with notBefore and notAfter, both included (RFC 5280)."""
    start, end = cert.not_valid_before_utc, cert.not_valid_after_utc
    if at > end:
        ago = span_text((at - end).total_seconds())
        return [
            Reason(ReasonCode.EXPIRED, f"it expired on {time_text(end)} ({ago} ago)")
        ]
    if at < start:
        ahead = span_text((start - at).total_seconds())
        return [
            Reason(
                ReasonCode.NOT_YET_VALID,
                f"it is not valid before {time_text(start)} ({ahead} from now); "
                "compare the clocks of this machine and of the one that signed it",
            )
        ]
    return []


def issuer_validity_problems(ca: x509.Certificate, at: datetime) -> list[Reason]:
    """Compare a moment with the validity of the CA that issued a certificate."""
    codes = {
        ReasonCode.EXPIRED: ReasonCode.ISSUER_EXPIRED,
        ReasonCode.NOT_YET_VALID: ReasonCode.ISSUER_NOT_YET_VALID,
    }
    return [
        Reason(codes[reason.code], f"its CA's certificate cannot be used: {reason}")
        for reason in validity_problems(ca, at)
    ]


def leaf_extension_problems(cert: x509.Certificate) -> list[Reason]:
    """Find critical extensions of a node's certificate that must not be passed over."""
    return _critical_extension_problems(cert, _CRITICAL_IN_LEAF)


def strength_problems(cert: x509.Certificate) -> list[Reason]:
    """Find a weak key or a forgeable signature."""
    reasons = _key_problems(cert)
    problem = signature_algorithm_problem(cert.signature_algorithm_oid)
    if problem is not None:
        reasons.append(Reason(ReasonCode.SIGNATURE_ALGORITHM, problem))
    return reasons


def _key_problems(cert: x509.Certificate) -> list[Reason]:
    """Find a weak or unsupported key."""
    try:
        require_supported(cert.public_key())
    except KeyInvalid as error:
        return [Reason(ReasonCode.KEY, f"its key is no good: {error.problem}")]
    return []


def _critical_extension_problems(
    cert: x509.Certificate, understood: frozenset[x509.ObjectIdentifier]
) -> list[Reason]:
    """Find critical extensions that must not be passed over."""
    return [
        Reason(
            ReasonCode.UNKNOWN_CRITICAL_EXTENSION,
            f"its critical extension {extension.oid.dotted_string} is not supported",
        )
        for extension in cert.extensions
        if extension.critical and extension.oid not in understood
    ]


def name_problems(cert: x509.Certificate, cn: str) -> list[Reason]:
    """Hold the names of a new certificate against the one that was asked for."""
    reasons = []
    names = certificates.common_names(cert)
    if names != (cn,):
        shown = ", ".join(map(ascii, names)) or "none"
        reasons.append(
            Reason(
                ReasonCode.OTHER_COMMON_NAME,
                f"its common name is {shown}, and {cn!a} was asked for",
            )
        )
    dns_names = certificates.dns_names(cert)
    if dns_names and cn not in dns_names:
        reasons.append(
            Reason(
                ReasonCode.OTHER_HOST_NAME,
                f"its subjectAltName does not hold {cn!a}, so that no peer "
                "could verify it",
            )
        )
    return reasons


def purpose_problems(cert: x509.Certificate) -> list[Reason]:
    """Check that TLS allows the certificate at both ends, as every node needs it."""
    reasons = []
    usage = _key_usage(cert)
    if usage is not None and not usage.digital_signature:
        reasons.append(
            Reason(ReasonCode.PURPOSE, "its keyUsage does not allow TLS signatures")
        )
    try:
        extended = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return reasons
    needed = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    if not needed <= set(extended.value):
        reasons.append(
            Reason(
                ReasonCode.PURPOSE,
                "its extendedKeyUsage does not allow both ends of a TLS connection",
            )
        )
    return reasons


def _key_usage(cert: x509.Certificate) -> x509.KeyUsage | None:
    """Return the keyUsage extension's value, or None without one."""
    try:
        return cert.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None
