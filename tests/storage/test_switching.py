"""The node's identity is switched in whole, confirmed, or rolled back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from tests.pki.makers import AGENT, DAY, NOW, certificate, ec_key, leaf_made_by_us
from tests.storage.material import (
    CA,
    CA_KEY,
    FOREIGN_CA,
    HEIR_CA,
    ISSUED,
    ISSUED_BY_HEIR,
    NEW_CA_KEY,
    NODE_KEY,
    SELF_SIGNED,
    certs_dir,
    later,
)
from tests.storage.switches import (
    RENEWED,
    ROTATED_KEY,
    directories_in,
    files_in,
    install,
    journal_in,
    triple_in,
)

from icefloe.doors import WallTime
from icefloe.pki.certificates import load_pem_all, to_pem
from icefloe.pki.keys import PrivateKey
from icefloe.storage.files import FileProblem
from icefloe.storage.identity import (
    IdentityProblem,
    install_ca,
    install_certificate,
    load_identity,
)
from icefloe.storage.keys import encode_private_key
from icefloe.storage.replacing import BACKUPS_MAX, replace_together
from icefloe.storage.switch_record import Record
from icefloe.storage.switching import IdentityJournal, Phase, Recovery, SwitchState

NOBODY = 12345


def issued(root: Path) -> Path:
    certs_dir(root, certificate=ISSUED, ca=CA)
    return root


def state_in(root: Path) -> SwitchState:
    state = journal_in(root).state()
    assert state is not None
    return state


def fingerprint(cert: x509.Certificate) -> str:
    return cert.fingerprint(hashes.SHA256()).hex()


def switch(
    root: Path, cert: x509.Certificate, key: PrivateKey | None = None, **options: Any
) -> bool:
    files = files_in(root)
    changes: list[tuple[Path, bytes | None, int]] = []
    if key is not None:
        changes.append((files.key, encode_private_key(key), 0o600))
    changes.append((files.certificate, to_pem(cert).encode(), 0o644))
    return journal_in(root).switch(
        changes, **{"files": files, "node_name": AGENT, "at": NOW, **options}
    )


def snapshot(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


# --- Switching ------------------------------------------------------------------------


def test_without_a_journal_nothing_is_said_and_nothing_is_to_be_done(
    tmp_path: Path,
) -> None:
    issued(tmp_path)
    journal = journal_in(tmp_path)
    assert journal.state() is None
    assert journal.recover(NOW) is None
    assert not journal.confirm(NOW)
    assert not journal.roll_back("refused", NOW)
    assert not (tmp_path / "icefloe").exists()


def test_the_journal_is_in_the_data_directory_beside_the_certificates(
    tmp_path: Path,
) -> None:
    """Also for who makes it of its directory alone."""
    issued(tmp_path)
    install(tmp_path, RENEWED, CA)
    directory = directories_in(tmp_path).identity_journal
    assert IdentityJournal(directory, owner=None).state() == state_in(tmp_path)
    (path,) = directory.iterdir()
    assert path.name == "switch.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700


def test_a_new_identity_is_unconfirmed_until_it_is_confirmed(tmp_path: Path) -> None:
    issued(tmp_path)
    install(tmp_path, RENEWED, CA)
    state = state_in(tmp_path)
    assert state.state is Phase.UNCONFIRMED
    assert (state.old, state.new) == (fingerprint(ISSUED), fingerprint(RENEWED))
    assert state.kept == (f"{AGENT}.crt.before-20270115T120000Z",)
    assert journal_in(tmp_path).confirm(later(5))
    assert not journal_in(tmp_path).confirm(later(6))
    assert state_in(tmp_path).state is Phase.CONFIRMED
    assert state_in(tmp_path).at == later(5)


def test_what_is_in_place_already_is_not_switched_to(tmp_path: Path) -> None:
    issued(tmp_path)
    install(tmp_path, RENEWED, CA)
    before = snapshot(tmp_path)
    assert not switch(tmp_path, RENEWED, at=later(9))
    assert snapshot(tmp_path) == before


def test_the_journal_never_holds_a_key(tmp_path: Path) -> None:
    issued(tmp_path)
    switch(
        tmp_path, leaf_made_by_us(CA, CA_KEY, key=ROTATED_KEY, serial=9), ROTATED_KEY
    )
    text = (directories_in(tmp_path).identity_journal / "switch.json").read_text()
    pem = encode_private_key(ROTATED_KEY).decode()
    assert "PRIVATE" not in text
    assert not any(line in text for line in pem.splitlines() if len(line) > 20)


@pytest.mark.parametrize(
    "cert, key, why",
    [
        (leaf_made_by_us(CA, CA_KEY, key=ec_key(50)), None, "not for the key"),
        (RENEWED, ec_key(50), "not for the key"),
        (leaf_made_by_us(CA, CA_KEY, cn="b", key=NODE_KEY), None, "'b'"),
        (leaf_made_by_us(FOREIGN_CA, NEW_CA_KEY, key=NODE_KEY), None, "not installed"),
        (SELF_SIGNED, None, "not installed"),
        (
            certificate(
                subject=AGENT,
                key=NODE_KEY,
                issuer="Icinga CA",
                signed_by=CA_KEY,
                end=NOW - DAY,
            ),
            None,
            "not installed",
        ),
    ],
    ids=["key", "other key", "name", "chain", "self-signed", "expired"],
)
def test_what_cannot_work_together_changes_nothing(
    tmp_path: Path, cert: x509.Certificate, key: PrivateKey | None, why: str
) -> None:
    issued(tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(IdentityProblem, match=why):
        switch(tmp_path, cert, key)
    assert snapshot(tmp_path) == before


def test_two_changes_of_one_second_keep_both_files(tmp_path: Path) -> None:
    issued(tmp_path)
    for serial in (61, 62, 63):
        leaf = leaf_made_by_us(CA, CA_KEY, key=NODE_KEY, serial=serial)
        install(tmp_path, leaf, CA)
    kept = sorted((tmp_path / "certs").glob("*.before-*"))
    assert [each.name.rpartition("Z")[2] for each in kept] == ["", "-2", "-3"]
    serials = [load_pem_all(each.read_bytes())[0].serial_number for each in kept]
    assert serials == [ISSUED.serial_number, 61, 62]


def test_a_clock_that_was_set_back_costs_no_file_that_is_needed(tmp_path: Path) -> None:
    """The latest kept file then has the oldest name."""
    issued(tmp_path)
    leaves = [
        leaf_made_by_us(CA, CA_KEY, key=NODE_KEY, serial=70 + number)
        for number in range(7)
    ]
    for number, leaf in enumerate(leaves):
        switch(tmp_path, leaf, at=later(-number), ends=Phase.CONFIRMED)
    switch(tmp_path, RENEWED, at=later(-100))
    assert len(list((tmp_path / "certs").glob("*.before-*"))) == BACKUPS_MAX
    assert journal_in(tmp_path).roll_back("refused", later(-90))
    assert load_identity(tmp_path / "certs", AGENT).certificate == leaves[-1]


def test_litter_of_a_killed_writer_is_swept_away(tmp_path: Path) -> None:
    issued(tmp_path)
    litter = [
        tmp_path / "certs" / f".{AGENT}.crt.staged.0123456789abcdef",
        tmp_path / "certs" / f"..{AGENT}.crt.staged.0123456789abcdef.tmp.0123",
    ]
    for path in litter:
        path.write_text("x")
    install(tmp_path, RENEWED, CA)
    assert not any(path.exists() for path in litter)


# --- Rolling back ---------------------------------------------------------------------


def test_a_refused_certificate_makes_room_for_the_older_one(tmp_path: Path) -> None:
    issued(tmp_path)
    before = triple_in(tmp_path)
    install(tmp_path, RENEWED, CA)
    assert journal_in(tmp_path).roll_back("refused by parent1", later(5))
    assert triple_in(tmp_path) == before
    state = state_in(tmp_path)
    assert (state.state, state.reason) == (Phase.ROLLED_BACK, "refused by parent1")
    assert (state.old, state.new) == (fingerprint(ISSUED), fingerprint(RENEWED))
    assert not journal_in(tmp_path).roll_back("again", later(6))
    assert not journal_in(tmp_path).confirm(later(6))


def test_the_ca_that_vouches_for_both_stays(tmp_path: Path) -> None:
    issued(tmp_path)
    install(tmp_path, ISSUED_BY_HEIR, HEIR_CA)
    assert journal_in(tmp_path).roll_back("refused", later(5))
    identity = load_identity(tmp_path / "certs", AGENT)
    assert identity.certificate == ISSUED
    assert load_pem_all(identity.ca_pem or b"") == (HEIR_CA, CA)


def test_the_last_confirmed_identity_is_the_one_to_go_back_to(tmp_path: Path) -> None:
    """Also when its key was replaced by the second of two unconfirmed ones."""
    issued(tmp_path)
    before = triple_in(tmp_path)
    install(tmp_path, RENEWED, CA)
    rotated = leaf_made_by_us(CA, CA_KEY, key=ROTATED_KEY, serial=81)
    switch(tmp_path, rotated, ROTATED_KEY, at=later(5))
    assert state_in(tmp_path).old == fingerprint(ISSUED)
    assert journal_in(tmp_path).roll_back("refused", later(9))
    assert triple_in(tmp_path) == before


def test_after_a_confirmation_the_newer_one_is_gone_back_to(tmp_path: Path) -> None:
    issued(tmp_path)
    install(tmp_path, RENEWED, CA)
    journal_in(tmp_path).confirm(later(1))
    switch(tmp_path, leaf_made_by_us(CA, CA_KEY, key=NODE_KEY, serial=82), at=later(5))
    assert journal_in(tmp_path).roll_back("refused", later(9))
    assert load_identity(tmp_path / "certs", AGENT).certificate == RENEWED


def refused(root: Path, at: WallTime = NOW) -> str:
    """Try to roll back in vain; return why it could not be done."""
    before = {n: c for n, c in snapshot(root).items() if n.startswith("certs")}
    assert not journal_in(root).roll_back("refused by parent1", at)
    assert {n: c for n, c in snapshot(root).items() if n.startswith("certs")} == before
    state = state_in(root)
    assert state.state is Phase.UNCONFIRMED
    assert state.reason.startswith("not rolled back (refused by parent1): ")
    return state.reason


def test_a_request_of_ones_own_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    certs_dir(tmp_path, certificate=SELF_SIGNED)
    install(tmp_path, ISSUED, CA)
    assert "no CA issued" in refused(tmp_path)


def test_an_expired_certificate_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    old = leaf_made_by_us(CA, CA_KEY, key=NODE_KEY, end=NOW + DAY)
    certs_dir(tmp_path, certificate=old, ca=CA)
    install(tmp_path, RENEWED, CA)
    assert "does not work any more" in refused(tmp_path, later(2 * DAY))


def test_a_lost_file_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    issued(tmp_path)
    install(tmp_path, RENEWED, CA)
    (kept,) = (tmp_path / "certs").glob("*.before-*")
    kept.write_text(to_pem(SELF_SIGNED))
    assert "was changed since" in refused(tmp_path)
    kept.unlink()
    assert "cannot read" in refused(tmp_path)


def test_another_certificate_put_there_by_hand_is_left_alone(tmp_path: Path) -> None:
    issued(tmp_path)
    install(tmp_path, RENEWED, CA)
    files_in(tmp_path).certificate.write_text(to_pem(ISSUED))
    assert "another certificate" in refused(tmp_path)


def test_a_successor_ca_that_came_since_does_not_keep_the_older_one_away(
    tmp_path: Path,
) -> None:
    """A pending answer brought it while the new certificate was unconfirmed."""
    issued(tmp_path)
    install(tmp_path, RENEWED, CA)
    bundle = to_pem(CA) + to_pem(HEIR_CA)
    files = files_in(tmp_path)
    assert install_ca(files, ca_pem=to_pem(HEIR_CA), owner=None, at=later(1))
    assert journal_in(tmp_path).roll_back("refused", later(5))
    assert load_identity(tmp_path / "certs", AGENT).certificate == ISSUED
    assert set(load_pem_all(files.ca.read_bytes())) == set(load_pem_all(bundle))


def test_no_other_change_forgets_what_can_be_rolled_back_to(tmp_path: Path) -> None:
    issued(tmp_path)
    install(tmp_path, RENEWED, CA)
    certificate_file = files_in(tmp_path).certificate
    new = certificate_file.read_bytes()
    for number in range(2 * BACKUPS_MAX):
        content = new + b"\n" * (number + 1)
        replace_together(
            [(certificate_file, content)], mode=0o644, owner=None, at=later(number + 1)
        )
    assert journal_in(tmp_path).roll_back("refused", later(99))
    assert load_identity(tmp_path / "certs", AGENT).certificate == ISSUED


def test_the_older_ca_comes_back_where_the_new_one_does_not_vouch(
    tmp_path: Path,
) -> None:
    """A node that was moved to another cluster, which then refuses it."""
    issued(tmp_path)
    before = triple_in(tmp_path)
    files = files_in(tmp_path)
    moved = leaf_made_by_us(FOREIGN_CA, NEW_CA_KEY, key=NODE_KEY, serial=83)
    journal_in(tmp_path).switch(
        [
            (files.ca, to_pem(FOREIGN_CA).encode(), 0o644),
            (files.certificate, to_pem(moved).encode(), 0o644),
        ],
        files=files,
        node_name=AGENT,
        at=NOW,
    )
    assert journal_in(tmp_path).roll_back("refused", later(5))
    assert triple_in(tmp_path) == before


# --- Recovering -----------------------------------------------------------------------


def interrupted(root: Path, *, renamed: int) -> Record:
    """Leave a rotation as a crash leaves it after some renames."""
    issued(root)
    install(
        root,
        leaf_made_by_us(CA, CA_KEY, key=NODE_KEY, serial=90),
        CA,
    )
    journal_in(root).confirm(NOW)
    rotated = leaf_made_by_us(CA, CA_KEY, key=ROTATED_KEY, serial=91)
    real, done = os.replace, 0

    def replace(source: str, target: str, **options: Any) -> None:
        nonlocal done
        if target in {f"{AGENT}.key", f"{AGENT}.crt"}:
            if done == renamed:
                raise KeyboardInterrupt
            done += 1
        real(source, target, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace)
        patch.setattr(IdentityJournal, "_undo", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            switch(root, rotated, ROTATED_KEY, at=later(5))
    path = directories_in(root).identity_journal / "switch.json"
    return msgspec.json.decode(path.read_bytes(), type=Record)


@pytest.mark.parametrize("renamed", [0, 1])
def test_a_half_done_rotation_is_carried_on(tmp_path: Path, renamed: int) -> None:
    interrupted(tmp_path, renamed=renamed)
    assert state_in(tmp_path).state is Phase.SWITCHING
    recovery = journal_in(tmp_path).recover(later(60))
    assert isinstance(recovery, Recovery)
    assert recovery.went.value == "forward"
    assert recovery.state == state_in(tmp_path)
    assert state_in(tmp_path).state is Phase.UNCONFIRMED
    identity = load_identity(tmp_path / "certs", AGENT)
    assert identity.private_key().public_key() == ROTATED_KEY.public_key()


@pytest.mark.parametrize("damage", ["lost", "changed"])
@pytest.mark.parametrize("renamed", [0, 1])
def test_it_goes_back_when_a_staged_file_is_not_whole(
    tmp_path: Path, renamed: int, damage: str
) -> None:
    record = interrupted(tmp_path, renamed=renamed)
    staged = tmp_path / "certs" / str(record.steps[1].staged)
    if damage == "lost":
        staged.unlink()
    else:
        staged.write_bytes(b"x")
    recovery = journal_in(tmp_path).recover(later(60))
    assert recovery is not None
    assert recovery.went.value == "back"
    # The journal says what it said before: the identity in place is a confirmed one.
    assert state_in(tmp_path).state is Phase.CONFIRMED
    assert load_identity(tmp_path / "certs", AGENT).certificate.serial_number == 90
    assert not list((tmp_path / "certs").glob(".*"))


def test_what_a_person_has_put_there_since_is_not_replaced(tmp_path: Path) -> None:
    interrupted(tmp_path, renamed=0)
    files = files_in(tmp_path)
    files.key.write_bytes(encode_private_key(ec_key(92)))
    own = certificate(subject=AGENT, key=ec_key(92))
    files.certificate.write_text(to_pem(own))
    recovery = journal_in(tmp_path).recover(later(60))
    assert recovery is not None
    assert recovery.went.value == "back"
    assert load_identity(tmp_path / "certs", AGENT).certificate == own


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b'{"format": 1', b"\xff"],
    ids=["empty", "nothing", "cut", "garbage"],
)
def test_a_damaged_journal_keeps_no_node_from_starting(
    tmp_path: Path, content: bytes
) -> None:
    issued(tmp_path)
    install(tmp_path, RENEWED, CA)
    path = directories_in(tmp_path).identity_journal / "switch.json"
    path.write_bytes(content)
    assert journal_in(tmp_path).state() is None
    assert journal_in(tmp_path).recover(NOW) is None
    assert not path.exists()
    assert path.with_name("switch.json.damaged").read_bytes() == content
    assert switch(tmp_path, ISSUED)


@pytest.mark.parametrize("name", ["../icefloe/x", "/etc/passwd", "..", "a\0b"])
def test_a_journal_that_leads_elsewhere_is_not_believed(
    tmp_path: Path, name: str
) -> None:
    """It lies in a directory of the daemon's user, and root acts by it."""
    record = interrupted(tmp_path, renamed=1)
    path = directories_in(tmp_path).identity_journal / "switch.json"
    said = msgspec.to_builtins(record)
    said["steps"][1]["name"] = name
    path.write_bytes(msgspec.json.encode(said))
    before = snapshot(tmp_path / "certs")
    assert journal_in(tmp_path).recover(NOW) is None
    assert snapshot(tmp_path / "certs") == before


def _deeply_nested(_said: dict[str, Any]) -> bytes:
    return b'{"before":' * 500_000 + b"null" + b"}" * 500_000


def _long_past(said: dict[str, Any]) -> bytes:
    before = {**said, "before": {**said, "before": None}}
    return msgspec.json.encode({**said, "before": before})


def _never(said: dict[str, Any]) -> bytes:
    return msgspec.json.encode({**said, "at": 1e300})


def _set_user_id(said: dict[str, Any]) -> bytes:
    (step, *rest) = said["steps"]
    return msgspec.json.encode({**said, "steps": [{**step, "mode": 0o4755}, *rest]})


def _older_set_user_id(said: dict[str, Any]) -> bytes:
    older = {**said["older"], "key": {**said["older"]["key"], "mode": 0o4600}}
    return msgspec.json.encode({**said, "older": older})


@pytest.mark.parametrize(
    "craft", [_deeply_nested, _long_past, _never, _set_user_id, _older_set_user_id]
)
def test_a_crafted_journal_is_set_aside_and_not_carried_out(
    tmp_path: Path, craft: Callable[[dict[str, Any]], bytes]
) -> None:
    """It lies in a directory of the daemon's user, and root carries it out."""
    issued(tmp_path)
    install(tmp_path, RENEWED, CA)
    path = directories_in(tmp_path).identity_journal / "switch.json"
    said = msgspec.json.decode(path.read_bytes())
    path.write_bytes(craft({**said, "state": "switching"}))
    assert journal_in(tmp_path).recover(NOW) is None
    assert journal_in(tmp_path).state() is None
    assert path.with_name("switch.json.damaged").exists()
    assert load_identity(tmp_path / "certs", AGENT).certificate == RENEWED


def test_a_journal_that_cannot_be_read_is_told_by_name(tmp_path: Path) -> None:
    issued(tmp_path)
    path = directories_in(tmp_path).identity_journal / "switch.json"
    path.mkdir(parents=True)
    with pytest.raises(FileProblem, match=r"switch\.json"):
        journal_in(tmp_path).recover(NOW)


# --- Owners and modes -----------------------------------------------------------------


@pytest.fixture
def owned(tmp_path: Path) -> Path:
    """An identity of a daemon's user, which root is about to change."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    issued(tmp_path)
    for path in (tmp_path / "certs", *(tmp_path / "certs").iterdir()):
        os.chown(path, NOBODY, NOBODY)
    return tmp_path


def install_as_root(root: Path) -> None:
    owner = (NOBODY, NOBODY)
    install_certificate(
        root / "certs",
        AGENT,
        certificate_pem=to_pem(RENEWED),
        ca_pem=to_pem(CA),
        owner=owner,
        at=NOW,
        journal=IdentityJournal.of_node(directories_in(root), owner=owner),
    )


def test_all_that_root_writes_belongs_to_the_daemons_user(owned: Path) -> None:
    install_as_root(owned)
    for path in (*(owned / "certs").iterdir(), *(owned / "icefloe").rglob("*")):
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (NOBODY, NOBODY), path


@pytest.mark.parametrize(
    "what, mode",
    [("certs", 0o755), (f"certs/{AGENT}.key", 0o600), ("certs/ca.crt", 0o600)],
)
def test_what_the_daemons_user_could_not_use_is_refused_with_the_remedy(
    owned: Path, what: str, mode: int
) -> None:
    """A file of root's, and the renewal fails a year later."""
    path = owned / what
    os.chown(path, 0, 0)
    path.chmod(mode)
    before = snapshot(owned)
    with pytest.raises(IdentityProblem) as raised:
        install_as_root(owned)
    assert raised.value.path == path
    assert f"mode {mode:04o}" in raised.value.problem
    assert f"chown {NOBODY}:{NOBODY} {path}" in raised.value.remedy
    after = snapshot(owned)
    kept = {name for name in after if ".before-" in name}
    assert {n: c for n, c in after.items() if n not in kept} == before


def test_rights_by_group_are_rights(owned: Path) -> None:
    os.chown(owned / "certs", 0, NOBODY)
    (owned / "certs").chmod(0o770)
    install_as_root(owned)
    assert load_identity(owned / "certs", AGENT).certificate == RENEWED
