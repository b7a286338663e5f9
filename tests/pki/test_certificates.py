"""Reading certificates, and what is asked about one."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from icefloe.pki import _der
from icefloe.pki.certificates import (
    CERTIFICATE_BYTES_MAX,
    PEM_BYTES_MAX,
    common_name,
    common_names,
    describe,
    describe_text,
    dns_names,
    fingerprint,
    is_ca,
    is_self_issued,
    is_self_signed,
    is_signed_with,
    key_id,
    load_der,
    load_pem,
    load_pem_all,
    serial_hex,
    to_pem,
)
from icefloe.pki.errors import CertificateInvalid, ReasonCode
from tests.pki.makers import (
    AGENT,
    ca_made_by_us,
    certificate,
    data,
    ec_key,
    flipped,
    joined_bytes,
    leaf_made_by_us,
    name,
    pem_block,
    rsa_key,
    small_rsa_key,
    with_fields,
)

REAL = [
    "icinga-ca",
    "agent1",
    "agent1-self-signed",
    "agent1-serial-of-21-octets",
    "zuerich-self-signed",
]
DER = serialization.Encoding.DER


def unreadable(text: str | bytes) -> str:
    with pytest.raises(CertificateInvalid) as caught:
        load_pem(text)
    assert caught.value.codes == {ReasonCode.UNREADABLE}
    return str(caught.value)


# --- Reading --------------------------------------------------------------------------


@pytest.mark.parametrize("file", REAL)
def test_a_real_certificate_is_read_and_written_unchanged(file: str) -> None:
    pem = data(f"{file}.crt")
    cert = load_pem(pem)
    assert to_pem(cert).encode() == pem
    assert load_pem(pem.decode()) == cert
    assert load_der(cert.public_bytes(DER)) == cert


def test_the_first_certificate_of_several_is_read() -> None:
    text = "a note\n" + data("agent1.crt").decode() + data("icinga-ca.crt").decode()
    assert common_name(load_pem(text)) == AGENT
    assert [common_name(cert) for cert in load_pem_all(text)] == [AGENT, "Icinga CA"]


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "cannot be decoded"),
        ("\ud800", "cannot be decoded"),
        (b"\xff\x00", "cannot be decoded"),
        (data("agent1.csr"), "it is PEM, but holds no certificate"),
        (data("agent1.key"), "it is PEM, but holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\n", "cannot be decoded"),
        (data("agent1.crt")[:500], "cannot be decoded"),
        ("x" * (PEM_BYTES_MAX + 1), "longer than 1048576 bytes"),
    ],
)
def test_what_is_no_certificate_is_a_typed_error(text: str | bytes, says: str) -> None:
    assert says in unreadable(text)


def test_several_certificates_are_read_all_or_none() -> None:
    with pytest.raises(CertificateInvalid, match="cannot be decoded"):
        load_pem_all(data("agent1.crt") + data("icinga-ca.crt")[:500])


def test_a_certificate_of_enormous_size_is_refused() -> None:
    blob = x509.UnrecognizedExtension(
        x509.ObjectIdentifier("1.2.3"), bytes(CERTIFICATE_BYTES_MAX)
    )
    big = certificate(extensions=[(blob, False)])
    with pytest.raises(CertificateInvalid, match="cannot be decoded"):
        load_der(big.public_bytes(DER))


def test_parts_that_are_decoded_late_are_decoded_when_loading() -> None:
    """A DNS name that is not text would raise at the first look at the extensions."""
    der = bytearray(data_der("agent1"))
    position = der.rindex(AGENT.encode())
    der[position] = 0xFF
    x509.load_der_x509_certificate(bytes(der))
    with pytest.raises(CertificateInvalid):
        load_der(bytes(der))


def data_der(file: str) -> bytes:
    return x509.load_pem_x509_certificate(data(f"{file}.crt")).public_bytes(DER)


def test_a_serial_number_of_zero_is_read_in_silence() -> None:
    """Icinga before 2.4 gave it to CAs that are valid to this day."""
    old = with_fields(certificate(), ec_key(), serial=b"\x02\x01\x00")
    assert serial_hex(old) == "00"


def test_an_overlong_name_is_refused_and_not_warned_about() -> None:
    attribute = bytes.fromhex("0603550403") + _der.encode(0x0C, b"x" * 65)
    long = _der.encode(0x30, _der.encode(0x31, _der.encode(0x30, attribute)))
    fields = _der.TBSCertificate.parse(certificate().tbs_certificate_bytes)
    odd = joined_bytes(replace(fields, subject=long).encode(), ec_key())
    with pytest.raises(CertificateInvalid, match="longer than RFC 5280 allows"):
        load_der(odd)


# --- Names by which it is known ------------------------------------------------------


def test_fingerprint_is_the_digest_of_the_der() -> None:
    cert = load_pem(data("agent1.crt"))
    assert fingerprint(cert) == hashlib.sha256(cert.public_bytes(DER)).hexdigest()


def test_key_id_is_of_the_key_and_not_of_the_certificate() -> None:
    signed, own = load_pem(data("agent1.crt")), load_pem(data("agent1-self-signed.crt"))
    spki = (
        rsa_key()
        .public_key()
        .public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    assert key_id(signed) == key_id(own) == hashlib.sha256(spki).hexdigest()
    assert key_id(rsa_key().public_key()) == key_id(own)
    assert fingerprint(signed) != fingerprint(own)


@pytest.mark.parametrize("serial, text", [(1, "01"), (0xABC, "0abc"), (0xABCD, "abcd")])
def test_serial_is_in_whole_bytes(serial: int, text: str) -> None:
    assert serial_hex(certificate(serial=serial)) == text


def test_a_serial_of_21_octets_is_read() -> None:
    cert = load_pem(data("agent1-serial-of-21-octets.crt"))
    assert cert.serial_number.bit_length() == 160
    assert len(serial_hex(cert)) == 40


def test_a_negative_serial_shows_its_sign() -> None:
    odd = with_fields(certificate(), ec_key(), serial=b"\x02\x01\xff")
    assert serial_hex(odd) == "-01"


def test_the_first_common_name_is_the_identity() -> None:
    cert = certificate(subject=name("a", "b"))
    assert common_name(cert) == "a"
    assert common_names(cert) == ("a", "b")


def test_a_subject_without_common_name_is_a_typed_error() -> None:
    cert = certificate(subject=x509.Name([]))
    assert common_names(cert) == ()
    with pytest.raises(CertificateInvalid) as caught:
        common_name(cert)
    assert caught.value.codes == {ReasonCode.NO_COMMON_NAME}


def test_dns_names_are_those_of_the_san() -> None:
    names = x509.SubjectAlternativeName(
        [x509.DNSName("a"), x509.RFC822Name("x@a"), x509.DNSName("b")]
    )
    assert dns_names(certificate(extensions=[(names, False)])) == ("a", "b")
    assert dns_names(certificate()) == ()
    assert dns_names(load_pem(data("agent1.crt"))) == (AGENT,)


def test_icinga_takes_the_bytes_of_a_name_for_latin_1() -> None:
    """What `names` says about names beyond ASCII."""
    mangled = "zürich".encode().decode("latin-1")
    assert common_name(load_pem(data("zuerich-self-signed.crt"))) == mangled


# --- What it says of itself -----------------------------------------------------------


def test_only_basic_constraints_make_a_ca() -> None:
    assert is_ca(load_pem(data("icinga-ca.crt")))
    assert not is_ca(load_pem(data("agent1.crt")))
    assert not is_ca(certificate(ca=None))


def test_self_signed_means_same_name_and_own_key() -> None:
    assert is_self_signed(load_pem(data("agent1-self-signed.crt")))
    assert is_self_signed(load_pem(data("icinga-ca.crt")))
    assert is_self_signed(certificate())
    assert not is_self_signed(load_pem(data("agent1.crt")))
    assert not is_self_signed(flipped(certificate()))
    assert not is_self_signed(certificate(signed_by=ec_key(5)))
    assert not is_self_signed(certificate(issuer="other"))


@pytest.mark.parametrize(
    "key", [small_rsa_key(), ed25519.Ed25519PrivateKey.from_private_bytes(b"\1" * 32)]
)
def test_a_key_that_does_not_count_signs_nothing(
    key: ed25519.Ed25519PrivateKey,
) -> None:
    cert = certificate(key=key)
    assert is_self_issued(cert)
    assert not is_self_signed(cert)


def test_names_are_the_same_whatever_string_type_encodes_them() -> None:
    printable = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, AGENT, _ASN1Type.PrintableString)]
    )
    assert is_self_signed(certificate(issuer=printable))


def test_the_algorithm_beside_the_signature_must_be_the_signed_one() -> None:
    cert = certificate()
    der = cert.public_bytes(DER)
    sha256, sha384 = (
        bytes.fromhex("2a8648ce3d040302"),
        bytes.fromhex("2a8648ce3d040303"),
    )
    assert der.count(sha256) == 2
    first = der.index(sha256)
    forged = load_der(der[:first] + sha384 + der[first + len(sha384) :])
    assert forged.signature_algorithm_oid == cert.signature_algorithm_oid
    assert not is_signed_with(forged, ec_key().public_key())
    assert is_signed_with(cert, ec_key().public_key())


def test_a_signature_ends_with_a_whole_byte() -> None:
    """`cryptography` reads over the count of unused bits, OpenSSL does not."""
    made = (ca_made_by_us(serial=number) for number in range(1, 100))
    cert = next(each for each in made if each.signature[-1] % 2 == 0)
    der = bytearray(cert.public_bytes(DER))
    unused_bits = len(der) - len(cert.signature) - 1
    assert der[unused_bits] == 0
    der[unused_bits] = 1
    odd = load_der(bytes(der))
    assert odd.signature == cert.signature
    assert is_self_signed(cert)
    assert not is_self_signed(odd)


# --- For people -----------------------------------------------------------------------


@pytest.mark.parametrize("file", REAL)
def test_the_description_is_what_icinga_prints(file: str) -> None:
    """But for the serial number, which newer versions print as we do."""
    lines = data(f"{file}.described.txt").decode().splitlines()
    ours = describe_text(load_pem(data(f"{file}.crt"))).strip("\n").split("\n")
    expected = [
        line.replace(":", "").replace("Serial", "Serial:").upper()
        if line.startswith(" Serial:")
        else line
        for line in lines
    ]
    assert [
        line.upper() if line.startswith(" Serial:") else line for line in ours
    ] == expected


def test_the_description_has_icingas_labels_in_its_order() -> None:
    cert = leaf_made_by_us(ca_made_by_us(), ec_key(11), serial=0xABC)
    assert describe(cert) == [
        ("Version", "3"),
        ("Subject", f"CN = {AGENT}"),
        ("Issuer", "CN = Icinga CA"),
        ("Valid From", "Jan 15 11:55:00 2027 GMT"),
        ("Valid Until", "Feb 16 12:00:00 2028 GMT"),
        ("Serial", "0ABC"),
        ("Signature Algorithm", "ecdsa-with-SHA256"),
        ("Subject Alt Names", AGENT),
        ("Fingerprint", cert.fingerprint(hashes.SHA256()).hex(" ").upper()),
    ]


def test_lines_end_with_the_value() -> None:
    """Tools look for the fingerprint's hex at the end of its line."""
    text = describe_text(ca_made_by_us())
    assert text.startswith("\n Version:             3\n")
    assert text.endswith("\n\n")
    assert all(line == line.rstrip() for line in text.split("\n"))
    assert " Subject Alt Names:\n" in text


def test_a_dns_name_cannot_reach_the_terminal_with_control_characters() -> None:
    names = x509.SubjectAlternativeName([x509.DNSName("a\x1b[2Jb")])
    cert = certificate(extensions=[(names, False)])
    assert dict(describe(cert))["Subject Alt Names"] == "a\\x1b[2Jb"


# --- Anything at all ------------------------------------------------------------------

SEEDS = [
    *(data_der(file) for file in REAL),
    leaf_made_by_us(ca_made_by_us(), ec_key(11)).public_bytes(DER),
    ca_made_by_us().public_bytes(DER),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Draw a certificate with a few bytes changed, a piece cut out or doubled."""
    der = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(der) - 1))
        if draw(st.integers(0, 5)):
            der[position] = draw(st.integers(0, 255))
        else:
            end = position + draw(st.integers(1, 20))
            der[position:end] = der[position:end] * draw(st.sampled_from([0, 2]))
    return bytes(der)


def ask_everything(cert: x509.Certificate) -> None:
    """Ask a loaded certificate all there is to ask; nothing may raise."""
    describe_text(cert)
    fingerprint(cert), key_id(cert), serial_hex(cert), common_names(cert)
    is_ca(cert), is_self_issued(cert), is_self_signed(cert)
    is_signed_with(cert, ec_key().public_key())


@settings(max_examples=600)
@given(mutated())
def test_only_the_declared_error_escapes_for_mutated_certificates(der: bytes) -> None:
    try:
        cert = load_der(der)
    except CertificateInvalid:
        return
    ask_everything(cert)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_only_the_declared_error_escapes_for_anything(text: str | bytes) -> None:
    unreadable(text)


@settings(max_examples=200)
@given(mutated())
def test_pem_and_der_have_the_same_verdict(der: bytes) -> None:
    pem = pem_block("CERTIFICATE", der)
    try:
        cert = load_der(der)
    except CertificateInvalid:
        unreadable(pem)
    else:
        assert load_pem(pem) == cert
