"""Keys, requests and certificates as files: `pki new-cert` and `pki sign-csr`.

protocol: both commands overwrite what is there.  Tools count on it, and a key that is
overwritten by mistake is a lost identity; so what was there is kept beside, under a
name with the time.

One thing is not made anew: a request that was set aside because nobody answered it
(`storage.set_aside`).  A tool that begins again asks with the same key, which is the
same request for every node on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.node.commands.issuing import issue
from icefloe.node.commands.setting import Setting
from icefloe.pki.certificates import to_pem
from icefloe.pki.names import check_common_name
from icefloe.pki.profiles import csr
from icefloe.pki.requests import check_signing_request
from icefloe.storage.authority import load_authority
from icefloe.storage.files import FileProblem, read_file
from icefloe.storage.identity import CERTIFICATE_MODE, IdentityFiles
from icefloe.storage.keys import (
    KEY_FILE_MODE,
    KeyType,
    encode_private_key,
    generate_key,
    key_type_of,
    read_private_key,
)
from icefloe.storage.ledger import SQLiteLedger
from icefloe.storage.newcomer import make_request_certificate
from icefloe.storage.replacing import replace_all, replace_together
from icefloe.storage.set_aside import take_up
from icefloe.storage.switching import IdentityJournal, Phase

__all__ = ["NewCertificate", "make_files", "sign_request_file"]

_ACTOR: Final = "pki sign-csr"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCertificate:
    """What to make.

    Attributes:
        cn: The node's name.
        key: Where its key goes.
        csr: Where a PKCS#10 request goes; None makes none.
        certificate: Where a self-signed certificate goes; None makes none.
        key_type: What kind of key.
    """

    cn: str
    key: Path
    csr: Path | None
    certificate: Path | None
    key_type: KeyType


def make_files(wanted: NewCertificate, setting: Setting) -> None:
    """Make a key, and on demand a request and a self-signed certificate for it.

    Raises:
        CommonNameInvalid: No node may have this name.
        FileProblem: The operating system objects; a node's own key and certificate
            are both the old ones, or `IdentityJournal.recover` makes both new.
    """
    check_common_name(wanted.cn)
    at = setting.clock.now().wall
    if _take_up(wanted, setting):
        return
    key = generate_key(wanted.key_type)
    changes = [(wanted.key, encode_private_key(key), KEY_FILE_MODE)]
    _tell(setting, "private key", wanted.key)
    if wanted.certificate is not None:
        certificate = make_request_certificate(
            wanted.cn, key, entropy=setting.entropy, at=at
        )
        pem = to_pem(certificate).encode("ascii")
        changes.append((wanted.certificate, pem, CERTIFICATE_MODE))
        _tell(setting, "X509 certificate", wanted.certificate)
    if wanted.csr is not None:
        pem = csr(wanted.cn, key).public_bytes(Encoding.PEM)
        changes.append((wanted.csr, pem, CERTIFICATE_MODE))
        _tell(setting, "certificate signing request", wanted.csr)
    own = IdentityFiles.of_node(setting.directories.certs, wanted.cn)
    if (
        wanted.key.absolute(),
        wanted.certificate and wanted.certificate.absolute(),
    ) == (
        own.key,
        own.certificate,
    ):
        # The node's own pair is replaced in whole. A person decided; rights are often
        # seen to by the tool that calls this.
        IdentityJournal.of_node(setting.directories, owner=setting.owner).switch(
            changes[:2],
            files=own,
            node_name=wanted.cn,
            at=at,
            reason="a new key, by 'pki new-cert'",
            owner=setting.owner,
            issued=False,
            ends=Phase.CONFIRMED,
            check_rights=False,
        )
        changes = changes[2:]
    replace_all(changes, owner=setting.owner, at=at)


def _take_up(wanted: NewCertificate, setting: Setting) -> bool:
    """Go on with the request that was set aside, if it is what is wanted."""
    if wanted.certificate is None:
        return False
    files = IdentityFiles(
        key=wanted.key,
        certificate=wanted.certificate,
        ca=wanted.certificate.with_name("ca.crt"),
        ticket=None,
    )
    if not files.unsigned.exists():
        return False
    try:
        key = read_private_key(wanted.key)
    except FileProblem:
        return False  # a new one takes its place, as ever
    at = setting.clock.now().wall
    if key_type_of(key) is not wanted.key_type or not take_up(
        files, cn=wanted.cn, at=at
    ):
        return False
    setting.narrator.information(
        f"Using the private key in '{wanted.key}': the request in '{files.unsigned}' "
        "is taken up again. For a new key remove that file first."
    )
    _tell(setting, "X509 certificate", wanted.certificate)
    if wanted.csr is not None:
        _tell(setting, "certificate signing request", wanted.csr)
        pem = csr(wanted.cn, key).public_bytes(Encoding.PEM)
        contents = [(wanted.csr, pem)]
        replace_together(contents, mode=CERTIFICATE_MODE, owner=setting.owner, at=at)
    return True


def sign_request_file(request: Path, certificate: Path, setting: Setting) -> None:
    """Sign a PKCS#10 request with the CA of this node.

    Args:
        request: The request, PEM.
        certificate: Where the certificate goes.
        setting: What to work with.

    Raises:
        SigningRequestInvalid: The request is damaged, or not signed by its own key.
        KeyInvalid: Its key is weak, or of a kind that is not supported.
        CommonNameInvalid: No node may have its name.
        IdentityProblem: There is no CA here.
        IssuingRefused: An operator removed this request.
        LedgerUnavailableError: The decision could not be recorded.
        FileProblem: The operating system objects.
    """
    presented = check_signing_request(read_file(request))
    authority = load_authority(setting.directories)
    with SQLiteLedger.open(setting.directories.ledger, owner=setting.owner) as ledger:
        signed = issue(
            ledger,
            authority,
            cn=presented.cn,
            public_key=presented.public_key,
            actor=_ACTOR,
            now=setting.clock.now(),
            entropy=setting.entropy,
        )
    setting.narrator.information(
        f"Writing certificate to file '{certificate}'.", facility="pki"
    )
    replace_together(
        [(certificate, to_pem(signed).encode("ascii"))],
        mode=CERTIFICATE_MODE,
        owner=setting.owner,
        at=setting.clock.now().wall,
    )


def _tell(setting: Setting, what: str, path: Path) -> None:
    setting.narrator.information(f"Writing {what} to '{path}'.", facility="base")
