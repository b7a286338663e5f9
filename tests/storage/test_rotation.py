"""A new key grows beside the old one and takes its place in whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.pki.makers import AGENT, NOW, leaf_made_by_us
from tests.storage.material import (
    CA,
    CA_KEY,
    HEIR_CA,
    ISSUED,
    NEW_CA_KEY,
    CountingEntropy,
    Lines,
    certs_dir,
    later,
)
from tests.storage.switches import files_in, journal_in, triple_in

from icefloe.pki.certificates import is_self_signed, load_pem_all, to_pem
from icefloe.storage.identity import (
    IdentityProblem,
    NodeIdentity,
    install_files,
    load_identity,
)
from icefloe.storage.keys import KeyType
from icefloe.storage.rotation import (
    abandon_rotation,
    finish_rotation,
    prepare_rotation,
    rotation_files,
)
from icefloe.storage.switching import Phase


@pytest.fixture
def root(tmp_path: Path) -> Path:
    certs_dir(tmp_path, certificate=ISSUED, ca=CA)
    return tmp_path


def prepare(root: Path) -> NodeIdentity:
    return prepare_rotation(
        files_in(root),
        node_name=AGENT,
        key_type=KeyType.EC,
        entropy=CountingEntropy(),
        at=NOW,
        owner=None,
        narrator=Lines(),
    )


def sign(root: Path, identity: NodeIdentity, serial: int = 71) -> None:
    leaf = leaf_made_by_us(
        HEIR_CA, NEW_CA_KEY, key=identity.private_key(), serial=serial
    )
    install_files(
        rotation_files(files_in(root)),
        node_name=AGENT,
        certificate_pem=to_pem(leaf),
        ca_pem=to_pem(HEIR_CA),
        owner=None,
        at=NOW,
    )


def finish(root: Path) -> NodeIdentity:
    return finish_rotation(
        files_in(root), node_name=AGENT, owner=None, at=NOW, journal=journal_in(root)
    )


def test_a_new_key_and_its_request_leave_the_present_identity_alone(root: Path) -> None:
    before = triple_in(root)
    made = prepare(root)
    assert triple_in(root) == before
    assert is_self_signed(made.certificate)
    assert made.node_name == AGENT
    assert made.key_pem != before[0]
    assert made.ca_pem == before[2]
    directory = rotation_files(files_in(root)).key.parent
    assert directory == root / "certs" / ".rotation"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / f"{AGENT}.key").stat().st_mode & 0o777 == 0o600


def test_a_rotation_that_was_begun_is_taken_up_with_the_same_request(
    root: Path,
) -> None:
    first = prepare(root)
    assert prepare(root) == first
    sign(root, first)
    again = prepare(root)
    assert again.key_pem == first.key_pem
    assert not is_self_signed(again.certificate)


def test_key_certificate_and_ca_are_switched_together(root: Path) -> None:
    made = prepare(root)
    sign(root, made)
    identity = finish(root)
    assert identity == load_identity(root / "certs", AGENT)
    assert identity.key_pem == made.key_pem
    assert load_pem_all(identity.ca_pem or b"") == (HEIR_CA, CA)
    assert not (root / "certs" / ".rotation").exists()
    state = journal_in(root).state()
    assert state is not None
    assert state.state is Phase.UNCONFIRMED


def test_a_rotated_key_that_is_refused_makes_room_for_the_old_one(root: Path) -> None:
    before = triple_in(root)
    sign(root, prepare(root))
    finish(root)
    assert journal_in(root).roll_back("refused", later(5))
    assert triple_in(root)[:2] == before[:2]


def test_it_does_not_end_before_there_is_a_certificate(root: Path) -> None:
    before = triple_in(root)
    prepare(root)
    with pytest.raises(IdentityProblem, match="not installed"):
        finish(root)
    assert triple_in(root) == before
    assert (root / "certs" / ".rotation").exists()


def test_the_next_rotation_makes_another_key_also_after_a_crash_at_the_end(
    root: Path,
) -> None:
    """The switch was done, the directory was not removed."""
    made = prepare(root)
    sign(root, made)
    left = {p.name: p.read_bytes() for p in (root / "certs/.rotation").iterdir()}
    finish(root)
    (root / "certs/.rotation").mkdir(mode=0o700)
    for name, content in left.items():
        (root / "certs/.rotation" / name).write_bytes(content)
    # Finishing it once more is no harm.
    assert finish(root).key_pem == made.key_pem
    (root / "certs/.rotation").mkdir(mode=0o700)
    for name, content in left.items():
        (root / "certs/.rotation" / name).write_bytes(content)
    assert prepare(root).key_pem != made.key_pem


def test_a_rotation_can_be_given_up(root: Path) -> None:
    assert not abandon_rotation(files_in(root))
    first = prepare(root)
    assert abandon_rotation(files_in(root))
    assert not (root / "certs" / ".rotation").exists()
    assert prepare(root).key_pem != first.key_pem


def test_the_ca_to_ask_by_is_the_one_trusted_now(root: Path) -> None:
    """It was renewed after the rotation was begun."""
    prepare(root)
    (root / "certs/ca.crt").write_text(to_pem(HEIR_CA) + to_pem(CA))
    ca_pem = prepare(root).ca_pem
    assert load_pem_all(ca_pem or b"") == (HEIR_CA, CA)


def test_a_node_without_an_issued_certificate_can_have_a_new_key_too(
    tmp_path: Path,
) -> None:
    certs_dir(tmp_path, ca=CA)
    made = prepare(tmp_path)
    leaf = leaf_made_by_us(CA, CA_KEY, key=made.private_key(), serial=72)
    install_files(
        rotation_files(files_in(tmp_path)),
        node_name=AGENT,
        certificate_pem=to_pem(leaf),
        ca_pem=to_pem(CA),
        owner=None,
        at=NOW,
    )
    assert finish(tmp_path).certificate == leaf
