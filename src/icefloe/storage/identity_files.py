"""The parts of a node's identity: where they are, and whether they fit together.

protocol: Icinga keeps `<NodeName>.key`, `<NodeName>.crt`, `ca.crt` and `ticket` in
`DataDir/certs`.  Before enrollment the certificate is self-signed and there is no
`ca.crt`; such an identity is loaded like any other.

Nothing is changed here; `identity` installs, `switching` switches in whole.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from cryptography import x509

from icefloe.errors import IcefloeError
from icefloe.pki.certificates import common_names, key_id, load_pem
from icefloe.pki.errors import CertificateInvalid, KeyInvalid
from icefloe.pki.keys import PrivateKey
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.files import read_file, read_file_if_there
from icefloe.storage.keys import decode_private_key

__all__ = [
    "CERTIFICATE_MODE",
    "TICKET_MODE",
    "UNSIGNED_SUFFIX",
    "IdentityFiles",
    "IdentityProblem",
    "NodeIdentity",
    "certificate_in",
    "check_name",
    "key_in",
    "load_files",
    "load_identity",
    "load_trust_anchor",
]

CERTIFICATE_MODE: Final = 0o644
TICKET_MODE: Final = 0o600
UNSIGNED_SUFFIX: Final = ".unsigned"

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

    @property
    def unsigned(self) -> Path:
        """Where a request that got no certificate is set aside (`set_aside`)."""
        return self.certificate.with_name(self.certificate.name + UNSIGNED_SUFFIX)


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
        files: Where its parts are.  Without a certificate, the request for this key
            that was set aside stands for it.
        node_name: What the certificate has to be for; None takes any name.

    Raises:
        IdentityProblem: As for `load_identity`.
        FileProblem: The operating system objects.
    """
    key_pem, key = key_in(files.key)
    certificate_pem = _own_certificate(files, key)
    certificate = certificate_in(files.certificate, certificate_pem)
    if key_id(key.public_key()) != key_id(certificate):
        raise IdentityProblem(
            files.certificate,
            problem=f"the certificate is not for the key in '{files.key}'",
            remedy="restore the file that fits, or enroll this node anew",
        )
    check_name(files.certificate, certificate, node_name)
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


# --- Parts ----------------------------------------------------------------------------


def _own_certificate(files: IdentityFiles, key: PrivateKey) -> bytes:
    """Read the certificate; where there is none, the request that was set aside.

    It is out of the way of tools, and still what this node asks with.
    """
    if (content := read_file_if_there(files.certificate)) is not None:
        return content
    aside = read_file_if_there(files.unsigned)
    if aside is not None:
        with suppress(CertificateInvalid):
            if key_id(load_pem(aside)) == key_id(key.public_key()):
                return aside
    return _read_required(files.certificate, what="certificate")


def _read_required(path: Path, *, what: str) -> bytes:
    """Read a file; complain about a missing one in words that help."""
    content = read_file_if_there(path)
    if content is None:
        raise IdentityProblem(path, problem=f"there is no {what}", remedy=_SET_UP)
    return content


def key_in(path: Path) -> tuple[bytes, PrivateKey]:
    """Read a key file; return what it holds, PEM, and the key.

    Raises:
        IdentityProblem: It is not there, or holds no key that can be used.
        FileProblem: The operating system objects.
    """
    pem = _read_required(path, what="private key")
    try:
        return pem, decode_private_key(pem)
    except KeyInvalid as error:
        raise IdentityProblem(
            path, problem=f"the key cannot be used: {error.problem}", remedy=_SET_UP
        ) from error


def certificate_in(path: Path, pem: str | bytes) -> x509.Certificate:
    """Read the first certificate of a PEM text that `path` holds, or is to hold.

    Raises:
        IdentityProblem: There is none that can be used.
    """
    try:
        return load_pem(pem)
    except CertificateInvalid as error:
        raise IdentityProblem(
            path,
            problem="it holds no usable certificate: " + "; ".join(error.reasons),
            remedy=_SET_UP,
        ) from error


def check_name(path: Path, cert: x509.Certificate, node_name: str | None) -> None:
    """Check that a certificate bears a name, and this one; None takes any.

    Raises:
        IdentityProblem: It does not.
    """
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
