"""Switches of a node's identity, to be interrupted: where they begin, what they do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from tests.pki.makers import AGENT, NOW, ec_key, leaf_made_by_us
from tests.storage.material import (
    CA,
    CA_KEY,
    FOREIGN_CA,
    HEIR_CA,
    ISSUED,
    ISSUED_BY_HEIR,
    NEW_CA_KEY,
    NODE_KEY,
    CountingEntropy,
    Lines,
    certs_dir,
    later,
)

from icefloe.config.layout import NodeDirectories
from icefloe.pki.certificates import to_pem
from icefloe.pki.keys import PrivateKey
from icefloe.storage.backups import restore_backup, take_backup
from icefloe.storage.identity import IdentityFiles, install_certificate, install_files
from icefloe.storage.keys import KeyType, encode_private_key
from icefloe.storage.rotation import finish_rotation, prepare_rotation, rotation_files
from icefloe.storage.switching import IdentityJournal, Phase

RENEWED = leaf_made_by_us(CA, CA_KEY, key=NODE_KEY, serial=21)
ROTATED_KEY = ec_key(31)
ROTATED = leaf_made_by_us(HEIR_CA, NEW_CA_KEY, key=ROTATED_KEY, serial=32)
FORMER_KEY = ec_key(41)
FORMER = leaf_made_by_us(FOREIGN_CA, NEW_CA_KEY, key=FORMER_KEY, serial=42)

Triple = tuple[bytes, bytes, bytes]
"""Key, certificate and CA as they are in the files."""


def directories_in(root: Path) -> NodeDirectories:
    return NodeDirectories(config_dir=root / "etc", data_dir=root)


def journal_in(root: Path) -> IdentityJournal:
    return IdentityJournal.of_node(directories_in(root), owner=None)


def files_in(root: Path) -> IdentityFiles:
    return IdentityFiles.of_node(root / "certs", AGENT)


def triple(
    key: PrivateKey, certificate: x509.Certificate, *cas: x509.Certificate
) -> Triple:
    return (
        encode_private_key(key),
        to_pem(certificate).encode(),
        "".join(map(to_pem, cas)).encode(),
    )


def triple_in(root: Path) -> Triple:
    files = files_in(root)
    return (
        files.key.read_bytes(),
        files.certificate.read_bytes(),
        files.ca.read_bytes(),
    )


def install(root: Path, certificate: x509.Certificate, ca: x509.Certificate) -> None:
    install_certificate(
        root / "certs",
        AGENT,
        certificate_pem=to_pem(certificate),
        ca_pem=to_pem(ca),
        owner=None,
        at=NOW,
        journal=journal_in(root),
    )


# --- A renewal ------------------------------------------------------------------------


def _issued(root: Path) -> None:
    certs_dir(root, certificate=ISSUED, ca=CA)
    directories = directories_in(root)
    directories.conf_d.mkdir(parents=True)
    directories.features_available.mkdir()
    directories.features_enabled.mkdir()
    directories.constants_conf.write_text(f'const NodeName = "{AGENT}"\n')


def _renew(root: Path) -> None:
    install(root, RENEWED, CA)


def _renew_with_ca(root: Path) -> None:
    install(root, ISSUED_BY_HEIR, HEIR_CA)


# --- A rotation -----------------------------------------------------------------------


def _rotation_begun(root: Path) -> None:
    _issued(root)
    files = files_in(root)
    new = rotation_files(files)
    new.key.parent.mkdir(mode=0o700)
    new.key.write_bytes(encode_private_key(ROTATED_KEY))
    new.key.chmod(0o600)
    prepare_rotation(
        files,
        node_name=AGENT,
        key_type=KeyType.EC,
        entropy=CountingEntropy(),
        at=NOW,
        owner=None,
        narrator=Lines(),
    )
    install_files(
        new,
        node_name=AGENT,
        certificate_pem=to_pem(ROTATED),
        ca_pem=to_pem(HEIR_CA),
        owner=None,
        at=NOW,
    )


def _rotate(root: Path) -> None:
    files = files_in(root)
    if not rotation_files(files).key.exists():
        return  # what a command does when it finds nothing begun
    finish_rotation(
        files, node_name=AGENT, owner=None, at=NOW, journal=journal_in(root)
    )


# --- A restore ------------------------------------------------------------------------


def _backed_up(root: Path) -> None:
    """A set of another key, another certificate and another CA; and configuration."""
    directories = directories_in(root)
    _issued(root)
    files = files_in(root)
    old = triple_in(root)
    for path, content in zip(
        (files.key, files.certificate, files.ca),
        triple(FORMER_KEY, FORMER, FOREIGN_CA),
        strict=True,
    ):
        path.write_bytes(content)
    directories.zones_conf.write_text("// then\n")
    link = directories.feature_enabled("notification")
    link.symlink_to("../features-available/notification.conf")
    take_backup(directories, AGENT, reason="then", at=later(-100), owner=None)
    for path, content in zip(
        (files.key, files.certificate, files.ca), old, strict=True
    ):
        path.write_bytes(content)
    directories.zones_conf.write_text("// now\n")
    directories.api_users_conf.write_text("// was not there\n")
    link.unlink()
    directories.feature_enabled("api").symlink_to("../features-available/api.conf")


def _restore(root: Path) -> None:
    directories = directories_in(root)
    names = sorted(each.name for each in directories.backups.glob("2*"))
    restore_backup(directories, names[0], at=NOW, owner=None)


# --- A roll-back ----------------------------------------------------------------------


def _rotated(root: Path) -> None:
    """A new key, under a CA whose certificate was renewed: neither is confirmed."""
    _rotation_begun(root)
    _rotate(root)


def _roll_back(root: Path) -> None:
    journal_in(root).roll_back("refused by its parent", later(60))


@dataclass(frozen=True)
class Switch:
    """One way to change an identity.

    Attributes:
        begin: Makes a node in an empty directory.
        act: Changes its identity; may be done again.
        old: What it has before.
        new: What it has afterwards.
        ends: What the journal says then.
    """

    begin: Callable[[Path], None]
    act: Callable[[Path], None]
    old: Triple
    new: Triple
    ends: Phase


_OLD = triple(NODE_KEY, ISSUED, CA)
_ROTATED = triple(ROTATED_KEY, ROTATED, HEIR_CA, CA)

SWITCHES = {
    "renewal": Switch(
        _issued, _renew, _OLD, triple(NODE_KEY, RENEWED, CA), Phase.UNCONFIRMED
    ),
    "renewal with a new CA": Switch(
        _issued,
        _renew_with_ca,
        _OLD,
        triple(NODE_KEY, ISSUED_BY_HEIR, HEIR_CA, CA),
        Phase.UNCONFIRMED,
    ),
    "rotation": Switch(_rotation_begun, _rotate, _OLD, _ROTATED, Phase.UNCONFIRMED),
    "restore": Switch(
        _backed_up,
        _restore,
        _OLD,
        triple(FORMER_KEY, FORMER, FOREIGN_CA),
        Phase.CONFIRMED,
    ),
    "roll-back": Switch(
        _rotated,
        _roll_back,
        _ROTATED,
        # The CA stays: it vouches for both.
        triple(NODE_KEY, ISSUED, HEIR_CA, CA),
        Phase.ROLLED_BACK,
    ),
}


class Places:
    """The same beginning, again and again."""

    def __init__(self, root: Path, switch: Switch) -> None:
        self._begin = root / "begin"
        self._place = root / "place"
        self._begin.mkdir()
        switch.begin(self._begin)

    def again(self) -> Path:
        return copy_place(self._begin, self._place)


def copy_place(source: Path, place: Path) -> Path:
    """Copy a node to another place, as if it had always been there."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(source, place, symlinks=True)
    # Manifests say where things were.
    for path in place.rglob("manifest.json"):
        text = path.read_text().replace(f"{source}/", f"{place}/")
        path.write_text(text)
    return place


def check_whole(root: Path, switch: Switch) -> bool:
    """Check that the node has its old or its new identity; say whether the new one."""
    found = triple_in(root)
    assert found in (switch.old, switch.new), "neither the old nor the new identity"
    files = files_in(root)
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert files.certificate.stat().st_mode & 0o777 == 0o644
    return found == switch.new


def check_done(root: Path, switch: Switch) -> None:
    """Check that the switch is done, that nothing is left lying about, and it is said."""
    assert triple_in(root) == switch.new
    state = journal_in(root).state()
    assert state is not None
    assert state.state is switch.ends
    litter = [
        str(path.relative_to(root))
        for path in root.rglob("*")
        if ".staged." in path.name
        or path.name.startswith(".unfinished")
        or path.parent.name == ".rotation"
    ]
    assert litter == []
    for path in (*root.rglob("*.key*"), *(root / "icefloe").rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def check_restored(root: Path) -> None:
    """Check that the configuration is as the set has it."""
    directories = directories_in(root)
    assert directories.zones_conf.read_text() == "// then\n"
    assert not directories.api_users_conf.exists()
    enabled = [path.name for path in directories.features_enabled.glob("*.conf")]
    assert enabled == ["notification.conf"]
