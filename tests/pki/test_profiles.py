"""Our certificates: what they say, and that they come out the same every time."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from icefloe.doors import WallTime
from icefloe.pki import _der, profiles
from icefloe.pki.certificates import (
    dns_names,
    is_self_signed,
    key_id,
    load_pem,
    serial_number,
    subject_bytes,
)
from icefloe.pki.errors import (
    CertificateInvalid,
    CommonNameInvalid,
    KeyInvalid,
    ReasonCode,
)
from icefloe.pki.keys import PrivateKey
from icefloe.pki.profiles import (
    BACKDATE,
    CA_LIFETIME,
    LEAF_LIFETIME,
    SERIAL_BYTES,
    assemble,
    leaf_tbs,
    serial_from,
    sign_tbs,
)
from tests.pki.makers import (
    AGENT,
    DAY,
    NOW,
    ca_made_by_us,
    certificate,
    data,
    ec_key,
    leaf_made_by_us,
    moment,
    rsa_key,
    small_rsa_key,
)


@dataclass(frozen=True)
class CA:
    """A CA of each kind that may sign."""

    certificate: x509.Certificate
    key: PrivateKey

    def leaf(self, **wishes: object) -> x509.Certificate:
        return leaf_made_by_us(self.certificate, self.key, **wishes)  # type: ignore[arg-type]


OURS_EC = CA(ca_made_by_us(ec_key(11)), ec_key(11))
OURS_RSA = CA(ca_made_by_us(rsa_key("icinga-ca")), rsa_key("icinga-ca"))
ICINGAS = CA(load_pem(data("icinga-ca.crt")), rsa_key("icinga-ca"))
CAS = pytest.mark.parametrize(
    "ca", [OURS_EC, OURS_RSA, ICINGAS], ids=["ours-ec", "ours-rsa", "icingas"]
)
KEYS = pytest.mark.parametrize("key", [ec_key(), rsa_key()], ids=["ec", "rsa"])


def extension(
    cert: x509.Certificate, oid: x509.ObjectIdentifier
) -> x509.Extension[x509.ExtensionType]:
    return cert.extensions.get_extension_for_oid(oid)


def usage_of(cert: x509.Certificate) -> set[str]:
    found = cert.extensions.get_extension_for_class(x509.KeyUsage)
    assert found.critical
    names = (
        *("digital_signature", "content_commitment", "key_encipherment"),
        *("data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"),
    )
    return {name for name in names if getattr(found.value, name)}


# --- Serial numbers -------------------------------------------------------------------


@given(st.binary(min_size=SERIAL_BYTES, max_size=40))
def test_a_serial_is_positive_and_fits_20_octets(entropy: bytes) -> None:
    assert 0 < serial_from(entropy) < 1 << 159


def test_a_serial_keeps_all_entropy_but_one_bit() -> None:
    assert serial_from(b"\xff" * 20) == (1 << 159) - 1
    assert serial_from(b"\x80" + b"\0" * 18 + b"\x07") == 7
    assert serial_from(b"\0" * 20) == 1


def test_a_serial_from_too_little_entropy_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="20 random bytes"):
        serial_from(b"\x01" * 19)


# --- A node's certificate -------------------------------------------------------------


@CAS
@KEYS
def test_a_leaf_says_what_a_node_needs(ca: CA, key: PrivateKey) -> None:
    cert = ca.leaf(key=key)
    assert cert.version is x509.Version.v3
    assert cert.subject.rfc4514_string() == f"CN={AGENT}"
    assert serial_number(cert) == 4711
    assert key_id(cert) == key_id(key.public_key())
    assert dns_names(cert) == (AGENT,)
    constraints = extension(cert, ExtensionOID.BASIC_CONSTRAINTS)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=False, path_length=None)
    purposes = extension(cert, ExtensionOID.EXTENDED_KEY_USAGE)
    assert not purposes.critical
    assert purposes.value == x509.ExtendedKeyUsage(
        [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    )
    assert len(list(cert.extensions)) == 6
    cert.verify_directly_issued_by(ca.certificate)


def test_key_usage_follows_the_key() -> None:
    assert usage_of(OURS_EC.leaf(key=ec_key())) == {"digital_signature"}
    assert usage_of(OURS_EC.leaf(key=rsa_key())) == {
        "digital_signature",
        "key_encipherment",
    }


@CAS
def test_the_issuer_is_the_cas_subject_byte_for_byte(ca: CA) -> None:
    tbs = _der.TBSCertificate.parse(ca.leaf().tbs_certificate_bytes)
    assert tbs.issuer == subject_bytes(ca.certificate)


@pytest.mark.parametrize(
    "string_type",
    [
        _ASN1Type.T61String,
        _ASN1Type.PrintableString,
        _ASN1Type.UTF8String,
        _ASN1Type.BMPString,
        _ASN1Type.IA5String,
        _ASN1Type.UniversalString,
    ],
)
def test_the_encoding_of_an_issuers_name_survives(string_type: _ASN1Type) -> None:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ice", string_type),
            x509.NameAttribute(NameOID.COMMON_NAME, "Old CA", string_type),
        ]
    )
    ca = CA(certificate(subject=subject, ca=True), ec_key())
    tbs = _der.TBSCertificate.parse(ca.leaf().tbs_certificate_bytes)
    assert tbs.issuer == subject.public_bytes() == subject_bytes(ca.certificate)
    assert ca.leaf().subject.rfc4514_string() == f"CN={AGENT}"


def test_key_identifiers_point_at_the_cas_own() -> None:
    own = x509.SubjectKeyIdentifier(b"by another method")
    ca = CA(certificate(subject="CA", ca=True, extensions=[(own, False)]), ec_key())
    found = ca.leaf().extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    assert found.value.key_identifier == b"by another method"
    assert found.value.authority_cert_issuer is None


@pytest.mark.parametrize("ca", [OURS_RSA, ICINGAS], ids=["ours", "icingas"])
def test_key_identifiers_of_a_ca_without_one_are_computed(ca: CA) -> None:
    """Both CAs have the same key, so a renewal with an SKI changes nothing."""
    expected = x509.SubjectKeyIdentifier.from_public_key(ca.key.public_key())
    found = ca.leaf().extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    assert found.value.key_identifier == expected.digest
    own = ca.leaf().extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert own.value == x509.SubjectKeyIdentifier.from_public_key(ec_key().public_key())


@pytest.mark.parametrize("cn", ["web_01", "my agent", "10.0.0.7", "UPPER.example"])
def test_an_ascii_name_is_in_the_san_as_it_is(cn: str) -> None:
    assert dns_names(OURS_EC.leaf(cn=cn)) == (cn,)


def test_a_name_beyond_ascii_has_no_san() -> None:
    cert = OURS_EC.leaf(cn="zürich")
    assert dns_names(cert) == ()
    assert "zürich".encode() in subject_bytes(cert)


def test_a_name_no_node_may_have_is_refused() -> None:
    with pytest.raises(CommonNameInvalid):
        OURS_EC.leaf(cn="a,b")


def test_a_node_may_not_have_the_cas_name() -> None:
    with pytest.raises(CommonNameInvalid, match="it is the CA's own name"):
        OURS_EC.leaf(cn="Icinga CA")


def test_a_key_that_does_not_count_gets_no_certificate() -> None:
    with pytest.raises(KeyInvalid):
        OURS_EC.leaf(key=small_rsa_key())


def test_a_ca_key_that_does_not_count_signs_nothing() -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
    ca = certificate(subject="CA", key=key, ca=True)
    with pytest.raises(KeyInvalid):
        leaf_made_by_us(ca, ec_key())


def test_a_serial_that_is_not_positive_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="positive"):
        OURS_EC.leaf(serial=0)


# --- Validity -------------------------------------------------------------------------


def test_lifetimes_are_icingas() -> None:
    assert LEAF_LIFETIME == 34_300_800
    assert CA_LIFETIME == 473_040_000
    assert LEAF_LIFETIME + BACKDATE < 398 * DAY


def test_a_leaf_is_valid_from_a_little_earlier_on() -> None:
    cert = OURS_EC.leaf(start=NOW - BACKDATE + 0.9, end=NOW + LEAF_LIFETIME + 0.9)
    assert cert.not_valid_before_utc == moment(NOW - BACKDATE)
    assert cert.not_valid_after_utc == moment(NOW + LEAF_LIFETIME)


def test_a_leaf_lives_within_its_ca() -> None:
    ca = CA(ca_made_by_us(start=NOW - 60, end=NOW + 30 * DAY), ec_key(11))
    cert = ca.leaf()
    assert cert.not_valid_before_utc == moment(NOW - 60)
    assert cert.not_valid_after_utc == moment(NOW + 30 * DAY)


@pytest.mark.parametrize(
    "start, end, code, says",
    [
        (NOW - DAY, NOW - BACKDATE, ReasonCode.ISSUER_EXPIRED, "CA .* expired on Jan"),
        (
            NOW + 2 * LEAF_LIFETIME,
            NOW + 3 * LEAF_LIFETIME,
            ReasonCode.ISSUER_NOT_YET_VALID,
            "CA .* is not valid before .* check this machine's clock",
        ),
    ],
)
def test_a_ca_that_is_not_valid_signs_nothing(
    start: float, end: float, code: ReasonCode, says: str
) -> None:
    ca = CA(ca_made_by_us(start=start, end=end), ec_key(11))
    with pytest.raises(CertificateInvalid, match=says) as caught:
        ca.leaf()
    assert caught.value.codes == {code}


def test_dates_beyond_2049_are_encoded() -> None:
    ca = CA(ca_made_by_us(end=NOW + 60 * 366 * DAY), ec_key(11))
    cert = ca.leaf(end=NOW + 50 * 366 * DAY)
    assert cert.not_valid_after_utc == moment(NOW + 50 * 366 * DAY)


# --- The same every time --------------------------------------------------------------


def by_the_builder(ca: CA, draft: x509.Certificate) -> x509.Certificate:
    """Make the same certificate as `cryptography` would, in one step."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(draft.subject)
        .issuer_name(ca.certificate.subject)
        .public_key(draft.public_key())
        .serial_number(draft.serial_number)
        .not_valid_before(draft.not_valid_before_utc)
        .not_valid_after(draft.not_valid_after_utc)
    )
    for each in draft.extensions:
        builder = builder.add_extension(each.value, critical=each.critical)
    if isinstance(ca.key, ec.EllipticCurvePrivateKey):
        return builder.sign(ca.key, hashes.SHA256(), ecdsa_deterministic=True)
    return builder.sign(ca.key, hashes.SHA256())


@CAS
@KEYS
def test_what_is_assembled_is_what_the_builder_makes(ca: CA, key: PrivateKey) -> None:
    ours = ca.leaf(key=key)
    theirs = by_the_builder(ca, ours)
    assert ours == theirs
    assert ours.public_bytes(serialization.Encoding.DER) == theirs.public_bytes(
        serialization.Encoding.DER
    )


@CAS
def test_the_same_arguments_give_the_same_bytes(ca: CA) -> None:
    assert ca.leaf() == ca.leaf()
    assert ca.leaf() != ca.leaf(serial=4712)


@KEYS
def test_a_certificate_a_node_makes_itself_is_the_same_every_time(
    key: PrivateKey,
) -> None:
    assert ca_made_by_us(key) == ca_made_by_us(key)
    assert profiles.csr(AGENT, key).public_bytes(
        serialization.Encoding.DER
    ) == profiles.csr(AGENT, key).public_bytes(serialization.Encoding.DER)


def test_the_lint_key_signs_nothing_that_leaves() -> None:
    lint_key = profiles._lint_key().public_key()
    cert = OURS_EC.leaf()
    with pytest.raises(CertificateInvalid) as caught:
        assemble(cert.tbs_certificate_bytes, cert.signature, lint_key)
    assert caught.value.codes == {ReasonCode.BAD_SIGNATURE}


# --- Joining --------------------------------------------------------------------------


def some_tbs(ca: CA = OURS_EC) -> bytes:
    return leaf_tbs(
        cn=AGENT,
        public_key=ec_key().public_key(),
        issuer=ca.certificate,
        serial=1,
        not_before=NOW,
        not_after=WallTime(NOW + DAY),
    )


@pytest.mark.parametrize(
    "signature, key",
    [
        (b"", ec_key(11)),
        (sign_tbs(ec_key(11), b"other bytes"), ec_key(11)),
        (sign_tbs(ec_key(2), some_tbs()), ec_key(11)),
        (sign_tbs(ec_key(11), some_tbs()), ec_key(2)),
        (sign_tbs(rsa_key(), some_tbs()), rsa_key()),
        (some_tbs(OURS_RSA), rsa_key("icinga-ca")),
    ],
)
def test_a_signature_that_does_not_fit_makes_no_certificate(
    signature: bytes, key: PrivateKey
) -> None:
    with pytest.raises(CertificateInvalid) as caught:
        assemble(some_tbs(), signature, key.public_key())
    assert caught.value.codes == {ReasonCode.BAD_SIGNATURE}


@pytest.mark.parametrize("cut", [0, 1, 10, -1])
def test_damaged_bytes_make_no_certificate(cut: int) -> None:
    tbs = some_tbs()[:cut]
    with pytest.raises(CertificateInvalid) as caught:
        assemble(tbs, sign_tbs(ec_key(11), tbs), ec_key(11).public_key())
    assert caught.value.codes == {ReasonCode.UNREADABLE}


def test_bytes_with_rotten_content_make_no_certificate() -> None:
    fields = _der.split(some_tbs())
    fields[4] = _der.encode(_der.SEQUENCE)  # no dates
    tbs = _der.encode(_der.SEQUENCE, *fields)
    with pytest.raises(CertificateInvalid) as caught:
        assemble(tbs, sign_tbs(ec_key(11), tbs), ec_key(11).public_key())
    assert caught.value.codes == {ReasonCode.UNREADABLE}


# --- CA and request -------------------------------------------------------------------


@KEYS
def test_a_ca_says_what_a_ca_needs(key: PrivateKey) -> None:
    cert = ca_made_by_us(key)
    assert cert.subject.rfc4514_string() == "CN=Icinga CA"
    assert is_self_signed(cert)
    constraints = extension(cert, ExtensionOID.BASIC_CONSTRAINTS)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=None)
    assert usage_of(cert) == {"key_cert_sign", "crl_sign"}
    found = extension(cert, ExtensionOID.SUBJECT_KEY_IDENTIFIER)
    assert found.value == x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    assert len(list(cert.extensions)) == 3
    assert subject_bytes(cert) == subject_bytes(ICINGAS.certificate)


@KEYS
def test_a_request_is_a_self_signed_leaf(key: PrivateKey) -> None:
    cert = profiles.self_signed(
        AGENT,
        key,
        serial=5,
        not_before=NOW,
        not_after=WallTime(NOW + LEAF_LIFETIME),
    )
    assert is_self_signed(cert)
    assert dns_names(cert) == (AGENT,)
    assert extension(
        cert, ExtensionOID.BASIC_CONSTRAINTS
    ).value == x509.BasicConstraints(ca=False, path_length=None)


@KEYS
def test_a_signing_request_is_as_icingas(key: PrivateKey) -> None:
    ours, theirs = profiles.csr(AGENT, key), x509.load_pem_x509_csr(data("agent1.csr"))
    assert ours.is_signature_valid
    assert ours.subject == theirs.subject
    assert list(ours.extensions) == list(theirs.extensions)
    assert [a.oid for a in ours.attributes] == [a.oid for a in theirs.attributes]


def test_a_signing_request_is_icingas_to_the_byte() -> None:
    ours = profiles.csr(AGENT, rsa_key())
    assert ours.public_bytes(serialization.Encoding.PEM) == data("agent1.csr")


def test_a_signing_request_for_a_name_beyond_ascii_has_no_san() -> None:
    assert list(profiles.csr("zürich", ec_key()).extensions) == []


def test_requests_for_keys_that_do_not_count_are_refused() -> None:
    with pytest.raises(KeyInvalid):
        profiles.csr(AGENT, small_rsa_key())
    with pytest.raises(KeyInvalid):
        profiles.self_signed(
            AGENT, small_rsa_key(), serial=1, not_before=NOW, not_after=NOW
        )
