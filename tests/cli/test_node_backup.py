"""`icefloe node backup`, `backups`, `restore`, as an operator uses them."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from tests.cli.command import Command

from icefloe.storage.lock import DaemonLock


@pytest.fixture
def node(icefloe: Command) -> Command:
    """A node with a key and a certificate."""
    constants = icefloe.directories.constants_conf
    constants.write_text('const NodeName = "agent1"\n')
    icefloe.certs.mkdir(mode=0o700)
    new_pair(icefloe)
    return icefloe


def new_pair(icefloe: Command) -> None:
    key, cert = icefloe.certs / "agent1.key", icefloe.certs / "agent1.crt"
    icefloe.ok("pki", "new-cert", "--cn", "agent1", "--key", key, "--cert", cert)


def live(icefloe: Command) -> dict[str, bytes]:
    return {
        name: content
        for name, content in icefloe.files().items()
        if "/icefloe/" not in name and ".before-" not in name
    }


def test_a_backup_is_taken_listed_and_restored(node: Command) -> None:
    before = live(node)
    out = node.ok("node", "backup", "--note", "before the move")
    (name,) = re.findall(r"Backup '(\S+)' holds \d+ files", out)
    assert str(node.certs / "agent1.key") in out
    listed = node.ok("node", "backups")
    assert listed.startswith(f"{name}  20")
    assert "agent1, " in listed
    assert listed.endswith("files, before the move\n")
    new_pair(node)
    node.directories.constants_conf.write_text("garbage {\n")
    assert live(node) != before
    out = node.ok("node", "restore", name)
    assert f"Restored '{node.certs / 'agent1.key'}'" in out
    assert live(node) == before


def test_a_restore_tells_how_to_undo_it(node: Command) -> None:
    node.ok("node", "backup")
    new_pair(node)
    changed = live(node)
    out = node.ok("node", "restore", "latest")
    (undo,) = re.findall(r"node restore (\S+)' undoes this", out)
    assert live(node) != changed
    node.ok("node", "restore", undo)
    assert live(node) == changed


def test_programs_get_one_list(node: Command) -> None:
    assert node.json("node", "backups") == []
    node.ok("node", "backup", "--note", "x")
    found: Any = node.json("node", "backups")
    (each,) = found
    assert each["node_name"] == "agent1"
    assert (each["reason"], each["damage"]) == ("x", "")
    assert str(node.certs / "agent1.key") in each["files"]
    assert each["name"] in each["path"]
    assert each["taken_at"] > 1_000_000_000


def test_no_secret_is_printed(node: Command) -> None:
    (node.certs / "ticket").write_text("0123456789abcdef")
    words: list[tuple[str, ...]] = [("backup",), ("backups",), ("backups", "--json")]
    for more in (*words, ("restore", "latest")):
        done = node("node", *more)
        assert done.code == 0
        assert "PRIVATE" not in done.text
        assert "0123456789abcdef" not in done.text


def test_a_node_with_nothing_says_so(icefloe: Command) -> None:
    assert "There are no backups yet" in icefloe.ok("node", "backups")
    done = icefloe("node", "restore", "latest")
    assert done.code == 1
    assert "'icefloe node backups' lists those there are" in done.err


def test_a_damaged_backup_is_marked_and_refused(node: Command) -> None:
    node.ok("node", "backup")
    (path,) = node.directories.backups.iterdir()
    next(path.glob("*.key")).write_text("x")
    before = live(node)
    assert "DAMAGED" in node.ok("node", "backups")
    done = node("node", "restore", path.name)
    assert done.code == 1
    assert "is damaged" in done.err
    assert live(node) == before


def test_a_running_daemon_is_to_be_reloaded(node: Command) -> None:
    node.ok("node", "backup")
    new_pair(node)
    with DaemonLock.acquire(node.directories.lock):
        done = node("node", "restore", "latest")
    assert done.code == 0
    assert "A daemon is running" in done.err


def test_a_broken_configuration_can_be_backed_up_by_the_one_key_there_is(
    node: Command,
) -> None:
    node.directories.constants_conf.write_text("garbage {\n")
    assert str(node.certs / "agent1.key") in node.ok("node", "backup")


@pytest.mark.parametrize("note", ["a\nb", "x" * 201])
def test_a_note_is_one_line(node: Command, note: str) -> None:
    done = node("node", "backup", "--note", note)
    assert done.code == 1
    assert not node.directories.backups.exists()


def test_new_cert_replaces_the_nodes_own_pair_in_whole(node: Command) -> None:
    """It used to be two files, one after the other."""
    for _ in range(2):
        new_pair(node)
    kept = sorted(p.name for p in node.certs.glob("*.before-*"))
    stamps = [name.partition(".before-")[2] for name in kept]
    assert stamps[: len(kept) // 2] == stamps[len(kept) // 2 :]
    journal = node.directories.identity_journal / "switch.json"
    assert '"confirmed"' in journal.read_text()


def test_a_manifest_of_the_daemons_user_does_not_steer_roots_terminal(
    node: Command,
) -> None:
    node.ok("node", "backup")
    (path,) = node.directories.backups.iterdir()
    manifest = path / "manifest.json"
    said = msgspec.json.decode(manifest.read_bytes())
    escape = "\x1b[2J\x9b1A\rx"
    for crafted in (
        {**said, "reason": escape, "node_name": escape},
        {**said, "entries": [{**said["entries"][1], "stored": escape}]},
    ):
        manifest.write_bytes(msgspec.json.encode(crafted))
        listed = node.ok("node", "backups")
        assert listed.startswith(path.name)
        assert listed.removesuffix("\n").isprintable()
        done = node("node", "restore", path.name)
        assert done.code == 1
        assert all(line.isprintable() for line in done.err.split("\n"))


def test_the_name_of_a_feature_does_not_steer_roots_terminal(node: Command) -> None:
    enabled = node.directories.features_enabled
    enabled.mkdir(parents=True, exist_ok=True)
    odd = enabled / "\x1b]0;x\x07.conf"
    odd.symlink_to("nowhere")
    taken = node.ok("node", "backup")
    odd.unlink()
    restored = node.ok("node", "restore", "latest")
    assert "Restored '" in restored
    assert all(line.isprintable() for line in (taken + restored).split("\n"))
