"""What a preflight sees of this machine, and what it says; it never changes anything."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from tests.node.cluster import (
    Authority,
    free_port,
    unsigned,
)
from tests.node.commands.preflight_world import (
    HOUR,
    NAME,
    NOBODY,
    agent,
    assert_told,
    directories,
    master,
    setting_for,
    the,
)

from icefloe.config.layout import DATA_DIR_DEFAULT, NodeDirectories
from icefloe.enrollment.requester import Parent
from icefloe.node.commands import preflight as preflight_module
from icefloe.node.commands.changes import AgentSetup
from icefloe.node.commands.preflight import check_listening, preflight
from icefloe.node.commands.preflight_files import check_disk, check_files
from icefloe.pki.certificates import to_pem
from icefloe.storage.keys import encode_private_key, generate_key
from icefloe.storage.lock import DaemonLock

__all__ = ["directories"]


# --- This machine ---------------------------------------------------------------------


def test_a_new_machine_is_well(directories: NodeDirectories) -> None:
    checks = list(preflight(master(), setting_for(directories)))
    assert {each.name for each in checks if each.ok is True} == {
        *("name", "files", "disk", "identity", "daemon", "listen", "clock")
    }
    assert all(each.ok for each in checks), checks


def test_nothing_is_changed(directories: NodeDirectories, tmp_path: Path) -> None:
    def everything() -> dict[Path, tuple[int, int]]:
        return {
            path: (path.lstat().st_mtime_ns, path.lstat().st_ino)
            for path in tmp_path.rglob("*")
        }

    before = everything()
    list(preflight(agent(Parent("127.0.0.1", free_port())), setting_for(directories)))
    list(preflight(master(), setting_for(directories)))
    assert everything() == before


@pytest.mark.parametrize("name", ["", "a/b", "a" * 65, "a,b", "icefloe-canary-a"])
def test_a_name_that_no_node_may_have_ends_it(
    directories: NodeDirectories, name: str
) -> None:
    checks = list(preflight(master(name), setting_for(directories)))
    assert len(checks) == 1
    assert_told(checks[0], "bad-name")


@pytest.mark.parametrize(
    "name,word",
    [("Web1.example.org", "capital"), ("web1", "full host name"), ("we b", "full")],
)
def test_a_name_that_is_better_avoided_is_remarked_on(
    directories: NodeDirectories, name: str, word: str
) -> None:
    check = the(master(name), setting_for(directories), "name")
    assert check.ok is None
    assert word in check.detail
    assert check.fix


def test_another_name_than_the_present_one_is_remarked_on(
    directories: NodeDirectories,
) -> None:
    directories.constants_conf.write_text('const NodeName = "old.example.org"\n')
    check = the(master(), setting_for(directories), "name")
    assert check.ok is None
    assert "'old.example.org' now" in check.detail


def test_a_configuration_that_cannot_be_understood_is_told_with_its_place(
    directories: NodeDirectories,
) -> None:
    directories.constants_conf.mkdir()
    check = the(master(), setting_for(directories), "configuration")
    assert_told(check, "configuration-invalid", "constants.conf")


def test_zones_that_do_not_go_together_are_told(directories: NodeDirectories) -> None:
    node = replace(agent().node, zone_name="master")
    check = the(AgentSetup(node=node), setting_for(directories), "configuration")
    assert_told(check, "configuration-invalid", "master")


# --- Files and disk -------------------------------------------------------------------


def test_something_else_in_a_files_place_is_told(directories: NodeDirectories) -> None:
    directories.ticket.mkdir()
    check = the(agent(), setting_for(directories), "files")
    assert_told(check, "file-rights", "ticket", "not a regular file")


def test_something_else_in_a_directorys_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("")
    (check,) = check_files([tmp_path / "etc" / "zones.conf"], [], owner=None)
    assert_told(check, "file-rights", "not a directory")


@contextmanager
def nobody() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else for a moment")
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_directory_that_lets_nobody_in_is_told(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for directory in (tmp_path, *list(tmp_path.parents)[:-1]):
        if directory.stat().st_uid == os.geteuid() != 0:
            break  # not root: the test below skips itself
    with nobody():
        problems = list(check_files([closed / "file"], [], owner=None))
    assert problems
    assert_told(problems[0], "file-rights", "nobody" if not problems else "'")


def test_a_node_that_somebody_may_not_even_look_at_is_told(
    directories: NodeDirectories,
) -> None:
    """As when a user runs the wizard on the packages' directories."""
    directories.constants_conf.write_text('const NodeName = "old"\n')
    for directory in (directories.config_dir, directories.data_dir):
        directory.chmod(0o700)
    with nobody():
        checks = list(preflight(master(), setting_for(directories)))
    wrong = {check.code for check in checks if check.ok is False}
    assert "file-rights" in wrong


def test_a_file_of_another_user_that_the_daemon_could_not_read_is_told(
    directories: NodeDirectories, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root hands files to another user")
    key = directories.node_key(NAME)
    key.write_text("")
    key.chmod(0o600)
    (check, *_) = check_files([key], [key], owner=(NOBODY, NOBODY))
    assert_told(check, "file-rights", "may not pass")
    for each in (key.parent, *key.parent.parents):
        if each == tmp_path.parent.parent.parent:
            break
        each.chmod(0o755)
    problems = list(check_files([key], [key], owner=(NOBODY, NOBODY)))
    assert_told(problems[-1], "file-rights", "cannot read", str(key))
    assert problems[-1].fix.startswith("chown")


def test_a_daemon_of_another_user_is_told_before_the_key_is_made(
    tmp_path: Path,
) -> None:
    with nobody():
        (check,) = check_files([tmp_path / "key"], [], owner=(NOBODY - 1, NOBODY))
    assert_told(check, "file-rights", "belong to the user")
    assert check.fix.startswith("run this as root")


def test_many_problems_of_one_kind_do_not_fill_the_screen(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}" for number in range(20)]
    for path in paths:
        path.mkdir()
    assert len(list(check_files(paths, [], owner=None))) == 4


@pytest.mark.parametrize(
    "free,files,word", [(1, 1000, "0 MB"), (10**9, 3, "3 files"), (10**9, 0, "")]
)
def test_a_full_disk_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    free: int,
    files: int,
    word: str,
) -> None:
    """No files at all means that the file system does not count them."""
    status = SimpleNamespace(
        f_frsize=1, f_bavail=free, f_bfree=free, f_favail=files, f_files=files
    )
    monkeypatch.setattr(os, "statvfs", lambda _: status)
    (check,) = check_disk([tmp_path / "not" / "yet"])
    if not word:
        assert check.ok
        return
    assert_told(check, "disk-full", word)


# --- The identity ---------------------------------------------------------------------


class Identity:
    """Puts an identity in place."""

    def __init__(self, directories: NodeDirectories) -> None:
        self.ca, self.key = Authority(), generate_key()
        self._directories = directories
        directories.node_key(NAME).write_bytes(encode_private_key(self.key))

    def certificate(self, certificate: x509.Certificate) -> None:
        self._directories.node_certificate(NAME).write_text(to_pem(certificate))

    def trusted(self, authority: Authority) -> None:
        self._directories.trusted_ca.write_text(authority.pem)


def key_alone(_: Identity) -> None:
    """A set-up that was interrupted early."""


def asked_for(made: Identity) -> None:
    made.certificate(unsigned(NAME, made.key))


def healthy(made: Identity) -> None:
    made.certificate(made.ca.issue(NAME, made.key))
    made.trusted(made.ca)


def of_another_key(made: Identity) -> None:
    made.certificate(made.ca.issue(NAME, generate_key()))
    made.trusted(made.ca)


def of_another_ca(made: Identity) -> None:
    made.certificate(made.ca.issue(NAME, made.key))
    made.trusted(Authority())


def without_ca(made: Identity) -> None:
    made.certificate(made.ca.issue(NAME, made.key))


@pytest.mark.parametrize(
    "arrange,ok,words",
    [
        (key_alone, True, "is used"),
        (asked_for, True, "the same key is used again"),
        (healthy, True, "the key stays"),
        (of_another_key, None, "not for its key"),
        (of_another_ca, None, "does not serve"),
        (without_ca, None, "no ca.crt"),
    ],
)
def test_the_present_identity_is_judged(
    directories: NodeDirectories,
    arrange: Callable[[Identity], None],
    ok: bool | None,  # noqa: FBT001 - a column of the table
    words: str,
) -> None:
    arrange(Identity(directories))
    check = the(agent(), setting_for(directories), "identity")
    assert check.ok is ok
    assert words in check.detail


def test_a_certificate_that_ran_out_is_told(directories: NodeDirectories) -> None:
    healthy(Identity(directories))
    later = setting_for(directories, wrong=3 * 365 * 24 * HOUR)
    check = the(agent(), later, "identity")
    assert check.ok is None
    assert "its certificate ended on" in check.detail


def test_a_certificate_that_cannot_be_read_is_asked_for_anew(
    directories: NodeDirectories,
) -> None:
    Identity(directories)
    directories.node_certificate(NAME).write_text("no certificate")
    check = the(agent(), setting_for(directories), "identity")
    assert check.ok is None
    assert "cannot be read" in check.detail


@pytest.mark.parametrize("file", ["key", "ca"])
def test_a_broken_identity_is_told_with_its_file(
    directories: NodeDirectories, file: str
) -> None:
    path = directories.node_key(NAME) if file == "key" else directories.trusted_ca
    path.write_text("broken")
    check = the(agent(), setting_for(directories), "identity")
    assert_told(check, "identity-broken", str(path))


# --- The daemon and its port ----------------------------------------------------------


def test_our_own_running_daemon_is_told_and_its_port_is_not_complained_of(
    directories: NodeDirectories,
) -> None:
    directories.own_dir.mkdir()
    with DaemonLock.acquire(directories.lock):
        checks = list(preflight(master(), setting_for(directories)))
    (daemon,) = (each for each in checks if each.name == "daemon")
    assert daemon.ok is None
    assert f"process {os.getpid()}" in daemon.detail
    assert "listen" not in {each.name for each in checks}


@pytest.mark.parametrize(
    "cmdline,ours",
    [
        (b"/usr/lib/icinga2\0--no-stack-rlimit\0daemon\0", False),
        (b"icinga2\0daemon\0-D\0Configuration.DataDir=%s\0", True),
        (b"icinga2\0daemon\0-D\0Configuration.DataDir=/elsewhere\0", False),
        (b"icinga2\0node\0wizard\0", False),
    ],
)
def test_a_running_icinga2_is_told_when_it_is_on_these_directories(
    directories: NodeDirectories,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cmdline: bytes,
    *,
    ours: bool,
) -> None:
    process = tmp_path / "proc" / "4711"
    process.mkdir(parents=True)
    (process / "comm").write_text("icinga2\n")
    line = cmdline.replace(b"%s", str(directories.data_dir).encode())
    (process / "cmdline").write_bytes(line)
    monkeypatch.setattr(preflight_module, "_PROC", tmp_path / "proc")
    check = the(master(), setting_for(directories), "daemon")
    assert (check.ok is None) is ours
    assert ("4711" in check.detail) is ours


def test_an_icinga2_without_options_is_on_the_packages_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = tmp_path / "4711"
    process.mkdir()
    (process / "comm").write_text("icinga2\n")
    (process / "cmdline").write_bytes(b"/usr/lib/icinga2\0daemon\0")
    monkeypatch.setattr(preflight_module, "_PROC", tmp_path)
    packaged = NodeDirectories(config_dir=tmp_path, data_dir=DATA_DIR_DEFAULT)
    assert preflight_module._icinga_pid(packaged) == 4711


def test_a_port_that_is_taken_is_told(directories: NodeDirectories) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        node = replace(master(), bind_host="127.0.0.1", bind_port=port)
        check = the(node, setting_for(directories), "listen")
    assert_told(check, "port-in-use", str(port))


def test_an_address_of_another_machine_is_told() -> None:
    assert_told(check_listening("192.0.2.1", free_port()), "port-in-use", "192.0.2.1")
