"""`icefloe service`: systemd's files for this installation."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest
from tests.cli.command import Command

from icefloe.node import service_units
from icefloe.node.commands import service_files
from icefloe.node.commands.service_files import node_service
from icefloe.node.service_units import (
    GATEWAY_OPTIONS_FILE,
    SIGNER_DROP_IN,
)

UNIT = PurePosixPath("/etc/systemd/system/icefloe.service")
GATEWAY_UNIT = PurePosixPath("/etc/systemd/system/icefloe-gateway.service")
PROGRAM = ("--program", "/usr/bin/icefloe")
INSTALL = ("service", "install", *PROGRAM, "--user", "nobody")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return what a service does not see; it would not see this test's own files."""
    hidden = tmp_path / "home"
    monkeypatch.setattr(service_units, "HIDDEN_PLACES", (str(hidden),))
    return hidden


def test_show_prints_what_install_would_write_and_writes_nothing(
    icefloe: Command,
) -> None:
    done = icefloe("service", "show", *PROGRAM, "--user", "nobody")
    assert done.code == 0
    assert done.out.startswith("# /etc/systemd/system/icefloe.service\n")
    assert "User=nobody" in done.out
    data_dir = icefloe.directories.data_dir
    assert f"--data-dir {data_dir}" in done.out
    assert f"ReadWritePaths={data_dir}\n" in done.out


def test_install_writes_tells_what_to_run_and_has_nothing_to_do_the_second_time(
    icefloe: Command, tmp_path: Path
) -> None:
    words = (*INSTALL, "--root", str(tmp_path))
    done = icefloe(*words)
    assert done.code == 0
    assert "systemctl enable --now icefloe" in done.out
    unit = tmp_path / UNIT.relative_to("/")
    assert oct(unit.stat().st_mode & 0o777) == "0o644"
    before = unit.stat().st_mtime_ns
    again = icefloe(*words)
    assert again.code == 0
    assert "Nothing to do" in again.out
    assert unit.stat().st_mtime_ns == before


def test_install_gives_the_ca_to_a_signer_and_takes_it_away_again(
    icefloe: Command, tmp_path: Path
) -> None:
    words = (*INSTALL, "--root", str(tmp_path))
    drop_in = tmp_path / SIGNER_DROP_IN.relative_to("/")
    icefloe.directories.ca_dir.mkdir()
    icefloe(*words)
    assert f"ReadOnlyPaths={icefloe.directories.ca_dir}" in drop_in.read_text()
    icefloe.directories.ca_dir.rmdir()
    done = icefloe(*words)
    assert "does not sign" in done.out
    assert not drop_in.exists()


def test_install_keeps_the_options_that_an_operator_gave_the_gateway(
    icefloe: Command, tmp_path: Path
) -> None:
    words = ("service", "install", "--gateway", *PROGRAM, "--root", str(tmp_path))
    assert icefloe(*words).code == 0
    options = tmp_path / GATEWAY_OPTIONS_FILE.relative_to("/")
    options.write_text('GATEWAY_OPTIONS="--upstream sat1"\n')
    (tmp_path / GATEWAY_UNIT.relative_to("/")).write_text("old")
    assert icefloe(*words).code == 0
    assert options.read_text() == 'GATEWAY_OPTIONS="--upstream sat1"\n'
    unit = (tmp_path / GATEWAY_UNIT.relative_to("/")).read_text()
    assert "ExecStart=/usr/bin/icefloe gateway " in unit


def test_a_program_that_a_service_cannot_see_is_said_and_nothing_is_written(
    icefloe: Command, tmp_path: Path, home: Path
) -> None:
    done = icefloe(
        *("service", "install", "--program", home / "bin/icefloe"),
        *("--user", "nobody", "--root", str(tmp_path / "root")),
    )
    assert done.code == 1
    assert "/opt/icefloe" in done.err
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("words", [(), ("--gateway",)], ids=["node", "gateway"])
def test_a_link_to_a_program_is_followed(
    icefloe: Command, tmp_path: Path, home: Path, words: tuple[str, ...]
) -> None:
    link = tmp_path / "icefloe"
    link.symlink_to(home / "venv" / "bin" / "icefloe")
    root = tmp_path / "root"
    done = icefloe("service", "install", *words, "--program", link, "--root", root)
    assert done.code == 1
    assert f"'{link}' leads to '{home}/venv/bin/icefloe'" in done.err
    assert "icefloe-*.whl" in done.err
    assert not root.exists()


@pytest.mark.parametrize("command", ["show", "install"])
@pytest.mark.parametrize("option", ["--config-dir", "--data-dir"])
@pytest.mark.parametrize("linked", [False, True], ids=["itself", "a link"])
def test_a_directory_that_a_service_cannot_see_is_said_and_nothing_is_written(
    icefloe: Command,
    tmp_path: Path,
    home: Path,
    *,
    command: str,
    option: str,
    linked: bool,
) -> None:
    place = home / "joe"
    if linked:
        place = tmp_path / "link"
        place.symlink_to(home / "joe")
    root = tmp_path / "root"
    there = ("--root", root) if command == "install" else ()
    words = ("service", command, *PROGRAM, "--user", "nobody", *there)
    done = icefloe(option, place, *words)
    assert done.code == 1
    assert done.out == ""
    assert f"'{place}'" in done.err
    assert f"name that with {option}" in done.err
    assert not root.exists()


def test_a_home_that_is_a_link_hides_where_it_leads(
    icefloe: Command, tmp_path: Path, home: Path
) -> None:
    """As on systems whose /home leads to /var/home."""
    (tmp_path / "var").mkdir()
    home.symlink_to(tmp_path / "var")
    words = ("service", "show", *PROGRAM, "--user", "nobody")
    assert icefloe("--data-dir", tmp_path / "var" / "joe", *words).code == 1


def test_files_of_root_get_a_user_of_their_own(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_files, "daemon_user", lambda *_: None)
    service = node_service(
        icefloe.directories, program=("/usr/bin/icefloe",), environment={}
    )
    assert (service.user, service.makes_user) == ("icinga", True)
    commands = service_files.next_commands(service)
    assert commands[0] == "systemd-sysusers"
    assert any(command.startswith("chown -R icinga:icinga ") for command in commands)
    # Without a file's name it would work on every package's, /tmp included.
    assert "systemd-tmpfiles --create /etc/tmpfiles.d/icefloe.conf" in commands


def test_the_owner_of_the_data_directory_runs_the_service(
    icefloe: Command,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    for each in (icefloe.directories.data_dir, icefloe.directories.config_dir):
        os.chown(each, 1, 1)
    service = node_service(
        icefloe.directories, program=("/usr/bin/icefloe",), environment={}
    )
    assert (service.user, service.group) == ("daemon", "daemon")
    assert not service.makes_user
