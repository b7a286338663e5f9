"""Private keys: making them, and keeping them in files that a real icinga2 reads.

protocol: Icinga writes RSA keys as PKCS#1 (`BEGIN RSA PRIVATE KEY`), unencrypted, mode
0600, and reads what OpenSSL reads.  Elliptic curve keys are written in the form that
matches, SEC 1 (`BEGIN EC PRIVATE KEY`).

Making a key draws entropy from the operating system, inside `cryptography`; an
RSA-4096 key takes up to some seconds.  Reading one checks it, which for RSA-4096 takes
0.2 s without letting other threads run: read a key once and keep it.
"""

from __future__ import annotations

import re
from enum import StrEnum, unique
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from icefloe.pki.errors import KeyInvalid
from icefloe.pki.keys import PrivateKey, require_supported_private
from icefloe.storage.files import FileProblem, Owner, read_file, write_file

__all__ = [
    "KEY_FILE_MODE",
    "RSA_BITS",
    "KeyType",
    "decode_private_key",
    "encode_private_key",
    "generate_key",
    "key_type_of",
    "read_private_key",
    "write_private_key",
]

KEY_FILE_MODE: Final = 0o600
RSA_BITS: Final = 4096
"""protocol: the size of Icinga's keys."""

_RSA_EXPONENT: Final = 65537
_KEY_FILE_BYTES_MAX: Final = 1024 * 1024
_BLOCK: Final = re.compile(
    rb"-----BEGIN ((?:RSA |EC |ENCRYPTED )?PRIVATE KEY)-----.*?-----END \1-----",
    re.DOTALL,
)


@unique
class KeyType(StrEnum):
    """The types of keys that are made, as `--key-type` spells them."""

    EC = "ec"
    """ECDSA on P-256: the default.  A real Icinga *signer* cannot use such a CA key."""

    RSA = "rsa"
    """RSA with 4096 bits: what Icinga makes, and what every Icinga node can use."""


def generate_key(key_type: KeyType = KeyType.EC) -> PrivateKey:
    """Make a new private key."""
    if key_type is KeyType.RSA:
        return rsa.generate_private_key(_RSA_EXPONENT, RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


def key_type_of(key: PrivateKey) -> KeyType:
    """Return the type of a key, for making another one like it."""
    return KeyType.RSA if isinstance(key, rsa.RSAPrivateKey) else KeyType.EC


def encode_private_key(key: PrivateKey) -> bytes:
    """Return the key as unencrypted PEM: PKCS#1 for RSA, SEC 1 for EC."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def decode_private_key(pem: bytes) -> PrivateKey:
    """Read the first private key of a PEM text: PKCS#1, SEC 1 or PKCS#8.

    Other blocks are passed over, such as the `EC PARAMETERS` that `openssl ecparam`
    writes before a key.

    Raises:
        KeyInvalid: There is none, it is encrypted, damaged, weak or of another type.
    """
    block = _BLOCK.search(pem)
    if block is None:
        raise KeyInvalid("there is no PEM block `PRIVATE KEY`")
    try:
        key = serialization.load_pem_private_key(block.group(), password=None)
    except TypeError:
        # No cause is kept on purpose: these errors may quote what they could not read.
        raise KeyInvalid(
            "it is encrypted; a node's key is kept unencrypted (`openssl pkey` removes "
            "the passphrase)"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyInvalid("it cannot be decoded") from None
    return require_supported_private(key)


def write_private_key(
    path: Path, key: PrivateKey, *, owner: Owner | None = None
) -> None:
    """Write a key file, mode 0600, in one step (see `files.write_file`).

    Raises:
        FileProblem: The file cannot be written; an old one is as it was.
    """
    write_file(path, encode_private_key(key), mode=KEY_FILE_MODE, owner=owner)


def read_private_key(path: Path) -> PrivateKey:
    """Read a key file.

    Raises:
        FileProblem: The file cannot be read, or holds no key that can be used; the
            reason says which.
    """
    pem = read_file(path, bytes_max=_KEY_FILE_BYTES_MAX)
    try:
        return decode_private_key(pem)
    except KeyInvalid as error:
        raise FileProblem(
            path, action="use the key in", reason=error.problem
        ) from error
