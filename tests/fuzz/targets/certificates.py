"""Certificates: what a loader returns can be asked anything without raising."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.cluster.peer import PeerRejected, identify
from icefloe.doors import WallTime
from icefloe.pki import certificates, trust
from icefloe.pki._der import TBSCertificate
from icefloe.pki.certificates import load_der, load_pem, load_pem_all
from icefloe.pki.errors import CertificateInvalid, CommonNameInvalid
from icefloe.pki.names import COMMON_NAME_BYTES_MAX, check_common_name, is_dns_name
from icefloe.pki.requests import check_request_certificate
from icefloe.pki.trust import TrustAnchor
from tests.enrollment import playbook
from tests.fuzz import certificate_parts

BYTES_MAX = 4096

SEEDS = certificate_parts.seeds()

MOMENTS = (WallTime(0.0), playbook.START, WallTime(250_000_000_000.0))


def check(data: bytes) -> None:
    """Load, ask everything, judge, and load again."""
    made, is_pem = certificate_parts.build(data)
    try:
        found = load_pem_all(made) if is_pem else (load_der(made),)
    except CertificateInvalid as error:
        _says_why(error)
        if is_pem:
            _load_the_first(made)
        return
    if is_pem:
        assert load_pem(made) == found[0]
    for certificate in found[:3]:
        _ask(certificate)
        _judge(certificate)
        _identify(certificate)


def _load_the_first(pem: bytes) -> None:
    """The first may be good where another one is torn."""
    try:
        _ask(load_pem(pem))
    except CertificateInvalid as error:
        _says_why(error)


def _says_why(error: CertificateInvalid) -> None:
    assert error.reasons
    assert len(str(error)) < 1000
    assert str(error).isprintable()


def _ask(certificate: x509.Certificate) -> None:
    der = certificate.public_bytes(Encoding.DER)
    assert load_der(der) == certificate
    assert load_pem(certificates.to_pem(certificate)) == certificate
    assert len(certificates.fingerprint(certificate)) == 64
    assert len(certificates.key_id(certificate)) == 64
    for name in certificates.common_names(certificate):
        assert name.isascii() or name.encode()
    lines = certificates.describe_text(certificate).splitlines()
    assert (
        len(lines) == len(certificates.describe(certificate)) + 2
    )  # a blank line before and after
    assert all(line.isprintable() for line in lines)
    fields = TBSCertificate.parse(certificate.tbs_certificate_bytes)
    assert fields.encode() == certificate.tbs_certificate_bytes
    assert fields.subject == certificates.subject_bytes(certificate)
    certificates.serial_hex(certificate)
    certificates.dns_names(certificate)
    if certificates.is_self_signed(certificate):
        assert certificates.is_self_issued(certificate)


def _judge(certificate: x509.Certificate) -> None:
    anchor = playbook.anchor()
    for at in MOMENTS:
        reasons = anchor.problems(certificate, at)
        assert all(reason.code for reason in reasons)
        trust.up_to_date(certificate, at)
        trust.ca_due_for(certificate, playbook.ca(), at)
        try:
            anchor.check_successor(certificate, at)
        except CertificateInvalid as error:
            _says_why(error)
    try:
        TrustAnchor.from_pem(certificates.to_pem(certificate))
    except CertificateInvalid as error:
        _says_why(error)
    try:
        presented = check_request_certificate(certificate)
    except (CertificateInvalid, CommonNameInvalid) as error:
        assert str(error).isprintable()
        return
    assert presented.self_issued == certificates.is_self_signed(certificate)
    assert check_common_name(presented.cn) == presented.cn
    assert len(presented.cn.encode()) <= COMMON_NAME_BYTES_MAX
    assert presented.cn.isprintable()
    is_dns_name(presented.cn)
    assert presented.der == certificate.public_bytes(Encoding.DER)
    assert load_pem(presented.pem) == certificate


def _identify(certificate: x509.Certificate) -> None:
    der = certificate.public_bytes(Encoding.DER)
    for verified in (False, True):
        try:
            peer = identify(
                tree=playbook.tree("m1"),
                certificate_der=der,
                verified=verified,
                address="192.0.2.1:1",
            )
        except PeerRejected as error:
            assert error.reason == "certificate-invalid"
            return
        assert peer.label.isprintable()
        assert verified or not peer.is_member
