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
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from cryptography import x509

from icefloe.doors import WallTime
from icefloe.errors import IcefloeError
from icefloe.pki.certificates import (
    common_names,
    key_id,
    load_pem,
    to_pem,
)
from icefloe.pki.errors import CertificateInvalid, KeyInvalid
from icefloe.pki.keys import PrivateKey
from icefloe.pki.trust import TrustAnchor, verify_issued
from icefloe.storage.files import (
    FileProblem,
    Owner,
    read_file,
    read_file_if_there,
    remove_file,
    write_file,
)
from icefloe.storage.keys import decode_private_key
from icefloe.storage.replacing import replace_together

__all__ = [
    "CERTIFICATE_MODE",
    "TICKET_BYTES_MAX",
    "TICKET_MODE",
    "IdentityFiles",
    "IdentityProblem",
    "NodeIdentity",
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

CERTIFICATE_MODE: Final = 0o644
TICKET_MODE: Final = 0o600
TICKET_BYTES_MAX: Final = 4096
"""A ticket has 40 characters; a longer secret of our own kind still fits."""

_SET_UP: Final = "make one with 'icefloe node setup' or 'icefloe pki new-cert'"


class IdentityProblem(IcefloeError):
    """A node's identity is not there, does not fit together, or must not be replaced.

    Nothing has been changed.

    Attributes:
        path: The file it is about.
        problem: What is wrong with it.
        remedy: What to do.
    """

    def __init__(self, path: Path, *, problem: str, remedy: str) -> None:
        self.path = path
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"'{path}': {problem}; {remedy}")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityFiles:
    """Where the parts of one identity are.

    Attributes:
        key: The private key, PEM, 0600.
        certificate: The node's certificate, PEM.
        ca: The trusted CA, PEM; need not exist.
        ticket: The ticket, 0600; need not exist.  None for an identity that no daemon
            of this machine runs with: then no ticket is kept, or removed.
    """

    key: Path
    certificate: Path
    ca: Path
    ticket: Path | None

    @classmethod
    def of_node(cls, certs_dir: Path, node_name: str) -> Self:
        """Return Icinga's names; `node_name` has passed `check_common_name`."""
        return cls(
            key=certs_dir / f"{node_name}.key",
            certificate=certs_dir / f"{node_name}.crt",
            ca=certs_dir / "ca.crt",
            ticket=certs_dir / "ticket",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """A key, the certificate for it, and the CA to trust.

    Attributes:
        key_pem: The private key, PEM, unencrypted.  A secret.
        certificate: The certificate for that key; self-signed before enrollment.
        certificate_pem: The whole file it comes from, PEM.
        ca_pem: The whole `ca.crt`, PEM; None when there is none yet.
    """

    key_pem: bytes = field(repr=False)
    certificate: x509.Certificate
    certificate_pem: bytes = field(repr=False)
    ca_pem: bytes | None = field(repr=False)

    @property
    def node_name(self) -> str:
        """The common name of the certificate."""
        return common_names(self.certificate)[0]

    @property
    def key_id(self) -> str:
        """The id of the key, see `pki.certificates.key_id`."""
        return key_id(self.certificate)

    def private_key(self) -> PrivateKey:
        """Decode the key; slow for RSA (0.2 s), so keep what it returns."""
        return decode_private_key(self.key_pem)


# --- Loading --------------------------------------------------------------------------


def load_identity(certs_dir: Path, node_name: str) -> NodeIdentity:
    """Load a node's identity from Icinga's places.

    Args:
        certs_dir: `DataDir/certs`.
        node_name: NodeName; the certificate has to bear it.

    Raises:
        IdentityProblem: A part is missing or cannot be used, or the parts do not
            belong together.
        FileProblem: The operating system objects.
    """
    files = IdentityFiles.of_node(certs_dir, node_name)
    return load_files(files, node_name=node_name)


def load_files(files: IdentityFiles, *, node_name: str | None = None) -> NodeIdentity:
    """Load an identity from any places.

    Args:
        files: Where its parts are.
        node_name: What the certificate has to be for; None takes any name.

    Raises:
        IdentityProblem: As for `load_identity`.
        FileProblem: The operating system objects.
    """
    key_pem, key = _key_in(files.key)
    certificate_pem = _read_required(files.certificate, what="certificate")
    certificate = _certificate_in(files.certificate, certificate_pem)
    if key_id(key.public_key()) != key_id(certificate):
        raise IdentityProblem(
            files.certificate,
            problem=f"the certificate is not for the key in '{files.key}'",
            remedy="restore the file that fits, or enroll this node anew",
        )
    _check_name(files.certificate, certificate, node_name)
    anchor = load_trust_anchor(files)
    return NodeIdentity(
        key_pem=key_pem,
        certificate=certificate,
        certificate_pem=certificate_pem,
        ca_pem=None if anchor is None else read_file(files.ca),
    )


def load_trust_anchor(files: IdentityFiles) -> TrustAnchor | None:
    """Read `ca.crt`; None when there is none.

    Raises:
        IdentityProblem: It holds no CA certificate.
        FileProblem: The operating system objects.
    """
    pem = read_file_if_there(files.ca)
    if pem is None:
        return None
    try:
        return TrustAnchor.from_pem(pem)
    except CertificateInvalid as error:
        raise IdentityProblem(
            files.ca,
            problem="it is not the certificate of a CA: " + "; ".join(error.reasons),
            remedy="copy the CA's certificate there, or move the file away and enroll",
        ) from error


# --- Installing -----------------------------------------------------------------------


def install_certificate(
    certs_dir: Path,
    node_name: str,
    *,
    certificate_pem: str | bytes,
    ca_pem: str | bytes | None,
    owner: Owner | None,
    at: WallTime,
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
    )


def install_files(
    files: IdentityFiles,
    *,
    node_name: str,
    certificate_pem: str | bytes,
    ca_pem: str | bytes | None,
    owner: Owner | None,
    at: WallTime,
) -> NodeIdentity:
    """Do the same for an identity in any places; see `install_certificate`."""
    _, key = _key_in(files.key)
    certificate = _certificate_in(files.certificate, certificate_pem)
    present = load_trust_anchor(files)
    anchor = _heir(files, present, ca_pem, at)
    try:
        verify_issued(
            certificate,
            cn=node_name,
            key_id=key_id(key.public_key()),
            anchor=anchor,
            at=at,
        )
    except CertificateInvalid as error:
        raise IdentityProblem(
            files.certificate,
            problem="the new certificate is not installed: " + "; ".join(error.reasons),
            remedy="the present identity stays; look at the CA and ask again",
        ) from error
    if owner is None:
        owner = _owner_of(files.key)
    new = to_pem(certificate).encode("ascii")
    replace_together(
        (*_ca_content(files, anchor, present), (files.certificate, new)),
        mode=CERTIFICATE_MODE,
        owner=owner,
        at=at,
    )
    if files.ticket is not None:
        remove_file(files.ticket)
    return load_files(files, node_name=node_name)


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
    present = load_trust_anchor(files)
    anchor = _heir(files, present, ca_pem, at)
    if owner is None:
        owner = _owner_of(files.key)
    content = _ca_content(files, anchor, present)
    replace_together(content, mode=CERTIFICATE_MODE, owner=owner, at=at)
    return bool(content)


def _ca_content(
    files: IdentityFiles, anchor: TrustAnchor, present: TrustAnchor | None
) -> tuple[tuple[Path, bytes], ...]:
    """Return what to write to `ca.crt`: nothing when it stays as it is."""
    if anchor is present:
        return ()
    return ((files.ca, "".join(map(to_pem, anchor.all_cas)).encode("ascii")),)


def _heir(
    files: IdentityFiles,
    present: TrustAnchor | None,
    ca_pem: str | bytes | None,
    at: WallTime,
) -> TrustAnchor:
    """Return what the node is to trust from now on; `present` when nothing changes."""
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


# --- Parts ----------------------------------------------------------------------------


def _read_required(path: Path, *, what: str) -> bytes:
    """Read a file; complain about a missing one in words that help."""
    content = read_file_if_there(path)
    if content is None:
        raise IdentityProblem(path, problem=f"there is no {what}", remedy=_SET_UP)
    return content


def _key_in(path: Path) -> tuple[bytes, PrivateKey]:
    pem = _read_required(path, what="private key")
    try:
        return pem, decode_private_key(pem)
    except KeyInvalid as error:
        raise IdentityProblem(
            path, problem=f"the key cannot be used: {error.problem}", remedy=_SET_UP
        ) from error


def _certificate_in(path: Path, pem: str | bytes) -> x509.Certificate:
    try:
        return load_pem(pem)
    except CertificateInvalid as error:
        raise IdentityProblem(
            path,
            problem="it holds no usable certificate: " + "; ".join(error.reasons),
            remedy=_SET_UP,
        ) from error


def _check_name(path: Path, cert: x509.Certificate, node_name: str | None) -> None:
    names = common_names(cert)
    if names and node_name in (None, names[0]):
        return
    problem = "the certificate bears no name"
    if names:
        problem = f"the certificate is for '{names[0]}', not for '{node_name}'"
    raise IdentityProblem(
        path,
        problem=problem,
        remedy="NodeName in constants.conf and the certificate have to agree",
    )


def _owner_of(path: Path) -> Owner:
    try:
        status = path.stat()
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileProblem(
            path, action="read", reason=reason, errno=error.errno
        ) from error
    return status.st_uid, status.st_gid
