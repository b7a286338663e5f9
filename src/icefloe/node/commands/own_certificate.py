"""A signer's own certificate: signed by the CA beside it.

`api setup` and `node setup --master` both come here.  What is there and valid stays;
what is missing is made, step by step, so that an interrupted set-up is completed by
running it again.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.node.commands.issuing import issue
from icefloe.node.commands.setting import Setting
from icefloe.pki.certificates import load_pem, to_pem
from icefloe.pki.errors import CertificateInvalid
from icefloe.pki.names import check_common_name
from icefloe.pki.profiles import csr
from icefloe.pki.trust import TrustAnchor, up_to_date
from icefloe.storage.authority import (
    DIRECTORY_MODE,
    CertificateAuthority,
    create_authority,
    has_authority,
    load_authority,
)
from icefloe.storage.files import ensure_directory, read_file_if_there
from icefloe.storage.identity import (
    CERTIFICATE_MODE,
    IdentityFiles,
    IdentityProblem,
    NodeIdentity,
    install_files,
    load_files,
    load_trust_anchor,
)
from icefloe.storage.keys import KeyType, key_type_of
from icefloe.storage.ledger import SQLiteLedger
from icefloe.storage.newcomer import put, reuse_or_make_key

__all__ = ["OwnCertificate", "certify_signer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCertificate:
    """What a signer has now.

    Attributes:
        identity: Its key and its certificate.
        ca_key_type: The type of its CA's key; None when it has none (a second
            master, which forwards).
        new_ca: Whether the CA was made just now.
    """

    identity: NodeIdentity
    ca_key_type: KeyType | None
    new_ca: bool


def certify_signer(setting: Setting, *, cn: str, key_type: KeyType) -> OwnCertificate:
    """See that a signer has a CA, and a certificate under it.

    A node that trusts a CA whose key is elsewhere gets none: that is a second master,
    and another CA beside the first would split the cluster.

    Args:
        setting: What to work with.
        cn: The node's name.
        key_type: For a new CA.  The node's own key is of the CA's type.

    Raises:
        IcefloeError: Something that is there cannot be used, or cannot be written; the
            text names the file and what to do.
    """
    check_common_name(cn)
    directories = setting.directories
    files = IdentityFiles.of_node(directories.certs, cn)
    if not has_authority(directories) and directories.trusted_ca.exists():
        return _second_master(files, cn, setting)
    authority, is_new = _authority(setting, key_type)
    ensure_directory(directories.certs, mode=DIRECTORY_MODE, owner=setting.owner)
    identity = _valid_identity(files, cn, setting)
    if identity is None or not _needs_nothing(identity, authority, setting):
        identity = _sign_own(files, cn, authority, setting)
    return OwnCertificate(
        identity=identity, ca_key_type=key_type_of(authority.key), new_ca=is_new
    )


def _second_master(files: IdentityFiles, cn: str, setting: Setting) -> OwnCertificate:
    """Keep the certificate of a node whose CA is elsewhere.

    Raises:
        IdentityProblem: It has none that is valid.
    """
    identity = _valid_identity(files, cn, setting)
    if identity is None:
        raise IdentityProblem(
            files.ca,
            problem=f"this node trusts a CA whose key is not in "
            f"'{setting.directories.ca_dir}', and has no certificate of it",
            remedy="enroll it below or beside the node that signs (node setup "
            "--parent_host ...), or move this file away to make a new CA here",
        )
    setting.narrator.warning(
        f"The key of the CA in '{files.ca}' is not here: no new CA is made. This node "
        "forwards certificate requests."
    )
    return OwnCertificate(identity=identity, ca_key_type=None, new_ca=False)


def _valid_identity(
    files: IdentityFiles, cn: str, setting: Setting
) -> NodeIdentity | None:
    """Return the identity that is there when its certificate is from its CA."""
    content = read_file_if_there(files.certificate)
    anchor = load_trust_anchor(files)
    if content is None or anchor is None:
        return None
    try:
        certificate = load_pem(content)
    except CertificateInvalid:
        return None
    if not anchor.is_signed(certificate, setting.clock.now().wall):
        return None
    return load_files(files, node_name=cn)


def _needs_nothing(
    identity: NodeIdentity, authority: CertificateAuthority, setting: Setting
) -> bool:
    """Say whether a valid identity is not due, and from the CA beside it."""
    certificate, at = identity.certificate, setting.clock.now().wall
    anchor = TrustAnchor(ca=authority.certificate, all_cas=(authority.certificate,))
    return anchor.is_signed(certificate, at) and up_to_date(certificate, at)


def _authority(
    setting: Setting, key_type: KeyType
) -> tuple[CertificateAuthority, bool]:
    directories = setting.directories
    if has_authority(directories) and directories.ca_certificate.exists():
        setting.narrator.information(f"Using the CA in '{directories.ca_dir}'.")
        return load_authority(directories), False
    setting.narrator.information("Generating new CA.")
    made = create_authority(
        directories,
        key_type=key_type,
        entropy=setting.entropy,
        at=setting.clock.now().wall,
        owner=setting.owner,
        narrator=setting.narrator,
    )
    return made, True


def _sign_own(
    files: IdentityFiles, cn: str, authority: CertificateAuthority, setting: Setting
) -> NodeIdentity:
    now, narrator, owner = setting.clock.now(), setting.narrator, setting.owner
    directories = setting.directories
    key = reuse_or_make_key(
        files.key,
        key_type=key_type_of(authority.key),
        at=now.wall,
        owner=owner,
        narrator=narrator,
    )
    request = directories.node_csr(cn)
    narrator.information(
        f"Writing certificate signing request to '{request}'.", facility="base"
    )
    pem = csr(cn, key).public_bytes(Encoding.PEM)
    put(request, pem, mode=CERTIFICATE_MODE, owner=owner, at=now.wall)
    with SQLiteLedger.open(directories.ledger, owner=owner) as ledger:
        certificate = issue(
            ledger,
            authority,
            cn=cn,
            public_key=key.public_key(),
            actor=cn,
            now=now,
            entropy=setting.entropy,
        )
    narrator.information(
        f"Signing CSR with CA and writing certificate to '{files.certificate}'."
    )
    narrator.information(f"Copying CA certificate to '{files.ca}'.")
    return install_files(
        files,
        node_name=cn,
        certificate_pem=to_pem(certificate),
        ca_pem=to_pem(authority.certificate),
        owner=owner,
        at=now.wall,
    )
