"""A new key for a node that has one: made beside the old one, and switched in whole.

The node goes on with its old key while the new one's certificate is asked for.  The new
identity grows in `certs/.rotation/`: its key, its self-signed request, then its
certificate.  Only when that is there, key, certificate and CA are switched in one go,
through the journal.  Whatever is interrupted is taken up again: the same new key, the
same request.

    new = rotation_files(files)
    prepare_rotation(files, node_name=..., ...)
    enroll_files(Enrollment(files=new, ...), ...)     # installs the certificate in `new`
    finish_rotation(files, node_name=..., journal=journal, ...)
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from icefloe.doors import Entropy, WallTime
from icefloe.storage.directory_lock import locked_directories
from icefloe.storage.files import (
    FileProblem,
    Owner,
    ensure_directory,
    read_file_if_there,
    remove_file,
    write_file,
)
from icefloe.storage.identity import ca_content, heir
from icefloe.storage.identity_checks import is_issued
from icefloe.storage.identity_files import (
    CERTIFICATE_MODE,
    IdentityFiles,
    NodeIdentity,
    load_files,
    load_trust_anchor,
)
from icefloe.storage.keys import KEY_FILE_MODE, KeyType
from icefloe.storage.narrator import Narrator
from icefloe.storage.newcomer import prepare_newcomer
from icefloe.storage.switch_steps import Change
from icefloe.storage.switching import IdentityJournal
from icefloe.storage.walking import opened_directory

__all__ = [
    "abandon_rotation",
    "finish_rotation",
    "prepare_rotation",
    "rotation_files",
]

_DIRECTORY: Final = ".rotation"
_DIRECTORY_MODE: Final = 0o700


def rotation_files(files: IdentityFiles) -> IdentityFiles:
    """Return where the next identity grows: `.rotation/` beside the present one.

    It has no place for a ticket: `enroll_files` is given one, or none.
    """
    directory = files.key.parent / _DIRECTORY
    return IdentityFiles(
        key=directory / files.key.name,
        certificate=directory / files.certificate.name,
        ca=directory / files.ca.name,
        ticket=None,
    )


def prepare_rotation(
    files: IdentityFiles,
    *,
    node_name: str,
    key_type: KeyType,
    entropy: Entropy,
    at: WallTime,
    owner: Owner | None,
    narrator: Narrator,
) -> NodeIdentity:
    """See that there is a new key with a self-signed request, or find the one begun.

    Args:
        files: The present identity.
        node_name: The node's name.
        key_type: What kind of key to make when none is begun.
        entropy: For the serial number.
        at: The time.
        owner: Who gets the files when we are root.
        narrator: Is told what is written.

    Returns:
        The next identity as far as it has come.  Its certificate is self-signed when
        it has to be asked for; else it is signed already, and `finish_rotation` is
        what is left to do.

    Raises:
        IdentityProblem: What is there cannot be used.
        FileProblem: The operating system objects.
    """
    new = rotation_files(files)
    if _is_of_the_past(files, new):
        abandon_rotation(files)
    ensure_directory(new.key.parent, mode=_DIRECTORY_MODE, owner=owner)
    certificate = read_file_if_there(new.certificate)
    if certificate is None or not is_issued(certificate):
        # To ask by; what came with a certificate stays with it.
        ca = read_file_if_there(files.ca)
        if ca is not None and ca != read_file_if_there(new.ca):
            write_file(new.ca, ca, mode=CERTIFICATE_MODE, owner=owner)
    return prepare_newcomer(
        new,
        cn=node_name,
        key_type=key_type,
        entropy=entropy,
        at=at,
        owner=owner,
        narrator=narrator,
    )


def _is_of_the_past(files: IdentityFiles, new: IdentityFiles) -> bool:
    """Say whether the node has that key already: only the tidying up was cut short."""
    key = read_file_if_there(new.key)
    return key is not None and key == read_file_if_there(files.key)


def finish_rotation(
    files: IdentityFiles,
    *,
    node_name: str,
    owner: Owner | None,
    at: WallTime,
    journal: IdentityJournal,
) -> NodeIdentity:
    """Switch to the next identity in whole, and remove where it grew.

    Returns:
        The identity that is now in place, unconfirmed.

    Raises:
        IdentityProblem: The next identity has no certificate of a trusted CA yet, or
            cannot work.  Nothing has been changed.
        FileProblem: The operating system objects; see `IdentityJournal.switch`.
    """
    new = rotation_files(files)
    with locked_directories([files.key]):
        journal.recover(at)
        if not _is_of_the_past(files, new):
            _switch(
                files, new, node_name=node_name, owner=owner, at=at, journal=journal
            )
    identity = load_files(files, node_name=node_name)
    with suppress(FileProblem):  # it is done all the same; the next one tidies up
        abandon_rotation(files)
    return identity


def _switch(
    files: IdentityFiles,
    new: IdentityFiles,
    *,
    node_name: str,
    owner: Owner | None,
    at: WallTime,
    journal: IdentityJournal,
) -> None:
    following = load_files(new, node_name=node_name)
    present = load_trust_anchor(files)
    anchor = heir(files, present, following.ca_pem, at)
    changes: list[Change] = [
        (path, content, CERTIFICATE_MODE)
        for path, content in ca_content(files, anchor, present)
    ]
    changes += [
        (files.key, following.key_pem, KEY_FILE_MODE),
        (files.certificate, following.certificate_pem, CERTIFICATE_MODE),
    ]
    journal.switch(
        changes,
        files=files,
        node_name=node_name,
        at=at,
        reason="the key was rotated",
        owner=owner,
    )


def abandon_rotation(files: IdentityFiles) -> bool:
    """Forget the next identity, key and all.

    Returns:
        Whether one was begun.

    Raises:
        FileProblem: The operating system objects.
    """
    directory = rotation_files(files).key.parent
    found = _names_in(directory)
    if found is None:
        return False
    for name in found:
        remove_file(directory / name)
    try:
        with opened_directory(directory.parent) as above:
            os.rmdir(directory.name, dir_fd=above)
    except OSError as error:
        raise _problem(directory, "remove", error) from error
    return True


def _names_in(directory: Path) -> list[str] | None:
    """Return what is there, the key last: whose key it is tells what to do with it."""
    try:
        names = sorted(each.name for each in directory.iterdir())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _problem(directory, "read", error) from error
    return sorted(names, key=lambda name: name.endswith(".key"))


def _problem(path: Path, action: str, error: OSError) -> FileProblem:
    return FileProblem(
        path, action=action, reason=error.strerror or str(error), errno=error.errno
    )
