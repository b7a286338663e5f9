from __future__ import annotations

import grp
import os
import pwd
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from icefloe.config.errors import LayoutError
from icefloe.config.host import DaemonUser, daemon_user, fully_qualified_name


def known_users(monkeypatch: pytest.MonkeyPatch, **users: int) -> None:
    """Let only these users exist; each has a group of its name and number + 1."""

    def getpwnam(name: str) -> SimpleNamespace:
        return SimpleNamespace(pw_uid=users[name], pw_gid=users[name] + 1)

    def getgrnam(name: str) -> SimpleNamespace:
        return SimpleNamespace(gr_gid=users[name] + 1)

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    monkeypatch.setattr(grp, "getgrnam", getgrnam)


def test_environment_names_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known_users(monkeypatch, nagios=100, other=200)
    found = daemon_user(tmp_path, {"ICINGA2_USER": "nagios"})
    assert found == DaemonUser(uid=100, gid=101)
    found = daemon_user(tmp_path, {"ICINGA2_USER": "nagios", "ICINGA2_GROUP": "other"})
    assert found == DaemonUser(uid=100, gid=201)


def test_owner_of_the_data_directory_is_the_user(tmp_path: Path) -> None:
    status = tmp_path.stat()
    found = daemon_user(tmp_path, {"ICINGA2_USER": ""})
    assert found == DaemonUser(uid=status.st_uid, gid=status.st_gid)


def test_packaged_user_is_the_last_resort(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    monkeypatch.setattr("icefloe.config.host.DATA_DIR_DEFAULT", missing)
    known_users(monkeypatch, icinga=300, nagios=100)
    assert daemon_user(missing, {}) == DaemonUser(uid=300, gid=301)
    known_users(monkeypatch, nagios=100)
    assert daemon_user(missing, {}) == DaemonUser(uid=100, gid=101)
    known_users(monkeypatch)
    assert daemon_user(missing, {}) is None


def test_packaged_user_has_nothing_in_directories_of_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known_users(monkeypatch, icinga=300, nagios=100)
    assert daemon_user(tmp_path / "missing", {}) is None


def test_group_alone_goes_with_whoever_we_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known_users(monkeypatch, other=200)
    found = daemon_user(tmp_path / "missing", {"ICINGA2_GROUP": "other"})
    assert found == DaemonUser(uid=os.geteuid(), gid=201)


@pytest.mark.parametrize("variable", ["ICINGA2_USER", "ICINGA2_GROUP"])
@pytest.mark.parametrize("name", ["no-such-one", "a\0b"])
def test_unknown_name_is_refused(variable: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=variable):
        daemon_user(tmp_path, {variable: name})


@pytest.mark.parametrize(
    "canonical, expected",
    [("node.example.org", "node.example.org"), ("localhost", "node"), ("", "node")],
)
def test_full_name_comes_from_the_resolver(
    monkeypatch: pytest.MonkeyPatch, canonical: str, expected: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "node")
    answer = [(2, 1, 6, canonical, ("127.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    assert fully_qualified_name() == expected


def test_host_name_does_where_the_resolver_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "gethostname", lambda: "node")
    monkeypatch.setattr(socket, "getaddrinfo", failing)
    assert fully_qualified_name() == "node"
