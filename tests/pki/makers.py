"""Keys and certificates for tests: real ones from `data/`, odd ones made to order.

EC keys are numbers, so that they cost nothing and are the same in every run.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from icefloe.doors import WallTime
from icefloe.pki import _der, profiles
from icefloe.pki.certificates import load_der
from icefloe.pki.keys import PrivateKey, sign

DATA = Path(__file__).parent / "data"

NOW = WallTime(datetime(2027, 1, 15, 12, tzinfo=UTC).timestamp())
"""Within the validity of the certificates in `data/`."""

DAY = 86400.0
AGENT = "agent1.example.org"

AnyKey = PrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey


def pem_block(label: str, der: bytes) -> str:
    """Write any bytes as PEM, sound or not."""
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n"


def moment(seconds: float = NOW) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


def data(name: str) -> bytes:
    return (DATA / name).read_bytes()


@cache
def ec_key(number: int = 1000) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(number, ec.SECP256R1())


@cache
def rsa_key(name: str = "agent1") -> rsa.RSAPrivateKey:
    """Return one of the two RSA-4096 keys in `data/`: `agent1` or `icinga-ca`."""
    key = serialization.load_pem_private_key(
        data(f"{name}.key"), password=None, unsafe_skip_rsa_key_validation=True
    )
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


@cache
def small_rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)


def ca_made_by_us(
    key: PrivateKey | None = None,
    *,
    start: float = NOW - DAY,
    end: float = NOW + profiles.CA_LIFETIME,
    serial: int = 77,
) -> x509.Certificate:
    return profiles.ca_certificate(
        key or ec_key(11),
        serial=serial,
        not_before=WallTime(start),
        not_after=WallTime(end),
    )


def leaf_made_by_us(
    ca: x509.Certificate,
    ca_key: PrivateKey,
    *,
    cn: str = AGENT,
    key: PrivateKey | None = None,
    start: float = NOW - profiles.BACKDATE,
    end: float = NOW + profiles.LEAF_LIFETIME,
    serial: int = 4711,
) -> x509.Certificate:
    tbs = profiles.leaf_tbs(
        cn=cn,
        public_key=(key or ec_key()).public_key(),
        issuer=ca,
        serial=serial,
        not_before=WallTime(start),
        not_after=WallTime(end),
    )
    return profiles.assemble(tbs, sign(ca_key, tbs), ca_key.public_key())


def name(*cns: str, extra: Iterable[x509.NameAttribute[str]] = ()) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, cn) for cn in cns]
    return x509.Name([*attributes, *extra])


def certificate(
    *,
    subject: x509.Name | str = AGENT,
    issuer: x509.Name | str | None = None,
    key: AnyKey | None = None,
    signed_by: AnyKey | None = None,
    ca: bool | None = False,
    start: float = NOW - DAY,
    end: float = NOW + 100 * DAY,
    serial: int = 99,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> x509.Certificate:
    """Make a certificate of any kind; self-signed unless told otherwise.

    It does not pass the loaders of `certificates`, so that it may be as odd as any.
    """
    own = key or ec_key()
    subject = name(subject) if isinstance(subject, str) else subject
    issuer = name(issuer) if isinstance(issuer, str) else issuer
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(own.public_key())
        .serial_number(serial)
        .not_valid_before(moment(start))
        .not_valid_after(moment(end))
    )
    if ca is not None:
        constraints = x509.BasicConstraints(ca=ca, path_length=None)
        builder = builder.add_extension(constraints, critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    signer = signed_by or own
    if isinstance(signer, ed25519.Ed25519PrivateKey):
        return builder.sign(signer, None)
    return builder.sign(signer, hashes.SHA256())


def with_fields(
    cert: x509.Certificate, key: PrivateKey, **fields: bytes
) -> x509.Certificate:
    """Replace fields of a certificate, as DER, and sign it again."""
    tbs = _der.TBSCertificate.parse(cert.tbs_certificate_bytes)
    return joined(replace(tbs, **fields).encode(), key)


SHA1_WITH_RSA = bytes.fromhex("300d06092a864886f70d0101050500")

_SHA256_WITH_RSA_OID = bytes.fromhex("2a864886f70d01010b")
_SHA1_WITH_RSA_OID = bytes.fromhex("2a864886f70d010105")


def said_to_be_sha1(der: bytes) -> bytes:
    """Let something signed by RSA with SHA-256 claim SHA-1, which nobody makes now."""
    return der.replace(_SHA256_WITH_RSA_OID, _SHA1_WITH_RSA_OID)


def joined(tbs: bytes, key: PrivateKey) -> x509.Certificate:
    """Sign to-be-signed bytes, whatever they are."""
    return load_der(joined_bytes(tbs, key))


def joined_bytes(tbs: bytes, key: PrivateKey) -> bytes:
    algorithm = _der.TBSCertificate.parse(tbs).algorithm
    bits = _der.encode(_der.BIT_STRING, b"\0", sign(key, tbs))
    return _der.encode(_der.SEQUENCE, tbs, algorithm, bits)


def flipped(cert: x509.Certificate) -> x509.Certificate:
    """Change the last bit of the signature."""
    der = bytearray(cert.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_certificate(bytes(der))


def revocation_list(
    *,
    issuer: x509.Name | str = profiles.CA_COMMON_NAME,
    key: PrivateKey | None = None,
    serials: Iterable[int] = (),
    made: float = NOW - DAY,
    due: float = NOW + 30 * DAY,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> str:
    """Make a CRL; PEM text."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(name(issuer) if isinstance(issuer, str) else issuer)
        .last_update(moment(made))
        .next_update(moment(due))
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial)
        builder = builder.add_revoked_certificate(
            entry.revocation_date(moment(made - 3600)).build()
        )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    crl = builder.sign(key or ec_key(11), hashes.SHA256())
    return crl.public_bytes(serialization.Encoding.PEM).decode()
