"""What our certificates look like, and how they come to be without chance or clock.

Leaf (a node's certificate)
:   subject `CN=<name>`; issuer copied from the CA byte for byte; basicConstraints
    critical CA:FALSE; SAN `DNS:<name>`; keyUsage critical digitalSignature, for RSA
    also keyEncipherment; extendedKeyUsage serverAuth and clientAuth, for every node
    is both; SKI and AKI.  397 days, as Icinga's.
CA
:   subject `CN=Icinga CA`, which tools expect to see; basicConstraints critical
    CA:TRUE; keyUsage critical keyCertSign and cRLSign; SKI.  15 years, as Icinga's.
Request (a node's self-signed certificate before it is enrolled)
:   as Icinga makes it (basicConstraints, SAN), plus SKI and AKI.

Signing is split, because the intent is recorded before the irreversible:

    tbs = leaf_tbs(...)              # deterministic; store it, with the serial number
    signature = sign_tbs(key, tbs)   # a command to whoever holds the key; RFC 6979
    cert = assemble(tbs, signature, key.public_key())

The same inputs give the same bytes, so a signer that crashed in between does the
second step again and arrives at the same certificate.

`cryptography` builds to-be-signed bytes only together with a signature.  `leaf_tbs`
therefore lets it sign with a *lint key*, a constant that protects nothing, and takes
the to-be-signed bytes from the draft.  Two fields of the draft are then replaced: the
issuer, by the CA's own bytes (the builder would encode the name anew), and the
signature algorithm, by the one the CA's key is going to use.

Key identifiers are SHA-1 of the public key's bits (RFC 5280 section 4.2.1.2, method
1).  Icinga's CAs have none; the AKI is then computed from the CA's key.  OpenSSL
compares an AKI only with an SKI that is there, so such leaves verify under the CA as
it is, and also under a later CA certificate with the same key and an SKI by method 1.
A CA that has an SKI by another method gives its own value to the AKI.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from icefloe.doors import WallTime
from icefloe.pki import _der
from icefloe.pki._openssl_text import time_text
from icefloe.pki.certificates import is_signed_with, load_der, subject_bytes
from icefloe.pki.errors import (
    CertificateInvalid,
    CommonNameInvalid,
    Reason,
    ReasonCode,
)
from icefloe.pki.keys import PrivateKey, PublicKey, require_supported, sign
from icefloe.pki.names import check_common_name

__all__ = [
    "BACKDATE",
    "CA_COMMON_NAME",
    "CA_LIFETIME",
    "LEAF_LIFETIME",
    "SERIAL_BYTES",
    "assemble",
    "ca_certificate",
    "csr",
    "leaf_tbs",
    "self_signed",
    "serial_from",
    "sign_tbs",
]

_DAY: Final = 24 * 3600

LEAF_LIFETIME: Final = 397 * _DAY
"""Seconds from now to a leaf's notAfter; protocol: Icinga 2.12.7, 2.13.3 and later."""

CA_LIFETIME: Final = 15 * 365 * _DAY
"""Seconds from now to a CA's notAfter; protocol: Icinga 2."""

BACKDATE: Final = 5 * 60
"""Seconds by which notBefore lies before now.

A fresh certificate is looked at within milliseconds by machines whose clocks are a
little behind; Icinga does not back-date, and such a peer then sees a certificate that
is not yet valid.  Five minutes is what Kerberos allows clocks to differ by, and still
keeps the whole life of a leaf under 398 days.
"""

CA_COMMON_NAME: Final = "Icinga CA"
"""Subject of a new CA; tools and people look for it in `issuer`."""

SERIAL_BYTES: Final = 20
"""How much entropy `serial_from` takes; RFC 5280 allows 20 octets."""

_SERIAL_MASK: Final = (1 << 159) - 1
"""Clears the top bit, so that DER needs no 21st octet for the sign."""

_SHA256_WITH_RSA: Final = bytes.fromhex("300d06092a864886f70d01010b0500")
"""AlgorithmIdentifier { 1.2.840.113549.1.1.11, NULL }: RFC 4055 section 5."""

_ECDSA_WITH_SHA256: Final = bytes.fromhex("300a06082a8648ce3d040302")
"""AlgorithmIdentifier { 1.2.840.10045.4.3.2 }: RFC 5758 section 3.2."""

_Extensions = Sequence[tuple[x509.ExtensionType, bool]]
"""Extensions in order, each with whether it is critical."""


# --- Parts ----------------------------------------------------------------------------


def serial_from(entropy: bytes) -> int:
    """Make a serial number from random bytes.

    Args:
        entropy: At least `SERIAL_BYTES` bytes from `Entropy.bytes`; more are ignored.

    Returns:
        0 < serial < 2**159: at most 20 octets of DER, which every reader accepts.
    """
    if len(entropy) < SERIAL_BYTES:
        raise ValueError(f"a serial number takes {SERIAL_BYTES} random bytes")
    return int.from_bytes(entropy[:SERIAL_BYTES], "big") & _SERIAL_MASK or 1


def sign_tbs(private_key: PrivateKey, tbs: bytes) -> bytes:
    """Sign to-be-signed bytes; deterministic (see `icefloe.pki.keys.sign`).

    The bytes name their algorithm, so they must have been made for this key's type.
    """
    return sign(private_key, tbs)


def assemble(
    tbs: bytes, signature: bytes, signing_public_key: PublicKey
) -> x509.Certificate:
    """Join to-be-signed bytes and their signature into a certificate.

    Args:
        tbs: TBSCertificate, DER, as `leaf_tbs` returned it.
        signature: As `sign_tbs` returned it.
        signing_public_key: The issuer's key.

    Raises:
        CertificateInvalid: The bytes are no TBSCertificate, or the signature is not
            the issuer's over them.  Nothing came to be.
    """
    try:
        algorithm = _der.TBSCertificate.parse(tbs).algorithm
    except _der.DERError as error:
        raise CertificateInvalid(
            [Reason(ReasonCode.UNREADABLE, "the to-be-signed bytes are damaged")]
        ) from error
    bits = _der.encode(_der.BIT_STRING, b"\x00", signature)  # no unused bits
    cert = load_der(_der.encode(_der.SEQUENCE, tbs, algorithm, bits))
    if not is_signed_with(cert, signing_public_key):
        raise CertificateInvalid(
            [
                Reason(
                    ReasonCode.BAD_SIGNATURE,
                    "the signature is not by the issuer's key over these bytes",
                )
            ]
        )
    return cert


# --- Whole certificates ---------------------------------------------------------------


def leaf_tbs(
    *,
    cn: str,
    public_key: PublicKey,
    issuer: x509.Certificate,
    serial: int,
    not_before: WallTime,
    not_after: WallTime,
) -> bytes:
    """Make the to-be-signed bytes of a node's certificate.

    Args:
        cn: The node's name.
        public_key: The node's key.
        issuer: The CA certificate it is going to be signed under.
        serial: From `serial_from`.
        not_before: Usually now less `BACKDATE`; seconds, fractions are dropped.
        not_after: Usually now plus `LEAF_LIFETIME`.  Both are cut to the CA's own
            validity: a certificate that outlives its issuer surprises its owner on
            the wrong day, and some validators refuse it throughout.

    Returns:
        TBSCertificate, DER.  The same arguments give the same bytes.

    Raises:
        CommonNameInvalid: No node may have this name, or it is the CA's own.
        KeyInvalid: The node's or the CA's key is weak or of an unsupported type.
        CertificateInvalid: Nothing is left between the two times within the CA's
            validity: the CA certificate has expired, or is not valid yet.
    """
    subject = _subject(cn)
    if subject == issuer.subject:
        raise CommonNameInvalid(
            cn, problem="it is the CA's own name", advice="give the node another name"
        )
    issuer_key = require_supported(issuer.public_key())
    start, end = _within(issuer, not_before, not_after)
    return _tbs(
        subject=subject,
        public_key=public_key,
        issuer_name=subject_bytes(issuer),
        issuer_key=issuer_key,
        serial=serial,
        start=start,
        end=end,
        extensions=[
            *_identity_extensions(cn, public_key),
            (_key_usage(public_key), True),
            (_BOTH_PURPOSES, False),
            (_authority_key_identifier(issuer, issuer_key), False),
        ],
    )


def self_signed(
    cn: str,
    private_key: PrivateKey,
    *,
    serial: int,
    not_before: WallTime,
    not_after: WallTime,
) -> x509.Certificate:
    """Make the self-signed certificate a node presents as its request.

    Raises:
        CommonNameInvalid: No node may have this name.
        KeyInvalid: The key is weak or of an unsupported type.
    """
    public_key = private_key.public_key()
    subject = _subject(cn)
    tbs = _tbs(
        subject=subject,
        public_key=public_key,
        issuer_name=subject.public_bytes(),
        issuer_key=public_key,
        serial=serial,
        start=_moment(not_before),
        end=_moment(not_after),
        extensions=[
            *_identity_extensions(cn, public_key),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key), False),
        ],
    )
    return assemble(tbs, sign_tbs(private_key, tbs), public_key)


def ca_certificate(
    private_key: PrivateKey,
    *,
    serial: int,
    not_before: WallTime,
    not_after: WallTime,
) -> x509.Certificate:
    """Make a new CA certificate, `CN=Icinga CA`, signed by its own key.

    Raises:
        KeyInvalid: The key is weak or of an unsupported type.
    """
    public_key = private_key.public_key()
    subject = _subject(CA_COMMON_NAME)
    tbs = _tbs(
        subject=subject,
        public_key=public_key,
        issuer_name=subject.public_bytes(),
        issuer_key=public_key,
        serial=serial,
        start=_moment(not_before),
        end=_moment(not_after),
        extensions=[
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (_usage(key_cert_sign=True, crl_sign=True), True),
            (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
        ],
    )
    return assemble(tbs, sign_tbs(private_key, tbs), public_key)


def csr(cn: str, private_key: PrivateKey) -> x509.CertificateSigningRequest:
    """Make a PKCS#10 request for a node, as `pki new-cert --csr` writes it.

    Version 1, SHA-256, the SAN asked for: as Icinga's.  The same arguments give the
    same bytes.

    Raises:
        CommonNameInvalid: No node may have this name.
        KeyInvalid: The key is weak or of an unsupported type.
    """
    require_supported(private_key.public_key())
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(cn))
    for name in _alternative_names(cn):
        builder = builder.add_extension(name, critical=False)
    if isinstance(private_key, rsa.RSAPrivateKey):
        return builder.sign(private_key, hashes.SHA256())
    return builder.sign(private_key, hashes.SHA256(), ecdsa_deterministic=True)


# --- Building blocks ------------------------------------------------------------------


@cache
def _lint_key() -> ec.EllipticCurvePrivateKey:
    """Return the lint key: the number 1.  It signs nothing of value."""
    return ec.derive_private_key(1, ec.SECP256R1())


def _tbs(
    *,
    subject: x509.Name,
    public_key: PublicKey,
    issuer_name: bytes,
    issuer_key: PublicKey,
    serial: int,
    start: datetime,
    end: datetime,
    extensions: _Extensions,
) -> bytes:
    """Build to-be-signed bytes by way of a draft that the lint key signs."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)  # a placeholder, replaced below
        .public_key(require_supported(public_key))
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(end)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    draft = builder.sign(_lint_key(), hashes.SHA256(), ecdsa_deterministic=True)
    is_rsa = isinstance(issuer_key, rsa.RSAPublicKey)
    fields = _der.TBSCertificate.parse(draft.tbs_certificate_bytes)
    return replace(
        fields,
        algorithm=_SHA256_WITH_RSA if is_rsa else _ECDSA_WITH_SHA256,
        issuer=issuer_name,
    ).encode()


def _subject(cn: str) -> x509.Name:
    """Return `CN=<cn>` as one UTF8String, as Icinga encodes it."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, check_common_name(cn))])


def _identity_extensions(cn: str, public_key: PublicKey) -> _Extensions:
    """Return what every certificate of a node bears: no CA, its name, its key's id."""
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        *((name, False) for name in _alternative_names(cn)),
        (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
    ]


def _alternative_names(cn: str) -> list[x509.SubjectAlternativeName]:
    """Return the SAN extension; none for names beyond ASCII (see `names`)."""
    if not cn.isascii():
        return []
    return [x509.SubjectAlternativeName([x509.DNSName(cn)])]


def _key_usage(public_key: PublicKey) -> x509.KeyUsage:
    """Return a node's key usage.

    keyEncipherment is TLS 1.2's static RSA key exchange, which Icinga before 2.14
    still offers; an EC key cannot do it (RFC 8813 section 3).
    """
    return _usage(
        digital_signature=True,
        key_encipherment=isinstance(public_key, rsa.RSAPublicKey),
    )


def _usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    """Return a keyUsage extension with only the bits this project uses."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


_BOTH_PURPOSES: Final = x509.ExtendedKeyUsage(
    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
)
"""A node listens and dials with the same certificate."""


def _authority_key_identifier(
    issuer: x509.Certificate, issuer_key: PublicKey
) -> x509.AuthorityKeyIdentifier:
    """Point at the CA's key: by its SKI, or by what method 1 gives for its key."""
    try:
        own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


def _moment(seconds: float) -> datetime:
    """Return a wall time as the whole second, UTC, that X.509 can express."""
    return datetime.fromtimestamp(int(seconds), tz=UTC)


def _within(
    issuer: x509.Certificate, not_before: WallTime, not_after: WallTime
) -> tuple[datetime, datetime]:
    """Cut a period to the CA's own validity."""
    start = max(_moment(not_before), issuer.not_valid_before_utc)
    end = min(_moment(not_after), issuer.not_valid_after_utc)
    if start < end:
        return start, end
    if issuer.not_valid_after_utc <= _moment(not_before):
        ended = time_text(issuer.not_valid_after_utc)
        reason = Reason(
            ReasonCode.ISSUER_EXPIRED,
            f"the CA certificate expired on {ended}; renew it before signing anything",
        )
    else:
        begins = time_text(issuer.not_valid_before_utc)
        reason = Reason(
            ReasonCode.ISSUER_NOT_YET_VALID,
            f"the CA certificate is not valid before {begins}; check this machine's "
            "clock",
        )
    raise CertificateInvalid([reason])
