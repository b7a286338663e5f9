"""What was read or checked lately is known, and that changes nothing but the time."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from icefloe.doors import WallTime
from icefloe.pki import certificates, trust
from icefloe.pki.certificates import (
    CERTIFICATE_BYTES_MAX,
    _known_der,
    _known_pem,
    load_der,
    load_pem,
    public_bytes_of,
    to_pem,
)
from icefloe.pki.errors import CertificateInvalid
from icefloe.pki.trust import TrustAnchor
from tests.pki.makers import DAY, NOW, ca_made_by_us, ec_key, flipped, leaf_made_by_us

CA = ca_made_by_us()
ANCHOR = TrustAnchor.from_pem(to_pem(CA))


def encoded(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(Encoding.DER)


def test_the_same_bytes_are_read_once() -> None:
    leaf = leaf_made_by_us(CA, ec_key(11))
    der, pem = encoded(leaf), to_pem(leaf)
    assert load_der(der) is load_der(bytes(bytearray(der)))
    assert load_pem(pem) is load_pem(pem)
    assert load_der(der) == load_pem(pem) == leaf


def test_bytes_that_are_no_certificate_are_refused_each_time() -> None:
    before = certificates._known_der.cache_info().currsize
    for _ in range(3):
        with pytest.raises(CertificateInvalid):
            load_der(b"nonsense")
        with pytest.raises(CertificateInvalid):
            load_pem("nonsense")
    assert certificates._known_der.cache_info().currsize == before


def test_what_strangers_show_does_not_pile_up() -> None:
    for known in (certificates._known_der, certificates._known_pem):
        assert known.cache_info().maxsize == certificates._KNOWN_MAX
    leaf = leaf_made_by_us(CA, ec_key(11))
    trust._signed.update((number.to_bytes(64), False) for number in range(1024))
    assert ANCHOR.is_signed(leaf, NOW)
    assert len(trust._signed) <= trust._SIGNED_MAX


def wordy(names: int) -> x509.Certificate:
    key = ec_key(11)
    several = x509.SubjectAlternativeName([x509.DNSName("")] * names)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a1.example")])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(CA.not_valid_before_utc)
        .not_valid_after(CA.not_valid_after_utc)
        .add_extension(several, critical=False)
        .sign(key, SHA256())
    )


def test_a_certificate_of_many_words_is_read_and_not_kept() -> None:
    """Names take up to fifty times as much memory as they are long."""
    cert = wordy(2000)
    before = [f.cache_info().currsize for f in (_known_der, _known_pem)]
    assert load_der(encoded(cert)) == load_pem(to_pem(cert)) == cert
    assert [f.cache_info().currsize for f in (_known_der, _known_pem)] == before


def test_a_certificate_that_takes_long_to_read_is_refused_unread() -> None:
    """A stranger shows it in each handshake, which the event loop finishes."""
    cert = wordy(CERTIFICATE_BYTES_MAX)
    with pytest.raises(CertificateInvalid):
        load_der(encoded(cert))
    with pytest.raises(CertificateInvalid):
        load_pem(to_pem(cert))


def test_a_known_signature_is_that_of_these_bytes_only() -> None:
    leaf = leaf_made_by_us(CA, ec_key(11))
    assert ANCHOR.is_signed(leaf, NOW)
    assert not ANCHOR.is_signed(flipped(leaf), NOW)
    assert ANCHOR.is_signed(leaf, NOW)
    assert public_bytes_of(leaf) == public_bytes_of(load_der(encoded(leaf)))


def test_a_known_certificate_still_expires() -> None:
    leaf = leaf_made_by_us(CA, ec_key(11))
    assert ANCHOR.is_signed(leaf, NOW)
    after = leaf.not_valid_after_utc.timestamp() + DAY
    assert not ANCHOR.is_signed(leaf, WallTime(after))
