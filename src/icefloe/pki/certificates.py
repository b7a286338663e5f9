"""Reading certificates, and the few facts about one that the protocol speaks of.

A certificate is a `cryptography.x509.Certificate` everywhere in Icefloe; the functions
here are what is asked about it.

`cryptography` decodes a certificate's parts when they are first looked at, so that a
rotten name or extension would raise in the middle of some later decision.  The three
loaders decode every part once, before anything else sees the certificate: **what they
return can be asked anything without raising**, and what they raise is
`CertificateInvalid`.

Real Icinga certificates are accepted as they are: 20-byte serial numbers with the top
bit set (21 octets of DER), no key identifiers, no key usage, X.509v1 and serial
number 0 from before Icinga 2.4.  Loading does not mean trusting: that is `trust`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from icefloe.pki import _der
from icefloe.pki._decoding import DECODING_ERRORS, decoding
from icefloe.pki._openssl_text import algorithm_text, name_text, time_text
from icefloe.pki.errors import (
    CertificateInvalid,
    KeyInvalid,
    PKIError,
    Reason,
    ReasonCode,
)
from icefloe.pki.keys import PublicKey, require_supported, signature_matches

__all__ = [
    "CERTIFICATE_BYTES_MAX",
    "PEM_BYTES_MAX",
    "common_name",
    "common_names",
    "describe",
    "describe_text",
    "dns_names",
    "fingerprint",
    "is_ca",
    "is_self_issued",
    "is_self_signed",
    "is_signed_with",
    "key_id",
    "load_der",
    "load_pem",
    "load_pem_all",
    "public_bytes_of",
    "root_among",
    "serial_hex",
    "serial_number",
    "subject_bytes",
    "to_pem",
]

PEM_BYTES_MAX: Final = 1024 * 1024
"""Longest text looked at: the largest message an anonymous peer may send."""

CERTIFICATE_BYTES_MAX: Final = 8 * 1024
"""Longest certificate (DER); an RSA-8192 one with a hundred names has 5 KiB.  Anybody
can show one: reading 8 KiB of names takes 3 ms, a handshake's time, 64 KiB take 40."""

_KNOWN_MAX: Final = 1024
_KNOWN_BYTES_MAX: Final = 8 * 1024
_KNOWN_WORDS_MAX: Final = 1024
"""Certificates that were read lately are not read again: a peer shows the same one in
the handshake, in each asking and to each node on the way.  So many, none longer than so
many bytes, of which no more than so many beside the key: names and extensions take up
to fifty times as much memory as they are long, and real ones have 300 bytes of them.
What a stranger shows can only push others out; an unreadable one is not kept."""


# --- Reading and writing -------------------------------------------------------------


def load_pem(text: str | bytes) -> x509.Certificate:
    """Read the first certificate of a PEM text.

    Args:
        text: PEM, as read from a file or a message; text before the first
            `BEGIN CERTIFICATE` line and after its `END` line is ignored.

    Raises:
        CertificateInvalid: There is none, it is too long, or it cannot be decoded.
    """
    if isinstance(text, str) and len(text) <= _KNOWN_BYTES_MAX:
        try:
            return _known_pem(text)
        except _NotKept as found:
            return found.certificate
    return _decoded(_load_first_pem, _pem_bytes(text))[0]


def load_pem_all(text: str | bytes) -> tuple[x509.Certificate, ...]:
    """Read every certificate of a PEM text, in order; at least one.

    Raises:
        CertificateInvalid: There is none, or one of them cannot be decoded.
    """
    return _decoded(_load_every_pem, _pem_bytes(text))


def load_der(data: bytes) -> x509.Certificate:
    """Read a certificate from its DER bytes.

    Raises:
        CertificateInvalid: The bytes are too many, or cannot be decoded.
    """
    if len(data) <= _KNOWN_BYTES_MAX:
        try:
            return _known_der(data)
        except _NotKept as found:
            return found.certificate
    return _decoded(_load_der, data)[0]


def to_pem(cert: x509.Certificate) -> str:
    """Return the certificate as PEM text, ending with a line break."""
    return cert.public_bytes(serialization.Encoding.PEM).decode("ascii")


# --- Names by which a certificate is known ------------------------------------------


def fingerprint(cert: x509.Certificate) -> str:
    """Return the SHA-256 of the certificate's DER, as 64 lower-case hex digits.

    protocol: `fingerprint_request`, and the name of a stored request's file.
    """
    return cert.fingerprint(hashes.SHA256()).hex()


def key_id(of: x509.Certificate | PublicKey) -> str:
    """Return the SHA-256 of the SubjectPublicKeyInfo's DER, as 64 lower-case hex digits.

    The key is encoded anew first, so that two encodings of one key have one id.  It
    stays the same when a node makes a new self-signed certificate from its old key.
    """
    digest = hashes.Hash(hashes.SHA256())
    digest.update(public_bytes_of(of))
    return digest.finalize().hex()


def public_bytes_of(of: x509.Certificate | PublicKey) -> bytes:
    """Return the SubjectPublicKeyInfo's DER of a certificate's key or a public key."""
    key = of.public_key() if isinstance(of, x509.Certificate) else of
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def serial_number(cert: x509.Certificate) -> int:
    """Return the serial number; zero or negative ones exist and are returned as such.

    In place of `cert.serial_number`, which warns about those at every look.
    """
    tbs = _der.TBSCertificate.parse(cert.tbs_certificate_bytes)
    return int.from_bytes(_der.content(tbs.serial), "big", signed=True)


def serial_hex(cert: x509.Certificate) -> str:
    """Return the serial number in lower-case hex, two digits for each byte.

    `-` comes first when the number is negative, which no honest certificate has.
    """
    number = serial_number(cert)
    digits = f"{abs(number):x}"
    sign = "-" if number < 0 else ""
    return sign + digits.zfill(len(digits) + len(digits) % 2)


def common_name(cert: x509.Certificate) -> str:
    """Return the first common name of the subject: the identity a peer claims.

    Raises:
        CertificateInvalid: The subject has none.
    """
    names = common_names(cert)
    if not names:
        raise CertificateInvalid(
            [Reason(ReasonCode.NO_COMMON_NAME, "its subject has no common name")]
        )
    return names[0]


def common_names(cert: x509.Certificate) -> tuple[str, ...]:
    """Return every common name of the subject, in order."""
    return tuple(
        str(attribute.value)
        for attribute in cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    )


def dns_names(cert: x509.Certificate) -> tuple[str, ...]:
    """Return the DNS names of the subjectAltName extension; empty without one."""
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.value.get_values_for_type(x509.DNSName))


def subject_bytes(cert: x509.Certificate) -> bytes:
    """Return the subject's name, DER, byte for byte as the certificate has it."""
    return _der.TBSCertificate.parse(cert.tbs_certificate_bytes).subject


# --- What a certificate says of itself ------------------------------------------------


def is_ca(cert: x509.Certificate) -> bool:
    """Say whether basicConstraints is there and says CA:TRUE."""
    try:
        constraints = cert.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return constraints.value.ca


def is_self_issued(cert: x509.Certificate) -> bool:
    """Say whether subject and issuer are the same name.

    Names are the same when they hold the same values in the same order; which string
    type encodes a value does not matter.
    """
    return cert.subject == cert.issuer


def root_among(chain: Iterable[bytes]) -> bytes | None:
    """Return the first self-issued certificate, DER, of those a peer sent along."""
    for der in chain:
        try:
            if is_self_issued(load_der(der)):
                return der
        except PKIError:
            continue
    return None


def is_signed_with(cert: x509.Certificate, public_key: PublicKey) -> bool:
    """Say whether the certificate's signature was made with this key's private half.

    False for weak and unknown algorithms, and when what stands beside the signed part
    is not as it must be: another algorithm than inside (RFC 5280 section 4.1.1.2), or a
    signature that does not end with a whole byte.  OpenSSL refuses these, too.
    """
    tbs = cert.tbs_certificate_bytes
    inner_algorithm = _der.TBSCertificate.parse(tbs).algorithm
    bits = _der.encode(_der.BIT_STRING, b"\x00", cert.signature)
    expected = _der.encode(_der.SEQUENCE, tbs, inner_algorithm, bits)
    if cert.public_bytes(serialization.Encoding.DER) != expected:
        return False
    return signature_matches(
        public_key,
        algorithm=cert.signature_algorithm_oid,
        signature=cert.signature,
        data=tbs,
    )


def is_self_signed(cert: x509.Certificate) -> bool:
    """Say whether issuer and subject are the same and its own key signed it.

    False for a key of a type or strength that is not accepted.
    """
    if not is_self_issued(cert):
        return False
    try:
        public_key = require_supported(cert.public_key())
    except KeyInvalid:
        return False
    return is_signed_with(cert, public_key)


# --- For people -----------------------------------------------------------------------


def describe(cert: x509.Certificate) -> list[tuple[str, str]]:
    """Return what Icinga's commands print about a certificate: labels and values.

    protocol: `pki save-cert`, `pki verify` and the wizard.  The serial number is in
    upper-case hex as since Icinga 2.16.4 (before: colons between lower-case bytes).
    The fingerprint is the SHA-256 in upper-case hex bytes with blanks *between* them;
    Icinga prints one more blank at the end, and tools look for the hex at the end of
    the line, blanks or not.
    """
    sha256 = cert.fingerprint(hashes.SHA256())
    return [
        ("Version", str(cert.version.value + 1)),
        ("Subject", name_text(cert.subject)),
        ("Issuer", name_text(cert.issuer)),
        ("Valid From", time_text(cert.not_valid_before_utc)),
        ("Valid Until", time_text(cert.not_valid_after_utc)),
        ("Serial", serial_hex(cert).upper()),
        ("Signature Algorithm", algorithm_text(cert.signature_algorithm_oid)),
        ("Subject Alt Names", " ".join(map(_printable, dns_names(cert)))),
        ("Fingerprint", sha256.hex(" ").upper()),
    ]


def describe_text(cert: x509.Certificate) -> str:
    """Return the block Icinga prints: one ` Label:   value` a line, values aligned.

    A blank line before and after belongs to Icinga's block and is included; no line
    ends in a blank.
    """
    lines = (f" {label + ':':<20} {value}".rstrip() for label, value in describe(cert))
    return "\n" + "".join(line + "\n" for line in lines) + "\n"


# --- Decoding -------------------------------------------------------------------------


def _pem_bytes(text: str | bytes) -> bytes:
    """Bound a PEM text and encode it; what is not ASCII cannot be inside a block."""
    if len(text) > PEM_BYTES_MAX:
        raise _unreadable(f"the text is longer than {PEM_BYTES_MAX} bytes")
    return text.encode("utf-8", "replace") if isinstance(text, str) else text


def _load_first_pem(data: bytes) -> list[x509.Certificate]:
    return [x509.load_pem_x509_certificate(data)]


def _load_every_pem(data: bytes) -> list[x509.Certificate]:
    found = x509.load_pem_x509_certificates(data)
    # A block without an end is passed over in silence: a torn file would lose its
    # last CA.
    if len(found) < data.count(b"-----BEGIN CERTIFICATE-----"):
        raise ValueError("a certificate is cut short")
    return found


class _NotKept(Exception):
    """A certificate that is well, but would take too much memory (not an error)."""

    def __init__(self, certificate: x509.Certificate) -> None:
        super().__init__()
        self.certificate = certificate


@lru_cache(maxsize=_KNOWN_MAX)
def _known_pem(text: str) -> x509.Certificate:
    return _to_keep(_decoded(_load_first_pem, _pem_bytes(text))[0])


@lru_cache(maxsize=_KNOWN_MAX)
def _known_der(data: bytes) -> x509.Certificate:
    return _to_keep(_decoded(_load_der, data)[0])


def _to_keep(cert: x509.Certificate) -> x509.Certificate:
    """Return a certificate of few words; a call that raises is not remembered."""
    words = len(cert.tbs_certificate_bytes) - len(public_bytes_of(cert))
    if words > _KNOWN_WORDS_MAX:
        raise _NotKept(cert)
    return cert


def _load_der(data: bytes) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(data)]


def _decoded(
    load: Callable[[bytes], Sequence[x509.Certificate]], data: bytes
) -> tuple[x509.Certificate, ...]:
    """Load certificates and decode every part of them, or raise the declared error."""
    try:
        with decoding():
            certificates = tuple(load(data))
            for cert in certificates:
                _decode_every_part(cert)
    except DECODING_ERRORS as error:
        raise _unreadable(_why(error, data)) from error
    return certificates


def _decode_every_part(cert: x509.Certificate) -> None:
    """Look at everything that `cryptography` decodes late."""
    # First: until here nothing is decoded but the outermost parts.
    if len(cert.public_bytes(serialization.Encoding.DER)) > CERTIFICATE_BYTES_MAX:
        raise ValueError("the certificate is too long")
    _ = cert.version, cert.subject, cert.issuer, cert.signature_algorithm_oid
    _ = cert.not_valid_before_utc, cert.not_valid_after_utc
    serial_number(cert)
    dns_names(cert)
    is_ca(cert)
    public_bytes_of(cert)


def _why(error: Exception, data: bytes) -> str:
    """Say in plain words why some bytes are not a certificate."""
    if isinstance(error, UserWarning):
        return "one of its names is longer than RFC 5280 allows, or empty"
    if b"-----BEGIN" in data and b"CERTIFICATE-----" not in data:
        return "it is PEM, but holds no certificate"
    return "it cannot be decoded"


def _unreadable(problem: str) -> CertificateInvalid:
    """Make the error for bytes that are no certificate."""
    return CertificateInvalid([Reason(ReasonCode.UNREADABLE, problem)])


def _printable(text: str) -> str:
    """Escape what must not reach a terminal."""
    return text if text.isprintable() else ascii(text)[1:-1]
