"""Revocation lists: typed errors only, for the file's readers and for TLS alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from icefloe.node.errors import TLSConfigurationInvalid
from icefloe.node.tls import contexts
from icefloe.pki import _der
from icefloe.pki.errors import RevocationListInvalid
from icefloe.pki.keys import sign
from icefloe.pki.revocation import load_revocation_lists
from tests.enrollment import playbook
from tests.fuzz import certificate_parts
from tests.fuzz.choices import Choices
from tests.pki import makers

BYTES_MAX = 4096

AS_PEM, SIGNED_ANEW = range(2)

_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_AT = datetime.fromtimestamp(playbook.START, UTC)
_ISSUER = playbook.ca().subject.public_bytes()
_TIMES = b"\x17\x0d260101000000Z" + b"\x17\x0d301231235959Z"


def _list(*extensions: tuple[x509.ExtensionType, bool]) -> bytes:
    """A list of one certificate, DER."""
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=playbook.ca().subject,
        last_update=_AT - timedelta(days=1),
        next_update=_AT + timedelta(days=9),
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    entry = x509.RevokedCertificateBuilder(serial_number=5, revocation_date=_AT)
    entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), False)  # noqa: FBT003
    builder = builder.add_revoked_certificate(entry.build())
    made = builder.sign(playbook.key(9_000), hashes.SHA256(), ecdsa_deterministic=True)
    return made.public_bytes(Encoding.DER)


def _pem(der: bytes) -> bytes:
    return makers.pem_block("X509 CRL", der).encode()


def _anew(*fields: bytes) -> bytes:
    return bytes((SIGNED_ANEW,)) + b"".join(fields)


def _seeds() -> dict[str, bytes]:
    plain = _list()
    v2 = b"\x02\x01\x01"
    head = _ECDSA_SHA256 + _ISSUER + _TIMES
    return {
        "empty": b"",
        "plain": bytes((AS_PEM,)) + _pem(plain),
        "two": bytes((AS_PEM,)) + _pem(plain) * 2,
        "torn": bytes((AS_PEM,)) + _pem(plain)[:200],
        "other-issuer": bytes((AS_PEM,)) + makers.data("icinga-ca.crt"),
        "delta": bytes((AS_PEM,)) + _pem(_list((x509.DeltaCRLIndicator(3), True))),
        "number": bytes((AS_PEM,)) + _pem(_list((x509.CRLNumber(3), False))),
        "anew": _anew(v2, head),
        "version-1": _anew(head),
        "version-3": _anew(b"\x02\x01\x02", head),
        "version-huge": _anew(b"\x02\x09" + b"\x7f" * 9, head),
        "no-next-update": _anew(v2, _ECDSA_SHA256, _ISSUER, _TIMES[:15]),
        "entry": _anew(v2, head, b"\x30\x14\x30\x12\x02\x01\x05", _TIMES[:15]),
        "serial-zero": _anew(v2, head, b"\x30\x14\x30\x12\x02\x01\x00", _TIMES[:15]),
        "serial-negative": _anew(
            v2, head, b"\x30\x14\x30\x12\x02\x01\x80", _TIMES[:15]
        ),
        "long-name": _anew(
            v2, _ECDSA_SHA256, certificate_parts.SUBJECTS["too-long"], _TIMES
        ),
        # Our parser takes these names; OpenSSL does not (found by a campaign).
        "name-not-utf-8": _anew(
            v2, _ECDSA_SHA256, certificate_parts.SUBJECTS["not-utf-8"], _TIMES
        ),
        "found-name-not-utf-8": _anew(
            _ECDSA_SHA256, _ISSUER.replace(b"g", b"\xe9"), _TIMES[:15]
        ),
        "no-issuer": _anew(v2, _ECDSA_SHA256, b"\x30\x00", _TIMES),
    }


SEEDS = _seeds()


def check(data: bytes) -> None:
    """Read lists, ask them, and make a TLS context with them."""
    pem = _build(data)
    issuers = (playbook.ca(), playbook.ca(1))
    try:
        lists = load_revocation_lists(pem, issuers)
    except RevocationListInvalid as error:
        assert len(str(error)) < 1000
        assert str(error).isprintable()
    else:
        assert lists
        for found in lists:
            assert found.issuer in {ca.subject for ca in issuers}
            for serial in (*list(found.revoked)[:3], 4711):
                reason = found.problem(serial, _AT)
                assert reason is None or reason.isprintable()
    _into_a_store(pem)


def _into_a_store(pem: bytes) -> None:
    """The same text on its way into TLS."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    try:
        contexts._trust(context, [playbook.ca()], pem)
    except TLSConfigurationInvalid as error:
        assert error.part == "crl"


def _build(data: bytes) -> bytes:
    choices = Choices(data)
    if choices.byte() % 2 == AS_PEM:
        return choices.rest()
    tbs = _der.encode(_der.SEQUENCE, choices.rest())
    bits = _der.encode(_der.BIT_STRING, b"\x00", sign(playbook.key(9_000), tbs))
    return _pem(_der.encode(_der.SEQUENCE, tbs, _ECDSA_SHA256, bits))
