"""As much of a certificate as an enrollment has to know, with the standard library.

A host that is enrolled has Python and icinga2, and seldom a library for certificates.
Names are compared as they are encoded; signatures are checked by OpenSSL, in handshakes
of Python's `ssl`.

Source: RFC 5280, section 4.1.
"""

import base64
import calendar
import hashlib
import re
import ssl
import time
from typing import NamedTuple, Optional, Tuple

_PEM = re.compile(
    r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL
)
_COMMON_NAME = b"\x55\x04\x03"  # 2.5.4.3
_SEQUENCE, _SET, _OID, _UTC_TIME, _VERSION = 0x30, 0x31, 0x06, 0x17, 0xA0
_LONG_FORM, _LENGTH_BYTES_MAX = 0x80, 4
_CENTURY_PIVOT = 50
HANDSHAKE_TURNS_MAX = 10
"""Of both ends; two or three are needed."""


class NotACertificate(ValueError):
    """The text holds no certificate that can be read."""


class Certificate(NamedTuple):
    """One certificate.

    Attributes:
        der: The whole of it.
        issuer: The issuer's name, as it is encoded.
        subject: The subject's name, as it is encoded.
        common_name: The subject's first common name; "" when there is none.
        not_before: When it begins, in seconds since 1970.
        not_after: When it ends.
        public_key: SubjectPublicKeyInfo, as it is encoded.
    """

    der: bytes
    issuer: bytes
    subject: bytes
    common_name: str
    not_before: float
    not_after: float
    public_key: bytes

    @property
    def is_self_signed(self) -> bool:
        """Whether it names itself as issuer, as a request of icinga2 does."""
        return self.issuer == self.subject

    @property
    def fingerprint(self) -> str:
        """SHA-256 over it, 64 lower hex digits."""
        return hashlib.sha256(self.der).hexdigest()

    def is_valid_at(self, moment: float) -> bool:
        """Say whether it has begun and not ended."""
        return self.not_before <= moment < self.not_after


def read_certificate(pem: str) -> Certificate:
    """Read the first certificate of a PEM text.

    Raises:
        NotACertificate: There is none, or it cannot be read.
    """
    found = _PEM.search(pem)
    if found is None:
        raise NotACertificate("there is no PEM certificate in it")
    try:
        return decode_certificate(base64.b64decode(found.group(1)))
    except ValueError:
        raise NotACertificate("its certificate cannot be read") from None


def pem_blocks(text: str) -> str:
    """Return the certificates of a PEM text, without what people write around them.

    OpenSSL is handed ASCII alone; `openssl x509 -text` writes names as they are.
    """
    return "".join(f"{found.group(0)}\n" for found in _PEM.finditer(text))


def decode_certificate(der: bytes) -> Certificate:
    """Read a DER certificate.

    Raises:
        NotACertificate: It cannot be read.
    """
    try:
        return _decode(der)
    except (ValueError, IndexError):
        raise NotACertificate("its certificate cannot be read") from None


def to_pem(der: bytes) -> str:
    """Return a certificate as PEM text."""
    return ssl.DER_cert_to_PEM_cert(der)


def plain_fingerprint(text: str) -> str:
    """Return a fingerprint without separators, in lower case.

    Raises:
        ValueError: It is not a SHA-256 fingerprint.
    """
    digits = re.sub(r"[\s:-]", "", text).lower()
    if not re.match(r"^[0-9a-f]{64}$", digits):
        raise ValueError(f"'{text}' is not a SHA-256 fingerprint of 64 hex digits")
    return digits


def why_no_pair(certificate_path: str, key_path: str) -> Optional[str]:
    """Return why key and certificate in these files are no pair; None if they are."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # Without an answer for the pass phrase OpenSSL would ask the terminal.
        context.load_cert_chain(certificate_path, key_path, password=lambda: "-")
    except (ssl.SSLError, OSError, ValueError) as error:
        return getattr(error, "reason", None) or getattr(error, "strerror", str(error))
    return None


def why_not_signed(certificate_path: str, key_path: str, ca_pem: str) -> Optional[str]:
    """Return why this CA has not signed the pair in these files; None if it has.

    Two ends of TLS in memory: the one shows the certificate, the other judges it, its
    signature and dates included.  So every icinga2 does, with or without `pki verify`.
    """
    shows = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    judges = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    judges.check_hostname = False  # Icinga's names are names of nodes, not of hosts
    judges.verify_mode = ssl.CERT_REQUIRED
    try:
        shows.load_cert_chain(certificate_path, key_path, password=lambda: "-")
        judges.load_verify_locations(cadata=ca_pem)
        _shake_hands(shows, judges)
    except (ssl.SSLError, OSError, ValueError) as error:
        why = getattr(error, "verify_message", "") or getattr(error, "reason", "")
        return why or getattr(error, "strerror", None) or str(error)
    return None


def _shake_hands(shows: ssl.SSLContext, judges: ssl.SSLContext) -> None:
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = shows.wrap_bio(there, back, server_side=True)
    client = judges.wrap_bio(back, there)
    for _ in range(HANDSHAKE_TURNS_MAX):
        if [_is_through(client), _is_through(server)] == [True, True]:
            return
    raise ValueError("the handshake came to no end")


def _is_through(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


# --- DER ------------------------------------------------------------------------------


def _decode(der: bytes) -> Certificate:
    outer = _items(_inside(der, _SEQUENCE))
    fields = _items(_content(outer[0]))
    if fields[0][0] == _VERSION:
        fields = fields[1:]
    _serial, _algorithm, issuer, validity, subject, public_key = fields[:6]
    begin, end = _items(_content(validity))
    return Certificate(
        der=der,
        issuer=issuer,
        subject=subject,
        common_name=_common_name(subject),
        not_before=_moment(begin),
        not_after=_moment(end),
        public_key=public_key,
    )


def _header(data: bytes, at: int) -> Tuple[int, int]:
    """Return where the content of the element at a place begins and ends."""
    length = data[at + 1]
    begin = at + 2
    if length & _LONG_FORM:
        size = length & ~_LONG_FORM
        if not 1 <= size <= _LENGTH_BYTES_MAX:
            raise ValueError("length")
        length = int.from_bytes(data[begin : begin + size], "big")
        begin += size
    if begin + length > len(data):
        raise ValueError("length")
    return begin, begin + length


def _items(data: bytes) -> Tuple[bytes, ...]:
    """Return the elements that stand in a row, each with its header."""
    found, at = [], 0
    while at < len(data):
        _begin, end = _header(data, at)
        found.append(data[at:end])
        at = end
    return tuple(found)


def _content(element: bytes) -> bytes:
    begin, end = _header(element, 0)
    return element[begin:end]


def _inside(element: bytes, tag: int) -> bytes:
    if element[0] != tag:
        raise ValueError("tag")
    return _content(element)


def _common_name(name: bytes) -> str:
    for relative in _items(_content(name)):
        for attribute in _items(_inside(relative, _SET)):
            kind, value = _items(_inside(attribute, _SEQUENCE))
            if _inside(kind, _OID) == _COMMON_NAME:
                return _content(value).decode("utf-8", "replace")
    return ""


def _moment(element: bytes) -> float:
    text = _content(element).decode("ascii")
    if element[0] == _UTC_TIME:
        text = ("20" if int(text[:2]) < _CENTURY_PIVOT else "19") + text
    return float(calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ")))
