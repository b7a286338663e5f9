"""A CA is made once, and never overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.pki.makers import NOW, ec_key
from tests.storage.material import CountingEntropy, Lines

from icefloe.config.layout import NodeDirectories
from icefloe.pki.certificates import is_ca, key_id
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.authority import (
    AuthorityExists,
    CertificateAuthority,
    create_authority,
    has_authority,
    load_authority,
)
from icefloe.storage.identity import IdentityProblem
from icefloe.storage.keys import KeyType, encode_private_key


@pytest.fixture
def directories(tmp_path: Path) -> NodeDirectories:
    return NodeDirectories(config_dir=tmp_path / "etc", data_dir=tmp_path / "data")


def create(directories: NodeDirectories) -> CertificateAuthority:
    return create_authority(
        directories,
        key_type=KeyType.EC,
        entropy=CountingEntropy(),
        at=NOW,
        owner=None,
        narrator=Lines(),
    )


def test_a_new_ca_can_be_loaded_and_is_one(directories: NodeDirectories) -> None:
    made = create(directories)
    assert has_authority(directories)
    loaded = load_authority(directories)
    assert loaded.certificate == made.certificate
    assert is_ca(loaded.certificate)
    TrustAnchor.from_pem(directories.ca_certificate.read_bytes())


def test_its_files_have_icingas_modes(directories: NodeDirectories) -> None:
    create(directories)
    modes = {
        path.name: path.stat().st_mode & 0o7777
        for path in (directories.ca_dir, *directories.ca_dir.iterdir())
    }
    assert modes == {"ca": 0o700, "ca.key": 0o600, "ca.crt": 0o644}


def test_a_second_ca_is_refused_and_the_first_stays(
    directories: NodeDirectories,
) -> None:
    create(directories)
    before = directories.ca_key.read_bytes()
    with pytest.raises(AuthorityExists):
        create(directories)
    assert directories.ca_key.read_bytes() == before


def test_a_key_without_a_certificate_gets_one(directories: NodeDirectories) -> None:
    """A crash between the two files leaves it."""
    directories.ca_dir.mkdir(parents=True)
    directories.ca_key.write_bytes(encode_private_key(ec_key(5)))
    made = create(directories)
    assert key_id(made.certificate) == key_id(ec_key(5).public_key())


def test_a_key_that_cannot_be_used_is_not_overwritten(
    directories: NodeDirectories,
) -> None:
    directories.ca_dir.mkdir(parents=True)
    directories.ca_key.write_text("garbage")
    with pytest.raises(IdentityProblem, match="back-up"):
        create(directories)
    assert directories.ca_key.read_text() == "garbage"


def test_a_node_without_a_ca_says_where_to_go(directories: NodeDirectories) -> None:
    assert not has_authority(directories)
    with pytest.raises(IdentityProblem, match="node that signs"):
        load_authority(directories)


def test_parts_that_do_not_fit_are_named(directories: NodeDirectories) -> None:
    create(directories)
    directories.ca_key.write_bytes(encode_private_key(ec_key(5)))
    with pytest.raises(IdentityProblem, match="not the key of"):
        load_authority(directories)
    directories.ca_certificate.write_text("garbage")
    with pytest.raises(IdentityProblem, match="no usable certificate"):
        load_authority(directories)
    directories.ca_certificate.unlink()
    with pytest.raises(IdentityProblem, match="its certificate is not"):
        load_authority(directories)


def test_no_repr_shows_the_key(directories: NodeDirectories) -> None:
    assert "PRIVATE" not in repr(create(directories))
