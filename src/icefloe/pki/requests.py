"""Judging what somebody presents in order to get a certificate.

protocol: on the wire a request is not a PKCS#10 but a *certificate*: the node's own,
self-signed at first enrollment, signed by the CA at renewal.  Only its public key and
its common name matter; validity, names and extensions of a request are ignored, as in
Icinga.  PKCS#10 comes from files (`pki sign-csr`).

What is checked here needs no trust anchor:

* a self-signed certificate is signed by its own key, so whoever made it had the
  private key (Icinga does not look, which lets a request be tampered with on its way);
* the key is one we would sign, the name one a node may have, and there is only one
  name, so that nobody approves the first and signs the second;
* it is not a CA certificate: `ca.crt` is public, and a node certificate for the CA's
  own key must never exist.

A certificate that is *not* self-issued shows possession to nobody until its signature
is checked against a trust anchor, or its key was used in the TLS handshake: that is
the caller's part (`PresentedCertificate.self_issued` tells which case it is).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from icefloe.pki._decoding import DECODING_ERRORS, decoding
from icefloe.pki.certificates import (
    PEM_BYTES_MAX,
    common_names,
    fingerprint,
    is_ca,
    is_self_issued,
    is_signed_with,
    key_id,
    to_pem,
)
from icefloe.pki.errors import (
    CertificateInvalid,
    KeyInvalid,
    Reason,
    ReasonCode,
    SigningRequestInvalid,
)
from icefloe.pki.keys import PublicKey, require_supported, signature_algorithm_problem
from icefloe.pki.names import check_common_name

__all__ = [
    "PresentedCertificate",
    "PresentedSigningRequest",
    "check_request_certificate",
    "check_signing_request",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentedCertificate:
    """A certificate that may serve as a request, and what it says.

    Attributes:
        cn: The common name asked for; passes `names.check_common_name`.
        key_id: SHA-256 of the public key, lower-case hex.
        fingerprint: SHA-256 of the certificate, lower-case hex: Icinga's name for it.
        self_issued: Its own key signed it (checked), so its maker had the private
            key.  False: somebody else signed it, and that signature is unchecked.
        public_key: The key to be certified.
        certificate: The certificate itself.
    """

    cn: str
    key_id: str
    fingerprint: str
    self_issued: bool
    public_key: PublicKey = field(repr=False)
    certificate: x509.Certificate = field(repr=False)

    @property
    def der(self) -> bytes:
        """The certificate's DER bytes, as a TLS peer shows them."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> str:
        """The certificate's PEM text, as `cert_request` carries it."""
        return to_pem(self.certificate)


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentedSigningRequest:
    """A PKCS#10 request that may be signed, and what it says.

    Attributes:
        cn: The common name asked for; passes `names.check_common_name`.
        key_id: SHA-256 of the public key, lower-case hex.
        public_key: The key to be certified.
    """

    cn: str
    key_id: str
    public_key: PublicKey = field(repr=False)


def check_request_certificate(cert: x509.Certificate) -> PresentedCertificate:
    """Judge a certificate that is presented as a request.

    Args:
        cert: What was presented, from one of the loaders of `certificates`.

    Returns:
        What it says; see `PresentedCertificate.self_issued` for what it proves.

    Raises:
        CertificateInvalid: With every reason: weak or unsupported key, broken or
            forgeable self-signature, no or several common names, a CA certificate.
        CommonNameInvalid: All else is well, but no node may have this name.
    """
    reasons: list[Reason] = []
    self_issued = is_self_issued(cert)
    public_key = _accepted_key(cert, reasons)
    if self_issued and public_key is not None:
        reasons += _self_signature_problems(cert, public_key)
    if is_ca(cert):
        reasons.append(
            Reason(
                ReasonCode.IS_A_CA,
                "it is a CA certificate, which no node enrolls with; "
                "make a key and a certificate for the node with `pki new-cert`",
            )
        )
    names = common_names(cert)
    reasons += _name_count_problems(names)
    if reasons or public_key is None:
        raise CertificateInvalid(reasons)
    return PresentedCertificate(
        cn=check_common_name(names[0]),
        key_id=key_id(public_key),
        fingerprint=fingerprint(cert),
        self_issued=self_issued,
        public_key=public_key,
        certificate=cert,
    )


def check_signing_request(pem: str | bytes) -> PresentedSigningRequest:
    """Read and judge a PKCS#10 request in PEM.

    Its attributes (a wished SAN, for instance) are ignored, as in Icinga: the profile
    of the signed certificate is ours.

    Raises:
        SigningRequestInvalid: It cannot be read, its signature is not by its own key,
            or its subject has no single common name.
        KeyInvalid: Its key is weak or of an unsupported type.
        CommonNameInvalid: No node may have this name.
    """
    csr, names = _load_signing_request(pem)
    problem = signature_algorithm_problem(csr.signature_algorithm_oid)
    if problem is not None:
        raise SigningRequestInvalid(problem)
    public_key = require_supported(csr.public_key())
    if not csr.is_signature_valid:
        raise SigningRequestInvalid(
            "it was changed after it was signed, or signed with another key; "
            "make a new one with `pki new-cert --csr`"
        )
    for reason in _name_count_problems(names):
        raise SigningRequestInvalid(reason)
    return PresentedSigningRequest(
        cn=check_common_name(names[0]), key_id=key_id(public_key), public_key=public_key
    )


_CSR_BLOCK: Final = re.compile(rb"-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----")


def _load_signing_request(
    pem: str | bytes,
) -> tuple[x509.CertificateSigningRequest, tuple[str, ...]]:
    """Decode a PKCS#10 request and its common names, or raise the declared error."""
    data = pem.encode("utf-8", "replace") if isinstance(pem, str) else pem
    if len(data) > PEM_BYTES_MAX:
        raise SigningRequestInvalid(f"it is longer than {PEM_BYTES_MAX} bytes")
    if not _CSR_BLOCK.search(data):
        raise SigningRequestInvalid("there is no PEM block `CERTIFICATE REQUEST`")
    try:
        with decoding():
            csr = x509.load_pem_x509_csr(data)
            csr.public_key()
            attributes = csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except UserWarning as error:
        problem = "one of its names is longer than RFC 5280 allows, or empty"
        raise SigningRequestInvalid(problem) from error
    except DECODING_ERRORS as error:
        raise SigningRequestInvalid("it cannot be decoded") from error
    return csr, tuple(str(attribute.value) for attribute in attributes)


def _accepted_key(cert: x509.Certificate, reasons: list[Reason]) -> PublicKey | None:
    """Return the certificate's key, or note why we would not sign it."""
    try:
        return require_supported(cert.public_key())
    except KeyInvalid as error:
        reasons.append(Reason(ReasonCode.KEY, f"its key is no good: {error.problem}"))
        return None


def _self_signature_problems(
    cert: x509.Certificate, public_key: PublicKey
) -> list[Reason]:
    """Check that a self-issued certificate is signed by its own key."""
    problem = signature_algorithm_problem(cert.signature_algorithm_oid)
    if problem is not None:
        return [Reason(ReasonCode.SIGNATURE_ALGORITHM, problem)]
    if not is_signed_with(cert, public_key):
        return [
            Reason(
                ReasonCode.BAD_SIGNATURE,
                "its self-signature is not by its own key: it was changed on its way, "
                "or whoever sent it does not have the key",
            )
        ]
    return []


def _name_count_problems(names: tuple[str, ...]) -> list[Reason]:
    """Check that there is exactly one common name."""
    if not names:
        return [Reason(ReasonCode.NO_COMMON_NAME, "its subject has no common name")]
    if len(names) > 1:
        return [
            Reason(
                ReasonCode.SEVERAL_COMMON_NAMES,
                f"its subject has {len(names)} common names; a node has one",
            )
        ]
    return []
