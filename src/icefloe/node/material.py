"""What a node stands on: its configuration and identity, read from its files.

Read at start and again at a reload; everything that can be wrong with files is
found here, before anything that runs is touched.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from icefloe import __version__
from icefloe.cluster.settings import SessionSettings
from icefloe.config.layout import NodeDirectories
from icefloe.config.loading import load
from icefloe.config.model import NodeConfiguration
from icefloe.enrollment.settings import EnrollmentSettings, OwnIdentity
from icefloe.errors import IcefloeError
from icefloe.node import limits
from icefloe.node.own_identity import read_own_identity
from icefloe.node.tls.contexts import DEFAULT_CIPHER_LIST, TLSIdentity, TLSSettings
from icefloe.node.workers import SigningSecrets
from icefloe.pki.certificates import key_id, load_pem
from icefloe.pki.keys import PrivateKey
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.files import FileProblem, read_file
from icefloe.storage.identity import NodeIdentity, load_identity, load_ticket
from icefloe.storage.keys import read_private_key

# Our own version, for other Icefloe nodes; real nodes ignore it.
HELLO_FACTS = {"version": __version__}


class MaterialError(IcefloeError):
    """The node cannot stand on its files; the text names the file and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Everything read from the files of a node."""

    configuration: NodeConfiguration
    identity: NodeIdentity = field(repr=False)
    anchor: TrustAnchor | None
    crl_pem: bytes | None = field(repr=False)
    issuer: x509.Certificate | None
    secrets: SigningSecrets = field(repr=False)
    own: OwnIdentity = field(repr=False)

    @property
    def node_name(self) -> str:
        """The endpoint name of this node."""
        return self.configuration.node_name

    @property
    def signs(self) -> bool:
        """Whether this node holds the CA key."""
        return self.issuer is not None

    @property
    def ticket(self) -> str:
        """The ticket for the node's own certificate, or "".  A secret."""
        return self.own.ticket

    def tls_identity(self) -> TLSIdentity:
        """Return what TLS needs."""
        return TLSIdentity(
            certificate_pem=self.identity.certificate_pem,
            key_pem=self.identity.key_pem,
            ca_pem=self.identity.ca_pem,
            crl_pem=self.crl_pem,
        )

    def tls_settings(self) -> TLSSettings:
        """Return what the operator set about TLS."""
        listener = self.configuration.listener
        return TLSSettings(
            cipher_list=listener.cipher_list or DEFAULT_CIPHER_LIST,
            tls_protocolmin=listener.tls_protocolmin,
        )

    def session_settings(self) -> SessionSettings:
        """Return what sessions need."""
        base = SessionSettings(node_name=self.node_name, hello_facts=HELLO_FACTS)
        return limits.session_settings(self.configuration.limits, base)

    def enrollment_settings(self) -> EnrollmentSettings:
        """Return what the enrollment core needs."""
        configuration = self.configuration
        return EnrollmentSettings(
            node_name=self.node_name,
            tree=configuration.zones,
            anchor=self.anchor,
            issuer=self.issuer,
            checks_tickets=bool(self.secrets.ticket_salt),
            reserved_names=configuration.zones.reserved_names()
            | configuration.api_client_names,
            own=self.own,
            limits=limits.enrollment_limits(configuration.limits),
            renewal=limits.renewal_policy(configuration.limits),
        )


def read_material(
    directories: NodeDirectories, *, ca_key: PrivateKey | None = None
) -> Material:
    """Read a node's files.

    Args:
        directories: where they are.
        ca_key: the CA key as loaded before, which a reload need not load again
            (an RSA-4096 key costs 0.2 s); used only if it still fits.

    Raises:
        ConfigError: the configuration cannot be used; lists every problem.
        FileProblem: a file cannot be read.
        PKIError: a certificate, key or revocation list cannot be used.
        MaterialError: they do not fit together.
    """
    configuration = load(directories.config_dir, directories.data_dir)
    identity = load_identity(directories.certs, configuration.node_name)
    crl_path = configuration.listener.crl_path
    crl_pem = read_file(crl_path) if crl_path is not None else None
    anchor = (
        TrustAnchor.from_pem(identity.ca_pem, crl_pem)
        if identity.ca_pem is not None
        else None
    )
    issuer, key = _read_ca(directories, ca_key)
    if issuer is not None:
        _check_trusted(issuer, anchor, directories)
    return Material(
        configuration=configuration,
        identity=identity,
        anchor=anchor,
        crl_pem=crl_pem,
        issuer=issuer,
        secrets=SigningSecrets(ca_key=key, ticket_salt=configuration.ticket_salt),
        own=read_own_identity(directories, identity, load_ticket(directories.certs)),
    )


def _read_ca(
    directories: NodeDirectories, known: PrivateKey | None
) -> tuple[x509.Certificate | None, PrivateKey | None]:
    """Read the CA's certificate and key; both None on a node without the key.

    The existence of the key file is what makes a node a signer (protocol: Icinga 2).
    """
    if not _is_there(directories.ca_key):
        return None, None
    try:
        issuer = load_pem(read_file(directories.ca_certificate))
    except FileProblem as error:
        raise MaterialError(
            f"{directories.ca_key} is here but its certificate is not: {error}"
        ) from error
    wanted = key_id(issuer)
    if known is not None and key_id(known.public_key()) == wanted:
        return issuer, known
    key = read_private_key(directories.ca_key)
    if key_id(key.public_key()) != wanted:
        raise MaterialError(
            f"{directories.ca_key} is not the key of {directories.ca_certificate}: "
            "restore the pair from one back-up"
        )
    return issuer, key


def _check_trusted(
    issuer: x509.Certificate, anchor: TrustAnchor | None, directories: NodeDirectories
) -> None:
    """Refuse a CA that this node signs with and does not trust itself.

    It would sign, and find at each certificate that it must not be given out.
    """
    if anchor is None:
        raise MaterialError(
            f"{directories.ca_key} is here but {directories.trusted_ca} is not: "
            f"copy {directories.ca_certificate} there"
        )
    if key_id(issuer) not in {key_id(ca) for ca in anchor.all_cas}:
        raise MaterialError(
            f"the CA in {directories.ca_certificate} is not among those that "
            f"{directories.trusted_ca} trusts: append the first to the second, or "
            f"take {directories.ca_dir} away if this node is not to sign"
        )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        reason = error.strerror or str(error)
        raise MaterialError(
            f"cannot see whether there is a CA key, {path}: {reason}; give the "
            f"directory {path.parent} to the daemon user (chown), or move it away if "
            "this node is not to sign; where systemd's unit keeps it from the daemon, "
            "run 'icefloe service install' again"
        ) from error
