"""The identity to roll back to: the last one that worked.

While a new identity is unconfirmed, its predecessor stays reachable: by the second names
that its files got, or by their own names where they were not replaced.  When one
unconfirmed identity follows another, the predecessor of the first stays the one to go
back to, if a CA had issued it: it has worked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from icefloe.doors import WallTime
from icefloe.errors import IcefloeError
from icefloe.pki.errors import CertificateInvalid
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.files import FileProblem, read_plain_file
from icefloe.storage.identity_checks import (
    Parts,
    check_parts,
    fingerprint_of,
    is_issued,
)
from icefloe.storage.identity_files import IdentityFiles, IdentityProblem
from icefloe.storage.switch_record import Older, Part, Phase, Record, Step
from icefloe.storage.switch_steps import digest_of, mode_of

__all__ = ["NoOlder", "OlderContents", "ca_that_vouches", "older_after", "read_older"]


class NoOlder(IcefloeError):
    """There is no older identity that works; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OlderContents:
    """An older identity, read and compared with its digests.

    Attributes:
        parts: Its contents; key and certificate are there, the CA if it is as it was.
        key_mode: The permissions of its key.
        certificate_mode: Those of its certificate.
        ca_mode: Those of its CA; 0 when there was none.
    """

    parts: Parts
    key_mode: int
    certificate_mode: int
    ca_mode: int


def older_after(
    files: IdentityFiles,
    present: Parts,
    before: Record | None,
    steps: Sequence[Step],
) -> Older | None:
    """Return what a switch leaves to roll back to.

    Args:
        files: The identity's places.
        present: What is in place now.
        before: What the journal says now.
        steps: What is about to be done.

    Returns:
        None when there is no identity yet.
    """
    kept = {step.name: step.kept for step in steps}
    if (
        before is not None
        and before.state is Phase.UNCONFIRMED
        and before.older is not None
        and before.older.is_issued
        and before.new == fingerprint_of(present.certificate)
    ):
        return _moved(before.older, kept)
    return _moved(_of_present(files, present), kept)


def _of_present(files: IdentityFiles, present: Parts) -> Older | None:
    fingerprint = fingerprint_of(present.certificate)
    key = _part(files.key, present.key)
    certificate = _part(files.certificate, present.certificate)
    if not fingerprint or key is None or certificate is None:
        return None
    return Older(
        key=key,
        certificate=certificate,
        ca=_part(files.ca, present.ca),
        fingerprint=fingerprint,
        is_issued=is_issued(present.certificate or b""),
    )


def _part(path: Path, content: bytes | None) -> Part | None:
    digest = digest_of(content)
    if digest is None:
        return None
    return Part(name=path.name, digest=digest, mode=mode_of(path))


def _moved(older: Older | None, kept: dict[str, str | None]) -> Older | None:
    """Follow its files to the names they get by a switch."""
    if older is None:
        return None
    key, certificate = _followed(older.key, kept), _followed(older.certificate, kept)
    ca = None if older.ca is None else _followed(older.ca, kept)
    if key is None or certificate is None:
        return None
    return Older(
        key=key,
        certificate=certificate,
        ca=ca,
        fingerprint=older.fingerprint,
        is_issued=older.is_issued,
    )


def _followed(part: Part, kept: dict[str, str | None]) -> Part | None:
    name = kept.get(part.name, part.name)
    return None if name is None else Part(name=name, digest=part.digest, mode=part.mode)


def read_older(directory: Path, older: Older | None) -> OlderContents:
    """Read the older identity.

    Raises:
        NoOlder: There is none, no CA issued it, or its key or certificate is gone or
            was changed.
    """
    if older is None:
        raise NoOlder("there was no identity before it")
    if not older.is_issued:
        raise NoOlder(
            "the certificate before it was the node's own request, which no CA issued"
        )
    key = _content(directory, older.key)
    certificate = _content(directory, older.certificate)
    try:
        ca = None if older.ca is None else _content(directory, older.ca)
    except NoOlder:
        # Where `ca.crt` was not replaced by the switch, a successor may have come since.
        # Whether that vouches for the older certificate is asked next.
        ca = None
    return OlderContents(
        parts=Parts(key=key, certificate=certificate, ca=ca),
        key_mode=older.key.mode,
        certificate_mode=older.certificate.mode,
        ca_mode=0 if older.ca is None else older.ca.mode,
    )


def _content(directory: Path, part: Part) -> bytes:
    try:
        content = read_plain_file(directory / part.name)
    except FileProblem as error:
        raise NoOlder(str(error)) from error
    if digest_of(content) != part.digest:
        raise NoOlder(f"'{directory / part.name}' was changed since")
    return content


def ca_that_vouches(
    files: IdentityFiles,
    older: Parts,
    present_ca: bytes | None,
    *,
    node_name: str,
    at: WallTime,
) -> bytes | None:
    """Return the CA to trust with the older identity: the present one where it can be.

    Args:
        files: The identity's places, named in what is wrong.
        older: The older identity.
        present_ca: The `ca.crt` in place, PEM.
        node_name: Whom the certificate has to be for.
        at: The time: the certificate has to be valid.

    Raises:
        NoOlder: The older identity does not work with either.
    """
    whys = []
    for ca in dict.fromkeys((present_ca, older.ca)):
        if ca is None:
            continue
        parts = Parts(key=older.key, certificate=older.certificate, ca=ca)
        try:
            certificate = check_parts(
                files, parts, node_name=node_name, at=at, issued=False
            )
            TrustAnchor.from_pem(ca).verify(certificate, at)
        except (IdentityProblem, CertificateInvalid) as error:
            whys.append(str(error))
            continue
        return ca
    why = "; ".join(dict.fromkeys(whys)) or "there is no CA to trust"
    raise NoOlder(f"the certificate before it does not work any more: {why}")
