"""Private keys, made and kept."""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from icefloe.pki.errors import KeyInvalid
from icefloe.pki.keys import PrivateKey
from icefloe.storage.files import FileProblem
from icefloe.storage.keys import (
    KeyType,
    decode_private_key,
    encode_private_key,
    generate_key,
    key_type_of,
    read_private_key,
    write_private_key,
)

EC_KEY = ec.derive_private_key(77, ec.SECP256R1())
ICINGAS = (Path(__file__).parents[1] / "pki/data/agent1.key").read_bytes()


def in_pkcs8(
    key: PrivateKey | ed25519.Ed25519PrivateKey, password: bytes = b""
) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption(),
    )


def test_a_new_key_is_p256() -> None:
    key = generate_key()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert key_type_of(key) is KeyType.EC
    assert encode_private_key(generate_key()) != encode_private_key(key)


def test_a_new_rsa_key_is_as_icingas() -> None:
    key = generate_key(KeyType.RSA)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 4096
    assert key.public_key().public_numbers().e == 65537
    assert key_type_of(key) is KeyType.RSA


def test_key_types_are_spelled_as_the_option() -> None:
    assert [*map(str, KeyType)] == ["ec", "rsa"]


def test_icingas_key_is_read_and_written_unchanged() -> None:
    assert ICINGAS.startswith(b"-----BEGIN RSA PRIVATE KEY-----\n")
    assert encode_private_key(decode_private_key(ICINGAS)) == ICINGAS


def test_an_ec_key_is_written_in_the_form_openssl_calls_traditional() -> None:
    pem = encode_private_key(EC_KEY)
    assert pem.startswith(b"-----BEGIN EC PRIVATE KEY-----\n")
    assert encode_private_key(decode_private_key(pem)) == pem


@pytest.mark.parametrize(
    "pem",
    [
        in_pkcs8(EC_KEY),
        b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        + encode_private_key(EC_KEY),
        b"a note\n" + encode_private_key(EC_KEY) + in_pkcs8(EC_KEY),
    ],
)
def test_other_forms_are_read_too(pem: bytes) -> None:
    assert encode_private_key(decode_private_key(pem)) == encode_private_key(EC_KEY)


@pytest.mark.parametrize(
    "pem, says",
    [
        (b"", "there is no PEM block"),
        (ICINGAS[:500], "there is no PEM block"),
        (ICINGAS.replace(b"MIIJ", b"AAAA"), "it cannot be decoded"),
        (in_pkcs8(EC_KEY, b"password"), "it is encrypted; a node's key is kept unenc"),
        (
            in_pkcs8(ed25519.Ed25519PrivateKey.from_private_bytes(b"\1" * 32)),
            "Ed25519 keys are not supported",
        ),
        (in_pkcs8(rsa.generate_private_key(65537, 1024)), "RSA with 1024 bits is weak"),
        (
            in_pkcs8(ec.derive_private_key(7, ec.SECP256K1())),
            "the curve secp256k1 is not",
        ),
    ],
)
def test_what_is_no_key_of_ours_is_a_typed_error(pem: bytes, says: str) -> None:
    with pytest.raises(KeyInvalid, match=says) as caught:
        decode_private_key(pem)
    assert caught.value.__cause__ is None


@given(st.integers(0, 300), st.binary(max_size=3))
def test_only_the_declared_error_escapes(position: int, new: bytes) -> None:
    pem = bytearray(encode_private_key(EC_KEY))
    position %= len(pem)
    pem[position : position + len(new)] = new
    with suppress(KeyInvalid):
        decode_private_key(bytes(pem))


def test_a_key_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    path.write_text("old")
    path.chmod(0o644)
    write_private_key(path, EC_KEY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert encode_private_key(read_private_key(path)) == encode_private_key(EC_KEY)


def test_a_key_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    path.write_text("not a key")
    with pytest.raises(FileProblem, match=r"cannot use the key in '.*node.key': there"):
        read_private_key(path)
    with pytest.raises(FileProblem) as caught:
        read_private_key(tmp_path / "missing.key")
    assert caught.value.is_missing
