"""The CA on disk: `DataDir/ca/ca.key` and `ca.crt`.

protocol: the key file's existence makes a node a signer.  A CA key is never
overwritten here, not even by somebody who asks for a new CA: every certificate of the
cluster hangs on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509

from icefloe.config.layout import NodeDirectories
from icefloe.doors import Entropy, WallTime
from icefloe.pki.certificates import key_id, load_pem, to_pem
from icefloe.pki.errors import CertificateInvalid, KeyInvalid
from icefloe.pki.keys import PrivateKey
from icefloe.pki.profiles import (
    BACKDATE,
    CA_LIFETIME,
    SERIAL_BYTES,
    ca_certificate,
    serial_from,
)
from icefloe.storage.directory_lock import locked_directories
from icefloe.storage.files import (
    Owner,
    ensure_directory,
    read_file_if_there,
    write_file,
)
from icefloe.storage.identity import CERTIFICATE_MODE, IdentityProblem
from icefloe.storage.keys import (
    KeyType,
    decode_private_key,
    generate_key,
    write_private_key,
)
from icefloe.storage.narrator import Narrator

__all__ = [
    "DIRECTORY_MODE",
    "AuthorityExists",
    "CertificateAuthority",
    "create_authority",
    "has_authority",
    "load_authority",
]

DIRECTORY_MODE: Final = 0o700
"""protocol: of `ca/` and `certs/`."""


class AuthorityExists(IdentityProblem):
    """There is a CA already; it has been left as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateAuthority:
    """A CA that can sign.

    Attributes:
        certificate: `ca/ca.crt`.
        key: Its private key.  A secret.
    """

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)


def has_authority(directories: NodeDirectories) -> bool:
    """Say whether there is a CA key here: the node is a signer."""
    return directories.ca_key.exists()


def load_authority(directories: NodeDirectories) -> CertificateAuthority:
    """Load the CA; slow for RSA (0.2 s).

    Raises:
        IdentityProblem: There is none here, or its parts do not fit together.
        FileProblem: The operating system objects.
    """
    key = _key_in(directories.ca_key)
    if key is None:
        raise IdentityProblem(
            directories.ca_key,
            problem="there is no CA key on this node",
            remedy="run this on the node that signs, usually the master",
        )
    certificate = _certificate_in(directories.ca_certificate)
    if certificate is None:
        raise IdentityProblem(
            directories.ca_certificate,
            problem="the CA's key is here, but its certificate is not",
            remedy="restore it from a back-up, or make one with 'pki new-ca'",
        )
    if key_id(certificate) != key_id(key.public_key()):
        raise IdentityProblem(
            directories.ca_key,
            problem=f"it is not the key of '{directories.ca_certificate}'",
            remedy="restore both files from the same back-up",
        )
    return CertificateAuthority(certificate=certificate, key=key)


def create_authority(
    directories: NodeDirectories,
    *,
    key_type: KeyType,
    entropy: Entropy,
    at: WallTime,
    owner: Owner | None,
    narrator: Narrator,
) -> CertificateAuthority:
    """Make a CA: the key first, then the certificate.

    A key without a certificate, as a crash in between leaves it, is kept and gets its
    certificate.

    Args:
        directories: The node's.
        key_type: What kind of key to make; see `KeyType` for what follows from it.
        entropy: For the serial number.
        at: From when on it is valid.
        owner: Who gets the files when we are root.
        narrator: Is told what is written.

    Raises:
        AuthorityExists: There is a CA certificate already.
        IdentityProblem: There is a key already that cannot be used.
        FileProblem: The operating system objects.
    """
    _expect_none(directories)
    ensure_directory(directories.data_dir, mode=0o750, owner=owner)
    ensure_directory(directories.ca_dir, mode=DIRECTORY_MODE, owner=owner)
    # Two commands at once: the second one finds what the first one made.
    with locked_directories([directories.ca_key]):
        _expect_none(directories)
        return _create(
            directories,
            key_type=key_type,
            entropy=entropy,
            at=at,
            owner=owner,
            narrator=narrator,
        )


def _expect_none(directories: NodeDirectories) -> None:
    if directories.ca_certificate.exists():
        raise AuthorityExists(
            directories.ca_certificate,
            problem="CA files already exist",
            remedy="they are left as they are; move them away to make a new CA",
        )


def _create(
    directories: NodeDirectories,
    *,
    key_type: KeyType,
    entropy: Entropy,
    at: WallTime,
    owner: Owner | None,
    narrator: Narrator,
) -> CertificateAuthority:
    key = _key_in(directories.ca_key)
    if key is None:
        key = generate_key(key_type)
        narrator.information(
            f"Writing private key to '{directories.ca_key}'.", facility="base"
        )
        write_private_key(directories.ca_key, key, owner=owner)
    certificate = ca_certificate(
        key,
        serial=serial_from(entropy.bytes(SERIAL_BYTES)),
        not_before=WallTime(at - BACKDATE),
        not_after=WallTime(at + CA_LIFETIME),
    )
    path = directories.ca_certificate
    narrator.information(f"Writing X509 certificate to '{path}'.", facility="base")
    pem = to_pem(certificate).encode("ascii")
    write_file(path, pem, mode=CERTIFICATE_MODE, owner=owner)
    return CertificateAuthority(certificate=certificate, key=key)


def _key_in(path: Path) -> PrivateKey | None:
    pem = read_file_if_there(path)
    if pem is None:
        return None
    try:
        return decode_private_key(pem)
    except KeyInvalid as error:
        raise IdentityProblem(
            path,
            problem=f"the CA's key cannot be used: {error.problem}",
            remedy="restore it from a back-up",
        ) from error


def _certificate_in(path: Path) -> x509.Certificate | None:
    pem = read_file_if_there(path)
    if pem is None:
        return None
    try:
        return load_pem(pem)
    except CertificateInvalid as error:
        raise IdentityProblem(
            path,
            problem="it holds no usable certificate: " + "; ".join(error.reasons),
            remedy="restore it from a back-up",
        ) from error
