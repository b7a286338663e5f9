"""Keys and certificates for TLS tests, good ones and bad ones.

`icefloe.pki.profiles` makes only certificates that are right; half of those needed
here are wrong on purpose, so they are built directly.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from icefloe.node.tls.contexts import TLSIdentity
from icefloe.pki.profiles import serial_from

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
DAY = timedelta(days=1)


def now() -> datetime:
    """OpenSSL reads the real clock, so certificates are dated by it."""
    return datetime.fromtimestamp(int(time.time()), UTC)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def key_pem(key: Key) -> bytes:
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def build(
    *,
    subject: x509.Name,
    key: Key,
    issuer: x509.Name,
    signer: Key,
    ca: bool = False,
    starts: timedelta = -DAY,
    ends: timedelta = 30 * DAY,
    extensions: Sequence[x509.ExtensionType] = (),
) -> x509.Certificate:
    """Make a certificate as Icinga does: no key identifiers, no key usage."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial_from(b"\x40" + secrets.token_bytes(19)))
        .not_valid_before(now() + starts)
        .not_valid_after(now() + ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signer, hashes.SHA256())


@dataclass
class Node:
    """A key with its certificate."""

    key: Key
    certificate: x509.Certificate

    def identity(
        self, ca: Authority | None = None, *, crl: bytes | None = None
    ) -> TLSIdentity:
        return TLSIdentity(
            certificate_pem=pem(self.certificate),
            key_pem=key_pem(self.key),
            ca_pem=None if ca is None else pem(ca.certificate),
            crl_pem=crl,
        )

    @property
    def der(self) -> bytes:
        return der(self.certificate)


def dns(*names: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.DNSName(name) for name in names])


@dataclass
class Authority:
    """A CA; all of them have the same name, as all of Icinga's have."""

    name: x509.Name = field(default_factory=lambda: common_name("Icinga CA"))
    key: Key = field(default_factory=new_key)
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        self.certificate = build(
            subject=self.name, key=self.key, issuer=self.name, signer=self.key, ca=True
        )

    def renewed(self) -> x509.Certificate:
        """The same name and key in a certificate that lasts longer."""
        return build(
            subject=self.name,
            key=self.key,
            issuer=self.name,
            signer=self.key,
            ca=True,
            ends=60 * DAY,
        )

    def issue(
        self,
        name: str = "agent",
        *,
        key: Key | None = None,
        names: Sequence[str] | None = None,
        signer: Key | None = None,
        starts: timedelta = -DAY,
        ends: timedelta = 30 * DAY,
        purpose: x509.ObjectIdentifier | None = None,
    ) -> Node:
        key = key or new_key()
        extensions: list[x509.ExtensionType] = [dns(*names or [name])]
        if purpose is not None:
            extensions.append(x509.ExtendedKeyUsage([purpose]))
        certificate = build(
            subject=common_name(name),
            key=key,
            issuer=self.name,
            signer=signer or self.key,
            starts=starts,
            ends=ends,
            extensions=extensions,
        )
        return Node(key, certificate)

    def issue_server_only(self) -> Node:
        return self.issue(purpose=ExtendedKeyUsageOID.SERVER_AUTH)

    def intermediate(self) -> Authority:
        """Another CA below this one."""
        lower = Authority(common_name("Lower CA"))
        lower.certificate = build(
            subject=lower.name,
            key=lower.key,
            issuer=self.name,
            signer=self.key,
            ca=True,
        )
        return lower

    def revocation_list(self, *revoked: x509.Certificate) -> bytes:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(now() - DAY)
            .next_update(now() + DAY)
        )
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder(
                certificate.serial_number, now() - DAY
            )
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def self_signed(name: str = "agent", key: Key | None = None) -> Node:
    key = key or new_key()
    subject = common_name(name)
    certificate = build(
        subject=subject, key=key, issuer=subject, signer=key, extensions=[dns(name)]
    )
    return Node(key, certificate)
