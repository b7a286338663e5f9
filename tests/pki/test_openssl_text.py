"""Names, times and algorithms, as OpenSSL's `x509 -nameopt oneline,-esc_msb` says them.

The expected texts were printed by OpenSSL 3.0.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID

from icefloe.pki._openssl_text import algorithm_text, name_text, time_text
from tests.pki.makers import name


@pytest.mark.parametrize(
    "cn, text",
    [
        ("agent1", "CN = agent1"),
        ("my agent", "CN = my agent"),
        ("zürich", "CN = zürich"),
        ("a,DNS:b", 'CN = "a,DNS:b"'),
        ("a+b", 'CN = "a+b"'),
        ("a;b", 'CN = "a;b"'),
        ("a<b>", 'CN = "a<b>"'),
        ("#a", 'CN = "#a"'),
        ("a#", "CN = a#"),
        (" a", 'CN = " a"'),
        ("a ", 'CN = "a "'),
        ("a=b", "CN = a=b"),
        ('a"b', 'CN = a\\"b'),
        ("a\\b", "CN = a\\\\b"),
        ("a\nb", "CN = a\\0Ab"),
        ("a\x1b[2J", "CN = a\\1B[2J"),
        ("a\x7fb", "CN = a\\7Fb"),
    ],
)
def test_a_common_name_reads_as_openssl_shows_it(cn: str, text: str) -> None:
    assert name_text(name(cn)) == text


def test_what_could_turn_the_text_around_is_escaped() -> None:
    """OpenSSL would print it as it is; a terminal is not to be trusted with it."""
    assert name_text(name("a\u202eb")) == "CN = a\\E2\\80\\AEb"


def test_parts_are_in_the_certificates_order() -> None:
    unknown = x509.ObjectIdentifier("1.2.3.4")
    parts = [
        x509.RelativeDistinguishedName(
            [x509.NameAttribute(NameOID.COUNTRY_NAME, "CH")],
        ),
        x509.RelativeDistinguishedName(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ice"),
                x509.NameAttribute(unknown, "x"),
            ]
        ),
        x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, "CA")]),
    ]
    assert name_text(x509.Name(parts)) == "C = CH, O = Ice + 1.2.3.4 = x, CN = CA"


def test_an_empty_name_and_an_empty_value_are_empty() -> None:
    assert name_text(x509.Name([])) == ""
    assert name_text(x509.Name([x509.NameAttribute(NameOID.TITLE, "")])) == "title = "


def test_bits_are_shown_in_hex() -> None:
    bits = x509.NameAttribute(
        NameOID.X500_UNIQUE_IDENTIFIER, b"\x01\xff", _ASN1Type.BitString
    )
    assert name_text(x509.Name([bits])) == "2.5.4.45 = #01FF"


@pytest.mark.parametrize(
    "moment, text",
    [
        (datetime(2026, 11, 22, 9, 17, 53, tzinfo=UTC), "Nov 22 09:17:53 2026 GMT"),
        (datetime(2027, 1, 2, 0, 0, 0, tzinfo=UTC), "Jan  2 00:00:00 2027 GMT"),
        (
            datetime(2027, 1, 1, 1, 0, tzinfo=timezone(timedelta(hours=2))),
            "Dec 31 23:00:00 2026 GMT",
        ),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), "Dec 31 23:59:59 9999 GMT"),
    ],
)
def test_a_time_reads_as_openssl_prints_it(moment: datetime, text: str) -> None:
    assert time_text(moment) == text


@pytest.mark.parametrize(
    "algorithm, text",
    [
        (SignatureAlgorithmOID.RSA_WITH_SHA256, "sha256WithRSAEncryption"),
        (SignatureAlgorithmOID.ECDSA_WITH_SHA256, "ecdsa-with-SHA256"),
        (x509.ObjectIdentifier("1.2.3.4"), "1.2.3.4"),
    ],
)
def test_an_algorithm_has_its_long_name(
    algorithm: x509.ObjectIdentifier, text: str
) -> None:
    assert algorithm_text(algorithm) == text
