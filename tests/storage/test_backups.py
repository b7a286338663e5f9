"""Sets of copies: taken whole, verified, restored whole, and the latest five kept."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.pki.makers import AGENT, NOW, certificate, ec_key
from tests.storage.disk_steps import count_steps, full_at
from tests.storage.material import CA, ISSUED, NODE_KEY, SELF_SIGNED, certs_dir, later
from tests.storage.switches import (
    RENEWED,
    directories_in,
    files_in,
    journal_in,
    triple_in,
)

from icefloe.config.layout import NodeDirectories
from icefloe.pki.certificates import to_pem
from icefloe.storage.backups import (
    BACKUPS_MAX,
    Backup,
    BackupProblem,
    Restored,
    list_backups,
    restore_backup,
    take_backup,
)
from icefloe.storage.files import FileProblem
from icefloe.storage.identity import IdentityProblem, load_identity
from icefloe.storage.keys import encode_private_key
from icefloe.storage.switching import Phase

NOBODY = 12345


@pytest.fixture
def node(tmp_path: Path) -> NodeDirectories:
    """A node with an identity and all of its configuration."""
    root = tmp_path / "data"
    root.mkdir()
    certs_dir(root, certificate=ISSUED, ca=CA, ticket="t")
    (root / "certs/ticket").chmod(0o600)
    node = NodeDirectories(config_dir=tmp_path / "etc", data_dir=root)
    for directory in (node.conf_d, node.features_available, node.features_enabled):
        directory.mkdir(parents=True)
    for path in configuration(node):
        path.write_text(f"// {path.name}\n")
        path.chmod(0o640)
    node.feature_enabled("api").symlink_to("../features-available/api.conf")
    return node


def configuration(node: NodeDirectories) -> list[Path]:
    return [
        node.icinga2_conf,
        node.constants_conf,
        node.zones_conf,
        node.feature_available("api"),
        node.api_users_conf,
    ]


def take(node: NodeDirectories, at: float = 0, **options: Any) -> Backup:
    given = {"reason": "a test", "owner": None, "at": later(at), **options}
    taken = take_backup(node, AGENT, **given)
    assert taken is not None
    return taken


def restore(node: NodeDirectories, name: str, at: float = 50) -> Restored:
    return restore_backup(node, name, at=later(at), owner=None)


def everything(node: NodeDirectories) -> dict[str, tuple[bytes, int] | str]:
    """Return what there is, but for backups, kept files and the journal."""
    found: dict[str, tuple[bytes, int] | str] = {}
    for top in (node.config_dir, node.certs):
        for path in sorted(top.rglob("*")):
            if path.is_symlink():
                found[str(path)] = str(path.readlink())
            elif path.is_file() and ".before-" not in path.name:
                found[str(path)] = path.read_bytes(), path.stat().st_mode & 0o777
    return found


def spoil(node: NodeDirectories) -> None:
    """Change everything, as a set-up that goes wrong might."""
    files = files_in(node.data_dir)
    own = certificate(subject=AGENT, key=ec_key(77))
    files.key.write_bytes(encode_private_key(ec_key(77)))
    files.certificate.write_text(to_pem(own))
    files.ca.unlink()
    for path in configuration(node):
        path.write_text("// spoilt\n")
    node.feature_enabled("api").unlink()
    node.feature_enabled("checker").symlink_to("../features-available/checker.conf")


# --- Taking ---------------------------------------------------------------------------


def test_a_set_holds_identity_and_configuration_privately(
    node: NodeDirectories,
) -> None:
    taken = take(node, reason="before the move")
    assert taken.name == "20270115T120000Z-1"
    assert taken.path == node.data_dir / "icefloe/backups" / taken.name
    files = files_in(node.data_dir)
    assert set(taken.files) == {
        *(files.key, files.certificate, files.ca),
        *configuration(node),
        node.feature_enabled("api"),
    }
    for path in (node.backups, taken.path):
        assert path.stat().st_mode & 0o777 == 0o700
    for path in taken.path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert (taken.reason, taken.node_name, taken.damage) == (
        *("before the move", AGENT),
        "",
    )
    assert "PRIVATE" not in (taken.path / "manifest.json").read_text()


def test_the_very_same_is_not_kept_twice_for_the_same_reason(
    node: NodeDirectories,
) -> None:
    first = take(node)
    assert take(node, at=9) == first
    assert take(node, at=9, reason="another").name == "20270115T120009Z-1"
    node.zones_conf.write_text("// changed\n")
    assert take(node, at=9, reason="another").name == "20270115T120009Z-2"


def test_the_latest_five_are_kept(node: NodeDirectories) -> None:
    for number in range(8):
        node.zones_conf.write_text(f"// {number}\n")
        take(node, at=number)
    names = [each.name for each in list_backups(node)]
    assert names == [f"20270115T12000{n}Z-1" for n in range(3, 8)]
    assert len(list(node.backups.iterdir())) == BACKUPS_MAX


def test_a_new_set_is_kept_also_when_the_clock_was_set_back(
    node: NodeDirectories,
) -> None:
    for number in range(6):
        node.zones_conf.write_text(f"// {number}\n")
        take(node, at=number)
    node.zones_conf.write_text("// now\n")
    taken = take(node, at=-1000)
    assert taken.name in [each.name for each in list_backups(node)]
    assert len(list_backups(node)) == BACKUPS_MAX


def test_a_node_without_files_has_nothing_to_keep(tmp_path: Path) -> None:
    directories = directories_in(tmp_path)
    assert take_backup(directories, AGENT, reason="x", at=NOW, owner=None) is None
    assert list_backups(directories) == []
    assert not directories.own_dir.exists()


def test_all_of_a_set_that_root_takes_belongs_to_the_daemons_user(
    node: NodeDirectories,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    taken = take(node, owner=(NOBODY, NOBODY))
    for path in (node.backups, taken.path, *taken.path.iterdir()):
        assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, NOBODY)


def test_root_copies_nothing_through_a_link_of_the_daemons_user(
    node: NodeDirectories, tmp_path: Path
) -> None:
    """The copy is for the daemon's user to read; what the link leads to is not."""
    if os.geteuid() != 0:
        pytest.skip("it is about root")
    secret = tmp_path / "shadow"
    secret.write_text("root's own")
    key = files_in(node.data_dir).key
    key.unlink()
    key.symlink_to(secret)
    os.chown(key, NOBODY, NOBODY, follow_symlinks=False)
    taken = take(node)
    assert not any(b"root's own" in p.read_bytes() for p in taken.path.iterdir())


def test_a_file_behind_an_administrators_link_is_copied(
    node: NodeDirectories, tmp_path: Path
) -> None:
    real = tmp_path / "managed.conf"
    real.write_text("// managed\n")
    node.zones_conf.unlink()
    node.zones_conf.symlink_to(real)
    taken = take(node)
    assert any(p.read_bytes() == b"// managed\n" for p in taken.path.iterdir())
    # What is as it was stays a link.
    assert restore(node, taken.name).changed == ()
    assert node.zones_conf.is_symlink()


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for good"])
def test_a_full_disk_leaves_no_half_set(
    node: NodeDirectories, *, lasting: bool
) -> None:
    steps = count_steps(lambda: take(node, at=-9))
    node.zones_conf.write_text("// changed\n")
    before = everything(node)
    for number in range(1, steps + 1):
        error = full_at(number, lambda: take(node), lasting=lasting, all_calls=False)
        assert error is None or isinstance(error, FileProblem)
        found = list_backups(node)
        assert len(found) == (1 if error is not None else 2)
        assert all(not each.damage for each in found)
        assert everything(node) == before
        if error is None:
            break
    assert take(node).name == "20270115T120000Z-1"
    assert not list(node.backups.glob(".*"))


# --- Restoring ------------------------------------------------------------------------


def test_a_restore_brings_everything_back(node: NodeDirectories) -> None:
    before = everything(node)
    taken = take(node)
    spoil(node)
    spoilt = everything(node)
    done = restore(node, taken.name)
    assert everything(node) == before
    assert done.has_identity
    assert done.backup == taken
    assert set(done.changed) >= set(taken.files)
    assert load_identity(node.certs, AGENT).certificate == ISSUED
    state = journal_in(node.data_dir).state()
    assert state is not None
    assert (state.state, state.reason) == (
        Phase.CONFIRMED,
        f"restored from the backup {taken.name}",
    )
    # And what was there before can be had back in its turn.
    assert done.before is not None
    assert done.before.name == "20270115T120050Z-1"
    restore(node, done.before.name, at=60)
    assert everything(node) == spoilt


def test_latest_is_the_latest(node: NodeDirectories) -> None:
    take(node)
    node.zones_conf.write_text("// later\n")
    latest = take(node, at=10)
    spoil(node)
    assert restore(node, "latest").backup == latest
    assert node.zones_conf.read_text() == "// later\n"


def test_a_restore_of_what_is_there_changes_nothing(node: NodeDirectories) -> None:
    taken = take(node)
    before = everything(node)
    done = restore(node, taken.name)
    assert (done.changed, done.before) == ((), None)
    assert everything(node) == before
    assert list_backups(node) == [taken]


def test_latest_said_again_is_the_same(node: NodeDirectories) -> None:
    """The set that a restore takes undoes it; nobody asks for that by "latest"."""
    taken = take(node)
    spoil(node)
    for at in (50, 60):
        assert restore(node, "latest", at=at).backup == taken
    assert len(list_backups(node)) == 2


def test_to_and_fro_fills_no_places(node: NodeDirectories) -> None:
    first = take(node)
    spoil(node)
    spoilt = restore(node, first.name).before
    assert spoilt is not None
    for at in range(60, 100, 10):
        assert restore(node, spoilt.name, at=at).before == first
        assert restore(node, first.name, at=at + 5).before == spoilt
    assert list_backups(node) == [first, spoilt]


def test_what_was_not_there_goes_away(node: NodeDirectories) -> None:
    files = files_in(node.data_dir)
    files.ca.unlink()
    files.certificate.write_text(to_pem(SELF_SIGNED))
    node.zones_conf.unlink()
    taken = take(node)
    files.ca.write_text(to_pem(CA))
    files.certificate.write_text(to_pem(RENEWED))
    node.zones_conf.write_text("// new\n")
    restore(node, taken.name)
    assert not any(p.exists() for p in (files.ca, node.zones_conf))
    assert load_identity(node.certs, AGENT).certificate == SELF_SIGNED


def test_a_set_from_before_there_was_an_identity_leaves_the_identity(
    node: NodeDirectories,
) -> None:
    files = files_in(node.data_dir)
    pair = files.key.read_bytes(), files.certificate.read_bytes()
    files.key.unlink()
    files.certificate.unlink()
    taken = take(node)
    files.key.write_bytes(pair[0])
    files.key.chmod(0o600)
    files.certificate.write_bytes(pair[1])
    before = triple_in(node.data_dir)
    node.zones_conf.write_text("// new\n")
    assert not restore(node, taken.name).has_identity
    assert triple_in(node.data_dir) == before
    assert node.zones_conf.read_text() == "// zones.conf\n"


def test_the_oldest_of_five_can_be_restored_and_stays_until_it_is(
    node: NodeDirectories,
) -> None:
    """What is taken before the restore pushes it out only afterwards."""
    for number in range(BACKUPS_MAX):
        node.zones_conf.write_text(f"// {number}\n")
        take(node, at=number)
    spoil(node)
    oldest = list_backups(node)[0].name
    restore(node, oldest)
    assert node.zones_conf.read_text() == "// 0\n"
    assert oldest in [each.name for each in list_backups(node)]


def test_a_used_ticket_comes_back_from_no_backup(node: NodeDirectories) -> None:
    """A ticket has no end: whoever finds it in a copy can be this node."""
    secret = "2b5e0f1c9d"
    node.ticket.write_text(secret)
    taken = take(node)
    node.ticket.unlink()  # the final answer came
    node.zones_conf.write_text("// later\n")
    done = restore(node, taken.name)
    assert done.before is not None
    restore(node, done.before.name, at=60)
    assert not node.ticket.exists()
    everywhere = [*node.data_dir.rglob("*"), *node.config_dir.rglob("*")]
    assert not any(secret.encode() in p.read_bytes() for p in everywhere if p.is_file())


def test_a_ticket_that_waits_stays(node: NodeDirectories) -> None:
    taken = take(node)
    node.ticket.write_text("newer")
    restore(node, taken.name)
    assert node.ticket.read_text() == "newer"
    assert not list(node.certs.glob("ticket.*"))


@pytest.mark.parametrize("name", ["latest", "20270115T120000Z-9", "../certs", ""])
def test_a_set_that_is_not_there_is_told(node: NodeDirectories, name: str) -> None:
    with pytest.raises(BackupProblem, match="is not there"):
        restore(node, name)


def _change_a_copy(path: Path) -> None:
    next(path.glob("*.key")).write_bytes(encode_private_key(NODE_KEY) + b"\n")


def _lose_a_copy(path: Path) -> None:
    next(path.glob("*.crt")).unlink()


def _lose_the_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


def _cut_the_manifest(path: Path) -> None:
    os.truncate(path / "manifest.json", 100)


def _point_elsewhere(path: Path) -> None:
    change(path, 0, stored="../../../certs/ca.crt")


def change(path: Path, number: int, /, **said: object) -> None:
    """Let the manifest say something else of an entry."""
    manifest = msgspec.json.decode((path / "manifest.json").read_bytes())
    manifest["entries"][number].update(said)
    (path / "manifest.json").write_bytes(msgspec.json.encode(manifest))


@pytest.mark.parametrize(
    "damage",
    [
        _change_a_copy,
        _lose_a_copy,
        _lose_the_manifest,
        _cut_the_manifest,
        _point_elsewhere,
    ],
)
def test_a_damaged_set_is_shown_as_such_and_restores_nothing(
    node: NodeDirectories, damage: Callable[[Path], None]
) -> None:
    taken = take(node)
    damage(taken.path)
    spoil(node)
    before = everything(node)
    (listed,) = list_backups(node)
    assert listed.damage
    assert listed.at == NOW
    with pytest.raises(BackupProblem, match="is damaged"):
        restore(node, taken.name)
    assert everything(node) == before
    assert len(list_backups(node)) == 1


@pytest.mark.parametrize(
    "said",
    [
        {"path": "/etc/passwd"},
        {"part": "sudoers"},
        {"part": "enabled-feature", "kind": "link", "path": "/etc/cron.d/x.conf"},
    ],
)
def test_a_manifest_leads_root_nowhere_else(
    node: NodeDirectories, said: dict[str, str]
) -> None:
    taken = take(node)
    spoil(node)
    before = everything(node)
    change(taken.path, 5, **said)
    with pytest.raises(BackupProblem, match="is not of these directories"):
        restore(node, taken.name)
    assert everything(node) == before


def test_a_manifest_makes_nobody_elses_files(node: NodeDirectories) -> None:
    """Nor set-user-id ones: it lies in a directory of the daemon's user."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(node.certs, NOBODY, NOBODY)
    taken = take(node, owner=(NOBODY, NOBODY))
    spoil(node)
    change(taken.path, 5, mode=0o4755, uid=54321, gid=54321)
    restore_backup(node, taken.name, at=later(50), owner=(NOBODY, NOBODY))
    status = node.zones_conf.stat()
    assert (status.st_uid, status.st_gid) == (NOBODY, NOBODY)
    assert status.st_mode & 0o7777 == 0o755


def test_no_link_of_roots_can_be_carried_off_before_it_is_given_away(
    node: NodeDirectories, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root follows root's links, and a manifest says where this one leads."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    enabled = node.features_enabled
    taken = take(node, owner=(NOBODY, NOBODY))
    for path in (enabled, node.certs):
        os.chown(path, NOBODY, NOBODY)
    spoil(node)
    real = os.chown

    def carry_off(*given: Any, **named: Any) -> None:
        for path in enabled.iterdir():
            if path.is_symlink() and path.name.startswith("."):
                path.rename(enabled / "mine")
        real(*given, **named)

    monkeypatch.setattr(os, "chown", carry_off)
    restore_backup(node, taken.name, at=later(50), owner=(NOBODY, NOBODY))
    links = {path.name: path.lstat().st_uid for path in enabled.iterdir()}
    assert links == {"api.conf": NOBODY}


def test_root_with_nobody_to_give_links_to_makes_none_of_the_daemons_user(
    node: NodeDirectories,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("it is about root")
    taken = take(node, owner=(NOBODY, NOBODY))
    spoil(node)
    before = everything(node)
    with pytest.raises(BackupProblem, match="whose links root does not make"):
        restore(node, taken.name)
    assert everything(node) == before


def test_a_manifest_with_an_impossible_time_or_endless_nesting_is_damaged(
    node: NodeDirectories,
) -> None:
    taken = take(node)
    manifest = taken.path / "manifest.json"
    said = msgspec.json.decode(manifest.read_bytes())
    for content in (
        msgspec.json.encode({**said, "at": 1e300}),
        msgspec.json.encode({**said, "at": -1.0}),
        b'{"entries":' + b"[" * 100_000,
    ):
        manifest.write_bytes(content)
        assert list_backups(node)[0].damage
        with pytest.raises(BackupProblem, match="is damaged"):
            restore(node, taken.name)


@pytest.mark.parametrize("field", ["node_name", "path"])
def test_no_refusal_steers_a_terminal(node: NodeDirectories, field: str) -> None:
    taken = take(node)
    if field == "path":
        change(taken.path, 5, path="/\x1b]0;x\x07")
    else:
        manifest = taken.path / "manifest.json"
        said = msgspec.json.decode(manifest.read_bytes())
        manifest.write_bytes(msgspec.json.encode({**said, field: "\x1b]0;x\x07"}))
    with pytest.raises(BackupProblem) as caught:
        restore(node, taken.name)
    assert str(caught.value).isprintable()


def test_an_identity_that_does_not_load_is_not_restored(node: NodeDirectories) -> None:
    files = files_in(node.data_dir)
    good = files.key.read_bytes()
    files.key.write_bytes(encode_private_key(ec_key(78)))
    taken = take(node)
    files.key.write_bytes(good)
    before = everything(node)
    with pytest.raises(IdentityProblem, match="not for the key"):
        restore(node, taken.name)
    assert everything(node) == before


def test_a_full_disk_before_the_identity_is_switched_changes_no_file(
    node: NodeDirectories, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the configuration is staged first."""
    taken = take(node)
    spoil(node)
    before = everything(node)
    real = os.open

    def refuse(path: Any, flags: int, *more: Any, **options: Any) -> int:
        if flags & os.O_CREAT and "api-users.conf.staged" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, flags, *more, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(FileProblem, match="free some space"):
            restore(node, taken.name)
    assert everything(node) == before
    restore(node, taken.name)
    assert everything(node) != before
