"""Whether the parts of an identity can work together, before they are put in place.

Contents are judged as bytes, wherever they are: staged, in place, or in a back-up.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from icefloe.doors import WallTime
from icefloe.pki.certificates import is_self_signed, key_id, load_pem
from icefloe.pki.errors import CertificateInvalid, KeyInvalid
from icefloe.pki.trust import TrustAnchor, verify_issued
from icefloe.storage.files import FileProblem, Owner
from icefloe.storage.identity_files import (
    IdentityFiles,
    IdentityProblem,
    certificate_in,
    check_name,
)
from icefloe.storage.keys import decode_private_key

__all__ = ["Parts", "check_access", "check_parts", "fingerprint_of", "is_issued"]

_ACCESS_LIST: Final = "system.posix_acl_access"
"""Rights beyond the mode; where there are any, the mode does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The contents of an identity.

    Attributes:
        key: PEM; None when there is none.  A secret.
        certificate: PEM; None when there is none.
        ca: PEM; None when there is none.
    """

    key: bytes | None = field(repr=False)
    certificate: bytes | None = field(repr=False)
    ca: bytes | None = field(repr=False)


def check_parts(
    files: IdentityFiles,
    parts: Parts,
    *,
    node_name: str,
    at: WallTime,
    issued: bool,
) -> x509.Certificate:
    """Check that the parts are one identity that works.

    Args:
        files: Where they are, or go: named in what is wrong.
        parts: The contents.
        node_name: Whom the certificate has to be for.
        at: The time to judge by.
        issued: Whether it has to be a certificate of the CA, within its dates; else a
            self-signed one, or one that has run out, will do.

    Returns:
        The certificate.

    Raises:
        IdentityProblem: They are not; names the part and every reason.
    """
    if parts.key is None or parts.certificate is None:
        path = files.key if parts.key is None else files.certificate
        raise IdentityProblem(path, problem="it is missing", remedy=_STAYS)
    try:
        public = decode_private_key(parts.key).public_key()
    except KeyInvalid as error:
        raise IdentityProblem(
            files.key, problem=f"the key cannot be used: {error.problem}", remedy=_STAYS
        ) from error
    certificate = certificate_in(files.certificate, parts.certificate)
    if key_id(public) != key_id(certificate):
        raise IdentityProblem(
            files.certificate,
            problem=f"the certificate is not for the key of '{files.key}'",
            remedy=_STAYS,
        )
    check_name(files.certificate, certificate, node_name)
    try:
        anchor = None if parts.ca is None else TrustAnchor.from_pem(parts.ca)
    except CertificateInvalid as error:
        raise IdentityProblem(
            files.ca, problem=f"it is not that of a CA: {error}", remedy=_STAYS
        ) from error
    if not issued:
        return certificate
    if anchor is None:
        raise IdentityProblem(files.ca, problem="there is none", remedy=_STAYS)
    try:
        verify_issued(
            certificate, cn=node_name, key_id=key_id(public), anchor=anchor, at=at
        )
    except CertificateInvalid as error:
        raise IdentityProblem(
            files.certificate,
            problem="the new certificate is not installed: " + "; ".join(error.reasons),
            remedy="the present identity stays; look at the CA and ask again",
        ) from error
    return certificate


_STAYS: Final = "the present identity stays"


def fingerprint_of(certificate_pem: bytes | None) -> str:
    """Return the hex SHA-256 of a certificate's DER; "" for what is none."""
    if certificate_pem is None:
        return ""
    try:
        certificate = load_pem(certificate_pem)
    except CertificateInvalid:
        return ""
    return certificate.fingerprint(hashes.SHA256()).hex()


def is_issued(certificate_pem: bytes) -> bool:
    """Say whether a certificate came from a CA, and is no request of the node's own."""
    try:
        return not is_self_signed(load_pem(certificate_pem))
    except CertificateInvalid:
        return False


# --- Owners and modes -----------------------------------------------------------------


def check_access(files: Iterable[Path], *, owner: Owner | None) -> None:
    """Check that the daemon's user can read the files, and replace them.

    Only root can get this wrong: whoever else has just written them can.

    Args:
        files: What it has to read; what is not there is passed over.
        owner: The daemon's user and group; None: nobody says who that is.

    Raises:
        IdentityProblem: It cannot; names the file, its owner and mode, and the remedy.
        FileProblem: The operating system objects.
    """
    if owner is None or owner[0] == 0 or os.geteuid() != 0:
        return
    directories = set()
    for path in files:
        directories.add(path.parent)
        _check_one(path, owner, needed=stat.S_IROTH, purpose="read it")
    for directory in sorted(directories):
        needed = stat.S_IWOTH | stat.S_IXOTH | stat.S_IROTH
        _check_one(directory, owner, needed=needed, purpose="replace files in it")


def _check_one(path: Path, owner: Owner, *, needed: int, purpose: str) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise FileProblem(
            path,
            action="read",
            reason=error.strerror or str(error),
            errno=error.errno,
        ) from error
    uid, gid = owner
    shift = 6 if status.st_uid == uid else 3 if status.st_gid in _groups(owner) else 0
    if (status.st_mode >> shift) & needed == needed or _has_access_list(path):
        return
    mode = stat.S_IMODE(status.st_mode)
    raise IdentityProblem(
        path,
        problem=f"the daemon's user (uid {uid}, gid {gid}) could not {purpose}: it "
        f"belongs to uid {status.st_uid}, gid {status.st_gid}, with mode {mode:04o}",
        remedy=f"'chown {uid}:{gid} {path}', and run this again",
    )


def _groups(owner: Owner) -> list[int]:
    uid, gid = owner
    with suppress(KeyError, OSError):  # an id without a name
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    return [gid]


def _has_access_list(path: Path) -> bool:
    with suppress(OSError):
        return bool(os.getxattr(path, _ACCESS_LIST))
    return False
