"""Which keys and signatures count."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import SignatureAlgorithmOID

from icefloe.pki.errors import KeyInvalid
from icefloe.pki.keys import (
    PrivateKey,
    require_supported,
    require_supported_private,
    sign,
    signature_algorithm_problem,
    signature_matches,
)
from tests.pki.makers import ec_key, rsa_key, small_rsa_key

ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
KEYS = pytest.mark.parametrize("key", [ec_key(), rsa_key()], ids=["ec", "rsa"])
DIGESTS = {
    "SHA256": hashes.SHA256(),
    "SHA384": hashes.SHA384(),
    "SHA512": hashes.SHA512(),
}


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_the_nist_curves_count(curve: ec.EllipticCurve) -> None:
    key = ec.derive_private_key(7, curve)
    assert require_supported_private(key) is key


def test_rsa_of_icingas_size_counts() -> None:
    assert require_supported_private(rsa_key()) is rsa_key()


@pytest.mark.parametrize(
    "key, says",
    [
        (ED25519.public_key(), "Ed25519 keys are not supported; use EC or RSA"),
        (ec.derive_private_key(7, ec.SECP256K1()).public_key(), "secp256k1 is not"),
        (small_rsa_key().public_key(), "RSA with 1024 bits is weak; make a key"),
        (
            rsa.RSAPublicNumbers(65537, (1 << 8192) + 1).public_key(),
            "RSA with 8193 bits is more than the 8192 we accept",
        ),
        (None, "keys are not supported"),
    ],
)
def test_other_public_keys_are_refused(key: object, says: str) -> None:
    with pytest.raises(KeyInvalid, match=says):
        require_supported(key)


@pytest.mark.parametrize("key", [ED25519, small_rsa_key(), None])
def test_other_private_keys_are_refused(key: object) -> None:
    with pytest.raises(KeyInvalid):
        require_supported_private(key)


@KEYS
def test_the_same_key_and_data_give_the_same_signature(key: PrivateKey) -> None:
    assert sign(key, b"data") == sign(key, b"data")
    assert sign(key, b"data") != sign(key, b"atad")


def algorithm_of(key: PrivateKey) -> ObjectIdentifier:
    if isinstance(key, rsa.RSAPrivateKey):
        return SignatureAlgorithmOID.RSA_WITH_SHA256
    return SignatureAlgorithmOID.ECDSA_WITH_SHA256


@KEYS
def test_a_signature_matches_its_key_data_and_algorithm_only(key: PrivateKey) -> None:
    algorithm = algorithm_of(key)
    public_key, signature = key.public_key(), sign(key, b"data")

    def matches(
        algorithm: ObjectIdentifier = algorithm,
        signature: bytes = signature,
        data: bytes = b"data",
    ) -> bool:
        return signature_matches(
            public_key, algorithm=algorithm, signature=signature, data=data
        )

    assert matches()
    assert not matches(data=b"atad")
    assert not matches(signature=signature[:-1])
    assert not matches(signature=b"")
    for other in vars(SignatureAlgorithmOID).values():
        if isinstance(other, ObjectIdentifier) and other != algorithm:
            assert not matches(algorithm=other)


@pytest.mark.parametrize("digest", DIGESTS)
def test_the_larger_digests_count_too(digest: str) -> None:
    ec_signature = ec_key().sign(b"data", ec.ECDSA(DIGESTS[digest]))
    rsa_signature = rsa_key().sign(b"data", padding.PKCS1v15(), DIGESTS[digest])
    for key, kind, signature in (
        (ec_key(), "ECDSA", ec_signature),
        (rsa_key(), "RSA", rsa_signature),
    ):
        algorithm = getattr(SignatureAlgorithmOID, f"{kind}_WITH_{digest}")
        assert signature_algorithm_problem(algorithm) is None
        assert signature_matches(
            key.public_key(), algorithm=algorithm, signature=signature, data=b"data"
        )


@pytest.mark.parametrize(
    "algorithm, says",
    [
        (SignatureAlgorithmOID.RSA_WITH_SHA1, "SHA-1, which can be forged"),
        (SignatureAlgorithmOID.ECDSA_WITH_SHA1, "SHA-1, which can be forged"),
        (SignatureAlgorithmOID.RSA_WITH_MD5, "MD5, which can be forged"),
        (SignatureAlgorithmOID.RSASSA_PSS, "1.2.840.113549.1.1.10 is not supported"),
        (SignatureAlgorithmOID.ED25519, "1.3.101.112 is not supported"),
    ],
)
def test_other_algorithms_are_refused(algorithm: ObjectIdentifier, says: str) -> None:
    assert says in (signature_algorithm_problem(algorithm) or "")
