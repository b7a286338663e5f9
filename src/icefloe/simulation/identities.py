"""Keys and certificates: real ones, made from numbers.

The same number makes the same key, and the same key the same bytes, so that making one
again for the next seed can be spared without the history depending on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.doors import WallTime
from icefloe.pki.certificates import (
    common_name,
    fingerprint,
    key_id,
    load_der,
    load_pem,
    to_pem,
)
from icefloe.pki.profiles import (
    CA_LIFETIME,
    LEAF_LIFETIME,
    assemble,
    ca_certificate,
    leaf_tbs,
    self_signed,
    sign_tbs,
)
from icefloe.pki.revocation import RevocationList
from icefloe.pki.trust import TrustAnchor
from icefloe.simulation.timeline import WALL_START

_DAY: Final = 86_400
_BEGINS: Final = WallTime(WALL_START - 300 * _DAY)
_DUE_SOON: Final = 20 * _DAY
_SERIAL_BASE: Final = 1 << 100

REVOKED_KEY_NUMBER: Final = 880
"""The key whose signed certificate every CA has revoked."""


@cache
def private_key(number: int) -> ec.EllipticCurvePrivateKey:
    """Return the P-256 key of a number (from 1)."""
    return ec.derive_private_key(0x1CEF10E000000000 + number, ec.SECP256R1())


@lru_cache(maxsize=4096)
def read_der(der: bytes) -> x509.Certificate:
    """Read a certificate as production does; what was read once is known."""
    return load_der(der)


@lru_cache(maxsize=4096)
def read_pem(pem: str) -> x509.Certificate:
    """Read a certificate as production does; what was read once is known."""
    return load_pem(pem)


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA.

    Attributes:
        key: its private key.
        certificate: self-signed.
        anchor: what those who trust it have.
    """

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate
    anchor: TrustAnchor


@cache
def authority(number: int = 1) -> Authority:
    """Return the CA of a number; all worlds share the first one."""
    key = private_key(number)
    certificate = ca_certificate(
        key,
        serial=number,
        not_before=WallTime(WALL_START - 400 * _DAY),
        not_after=WallTime(WALL_START + CA_LIFETIME),
    )
    anchor = TrustAnchor.from_pem(to_pem(certificate))
    return Authority(
        key, certificate, replace(anchor, revocation_lists=(_revocations(certificate),))
    )


def _revocations(ca: x509.Certificate) -> RevocationList:
    """Return a CA's revocation list: one key's certificate stands in it."""
    at = datetime.fromtimestamp(WALL_START - 10 * _DAY, UTC)
    serial = _signed_serial(REVOKED_KEY_NUMBER, 0)
    return RevocationList(
        issuer=ca.subject, this_update=at, next_update=None, revoked={serial: at}
    )


@dataclass(frozen=True, slots=True)
class Identity:
    """A key and a certificate for it.

    Attributes:
        cn: the name in the certificate.
        key_number: see `private_key`.
        certificate: self-signed or signed.
    """

    cn: str
    key_number: int
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        """The certificate's DER."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> str:
        """The certificate's PEM."""
        return to_pem(self.certificate)

    @property
    def key_id(self) -> str:
        """The key's id."""
        return key_id(self.certificate)


@lru_cache(maxsize=4096)
def self_signed_identity(cn: str, key_number: int, remade: int = 0) -> Identity:
    """Return what a node presents before it has a certificate.

    Args:
        cn: its name.
        key_number: its key.
        remade: how many times it was made anew: another fingerprint, the same key.
    """
    certificate = self_signed(
        cn,
        private_key(key_number),
        serial=_SERIAL_BASE + 1 + remade,
        not_before=WallTime(WALL_START - _DAY),
        not_after=WallTime(WALL_START + LEAF_LIFETIME),
    )
    return Identity(cn, key_number, certificate)


def _signed_serial(key_number: int, variant: int) -> int:
    return _SERIAL_BASE * 2 + key_number * 1000 + variant


@lru_cache(maxsize=4096)
def signed_identity(
    cn: str,
    key_number: int,
    *,
    due: bool = False,
    variant: int = 0,
    seconds_left: float = LEAF_LIFETIME,
) -> Identity:
    """Return a certificate that the CA signed before the history began.

    Args:
        cn: its name.
        key_number: its key.
        due: it ends so soon that it is to be renewed.
        variant: another serial number.
        seconds_left: until it ends, unless it is due; may be negative.
    """
    ends = WALL_START + (_DUE_SOON if due else seconds_left)
    issuer = authority()
    tbs = leaf_tbs(
        cn=cn,
        public_key=private_key(key_number).public_key(),
        issuer=issuer.certificate,
        serial=_signed_serial(key_number, variant),
        not_before=_BEGINS,
        not_after=WallTime(ends),
    )
    signature = sign_tbs(issuer.key, tbs)
    certificate = assemble(tbs, signature, issuer.key.public_key())
    return Identity(cn, key_number, certificate)


@lru_cache(maxsize=4096)
def false_certificate(asked: x509.Certificate, what: str) -> x509.Certificate:
    """Return a certificate that is not the one that was asked for, as good as can be.

    Args:
        asked: the certificate in the request.
        what: ``other-key``, ``other-name`` or ``expired``, signed by the true CA; or
            ``other-ca``, right but for the CA, which has the same name.
    """
    issuer = authority(2) if what == "other-ca" else authority()
    begins, ends = _BEGINS, WallTime(WALL_START + LEAF_LIFETIME)
    if what == "expired":
        begins, ends = WallTime(_BEGINS - 90 * _DAY), WallTime(WALL_START - 100 * _DAY)
    cn = common_name(asked)
    public_key = asked.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey), "all keys here are P-256"
    tbs = leaf_tbs(
        cn=f"not-{cn}" if what == "other-name" else cn,
        public_key=private_key(999).public_key() if what == "other-key" else public_key,
        issuer=issuer.certificate,
        serial=_SERIAL_BASE * 3 + int(fingerprint(asked)[:12], 16),
        not_before=begins,
        not_after=ends,
    )
    return assemble(tbs, sign_tbs(issuer.key, tbs), issuer.key.public_key())
