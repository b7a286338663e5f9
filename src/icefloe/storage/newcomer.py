"""A node that is to be enrolled: its key, and the certificate it asks with.

protocol: the request is a self-signed certificate; the signer looks at its key and its
name only.  Icinga's `node setup` makes a new key each time it is run, so that each run
is another request and a half-done enrollment never ends.  Here a key is made once: the
same command, run again, asks for the same certificate.

Nothing is lost: what a file held before is kept, as `.orig` the first time (Icinga's
rule) and under a name with the time after that.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from icefloe.doors import Entropy, WallTime
from icefloe.pki.certificates import (
    common_names,
    is_self_signed,
    key_id,
    load_pem,
    to_pem,
)
from icefloe.pki.errors import CertificateInvalid, KeyInvalid
from icefloe.pki.keys import PrivateKey
from icefloe.pki.profiles import (
    BACKDATE,
    LEAF_LIFETIME,
    SERIAL_BYTES,
    self_signed,
    serial_from,
)
from icefloe.pki.trust import up_to_date
from icefloe.storage.files import Owner, back_up, read_file_if_there, write_file
from icefloe.storage.identity import (
    CERTIFICATE_MODE,
    IdentityFiles,
    IdentityProblem,
    NodeIdentity,
    load_files,
    load_trust_anchor,
)
from icefloe.storage.keys import (
    KEY_FILE_MODE,
    KeyType,
    decode_private_key,
    encode_private_key,
    generate_key,
)
from icefloe.storage.narrator import Narrator
from icefloe.storage.replacing import replace_together
from icefloe.storage.set_aside import take_up

__all__ = ["make_request_certificate", "prepare_newcomer", "put", "reuse_or_make_key"]


def prepare_newcomer(
    files: IdentityFiles,
    *,
    cn: str,
    key_type: KeyType,
    entropy: Entropy,
    at: WallTime,
    owner: Owner | None,
    narrator: Narrator,
) -> NodeIdentity:
    """See that there is a key and a certificate to ask with.

    Args:
        files: Where they go; the directory exists.
        cn: The node's name.
        key_type: What kind of key to make when there is none.
        entropy: For the serial number.
        at: The time.
        owner: Who gets the files when we are root.
        narrator: Is told what is written.

    Returns:
        The identity: the present one when it still serves, else a self-signed
        certificate for the present key, else everything new.

    Raises:
        IdentityProblem: The key that is there cannot be used.
        CommonNameInvalid: No node may have this name.
        FileProblem: The operating system objects.
    """
    key = reuse_or_make_key(
        files.key, key_type=key_type, at=at, owner=owner, narrator=narrator
    )
    take_up(files, cn=cn, at=at)
    present = _certificate_in(files.certificate)
    if present is None or not _serves(files, present, key, cn=cn, at=at):
        certificate = make_request_certificate(cn, key, entropy=entropy, at=at)
        narrator.information(
            f"Writing X509 certificate to '{files.certificate}'.", facility="base"
        )
        pem = to_pem(certificate).encode("ascii")
        put(files.certificate, pem, mode=CERTIFICATE_MODE, owner=owner, at=at)
    return load_files(files, node_name=cn)


def reuse_or_make_key(
    path: Path,
    *,
    key_type: KeyType,
    at: WallTime,
    owner: Owner | None,
    narrator: Narrator,
) -> PrivateKey:
    """Return the key in a file; make it when there is none.

    Raises:
        IdentityProblem: There is one that cannot be used.
        FileProblem: The operating system objects.
    """
    pem = read_file_if_there(path)
    if pem is None:
        key = generate_key(key_type)
        narrator.information(f"Writing private key to '{path}'.", facility="base")
        put(path, encode_private_key(key), mode=KEY_FILE_MODE, owner=owner, at=at)
        return key
    try:
        key = decode_private_key(pem)
    except KeyInvalid as error:
        raise IdentityProblem(
            path,
            problem=f"the key that is there cannot be used: {error.problem}",
            remedy="move it away, and a new one is made",
        ) from error
    narrator.information(f"Using the private key in '{path}'.")
    return key


def make_request_certificate(
    cn: str, key: PrivateKey, *, entropy: Entropy, at: WallTime
) -> x509.Certificate:
    """Make the self-signed certificate that is a node's request.

    Raises:
        CommonNameInvalid: No node may have this name.
    """
    return self_signed(
        cn,
        key,
        serial=serial_from(entropy.bytes(SERIAL_BYTES)),
        not_before=WallTime(at - BACKDATE),
        not_after=WallTime(at + LEAF_LIFETIME),
    )


def put(
    path: Path, data: bytes, *, mode: int, owner: Owner | None, at: WallTime
) -> None:
    """Write a file of an identity, keeping what it held.

    Raises:
        FileProblem: The operating system objects; the old file is as it was.
    """
    if back_up(path) is not None:
        write_file(path, data, mode=mode, owner=owner)
    else:
        replace_together([(path, data)], mode=mode, owner=owner, at=at)


def _serves(
    files: IdentityFiles,
    present: x509.Certificate,
    key: PrivateKey,
    *,
    cn: str,
    at: WallTime,
) -> bool:
    """Say whether the certificate that is there can go on being the node's."""
    if common_names(present)[:1] != (cn,):
        return False
    if key_id(present) != key_id(key.public_key()):
        return False
    if is_self_signed(present):
        return up_to_date(present, at)
    anchor = load_trust_anchor(files)
    return anchor is not None and anchor.is_signed(present, at)


def _certificate_in(path: Path) -> x509.Certificate | None:
    """Return what is there; None for nothing and for what nobody can read."""
    pem = read_file_if_there(path)
    try:
        return None if pem is None else load_pem(pem)
    except CertificateInvalid:
        return None
