"""Names, times and algorithms in the words of OpenSSL, as Icinga's commands print them.

Tools read these lines, and people compare them with what `icinga2` and `openssl`
show.  `tests/pki/test_certificates.py` holds them against the output of a real one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID

__all__ = ["algorithm_text", "name_text", "time_text"]

_SHORT_NAMES: Final = {
    NameOID.COMMON_NAME: "CN",
    NameOID.COUNTRY_NAME: "C",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.GIVEN_NAME: "GN",
    NameOID.LOCALITY_NAME: "L",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.STREET_ADDRESS: "street",
    NameOID.SURNAME: "SN",
    NameOID.TITLE: "title",
    NameOID.USER_ID: "UID",
}

_ALGORITHM_NAMES: Final = {
    SignatureAlgorithmOID.RSA_WITH_MD5: "md5WithRSAEncryption",
    SignatureAlgorithmOID.RSA_WITH_SHA1: "sha1WithRSAEncryption",
    SignatureAlgorithmOID.RSA_WITH_SHA224: "sha224WithRSAEncryption",
    SignatureAlgorithmOID.RSA_WITH_SHA256: "sha256WithRSAEncryption",
    SignatureAlgorithmOID.RSA_WITH_SHA384: "sha384WithRSAEncryption",
    SignatureAlgorithmOID.RSA_WITH_SHA512: "sha512WithRSAEncryption",
    SignatureAlgorithmOID.RSASSA_PSS: "rsassaPss",
    SignatureAlgorithmOID.ECDSA_WITH_SHA1: "ecdsa-with-SHA1",
    SignatureAlgorithmOID.ECDSA_WITH_SHA224: "ecdsa-with-SHA224",
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: "ecdsa-with-SHA256",
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: "ecdsa-with-SHA384",
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: "ecdsa-with-SHA512",
    SignatureAlgorithmOID.ED25519: "ED25519",
    SignatureAlgorithmOID.ED448: "ED448",
}

_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
"""Not strftime("%b"): that follows the process's locale."""


def algorithm_text(algorithm: x509.ObjectIdentifier) -> str:
    """Return a signature algorithm's long name, or its dotted number."""
    return _ALGORITHM_NAMES.get(algorithm, algorithm.dotted_string)


def time_text(moment: datetime) -> str:
    """Return a moment as `Nov 22 09:17:53 2026 GMT`; one-digit days get a blank."""
    utc = moment.astimezone(UTC)
    return f"{_MONTHS[utc.month - 1]} {utc.day:2} {utc:%H:%M:%S} {utc.year:04} GMT"


def name_text(name: x509.Name) -> str:
    """Return a distinguished name as `CN = agent1, O = Example`.

    OpenSSL's `oneline` form (`X509_NAME_print_ex`): in the order of the certificate,
    multi-valued parts joined by ` + `, values that need it in double quotes.  Letters
    beyond ASCII are shown as they are; control characters are escaped, so that a name
    from the network is safe on a terminal.
    """
    return ", ".join(
        " + ".join(
            f"{_SHORT_NAMES.get(part.oid, part.oid.dotted_string)} = "
            f"{_value_text(part.value)}"
            for part in rdn
        )
        for rdn in name.rdns
    )


def _value_text(value: str | bytes) -> str:
    """Return one attribute's value, escaped and quoted as OpenSSL does."""
    if isinstance(value, bytes):
        return "#" + value.hex().upper()
    if not value:
        return value
    quoted = (
        any(character in ",+<>;" for character in value)
        or value[0] in "# "
        or value[-1] == " "
    )
    text = "".join(_escaped(character) for character in value)
    return f'"{text}"' if quoted else text


def _escaped(character: str) -> str:
    """Escape what would break the line, the quotes or the terminal."""
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    return "".join(f"\\{byte:02X}" for byte in character.encode())
