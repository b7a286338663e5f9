"""Just enough DER to take a certificate apart and join it again.

`cryptography` parses and builds certificates, but it cannot join to-be-signed bytes
with a signature that was made elsewhere, nor copy an issuer's name without encoding
it anew.  Both need no more than "tag, length, content" (X.690 section 8.1) with
one-byte tags and definite lengths, which is all that DER certificates use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

__all__ = [
    "BIT_STRING",
    "SEQUENCE",
    "DERError",
    "TBSCertificate",
    "content",
    "encode",
    "split",
]

SEQUENCE: Final = 0x30
BIT_STRING: Final = 0x03
_VERSION: Final = 0xA0
"""[0] EXPLICIT: the version field, absent in an X.509v1 certificate."""


class DERError(ValueError):
    """These bytes are not the DER that was expected.

    Internal to `icefloe.pki`, which turns it into a `PKIError`.
    """


def encode(tag: int, *parts: bytes) -> bytes:
    """Encode one element whose content is the given parts, joined."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def split(element: bytes) -> list[bytes]:
    """Return the elements inside a constructed element, each with its own header.

    Args:
        element: One complete element; nothing may follow it.

    Raises:
        DERError: The bytes are cut short, overlong or not DER.
    """
    data = content(element)
    position = 0
    inner = []
    while position < len(data):
        _, end = _bounds(data, position)
        inner.append(data[position:end])
        position = end
    return inner


def content(element: bytes) -> bytes:
    """Return what is inside one element.

    Raises:
        DERError: The bytes are cut short, overlong or not DER.
    """
    start, end = _bounds(element, 0)
    if end != len(element):
        raise DERError("bytes follow the element")
    return element[start:end]


def _bounds(data: bytes, position: int) -> tuple[int, int]:
    """Return where the content of the element at `position` starts and ends."""
    if position + 2 > len(data):
        raise DERError("an element's header is cut short")
    size = data[position + 1]
    start = position + 2
    if size >= 0x80:
        count = size & 0x7F
        length = data[start : start + count]
        # Four bytes of length are 4 GiB; no certificate comes near.  Zero bytes of
        # length would be BER's indefinite form.
        if not 1 <= count <= 4 or len(length) != count:
            raise DERError("an element's length is not DER")
        size = int.from_bytes(length, "big")
        start += count
    if start + size > len(data):
        raise DERError("an element is cut short")
    return start, start + size


@dataclass(frozen=True, slots=True, kw_only=True)
class TBSCertificate:
    """The to-be-signed part of a certificate, each field as its DER bytes.

    Order and meaning: RFC 5280 section 4.1.2.

    Attributes:
        version: The version element, or empty bytes in an X.509v1 certificate.
        serial: serialNumber.
        algorithm: The AlgorithmIdentifier the signature is going to have.
        issuer: The issuer's Name.
        validity: notBefore and notAfter.
        subject: The subject's Name.
        public_key: SubjectPublicKeyInfo.
        rest: Unique identifiers and extensions, joined.
    """

    version: bytes
    serial: bytes
    algorithm: bytes
    issuer: bytes
    validity: bytes
    subject: bytes
    public_key: bytes
    rest: bytes

    @classmethod
    def parse(cls, tbs: bytes) -> Self:
        """Take a TBSCertificate apart.

        Raises:
            DERError: The bytes are not one.
        """
        fields = split(tbs)
        version = fields.pop(0) if fields and fields[0][0] == _VERSION else b""
        if len(fields) < 6:
            raise DERError("a certificate has at least six fields")
        serial, algorithm, issuer, validity, subject, public_key, *rest = fields
        return cls(
            version=version,
            serial=serial,
            algorithm=algorithm,
            issuer=issuer,
            validity=validity,
            subject=subject,
            public_key=public_key,
            rest=b"".join(rest),
        )

    def encode(self) -> bytes:
        """Join the fields again."""
        return encode(
            SEQUENCE,
            self.version,
            self.serial,
            self.algorithm,
            self.issuer,
            self.validity,
            self.subject,
            self.public_key,
            self.rest,
        )
