"""Certificate revocation lists."""

from __future__ import annotations

from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hypothesis import given
from hypothesis import strategies as st

from icefloe.pki import revocation
from icefloe.pki.certificates import load_pem, serial_number
from icefloe.pki.errors import PKIError, ReasonCode, RevocationListInvalid
from icefloe.pki.revocation import RevocationList, load_revocation_lists
from tests.pki.makers import (
    DAY,
    NOW,
    ca_made_by_us,
    certificate,
    data,
    ec_key,
    moment,
    pem_block,
    revocation_list,
    rsa_key,
    said_to_be_sha1,
    small_rsa_key,
)

CA = ca_made_by_us()


def load(pem: str | bytes, *issuers: x509.Certificate) -> tuple[RevocationList, ...]:
    return load_revocation_lists(pem, issuers or (CA,))


def problem(pem: str | bytes, *issuers: x509.Certificate) -> str:
    with pytest.raises(RevocationListInvalid) as caught:
        load(pem, *issuers)
    return caught.value.problem


def test_a_list_says_who_is_revoked_since_when() -> None:
    (loaded,) = load(revocation_list(serials=[5, 7]))
    assert loaded.revoked == dict.fromkeys([5, 7], moment(NOW - DAY - 3600))
    assert loaded.this_update == moment(NOW - DAY)
    assert loaded.next_update == moment(NOW + 30 * DAY)
    reason = loaded.problem(5, moment())
    assert reason is not None
    assert reason.code is ReasonCode.REVOKED
    assert reason == "it was revoked on Jan 14 11:00:00 2027 GMT"
    assert loaded.problem(6, moment()) is None


@pytest.mark.parametrize("version", [2, 77])
def test_a_list_of_a_version_that_does_not_exist_is_refused(version: int) -> None:
    """`cryptography` raises an exception of its own kind for it (found by fuzzing)."""
    pem = revocation_list(serials=[5]).encode()
    der = x509.load_pem_x509_crl(pem).public_bytes(serialization.Encoding.DER)
    assert der.count(b"\x02\x01\x01") == 1
    odd = der.replace(b"\x02\x01\x01", bytes((2, 1, version)))
    assert problem(pem_block("X509 CRL", odd)) == "it cannot be decoded"


def test_a_list_can_be_text_or_bytes_with_other_text_around() -> None:
    pem = revocation_list(serials=[5])
    assert load(f"note\n{pem}\nmore") == load(pem.encode())


def test_a_list_may_be_empty_and_of_an_icinga_ca() -> None:
    ca = load_pem(data("icinga-ca.crt"))
    (loaded,) = load(revocation_list(key=rsa_key("icinga-ca")), ca)
    assert loaded.revoked == {}


def test_serials_of_21_octets_can_be_revoked() -> None:
    """As `openssl ca -revoke` does; `cryptography`'s builder would not."""
    agent = load_pem(data("agent1-serial-of-21-octets.crt"))
    number = serial_number(agent)
    (loaded,) = load(revocation_list(serials=[(1 << 159) - 1]))
    renumbered = RevocationList(
        issuer=loaded.issuer,
        this_update=loaded.this_update,
        next_update=None,
        revoked={number: moment()},
    )
    assert renumbered.problem(number, moment()) is not None
    assert renumbered.problem(number + 1, moment(NOW + 1e6 * 60)) is None


@pytest.mark.parametrize(
    "at, code, says",
    [
        (
            NOW + 31 * DAY,
            ReasonCode.REVOCATION_LIST_EXPIRED,
            "CN = Icinga CA expired on Feb 14 12:00:00 2027 GMT; install a current",
        ),
        (
            NOW - DAY - 7500,
            ReasonCode.REVOCATION_LIST_NOT_YET_VALID,
            r"is not valid before Jan 14 12:00:00 2027 GMT \(2 h 5 min from now\)",
        ),
    ],
)
def test_a_list_out_of_its_time_speaks_against_everyone(
    at: float, code: ReasonCode, says: str
) -> None:
    (loaded,) = load(revocation_list(serials=[5]))
    reason = loaded.problem(6, moment(at))
    assert reason is not None
    assert reason.code is code
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(reason)
    revoked = loaded.problem(5, moment(at))
    assert revoked is not None
    assert revoked.code is ReasonCode.REVOKED


def test_several_lists_are_read() -> None:
    other = certificate(subject="Other CA", key=ec_key(3), ca=True)
    text = revocation_list() + revocation_list(issuer="Other CA", key=ec_key(3))
    assert len(load(text, CA, other)) == 2


@pytest.mark.parametrize(
    "pem, says",
    [
        ("", "there is no PEM block"),
        (data("agent1.crt"), "there is no PEM block"),
        (revocation_list()[:200], "there is no PEM block"),
        (pem_block("X509 CRL", b"\x30\x00"), "it cannot be decoded"),
        (revocation_list(issuer="Other"), "issued by CN = Other, which is not in"),
        (revocation_list(key=ec_key(5)), "not by the key of CN = Icinga CA in ca.crt"),
    ],
)
def test_a_list_that_cannot_be_relied_upon_is_a_typed_error(
    pem: str | bytes, says: str
) -> None:
    assert says in problem(pem)


def test_a_list_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "CRL_BYTES_MAX", 100)
    assert "longer than 100 bytes" in problem(revocation_list())


def test_a_list_with_a_forgeable_signature_is_refused() -> None:
    pem = revocation_list(key=rsa_key("icinga-ca")).encode()
    der = x509.load_pem_x509_crl(pem).public_bytes(serialization.Encoding.DER)
    forged = pem_block("X509 CRL", said_to_be_sha1(der))
    assert "SHA-1" in problem(forged, load_pem(data("icinga-ca.crt")))


def test_a_ca_that_may_not_sign_lists_is_not_believed() -> None:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    ca = certificate(subject="CA", key=ec_key(11), ca=True, extensions=[(usage, True)])
    assert "not by the key of CN = CA" in problem(revocation_list(issuer="CA"), ca)


def test_a_weak_ca_is_not_believed() -> None:
    ca = certificate(subject="CA", key=small_rsa_key(), ca=True)
    text = revocation_list(issuer="CA", key=small_rsa_key())
    assert "not by the key of CN = CA" in problem(text, ca)


def test_a_delta_list_is_refused() -> None:
    text = revocation_list(extensions=[(x509.DeltaCRLIndicator(1), True)])
    assert "critical extension 2.5.29.27: delta" in problem(text)


def test_an_ordinary_numbered_list_is_read() -> None:
    assert load(revocation_list(extensions=[(x509.CRLNumber(1), False)]))


def test_an_indirect_list_is_refused() -> None:
    entry = (
        x509.RevokedCertificateBuilder()
        .serial_number(5)
        .revocation_date(moment())
        .add_extension(
            x509.CertificateIssuer([x509.DirectoryName(x509.Name([]))]), critical=True
        )
        .build()
    )
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(CA.subject)
        .last_update(moment())
        .next_update(moment(NOW + DAY))
        .add_revoked_certificate(entry)
        .sign(ec_key(11), hashes.SHA256())
    )
    pem = crl.public_bytes(serialization.Encoding.PEM)
    assert "critical extension 2.5.29.29" in problem(pem)


@given(st.integers(0, 5000), st.binary(max_size=3), st.integers(0, 5))
def test_only_the_declared_error_escapes(position: int, new: bytes, cut: int) -> None:
    pem = revocation_list(serials=[5, 6], extensions=[(x509.CRLNumber(1), False)])
    crl = x509.load_pem_x509_crl(pem.encode())
    der = bytearray(crl.public_bytes(serialization.Encoding.DER))
    position %= len(der)
    der[position : position + cut] = new
    with suppress(PKIError):
        load(pem_block("X509 CRL", bytes(der)))
