"""Which keys and signature algorithms count, and one way to check a signature.

Keys are RSA of 2048 to 8192 bits, or elliptic curve keys on P-256, P-384 or P-521;
signatures are PKCS#1 v1.5 or ECDSA with SHA-2.  That is what Icinga's tools make (RSA
4096, SHA-256), what ours make (P-256, SHA-256), and what imported CAs use.

Weaker ones are refused here and not left to TLS, because a certificate is also judged
away from TLS: as a request, as a renewal, as an answer from a parent.  OpenSSL's
default security level refuses the same ones in a handshake.  The upper RSA bound
keeps a stranger from buying much of our time with one enormous key.

Keys are made and stored in `icefloe.storage.keys`; nothing here draws entropy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import SignatureAlgorithmOID

from icefloe.pki.errors import KeyInvalid

__all__ = [
    "RSA_BITS_MAX",
    "RSA_BITS_MIN",
    "PrivateKey",
    "PublicKey",
    "require_supported",
    "require_supported_private",
    "sign",
    "signature_algorithm_problem",
    "signature_matches",
]

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

RSA_BITS_MIN: Final = 2048
"""NIST SP 800-131A; also OpenSSL's bound at its security level 2, Debian's default."""

RSA_BITS_MAX: Final = 8192
"""Twice Icinga's size; a signature check costs about 0.3 ms there and rises fast."""

_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


@dataclass(frozen=True, slots=True)
class _Algorithm:
    """One accepted signature algorithm: the type of key it needs and its digest."""

    key_type: type[PublicKey]
    digest: hashes.HashAlgorithm


_ALGORITHMS: Final = {
    SignatureAlgorithmOID.RSA_WITH_SHA256: _Algorithm(
        rsa.RSAPublicKey, hashes.SHA256()
    ),
    SignatureAlgorithmOID.RSA_WITH_SHA384: _Algorithm(
        rsa.RSAPublicKey, hashes.SHA384()
    ),
    SignatureAlgorithmOID.RSA_WITH_SHA512: _Algorithm(
        rsa.RSAPublicKey, hashes.SHA512()
    ),
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: _Algorithm(
        ec.EllipticCurvePublicKey, hashes.SHA256()
    ),
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: _Algorithm(
        ec.EllipticCurvePublicKey, hashes.SHA384()
    ),
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: _Algorithm(
        ec.EllipticCurvePublicKey, hashes.SHA512()
    ),
}

_WEAK: Final = {
    SignatureAlgorithmOID.RSA_WITH_MD5: "MD5",
    SignatureAlgorithmOID.RSA_WITH_SHA1: "SHA-1",
    SignatureAlgorithmOID.ECDSA_WITH_SHA1: "SHA-1",
    SignatureAlgorithmOID.DSA_WITH_SHA1: "SHA-1",
}


def require_supported(public_key: object) -> PublicKey:
    """Return the public key when it is of a type and strength we accept.

    Args:
        public_key: Any public key `cryptography` can load.

    Raises:
        KeyInvalid: Another type (Ed25519, DSA), another curve, or RSA out of bounds.
    """
    match public_key:
        case rsa.RSAPublicKey():
            bits = public_key.key_size
            if bits < RSA_BITS_MIN:
                raise KeyInvalid(
                    f"RSA with {bits} bits is weak; make a key of at least "
                    f"{RSA_BITS_MIN} bits"
                )
            if bits > RSA_BITS_MAX:
                raise KeyInvalid(
                    f"RSA with {bits} bits is more than the {RSA_BITS_MAX} we accept"
                )
            return public_key
        case ec.EllipticCurvePublicKey():
            if not isinstance(public_key.curve, _CURVES):
                raise KeyInvalid(
                    f"the curve {public_key.curve.name} is not one of P-256, P-384 "
                    "and P-521"
                )
            return public_key
        case _:
            kind = type(public_key).__name__.removesuffix("PublicKey")
            raise KeyInvalid(f"{kind} keys are not supported; use EC or RSA")


def require_supported_private(private_key: object) -> PrivateKey:
    """Return the private key when it is of a type and strength we accept.

    Raises:
        KeyInvalid: As for `require_supported`.
    """
    if not isinstance(private_key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        kind = type(private_key).__name__.removesuffix("PrivateKey")
        raise KeyInvalid(f"{kind} keys are not supported; use EC or RSA")
    require_supported(private_key.public_key())
    return private_key


def sign(private_key: PrivateKey, data: bytes) -> bytes:
    """Sign `data` with SHA-256; the same key and data always give the same bytes.

    ECDSA takes its nonce from the key and the data (RFC 6979) and PKCS#1 v1.5 has
    none.  That is what lets a signer sign again after a crash and arrive at the same
    certificate.

    SHA-256 is used for every key, larger curves included: it is what Icinga uses, and
    no digest is then stronger than some peer can read.

    Returns:
        The raw RSA signature, or the DER ECDSA-Sig-Value, as X.509 embeds them.
    """
    if isinstance(private_key, rsa.RSAPrivateKey):
        return private_key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    return private_key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def signature_algorithm_problem(algorithm: ObjectIdentifier) -> str | None:
    """Say what speaks against a signature algorithm, or None when it is accepted."""
    if algorithm in _ALGORITHMS:
        return None
    if algorithm in _WEAK:
        return f"it is signed with {_WEAK[algorithm]}, which can be forged"
    return f"its signature algorithm {algorithm.dotted_string} is not supported"


def signature_matches(
    public_key: PublicKey,
    *,
    algorithm: ObjectIdentifier,
    signature: bytes,
    data: bytes,
) -> bool:
    """Say whether `signature` over `data` was made with the key's private half.

    False, too, for an algorithm that is weak, unknown, or of another type of key.
    """
    accepted = _ALGORITHMS.get(algorithm)
    if accepted is None or not isinstance(public_key, accepted.key_type):
        return False
    try:
        if isinstance(public_key, rsa.RSAPublicKey):
            public_key.verify(signature, data, padding.PKCS1v15(), accepted.digest)
        else:
            public_key.verify(signature, data, ec.ECDSA(accepted.digest))
    except InvalidSignature:
        return False
    return True
