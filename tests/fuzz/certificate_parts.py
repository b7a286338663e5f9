"""Odd certificates from fuzzed bytes, with signatures that are right.

A mutation of a real certificate breaks its signature, and what lies behind that check
is never reached.  So most inputs here are parts: they are put into a certificate, and
the whole is signed anew.
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from icefloe.pki import _der
from icefloe.pki._der import TBSCertificate
from icefloe.pki.keys import sign
from tests.enrollment import playbook
from tests.fuzz.choices import Choices, part
from tests.pki import makers

AS_PEM, AS_DER, SIGNED_ANEW, FROM_PARTS, SIGNED_BY_CA = range(5)
"""What the bytes after an input's first one are."""

MODES = 5

AGENT_KEY = playbook.key(1)
CA_KEY = playbook.key(9_000)

_TEMPLATE = TBSCertificate.parse(playbook.request_certificate().tbs_certificate_bytes)


def _public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )


def _with(fields: TBSCertificate, **changes: bytes) -> TBSCertificate:
    kept = {name: getattr(fields, name) for name in TBSCertificate.__slots__}
    return TBSCertificate(**(kept | changes))


def _signed(fields: TBSCertificate, key: ec.EllipticCurvePrivateKey) -> bytes:
    tbs = fields.encode()
    bits = _der.encode(_der.BIT_STRING, b"\x00", sign(key, tbs))
    return _der.encode(_der.SEQUENCE, tbs, fields.algorithm, bits)


def build(data: bytes) -> tuple[bytes, bool]:
    """Make a certificate of an input.

    Returns:
        PEM or DER, sound or not, and whether it is PEM.
    """
    choices = Choices(data)
    mode = choices.byte() % MODES
    if mode == AS_PEM:
        return choices.rest(), True
    if mode == AS_DER:
        return choices.rest(), False
    if mode == FROM_PARTS:
        subject, validity, serial = choices.part(), choices.part(), choices.part()
        given = {"subject": subject, "issuer": subject}
        given |= {"validity": validity, "serial": serial}
        wanted = {name: value for name, value in given.items() if value}
        fields = _with(_TEMPLATE, **wanted, rest=choices.rest())
        return _signed(fields, AGENT_KEY), False
    try:
        tbs = _der.split(choices.rest())[0]
        fields = TBSCertificate.parse(tbs)
    except (_der.DERError, IndexError):
        return b"", False
    fields = _with(fields, algorithm=_TEMPLATE.algorithm, public_key=_public(AGENT_KEY))
    if mode == SIGNED_BY_CA:
        issuer = TBSCertificate.parse(playbook.ca().tbs_certificate_bytes).subject
        return _signed(_with(fields, issuer=issuer), CA_KEY), False
    return _signed(fields, AGENT_KEY), False


def build_pem(data: bytes) -> str:
    """The same, as text for a message."""
    made, is_pem = build(data)
    if is_pem:
        return made.decode(errors="replace")
    return makers.pem_block("CERTIFICATE", made)


def _name(*attributes: tuple[int, bytes], oid: bytes = b"\x55\x04\x03") -> bytes:
    """A name with one common name for each (string type, content)."""
    return _der.encode(
        _der.SEQUENCE,
        *(
            _der.encode(
                0x31,
                _der.encode(
                    _der.SEQUENCE, _der.encode(0x06, oid), _der.encode(tag, content)
                ),
            )
            for tag, content in attributes
        ),
    )


UTF8, PRINTABLE, T61, BMP, UNIVERSAL, IA5 = 0x0C, 0x13, 0x14, 0x1E, 0x1C, 0x16

SUBJECTS = {
    "plain": _name((UTF8, b"agent")),
    "no-name": _name(),
    "empty-name": _name((UTF8, b"")),
    "two-names": _name((UTF8, b"agent"), (UTF8, b"m1")),
    "nul": _name((UTF8, b"agent\0m1")),
    "slash": _name((UTF8, b"../m1")),
    "comma": _name((UTF8, b"a,DNS:b")),
    "blank": _name((UTF8, b" agent")),
    "star": _name((UTF8, b"*.example.org")),
    "direction": _name((UTF8, "a\u202eb".encode())),
    "not-utf-8": _name((UTF8, b"\xff")),
    "long": _name((UTF8, b"a" * 64)),
    "too-long": _name((UTF8, b"a" * 65)),
    "much-too-long": _name((UTF8, b"a" * 300)),
    "printable-star": _name((PRINTABLE, b"a@b*")),
    "ia5": _name((IA5, b"agent")),
    "t61": _name((T61, b"z\xfcrich")),
    "bmp": _name((BMP, "agent".encode("utf-16-be"))),
    "bmp-odd": _name((BMP, b"\0a\0")),
    "bmp-surrogate": _name((BMP, b"\xd8\x00")),
    "universal": _name((UNIVERSAL, "agent".encode("utf-32-be"))),
    "number": _name((0x02, b"\x01")),
    "octets": _name((0x04, b"agent")),
    "sequence": _name((0x30, b"")),
    "country": _name((UTF8, b"Germany"), oid=b"\x55\x04\x06"),
    "reserved": _name((UTF8, b"m1")),
    "beyond-ascii": _name((UTF8, "zürich".encode())),
    "surrogate-in-utf-8": _name((UTF8, b"\xed\xa0\x80")),
}
_VALIDITIES = {
    "no-end": b"\x30\x22\x18\x0f20000101000000Z\x18\x0f99991231235959Z",
    "year-0": b"\x30\x22\x18\x0f00000101000000Z\x18\x0f99991231235959Z",
    "utc-1950": b"\x30\x1e\x17\x0d500101000000Z\x17\x0d491231235959Z",
    "leap": b"\x30\x1e\x17\x0d230229000000Z\x17\x0d491231235959Z",
    "leap-second": b"\x30\x1e\x17\x0d231231235960Z\x17\x0d491231235959Z",
    "zone": b"\x30\x22\x17\x11230101000000+0100\x17\x0d491231235959Z",
}
_SERIALS = {
    "zero": b"\x02\x01\x00",
    "negative": b"\x02\x01\x80",
    "empty": b"\x02\x00",
    "21-octets": b"\x02\x15\x00" + b"\xff" * 20,
    "long": b"\x02\x81\x80" + b"\x7f" * 128,
    "padded": b"\x02\x02\x00\x01",
    "text": b"\x0c\x01\x31",
}


def _extensions(*values: tuple[bytes, bytes, bool]) -> bytes:
    """Extensions as the last field of a certificate: (OID's end, value, critical)."""
    made = []
    for oid, value, critical in values:
        flag = b"\x01\x01\xff" if critical else b""
        made.append(
            _der.encode(
                _der.SEQUENCE,
                _der.encode(0x06, b"\x55\x1d" + oid),
                flag,
                _der.encode(0x04, value),
            )
        )
    return _der.encode(0xA3, _der.encode(_der.SEQUENCE, *made))


SAN, BASIC, USAGE, EXTENDED = b"\x11", b"\x13", b"\x0f", b"\x25"

_EXTENSIONS = {
    "none": b"",
    "ca": _extensions((BASIC, b"\x30\x03\x01\x01\xff", True)),
    "ca-path": _extensions((BASIC, b"\x30\x06\x01\x01\xff\x02\x01\x00", True)),
    "ca-ber-true": _extensions((BASIC, b"\x30\x03\x01\x01\x01", True)),
    "ca-cut": _extensions((BASIC, b"\x30\x03\x01\x01", True)),
    "san": _extensions((SAN, b"\x30\x07\x82\x05agent", False)),
    "san-other": _extensions((SAN, b"\x30\x04\x82\x02m1", False)),
    "san-address": _extensions((SAN, b"\x30\x06\x87\x04\x7f\0\0\x01", False)),
    "san-bad-address": _extensions((SAN, b"\x30\x03\x87\x01\x7f", False)),
    "san-empty": _extensions((SAN, b"\x30\x00", False)),
    "san-not-ascii": _extensions((SAN, b"\x30\x03\x82\x01\xff", False)),
    "san-edi": _extensions((SAN, b"\x30\x02\xa5\x00", False)),
    "twice": _extensions((BASIC, b"\x30\0", True), (BASIC, b"\x30\0", True)),
    "unknown-critical": _extensions((b"\x7f", b"\x05\x00", True)),
    "no-usage": _extensions((USAGE, b"\x03\x01\x00", True)),
    "usage-cut": _extensions((USAGE, b"\x03\x02\x09\xff", True)),
    "server-only": _extensions(
        (EXTENDED, b"\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01", False)
    ),
    "no-extensions": b"\xa3\x02\x30\x00",
    "garbage": b"\xa3\x03\x30\x01\xff",
}


def from_parts(
    *,
    subject: bytes = b"",
    validity: bytes = b"",
    serial: bytes = b"",
    rest: bytes = b"",
) -> bytes:
    """An input that `build` makes a certificate of."""
    return bytes((FROM_PARTS,)) + part(subject) + part(validity) + part(serial) + rest


def _of(mode: int, certificate: x509.Certificate) -> bytes:
    return bytes((mode,)) + certificate.public_bytes(Encoding.DER)


def seeds() -> Mapping[str, bytes]:
    """Certificates of Icinga's and ours, whole and in odd parts."""
    found = {
        path.stem: bytes((AS_PEM,)) + path.read_bytes()
        for path in sorted(makers.DATA.glob("*.crt"))
    }
    real = makers.data("agent1.crt")
    der = x509.load_pem_x509_certificate(real).public_bytes(Encoding.DER)
    found |= {
        "two": bytes((AS_PEM,)) + real + makers.data("icinga-ca.crt"),
        "torn": bytes((AS_PEM,)) + real[: len(real) // 2],
        "second-torn": bytes((AS_PEM,)) + real + real[: len(real) // 2],
        "windows": bytes((AS_PEM,)) + real.replace(b"\n", b"\r\n"),
        "text-before": bytes((AS_PEM,)) + b"Certificate:\n  Data\n" + real,
        "one-line": bytes((AS_PEM,)) + b"".join(real.split(b"\n")),
        "key": bytes((AS_PEM,)) + b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY",
        "empty": b"",
        "der": bytes((AS_DER,)) + der,
        "der-behind": bytes((AS_DER,)) + der + b"\0",
        "der-cut": bytes((AS_DER,)) + der[:-1],
        "der-indefinite": bytes((AS_DER,)) + b"\x30\x80" + der[4:] + b"\0\0",
        "der-deep": bytes((AS_DER,)) + b"\x30\x82\x40\x00" * 4000,
        "signed-anew": bytes((SIGNED_ANEW,)) + der,
        "by-our-ca": bytes((SIGNED_BY_CA,)) + der,
        "ours": _of(AS_DER, playbook.request_certificate()),
        "of-our-ca": _of(AS_DER, playbook.issued_certificate()),
        "of-our-ca-due": _of(AS_DER, playbook.issued_certificate(days_left=3)),
        "our-ca": _of(AS_DER, playbook.ca()),
        "other-ca": _of(AS_DER, playbook.issued_certificate(ca_number=1)),
    }
    found |= {f"subject-{n}": from_parts(subject=p) for n, p in SUBJECTS.items()}
    found |= {f"validity-{n}": from_parts(validity=p) for n, p in _VALIDITIES.items()}
    found |= {f"serial-{n}": from_parts(serial=p) for n, p in _SERIALS.items()}
    found |= {f"extensions-{n}": from_parts(rest=p) for n, p in _EXTENSIONS.items()}
    return found
