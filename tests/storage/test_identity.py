"""An identity is loaded as it is, and replaced so that one always works."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
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
    REISSUED,
    RENEWED_CA,
    SELF_SIGNED,
    certs_dir,
    later,
)

from icefloe.pki.certificates import load_pem, load_pem_all, to_pem
from icefloe.pki.trust import TrustAnchor
from icefloe.storage import replacing
from icefloe.storage.files import FileProblem, write_file
from icefloe.storage.identity import (
    IdentityFiles,
    IdentityProblem,
    NodeIdentity,
    install_ca,
    install_certificate,
    install_files,
    load_identity,
    load_ticket,
    load_trust_anchor,
    remove_ticket,
    store_ticket,
)


def install(
    directory: Path,
    new: x509.Certificate = ISSUED,
    ca: x509.Certificate | None = CA,
    **options: Any,
) -> NodeIdentity:
    return install_certificate(
        directory,
        AGENT,
        certificate_pem=to_pem(new),
        ca_pem=None if ca is None else to_pem(ca),
        **{"owner": None, "at": NOW, **options},
    )


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777


# --- Loading --------------------------------------------------------------------------


def test_a_self_signed_identity_without_a_ca_is_loaded(tmp_path: Path) -> None:
    identity = load_identity(certs_dir(tmp_path), AGENT)
    assert identity.certificate == SELF_SIGNED
    assert identity.ca_pem is None
    assert identity.node_name == AGENT
    assert identity.private_key().public_key() == NODE_KEY.public_key()


def test_an_issued_identity_is_loaded_with_its_ca(tmp_path: Path) -> None:
    identity = load_identity(certs_dir(tmp_path, certificate=ISSUED, ca=CA), AGENT)
    assert identity.certificate == ISSUED
    assert identity.ca_pem == to_pem(CA).encode()


def test_no_repr_shows_the_key(tmp_path: Path) -> None:
    assert "PRIVATE" not in repr(load_identity(certs_dir(tmp_path), AGENT))


@pytest.mark.parametrize("missing", ["key", "certificate"])
def test_a_missing_part_is_named_with_what_to_do(tmp_path: Path, missing: str) -> None:
    directory = certs_dir(tmp_path, **{missing: None})
    with pytest.raises(IdentityProblem, match="node setup") as raised:
        load_identity(directory, AGENT)
    assert raised.value.path.parent == directory


def test_a_certificate_for_another_key_is_refused(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path, key=ec_key(99))
    with pytest.raises(IdentityProblem, match="not for the key"):
        load_identity(directory, AGENT)


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    other = certificate(subject="other", key=NODE_KEY)
    with pytest.raises(IdentityProblem, match="'other'"):
        load_identity(certs_dir(tmp_path, certificate=other), AGENT)


def test_a_certificate_without_a_name_is_refused(tmp_path: Path) -> None:
    nameless = certificate(subject=x509.Name([]), key=NODE_KEY)
    with pytest.raises(IdentityProblem, match="no name"):
        load_identity(certs_dir(tmp_path, certificate=nameless), AGENT)


@pytest.mark.parametrize("name", [f"{AGENT}.key", f"{AGENT}.crt", "ca.crt"])
def test_a_file_of_garbage_is_named(tmp_path: Path, name: str) -> None:
    directory = certs_dir(tmp_path, ca=CA)
    (directory / name).write_text("garbage")
    with pytest.raises(IdentityProblem) as raised:
        load_identity(directory, AGENT)
    assert raised.value.path.name == name
    assert raised.value.remedy


def test_a_leaf_in_place_of_the_ca_is_refused(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path, ca=ISSUED)
    with pytest.raises(IdentityProblem, match="not the certificate of a CA"):
        load_identity(directory, AGENT)


# --- Installing -----------------------------------------------------------------------


def test_a_first_certificate_comes_with_its_ca_and_ends_the_ticket(
    tmp_path: Path,
) -> None:
    directory = certs_dir(tmp_path, ticket="t")
    identity = install(directory)
    assert identity.certificate == ISSUED
    assert identity == load_identity(directory, AGENT)
    assert load_pem((directory / "ca.crt").read_bytes()) == CA
    assert not (directory / "ticket").exists()
    assert mode_of(directory / "ca.crt") == 0o644
    assert mode_of(directory / f"{AGENT}.crt") == 0o644


def test_the_old_certificate_is_kept_under_its_time(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path)
    install(directory)
    kept = directory / f"{AGENT}.crt.before-20270115T120000Z"
    assert load_pem(kept.read_bytes()) == SELF_SIGNED


def test_only_the_latest_old_certificates_are_kept(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path)
    for number in range(8):
        leaf = leaf_made_by_us(CA, CA_KEY, key=NODE_KEY, serial=100 + number)
        install(directory, leaf, at=later(number))
    kept = sorted(directory.glob("*.before-*"))
    assert len(kept) == replacing.BACKUPS_MAX
    assert load_pem(kept[-1].read_bytes()).serial_number == 106


def test_no_staged_file_is_left(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path)
    install(directory)
    assert not list(directory.glob(".*"))


def test_the_files_of_a_daemon_user_get_his_ownership(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    directory = certs_dir(tmp_path)
    install(directory, owner=(12345, 54321))
    status = (directory / f"{AGENT}.crt").stat()
    assert (status.st_uid, status.st_gid) == (12345, 54321)


def test_without_an_owner_the_keys_owner_gets_the_files(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    directory = certs_dir(tmp_path)
    os.chown(directory / f"{AGENT}.key", 12345, 54321)
    install(directory)
    assert (directory / "ca.crt").stat().st_uid == 12345


def test_a_renewed_certificate_leaves_the_same_ca_untouched(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path, certificate=ISSUED, ca=CA)
    before = (directory / "ca.crt").stat().st_ino
    install(directory, leaf_made_by_us(CA, CA_KEY, key=NODE_KEY, serial=12))
    assert (directory / "ca.crt").stat().st_ino == before


def test_a_certificate_without_a_ca_verifies_under_the_present_one(
    tmp_path: Path,
) -> None:
    directory = certs_dir(tmp_path, ca=CA)
    assert install(directory, ca=None).certificate == ISSUED


def test_a_certificate_without_any_ca_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(IdentityProblem, match="none came along"):
        install(certs_dir(tmp_path), ca=None)


def test_a_renewed_ca_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path, certificate=ISSUED, ca=CA)
    install(directory, REISSUED, RENEWED_CA)
    assert load_pem_all((directory / "ca.crt").read_bytes()) == (RENEWED_CA,)


def test_an_older_certificate_of_the_same_ca_replaces_nothing(tmp_path: Path) -> None:
    """A satellite may not have seen the renewal yet."""
    directory = certs_dir(tmp_path, ca=RENEWED_CA)
    install(directory, ISSUED, CA)
    assert load_pem_all((directory / "ca.crt").read_bytes()) == (RENEWED_CA,)


def test_a_ca_with_a_new_key_is_added_before_the_old_one(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path, certificate=ISSUED, ca=CA)
    install(directory, ISSUED_BY_HEIR, HEIR_CA)
    assert load_pem_all((directory / "ca.crt").read_bytes()) == (HEIR_CA, CA)


def test_a_ca_that_has_ended_is_dropped_at_the_next_change(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path, ca=CA)
    long_after = later(120 * DAY)
    heir = certificate(
        subject="Icinga CA",
        issuer="Icinga CA",
        key=NEW_CA_KEY,
        signed_by=CA_KEY,
        ca=True,
        end=NOW + 400 * DAY,
    )
    leaf = leaf_made_by_us(heir, NEW_CA_KEY, key=NODE_KEY, end=NOW + 300 * DAY)
    install(directory, leaf, heir, at=long_after)
    assert load_pem_all((directory / "ca.crt").read_bytes()) == (heir,)


@pytest.mark.parametrize(
    "new, ca, why",
    [
        (leaf_made_by_us(CA, CA_KEY, key=ec_key(50)), CA, "another key"),
        (leaf_made_by_us(CA, CA_KEY, cn="b", key=NODE_KEY), CA, "'b'"),
        (leaf_made_by_us(CA, NEW_CA_KEY, key=NODE_KEY), CA, "signature"),
        (SELF_SIGNED, CA, "issued by"),
        (ISSUED, ISSUED, "CA that came along is none"),
    ],
    ids=["another key", "another name", "another CA", "self-signed", "a leaf as CA"],
)
def test_what_does_not_fit_changes_nothing(
    tmp_path: Path, new: x509.Certificate, ca: x509.Certificate, why: str
) -> None:
    directory = certs_dir(tmp_path, ticket="t")
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(IdentityProblem, match=why):
        install(directory, new, ca)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_a_foreign_ca_is_refused_and_both_files_are_named(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path, certificate=ISSUED, ca=CA)
    leaf = leaf_made_by_us(FOREIGN_CA, NEW_CA_KEY, key=NODE_KEY)
    with pytest.raises(IdentityProblem, match="another CA") as raised:
        install(directory, leaf, FOREIGN_CA)
    assert raised.value.path.name == "ca.crt"
    assert "move this file away" in raised.value.remedy
    assert load_identity(directory, AGENT).certificate == ISSUED


# --- A crash in between ---------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """An identity before and after."""

    old_ca: x509.Certificate | None
    old: x509.Certificate
    new_ca: x509.Certificate
    new: x509.Certificate


CHANGES = {
    "first certificate": Change(None, SELF_SIGNED, CA, ISSUED),
    "same CA": Change(CA, ISSUED, CA, REISSUED),
    "renewed CA": Change(CA, ISSUED, RENEWED_CA, REISSUED),
    "CA with a new key": Change(CA, ISSUED, HEIR_CA, ISSUED_BY_HEIR),
}


@pytest.mark.parametrize("step", range(8))
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_crash_at_any_step_leaves_an_identity_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, change: Change
) -> None:
    """The process dies before the `step`th call that changes a directory."""
    directory = certs_dir(tmp_path, certificate=change.old, ca=change.old_ca)
    left = [step]

    def dying(real: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return real(*args, **options)

        return call

    for module, name in ((os, "replace"), (os, "link"), (Path, "replace")):
        monkeypatch.setattr(module, name, dying(getattr(module, name)))
    # A dead process tidies nothing up.
    monkeypatch.setattr(replacing, "remove_file", lambda _path: True)
    died = False
    try:
        install(directory, change.new, change.new_ca)
    except KeyboardInterrupt:
        died = True
    monkeypatch.undo()
    identity = load_identity(directory, AGENT)
    assert died or identity.certificate == change.new
    anchor = load_trust_anchor(IdentityFiles.of_node(directory, AGENT))
    if anchor is not None and identity.certificate != SELF_SIGNED:
        anchor.verify(identity.certificate, NOW)
    # Doing it again completes it.
    assert install(directory, change.new, change.new_ca).certificate == change.new


def test_a_full_disk_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = certs_dir(tmp_path, certificate=ISSUED, ca=CA)
    calls = []

    def full(path: Path, data: bytes, **options: Any) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise FileProblem(path, action="write", reason="No space left on device")
        write_file(path, data, **options)

    monkeypatch.setattr(replacing, "write_file", full)
    with pytest.raises(FileProblem):
        install(directory, REISSUED, RENEWED_CA)
    monkeypatch.undo()
    assert load_identity(directory, AGENT).certificate == ISSUED
    assert not list(directory.glob(".*"))


def test_a_file_that_reads_back_changed_is_not_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = certs_dir(tmp_path)
    monkeypatch.setattr(replacing, "read_file", lambda _path: b"something else")
    with pytest.raises(FileProblem, match="reads back changed"):
        install(directory)
    assert load_identity(directory, AGENT).certificate == SELF_SIGNED
    assert not list(directory.glob(".*"))


def test_a_file_system_without_second_names_keeps_a_private_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: Any, **_options: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    directory = certs_dir(tmp_path)
    monkeypatch.setattr(os, "link", refuse)
    install(directory)
    (kept,) = directory.glob("*.before-*")
    assert load_pem(kept.read_bytes()) == SELF_SIGNED
    assert mode_of(kept) == 0o600


# --- The CA alone ---------------------------------------------------------------------


def test_a_ca_is_installed_without_a_certificate(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path)
    files = IdentityFiles.of_node(directory, AGENT)
    assert install_ca(files, ca_pem=to_pem(CA), owner=None, at=NOW)
    assert not install_ca(files, ca_pem=to_pem(CA), owner=None, at=NOW)
    anchor = load_trust_anchor(files)
    assert anchor is not None
    assert anchor.all_cas == (CA,)


def test_a_foreign_ca_is_not_installed_alone(tmp_path: Path) -> None:
    files = IdentityFiles.of_node(certs_dir(tmp_path, ca=CA), AGENT)
    with pytest.raises(IdentityProblem, match="another CA"):
        install_ca(files, ca_pem=to_pem(FOREIGN_CA), owner=None, at=NOW)


def test_an_identity_for_elsewhere_leaves_tickets_alone(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path, ticket="mine")
    own = IdentityFiles.of_node(directory, AGENT)
    files = IdentityFiles(
        key=own.key, certificate=own.certificate, ca=own.ca, ticket=None
    )
    install_files(
        files,
        node_name=AGENT,
        certificate_pem=to_pem(ISSUED),
        ca_pem=to_pem(CA),
        owner=None,
        at=NOW,
    )
    assert (directory / "ticket").read_text() == "mine"


def test_an_operators_further_ca_stays_trusted(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path, ca=CA)
    with (directory / "ca.crt").open("a") as file:
        file.write(to_pem(FOREIGN_CA))
    install(directory, REISSUED, RENEWED_CA)
    found = TrustAnchor.from_pem((directory / "ca.crt").read_bytes())
    assert found.all_cas == (RENEWED_CA, FOREIGN_CA)


# --- The ticket -----------------------------------------------------------------------


@pytest.mark.parametrize("content", ["abc", "abc\n", "abc\r\n"])
def test_a_line_break_behind_a_ticket_is_no_part_of_it(
    tmp_path: Path, content: str
) -> None:
    assert load_ticket(certs_dir(tmp_path, ticket=content)) == "abc"


def test_no_ticket_is_an_empty_one(tmp_path: Path) -> None:
    assert load_ticket(certs_dir(tmp_path)) == ""


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 5000])
def test_what_is_no_ticket_is_named(tmp_path: Path, content: bytes) -> None:
    directory = certs_dir(tmp_path)
    (directory / "ticket").write_bytes(content)
    with pytest.raises(IdentityProblem, match="ticket"):
        load_ticket(directory)


def test_a_ticket_is_stored_privately_and_removed(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path)
    store_ticket(directory, "abc", owner=None)
    assert mode_of(directory / "ticket") == 0o600
    assert load_ticket(directory) == "abc"
    assert remove_ticket(directory)
    assert not remove_ticket(directory)
