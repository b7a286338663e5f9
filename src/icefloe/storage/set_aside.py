"""A request that got no certificate, set aside so that whoever skips asks again.

Tools that set nodes up look whether `NAME.crt` is there, and not whether anybody signed
it: NETWAYS' Ansible role and Icinga for Windows skip the request, Icinga Director's
script gives up.  After one lost answer, or one wrong ticket, they would never ask
again.  So a command that asked in vain renames the self-signed certificate to
`NAME.crt.unsigned`.  The key stays in its place.  The next `pki request`,
`pki new-cert` or `node setup` takes the request up again: the same key and the same
certificate, so that a parent that has signed it meanwhile answers at once (an Icinga 2
finds what it stored by the certificate's fingerprint).

Each is one rename: whoever is killed leaves the file under the one name or the other,
and `load_files` reads it under both.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography import x509

from icefloe.doors import WallTime
from icefloe.pki.certificates import is_self_signed, key_id, load_pem_all
from icefloe.pki.errors import CertificateInvalid, CommonNameInvalid
from icefloe.pki.requests import check_request_certificate
from icefloe.pki.trust import up_to_date
from icefloe.storage.directory_lock import locked_directories
from icefloe.storage.files import FileProblem, read_file_if_there, read_plain_file
from icefloe.storage.identity_files import IdentityFiles, IdentityProblem, key_in
from icefloe.storage.replacing import keep, put_in_place

__all__ = ["set_aside", "take_up"]


def set_aside(files: IdentityFiles, *, at: WallTime) -> Path | None:
    """Move the request out of its place, if a request is what is there.

    A certificate that somebody signed is never moved, nor one of another key, nor what
    cannot be read as one certificate.

    Args:
        files: The identity.
        at: The time, for the name of what has the other name already.

    Returns:
        Where it is now; None when nothing was moved.

    Raises:
        FileProblem: The operating system objects, or the file is a link; everything
            is in its place.
    """
    if not os.path.lexists(files.certificate):
        return None
    with locked_directories([files.certificate]):
        found = _request_in(files.certificate, files)
        if found is None:
            return None
        content, _ = found
        if read_file_if_there(files.unsigned) not in {None, content}:
            keep(files.unsigned, at)
        put_in_place(files.certificate, files.unsigned)
        if read_plain_file(files.unsigned) != content:
            # A program that knows no lock (icinga2) has just put another one there.
            put_in_place(files.unsigned, files.certificate)
            return None
    return files.unsigned


def take_up(files: IdentityFiles, *, at: WallTime, cn: str | None = None) -> bool:
    """Put the request that was set aside back in its place, if it still serves.

    Args:
        files: The identity; it has no certificate.
        at: The time: a request that has nearly run out serves no more.
        cn: The name that it has to bear; None takes any.

    Returns:
        Whether it is in its place now.  False also when a certificate is there.

    Raises:
        FileProblem: The operating system objects; the request is where it was.
    """
    if os.path.lexists(files.certificate) or not os.path.lexists(files.unsigned):
        return False
    with locked_directories([files.certificate]):
        if os.path.lexists(files.certificate):
            return False
        found = _request_in(files.unsigned, files)
        if found is None or not _serves(found[1], cn, at):
            return False
        put_in_place(files.unsigned, files.certificate)
    return True


def _request_in(
    path: Path, files: IdentityFiles
) -> tuple[bytes, x509.Certificate] | None:
    """Return what a file holds when that is a request of this key, and nothing else."""
    try:
        content = read_plain_file(path)
        _, key = key_in(files.key)
        (certificate,) = load_pem_all(content)
    except FileProblem as error:
        if error.is_missing:
            return None
        raise
    except (IdentityProblem, CertificateInvalid, ValueError):
        return None
    if not is_self_signed(certificate):
        return None
    if key_id(certificate) != key_id(key.public_key()):
        return None
    return content, certificate


def _serves(certificate: x509.Certificate, cn: str | None, at: WallTime) -> bool:
    try:
        presented = check_request_certificate(certificate)
    except (CertificateInvalid, CommonNameInvalid):
        return False
    return cn in (None, presented.cn) and up_to_date(certificate, at)
