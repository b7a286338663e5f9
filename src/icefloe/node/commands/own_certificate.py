"""A signer's own certificate: signed by the CA beside it.

`api setup` and `node setup --master` both come here.  What is there and valid stays;
what is missing is made, step by step, so that an interrupted set-up is completed by
running it again.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.node.commands.issuing import issue
from icefloe.node.commands.setting import Setting
from icefloe.pki.certificates import is_self_signed, load_pem, to_pem
from icefloe.pki.errors import CertificateInvalid
from icefloe.pki.keys import PrivateKey
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
from icefloe.storage.rotation import finish_rotation, prepare_rotation, rotation_files
from icefloe.storage.switching import IdentityJournal

__all__ = ["OwnCertificate", "SignerState", "certify_signer", "signer_state"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerState:
    """What a signer has, before `certify_signer` does anything about it.

    Attributes:
        identity: The node's identity when its certificate is from its CA, else None.
        is_due: Whether the CA here would sign another one.
        new_ca: Whether a CA would be made.
    """

    identity: NodeIdentity | None
    is_due: bool
    new_ca: bool


def signer_state(setting: Setting, *, cn: str) -> SignerState:
    """Look at what a signer has; changes nothing.

    Raises:
        IcefloeError: As for `certify_signer`.
    """
    check_common_name(cn)
    directories = setting.directories
    files = IdentityFiles.of_node(directories.certs, cn)
    if not has_authority(directories) and directories.trusted_ca.exists():
        present = _identity_of_second_master(files, cn, setting)
        return SignerState(identity=present, is_due=False, new_ca=False)
    if not (has_authority(directories) and directories.ca_certificate.exists()):
        return SignerState(identity=None, is_due=True, new_ca=True)
    identity = _valid_identity(files, cn, setting)
    is_due = identity is None or not _needs_nothing(
        identity, load_authority(directories), setting
    )
    return SignerState(identity=identity, is_due=is_due, new_ca=False)


def certify_signer(
    setting: Setting, *, cn: str, key_type: KeyType, rotate_key: bool = False
) -> OwnCertificate:
    """See that a signer has a CA, and a certificate under it.

    A node that trusts a CA whose key is elsewhere gets none: that is a second master,
    and another CA beside the first would split the cluster.

    Args:
        setting: What to work with.
        cn: The node's name.
        key_type: For a new CA.  The node's own key is of the CA's type.
        rotate_key: Whether a new key takes the place of the node's own; the CA's stays.

    Raises:
        IcefloeError: Something that is there cannot be used, or cannot be written; the
            text names the file and what to do.
    """
    check_common_name(cn)
    directories = setting.directories
    files = IdentityFiles.of_node(directories.certs, cn)
    journal = IdentityJournal.of_node(directories, owner=setting.owner)
    journal.recover(setting.clock.now().wall)
    if not has_authority(directories) and directories.trusted_ca.exists():
        return _second_master(files, cn, setting)
    authority, is_new = _authority(setting, key_type)
    ensure_directory(directories.certs, mode=DIRECTORY_MODE, owner=setting.owner)
    identity = _valid_identity(files, cn, setting)
    if identity is None or not _needs_nothing(identity, authority, setting):
        identity = _sign_own(files, cn, authority, setting, journal)
        # Its own CA vouches for it: there is nobody to ask.
        journal.confirm(setting.clock.now().wall)
    elif rotate_key:
        identity = _rotate_own(files, cn, authority, setting, journal)
        journal.confirm(setting.clock.now().wall)
    return OwnCertificate(
        identity=identity, ca_key_type=key_type_of(authority.key), new_ca=is_new
    )


def _second_master(files: IdentityFiles, cn: str, setting: Setting) -> OwnCertificate:
    """Keep the certificate of a node whose CA is elsewhere.

    Raises:
        IdentityProblem: It has none that is valid.
    """
    identity = _identity_of_second_master(files, cn, setting)
    setting.narrator.warning(
        f"The key of the CA in '{files.ca}' is not here: no new CA is made. This node "
        "forwards certificate requests."
    )
    return OwnCertificate(identity=identity, ca_key_type=None, new_ca=False)


def _identity_of_second_master(
    files: IdentityFiles, cn: str, setting: Setting
) -> NodeIdentity:
    identity = _valid_identity(files, cn, setting)
    if identity is None:
        raise IdentityProblem(
            files.ca,
            problem=f"this node trusts a CA whose key is not in "
            f"'{setting.directories.ca_dir}', and has no certificate of it",
            remedy="enroll it below or beside the node that signs (node setup "
            "--parent_host ...), or move this file away to make a new CA here",
        )
    return identity


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
    files: IdentityFiles,
    cn: str,
    authority: CertificateAuthority,
    setting: Setting,
    journal: IdentityJournal,
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
    put(request, _request(cn, key), mode=CERTIFICATE_MODE, owner=owner, at=now.wall)
    certificate = _issued(cn, key, authority, setting)
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
        journal=journal,
    )


def _rotate_own(
    files: IdentityFiles,
    cn: str,
    authority: CertificateAuthority,
    setting: Setting,
    journal: IdentityJournal,
) -> NodeIdentity:
    """Sign a new key of the node's own, and switch to it in whole."""
    at, owner = setting.clock.now().wall, setting.owner
    following = prepare_rotation(
        files,
        node_name=cn,
        key_type=key_type_of(authority.key),
        entropy=setting.entropy,
        at=at,
        owner=owner,
        narrator=setting.narrator,
    )
    key = following.private_key()
    if is_self_signed(following.certificate):
        install_files(
            rotation_files(files),
            node_name=cn,
            certificate_pem=to_pem(_issued(cn, key, authority, setting)),
            ca_pem=to_pem(authority.certificate),
            owner=owner,
            at=at,
        )
    identity = finish_rotation(files, node_name=cn, owner=owner, at=at, journal=journal)
    request = setting.directories.node_csr(cn)
    put(request, _request(cn, key), mode=CERTIFICATE_MODE, owner=owner, at=at)
    setting.narrator.information(
        f"The new key is in place in '{files.key}', with its certificate."
    )
    return identity


def _request(cn: str, key: PrivateKey) -> bytes:
    return csr(cn, key).public_bytes(Encoding.PEM)


def _issued(
    cn: str, key: PrivateKey, authority: CertificateAuthority, setting: Setting
) -> x509.Certificate:
    """Let the CA here sign a key of the node's own."""
    with SQLiteLedger.open(setting.directories.ledger, owner=setting.owner) as ledger:
        return issue(
            ledger,
            authority,
            cn=cn,
            public_key=key.public_key(),
            actor=cn,
            now=setting.clock.now(),
            entropy=setting.entropy,
        )
