"""Judging what is presented in order to get a certificate."""

from __future__ import annotations

from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from icefloe.pki import _der, profiles
from icefloe.pki.certificates import PEM_BYTES_MAX, fingerprint, key_id, load_pem
from icefloe.pki.errors import (
    CertificateInvalid,
    CommonNameInvalid,
    KeyInvalid,
    PKIError,
    ReasonCode,
    SigningRequestInvalid,
)
from icefloe.pki.keys import PrivateKey
from icefloe.pki.requests import check_request_certificate, check_signing_request
from tests.pki.makers import (
    AGENT,
    NOW,
    SHA1_WITH_RSA,
    AnyKey,
    ca_made_by_us,
    certificate,
    data,
    ec_key,
    flipped,
    leaf_made_by_us,
    name,
    pem_block,
    rsa_key,
    said_to_be_sha1,
    small_rsa_key,
    with_fields,
)

ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
PEM = serialization.Encoding.PEM


def codes(cert: x509.Certificate) -> set[ReasonCode]:
    with pytest.raises(CertificateInvalid) as caught:
        check_request_certificate(cert)
    return set(caught.value.codes)


# --- Certificates ---------------------------------------------------------------------


def test_a_real_self_signed_certificate_is_a_request() -> None:
    cert = load_pem(data("agent1-self-signed.crt"))
    presented = check_request_certificate(cert)
    assert presented.cn == AGENT
    assert presented.self_issued
    assert presented.key_id == key_id(rsa_key().public_key())
    assert presented.fingerprint == fingerprint(cert)
    assert presented.public_key == rsa_key().public_key()
    assert presented.certificate is cert
    assert presented.der == cert.public_bytes(serialization.Encoding.DER)
    assert presented.pem == data("agent1-self-signed.crt").decode()


def test_our_self_signed_certificate_is_a_request() -> None:
    cert = profiles.self_signed(
        AGENT, ec_key(), serial=1, not_before=NOW, not_after=NOW
    )
    assert check_request_certificate(cert).self_issued


def test_a_certificate_that_somebody_else_signed_says_so() -> None:
    """A renewal, or a node that comes from another cluster."""
    presented = check_request_certificate(load_pem(data("agent1.crt")))
    assert not presented.self_issued
    assert presented.key_id == key_id(rsa_key().public_key())


def test_validity_and_extensions_of_a_request_do_not_matter() -> None:
    """As in Icinga: only key and name survive."""
    old = certificate(start=NOW - 1000, end=NOW - 900, ca=None)
    assert check_request_certificate(old).cn == AGENT


def test_a_tampered_self_signed_certificate_is_refused() -> None:
    assert codes(flipped(certificate())) == {ReasonCode.BAD_SIGNATURE}


def test_a_public_key_that_is_not_its_own_is_refused() -> None:
    """Whoever made it has not shown that he has the key in it."""
    assert codes(certificate(signed_by=ec_key(5))) == {ReasonCode.BAD_SIGNATURE}


def test_every_reason_is_given() -> None:
    cert = with_fields(
        certificate(subject=name("a", "b"), ca=True, key=rsa_key()),
        rsa_key(),
        algorithm=SHA1_WITH_RSA,
    )
    assert codes(cert) == {
        ReasonCode.SIGNATURE_ALGORITHM,
        ReasonCode.IS_A_CA,
        ReasonCode.SEVERAL_COMMON_NAMES,
    }


@pytest.mark.parametrize("key", [small_rsa_key(), ED25519], ids=["rsa1024", "ed25519"])
def test_a_key_we_would_not_sign_is_refused(key: AnyKey) -> None:
    assert codes(certificate(key=key)) == {ReasonCode.KEY}


def test_the_ca_itself_is_no_request() -> None:
    """Its certificate is public, so anyone could present it."""
    assert codes(load_pem(data("icinga-ca.crt"))) == {ReasonCode.IS_A_CA}


def test_a_request_without_a_name_is_refused() -> None:
    assert codes(certificate(subject=x509.Name([]))) == {ReasonCode.NO_COMMON_NAME}


def test_a_name_no_node_may_have_is_refused() -> None:
    with pytest.raises(CommonNameInvalid):
        check_request_certificate(certificate(subject="a,DNS:b"))


# --- PKCS#10 --------------------------------------------------------------------------


def made_request(
    subject: x509.Name | str = AGENT,
    key: PrivateKey | None = None,
) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        name(subject) if isinstance(subject, str) else subject
    )
    return builder.sign(key or ec_key(), hashes.SHA256())


def problem(pem: str | bytes) -> str:
    with pytest.raises(SigningRequestInvalid) as caught:
        check_signing_request(pem)
    return caught.value.problem


def test_a_real_signing_request_is_read() -> None:
    presented = check_signing_request(data("agent1.csr"))
    assert presented.cn == AGENT
    assert presented.key_id == key_id(rsa_key().public_key())
    assert presented.public_key == rsa_key().public_key()
    assert check_signing_request(data("agent1.csr").decode()) == presented


@pytest.mark.parametrize("key", [ec_key(), rsa_key()], ids=["ec", "rsa"])
def test_our_signing_request_is_read(key: PrivateKey) -> None:
    pem = profiles.csr(AGENT, key).public_bytes(PEM)
    assert check_signing_request(pem).key_id == key_id(key.public_key())


@pytest.mark.parametrize(
    "pem, says",
    [
        ("", "there is no PEM block"),
        (data("agent1.crt"), "there is no PEM block"),
        (data("agent1.csr")[:300], "it cannot be decoded"),
        (data("agent1.csr").replace(b"A", b"B"), ""),
        ("x" * (PEM_BYTES_MAX + 1), "it is longer than"),
    ],
)
def test_what_is_no_signing_request_is_a_typed_error(
    pem: str | bytes, says: str
) -> None:
    assert says in problem(pem)


def test_a_signing_request_that_was_changed_is_refused() -> None:
    der = bytearray(made_request().public_bytes(serialization.Encoding.DER))
    position = der.index(AGENT.encode())
    der[position] ^= 1
    changed = x509.load_der_x509_csr(bytes(der)).public_bytes(PEM)
    assert "changed after it was signed" in problem(changed)


def test_a_signing_request_with_a_forgeable_signature_is_refused() -> None:
    der = made_request(key=rsa_key()).public_bytes(serialization.Encoding.DER)
    assert "SHA-1" in problem(pem_block("CERTIFICATE REQUEST", said_to_be_sha1(der)))


def test_a_signing_request_for_a_weak_key_is_refused() -> None:
    with pytest.raises(KeyInvalid):
        check_signing_request(made_request(key=small_rsa_key()).public_bytes(PEM))


@pytest.mark.parametrize(
    "subject, says",
    [(x509.Name([]), "no common name"), (name("a", "b"), "2 common names")],
)
def test_a_signing_request_has_one_name(subject: x509.Name, says: str) -> None:
    assert says in problem(made_request(subject).public_bytes(PEM))


@pytest.mark.parametrize("cn", ["", "a" * 65])
def test_a_signing_request_with_a_name_of_a_wrong_size_is_refused(cn: str) -> None:
    """`cryptography` only warns; the warning went to the operator's terminal."""
    attribute = x509.NameAttribute(NameOID.COMMON_NAME, "x" * 60)
    pem = made_request(x509.Name([attribute])).public_bytes(PEM)
    odd = _renamed(pem, b"x" * 60, cn.encode())
    assert "longer than RFC 5280 allows, or empty" in problem(odd)


def _renamed(pem: bytes, old: bytes, new: bytes) -> str:
    """Exchange the one common name of a request; the signature is not mended."""
    der = x509.load_pem_x509_csr(pem).public_bytes(serialization.Encoding.DER)
    info, algorithm, signature = _der.split(der)
    version, _, *rest = _der.split(info)
    oid = _der.encode(0x06, b"\x55\x04\x03")
    attribute = _der.encode(_der.SEQUENCE, oid, _der.encode(0x0C, new))
    subject = _der.encode(_der.SEQUENCE, _der.encode(0x31, attribute))
    assert old in info
    info = _der.encode(_der.SEQUENCE, version, subject, *rest)
    whole = _der.encode(_der.SEQUENCE, info, algorithm, signature)
    return pem_block("CERTIFICATE REQUEST", whole)


def test_a_signing_request_for_a_name_no_node_may_have_is_refused() -> None:
    with pytest.raises(CommonNameInvalid):
        check_signing_request(made_request("../a").public_bytes(PEM))


@given(
    st.integers(0, 2000), st.binary(min_size=1, max_size=3), st.sampled_from([0, 1, 5])
)
def test_only_the_declared_errors_escape(position: int, new: bytes, cut: int) -> None:
    der = bytearray(made_request().public_bytes(serialization.Encoding.DER))
    position %= len(der)
    der[position : position + cut] = new
    with suppress(PKIError):
        check_signing_request(pem_block("CERTIFICATE REQUEST", bytes(der)))


def test_a_leaf_of_ours_may_be_presented_again() -> None:
    cert = leaf_made_by_us(ca_made_by_us(), ec_key(11))
    assert check_request_certificate(cert).cn == AGENT
