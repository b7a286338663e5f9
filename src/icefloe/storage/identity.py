"""A node's identity on disk: its key, its certificate, the CA it trusts, its ticket.

protocol: Icinga keeps `<NodeName>.key`, `<NodeName>.crt`, `ca.crt` and `ticket` in
`DataDir/certs`.  Before enrollment the certificate is self-signed and there is no
`ca.crt`; such an identity is loaded like any other.

Installing a certificate never leaves a node without an identity that works.  The new
files are written beside the old ones, read back and verified; what they replace is
kept under a name with the time; then each is renamed into place, **the CA first**.  A
crash between the renames leaves the new CA beside the old certificate, which loads and
works in every case there is:

* no CA before: a self-signed certificate beside a CA, as after a pending answer; the
  daemon asks again.  (The other order would leave a signed certificate without a CA:
  icinga2 does not start then, and asking again is answered "nothing to do".)
* a renewed CA with the same key: it vouches for the old certificate, too.
* a CA with a new key, which the old one signed: both are written, the new one first,
  so that the old certificate, and peers that have not changed yet, are still believed.

A CA that the present one does not vouch for is never installed: that takes a person.

The identity that a daemon runs with is switched by a journal (`switching`), so that also
key and certificate together are replaced in whole, and can be rolled back.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509

from icefloe.doors import WallTime
from icefloe.pki.certificates import key_id, to_pem
from icefloe.pki.errors import CertificateInvalid
from icefloe.pki.trust import TrustAnchor, verify_issued
from icefloe.storage.directory_lock import locked_directories
from icefloe.storage.files import (
    FileProblem,
    Owner,
    read_file_if_there,
    remove_file,
    write_file,
)
from icefloe.storage.identity_files import (
    CERTIFICATE_MODE,
    TICKET_MODE,
    IdentityFiles,
    IdentityProblem,
    NodeIdentity,
    certificate_in,
    key_in,
    load_files,
    load_identity,
    load_trust_anchor,
)
from icefloe.storage.replacing import replace_together

if TYPE_CHECKING:
    from icefloe.storage.switching import IdentityJournal

__all__ = [
    "CERTIFICATE_MODE",
    "TICKET_BYTES_MAX",
    "TICKET_MODE",
    "IdentityFiles",
    "IdentityProblem",
    "NodeIdentity",
    "ca_content",
    "heir",
    "install_ca",
    "install_certificate",
    "install_files",
    "load_files",
    "load_identity",
    "load_ticket",
    "load_trust_anchor",
    "remove_ticket",
    "store_ticket",
]

TICKET_BYTES_MAX: Final = 4096
"""A ticket has 40 characters; a longer secret of our own kind still fits."""


# --- Installing -----------------------------------------------------------------------


def install_certificate(
    certs_dir: Path,
    node_name: str,
    *,
    certificate_pem: str | bytes,
    ca_pem: str | bytes | None,
    owner: Owner | None,
    at: WallTime,
    journal: IdentityJournal | None = None,
) -> NodeIdentity:
    """Put a newly issued certificate in place of a node's present one.

    Args:
        certs_dir: `DataDir/certs`, with the node's key in it.
        node_name: NodeName.
        certificate_pem: The new certificate, PEM.
        ca_pem: The CA certificate that came with it, PEM; None: the present one.
            Where there is no `ca.crt` yet, **the caller answers for it**: it has to
            know it from the parent it trusts.
        owner: Who gets the files when we are root; None keeps the key file's owner.
        at: The time to verify by, and to name the back-ups with.
        journal: The node's, when this is the identity its daemon runs with: then the
            switch is in whole, and 'unconfirmed' until `IdentityJournal.confirm`.
            None for an identity that is no daemon's.

    Returns:
        The identity that is now in place.  The ticket has been removed.

    Raises:
        IdentityProblem: The certificate is not for this node's key and name, does
            not verify, or comes from a CA that the present one does not vouch for.
            Nothing has been changed.
        FileProblem: The operating system objects; the identity in place is the old
            one, the new one, or the old one with the new CA, which works as well.
    """
    return install_files(
        IdentityFiles.of_node(certs_dir, node_name),
        node_name=node_name,
        certificate_pem=certificate_pem,
        ca_pem=ca_pem,
        owner=owner,
        at=at,
        journal=journal,
    )


def install_files(
    files: IdentityFiles,
    *,
    node_name: str,
    certificate_pem: str | bytes,
    ca_pem: str | bytes | None,
    owner: Owner | None,
    at: WallTime,
    journal: IdentityJournal | None = None,
) -> NodeIdentity:
    """Do the same for an identity in any places; see `install_certificate`."""
    if journal is not None:
        journal.recover(at)
    _, key = key_in(files.key)
    certificate = certificate_in(files.certificate, certificate_pem)
    if owner is None:
        owner = _owner_of(files.key)
    # What is trusted from now on depends on what is there: nobody changes it meanwhile.
    with locked_directories((files.certificate, files.ca)):
        present = load_trust_anchor(files)
        anchor = heir(files, present, ca_pem, at)
        _verify(
            files,
            certificate,
            cn=node_name,
            for_key=key_id(key.public_key()),
            anchor=anchor,
            at=at,
        )
        contents = (
            *ca_content(files, anchor, present),
            (files.certificate, to_pem(certificate).encode("ascii")),
        )
        if journal is None:
            replace_together(contents, mode=CERTIFICATE_MODE, owner=owner, at=at)
        else:
            journal.switch(
                [(path, content, CERTIFICATE_MODE) for path, content in contents],
                files=files,
                node_name=node_name,
                at=at,
                owner=owner,
                reason="a certificate came",
            )
    if files.ticket is not None:
        remove_file(files.ticket)
    remove_file(files.unsigned)
    return load_files(files, node_name=node_name)


def _verify(
    files: IdentityFiles,
    certificate: x509.Certificate,
    *,
    cn: str,
    for_key: str,
    anchor: TrustAnchor,
    at: WallTime,
) -> None:
    try:
        verify_issued(certificate, cn=cn, key_id=for_key, anchor=anchor, at=at)
    except CertificateInvalid as error:
        raise IdentityProblem(
            files.certificate,
            problem="the new certificate is not installed: " + "; ".join(error.reasons),
            remedy="the present identity stays; look at the CA and ask again",
        ) from error


def install_ca(
    files: IdentityFiles,
    *,
    ca_pem: str | bytes,
    owner: Owner | None,
    at: WallTime,
) -> bool:
    """Put a CA certificate in place without a certificate under it.

    After a pending answer: the daemon needs it to go on asking.

    Args:
        files: Where the identity is.
        ca_pem: The CA certificate, PEM; see `install_certificate` for who answers
            for it.
        owner: Who gets the file when we are root; None keeps the key file's owner.
        at: As for `install_certificate`.

    Returns:
        Whether `ca.crt` was written; False when it held this CA, or a later
        certificate of it.

    Raises:
        IdentityProblem: The present CA does not vouch for this one.
        FileProblem: The operating system objects.
    """
    if owner is None:
        owner = _owner_of(files.key)
    with locked_directories([files.ca]):
        present = load_trust_anchor(files)
        anchor = heir(files, present, ca_pem, at)
        content = ca_content(files, anchor, present)
        replace_together(content, mode=CERTIFICATE_MODE, owner=owner, at=at)
    return bool(content)


def ca_content(
    files: IdentityFiles, anchor: TrustAnchor, present: TrustAnchor | None
) -> tuple[tuple[Path, bytes], ...]:
    """Return what to write to `ca.crt`: nothing when it stays as it is.

    Args:
        files: Where it is.
        anchor: What is to be trusted.
        present: What is trusted now; the very same object where nothing changes.
    """
    if anchor is present:
        return ()
    return ((files.ca, "".join(map(to_pem, anchor.all_cas)).encode("ascii")),)


def heir(
    files: IdentityFiles,
    present: TrustAnchor | None,
    ca_pem: str | bytes | None,
    at: WallTime,
) -> TrustAnchor:
    """Return what the node is to trust from now on; `present` when nothing changes.

    Args:
        files: Named in what is wrong.
        present: What it trusts now.
        ca_pem: The CA certificate that came along; None: none did.
        at: The time to judge by.

    Raises:
        IdentityProblem: The present CA does not vouch for this one.
    """
    if ca_pem is None:
        if present is None:
            raise IdentityProblem(
                files.ca,
                problem="there is no CA certificate, and none came along",
                remedy="copy the CA's certificate there and ask again",
            )
        return present
    try:
        offered = TrustAnchor.from_pem(ca_pem)
    except CertificateInvalid as error:
        raise IdentityProblem(
            files.ca,
            problem="the CA that came along is none: " + "; ".join(error.reasons),
            remedy="nothing was changed; look at the parent's ca.crt",
        ) from error
    if present is None:
        return TrustAnchor(ca=offered.ca, all_cas=(offered.ca,))
    if _is_no_news(offered.ca, present):
        return present
    try:
        present.check_successor(offered.ca, at)
    except CertificateInvalid as error:
        raise IdentityProblem(
            files.ca,
            problem="the parent has another CA: " + "; ".join(error.reasons),
            remedy=(
                "if the CA was replaced on purpose, move this file away and enroll "
                "this node anew"
            ),
        ) from error
    # The older certificate of the same key goes; CAs with other keys stay until their
    # end, for peers that still have certificates of theirs.
    others = [
        ca
        for ca in present.all_cas
        if key_id(ca) != key_id(offered.ca) and ca.not_valid_after_utc.timestamp() > at
    ]
    return TrustAnchor(ca=offered.ca, all_cas=(offered.ca, *others))


def _is_no_news(offered: x509.Certificate, present: TrustAnchor) -> bool:
    """Say whether the CA on disk is this one, or a later one of the same key."""
    return any(
        ca == offered
        or (
            key_id(ca) == key_id(offered)
            and ca.subject == offered.subject
            and ca.not_valid_after_utc >= offered.not_valid_after_utc
        )
        for ca in present.all_cas
    )


# --- The ticket -----------------------------------------------------------------------


def load_ticket(certs_dir: Path) -> str:
    """Return the ticket that waits to be sent, or "" when there is none.

    protocol: Icinga sends the file as it is, so that a line break at its end makes the
    ticket invalid; here it is taken off, for editors and `echo` put it there.

    Raises:
        IdentityProblem: It is no text, or too long for a ticket.
        FileProblem: The operating system objects.
    """
    path = certs_dir / "ticket"
    content = read_file_if_there(path)
    if content is None:
        return ""
    text = None
    with suppress(UnicodeDecodeError):
        text = content.decode().rstrip("\r\n")
    if text is None or len(content) > TICKET_BYTES_MAX:
        raise IdentityProblem(
            path,
            problem="it does not hold a ticket",
            remedy="remove it, or write the ticket there as 'pki ticket' prints it",
        )
    return text


def store_ticket(certs_dir: Path, ticket: str, *, owner: Owner | None) -> None:
    """Keep a ticket for the daemon to send, readable for its user alone.

    Raises:
        FileProblem: The operating system objects.
    """
    write_file(certs_dir / "ticket", ticket.encode(), mode=TICKET_MODE, owner=owner)


def remove_ticket(certs_dir: Path) -> bool:
    """Remove the ticket; it has done its work.

    Returns:
        Whether there was one.

    Raises:
        FileProblem: The operating system objects.
    """
    return remove_file(certs_dir / "ticket")


# --- Parts --------------------------------------------------------------------------


def _owner_of(path: Path) -> Owner:
    try:
        status = path.stat()
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileProblem(
            path, action="read", reason=reason, errno=error.errno
        ) from error
    return status.st_uid, status.st_gid
