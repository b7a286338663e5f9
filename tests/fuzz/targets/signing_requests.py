"""PKCS#10 requests, as they come in files (`pki sign-csr`)."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from icefloe.pki import _der
from icefloe.pki.errors import CommonNameInvalid, KeyInvalid, SigningRequestInvalid
from icefloe.pki.keys import sign
from icefloe.pki.names import check_common_name
from icefloe.pki.requests import check_signing_request
from tests.fuzz import certificate_parts
from tests.fuzz.choices import Choices, part
from tests.pki import makers

BYTES_MAX = 4096

AS_PEM, FROM_PARTS = range(2)

_KEY = certificate_parts.AGENT_KEY
_PUBLIC = _KEY.public_key().public_bytes(
    Encoding.DER, PublicFormat.SubjectPublicKeyInfo
)
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_NO_ATTRIBUTES = b"\xa0\x00"


def _parts(subject: bytes, attributes: bytes = _NO_ATTRIBUTES) -> bytes:
    return bytes((FROM_PARTS,)) + part(subject) + attributes


def _seeds() -> dict[str, bytes]:
    real = makers.data("agent1.csr")
    found = {
        "agent1": bytes((AS_PEM,)) + real,
        "new-label": bytes((AS_PEM,))
        + real.replace(b"CERTIFICATE", b"NEW CERTIFICATE"),
        "torn": bytes((AS_PEM,)) + real[:700],
        "certificate": bytes((AS_PEM,)) + makers.data("agent1.crt"),
        "empty": b"",
        "label-only": bytes((AS_PEM,)) + b"-----BEGIN CERTIFICATE REQUEST-----",
    }
    for name, subject in certificate_parts.SUBJECTS.items():
        found[f"subject-{name}"] = _parts(subject)
    plain = certificate_parts.SUBJECTS["plain"]
    found["no-attributes"] = _parts(plain, b"")
    found["odd-attributes"] = _parts(plain, b"\xa0\x04\x30\x02\x06\x00")
    return found


SEEDS = _seeds()


def check(data: bytes) -> None:
    """Read a request; what is good has a good name and one key id."""
    pem = _build(data)
    try:
        presented = check_signing_request(pem)
    except (SigningRequestInvalid, KeyInvalid, CommonNameInvalid) as error:
        assert len(str(error)) < 1000
        assert str(error).isprintable()
        return
    assert check_common_name(presented.cn) == presented.cn
    csr = x509.load_pem_x509_csr(pem)
    assert csr.is_signature_valid
    assert len(presented.key_id) == 64


def _build(data: bytes) -> bytes:
    choices = Choices(data)
    if choices.byte() % 2 == AS_PEM:
        return choices.rest()
    subject, rest = choices.part(), choices.rest()
    info = _der.encode(_der.SEQUENCE, b"\x02\x01\x00", subject, _PUBLIC, rest)
    bits = _der.encode(_der.BIT_STRING, b"\x00", sign(_KEY, info))
    der = _der.encode(_der.SEQUENCE, info, _ECDSA_SHA256, bits)
    return makers.pem_block("CERTIFICATE REQUEST", der).encode()
