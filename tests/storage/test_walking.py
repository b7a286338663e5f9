"""Root is not led astray by links of the daemon user."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
from tests.storage.material import Lines

from icefloe.config.plan import Plan, PlannedLink
from icefloe.doors import WallTime
from icefloe.storage.carrying_out import carry_out
from icefloe.storage.files import (
    FileProblem,
    back_up,
    ensure_directory,
    remove_file,
    write_file,
)
from icefloe.storage.ledger import SQLiteLedger
from icefloe.storage.ledger_errors import SQLiteLedgerError
from icefloe.storage.replacing import replace_together
from icefloe.storage.walking import LINKS_MAX, open_directory

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="it is about root")

NOBODY = 65534


def opened(path: Path) -> tuple[int, int]:
    """Open a directory; return which one it is."""
    descriptor = open_directory(path)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return status.st_dev, status.st_ino


def identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    """A directory of root's."""
    made = tmp_path / "roots"
    made.mkdir(mode=0o755)
    return made


@pytest.fixture
def planted(tmp_path: Path, roots: Path) -> Path:
    """The daemon user's directory, in which `certs` leads to root's."""
    data = tmp_path / "data"
    data.mkdir()
    link = data / "certs"
    link.symlink_to(roots)
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    os.chown(data, NOBODY, NOBODY)
    return link


@pytest.mark.parametrize(
    "target", ["roots", "./roots", "../x/roots", "roots/.", "{}/roots"]
)
def test_a_link_of_roots_is_followed(tmp_path: Path, roots: Path, target: str) -> None:
    (tmp_path / "link").symlink_to(
        target.replace("../x", f"../{tmp_path.name}").format(tmp_path)
    )
    assert opened(tmp_path / "link") == identity(roots)


def test_a_plain_path_is_opened(roots: Path) -> None:
    (roots / "a" / "b").mkdir(parents=True)
    assert opened(roots / "a" / "b") == identity(roots / "a" / "b")
    assert opened(roots / "a" / ".." / "a") == identity(roots / "a")
    assert opened(Path("/")) == identity(Path("/"))


def test_a_link_of_somebody_else_is_refused(planted: Path) -> None:
    for path in (planted, planted / "deeper"):
        with pytest.raises(OSError, match="made by the user id 65534") as failed:
            open_directory(path)
        assert failed.value.errno == errno.ELOOP


def test_links_in_a_ring_are_given_up(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.ELOOP))):
        open_directory(tmp_path / "a")
    assert LINKS_MAX < 100


@pytest.mark.parametrize("name", ["missing", "file"])
def test_what_is_no_directory_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    expected = {"missing": FileNotFoundError, "file": NotADirectoryError}[name]
    with pytest.raises(expected):
        open_directory(tmp_path / name)


def test_no_descriptor_is_left_open(tmp_path: Path, planted: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in (planted, tmp_path / "missing", tmp_path / "data" / "certs"):
        with pytest.raises(OSError):
            open_directory(path)
    opened(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# -- the attack, through each of the calls that change files -----------------------------


def test_root_creates_replaces_and_removes_nothing_behind_a_planted_link(
    planted: Path, roots: Path
) -> None:
    """CVE-2017-16933's kind: a set-up command run by root in a hacked data directory."""
    (roots / "passwd").write_text("root's")
    before = {p.name: p.read_bytes() for p in roots.iterdir()}
    owner = (NOBODY, NOBODY)
    for attempt in (
        lambda: write_file(planted / "ca.crt", b"x", mode=0o644, owner=owner),
        lambda: write_file(planted / "passwd", b"x", mode=0o644, owner=owner),
        lambda: remove_file(planted / "passwd"),
        lambda: back_up(planted / "passwd"),
        lambda: ensure_directory(planted / "new", mode=0o700, owner=owner),
        lambda: replace_together(
            [(planted / "passwd", b"x")], mode=0o644, owner=owner, at=WallTime(1.0)
        ),
    ):
        with pytest.raises(FileProblem, match="made by the user id"):
            attempt()
    with pytest.raises(SQLiteLedgerError, match="made by the user id"):
        SQLiteLedger.open(planted / "icefloe" / "ledger.sqlite", owner=owner)
    assert {p.name: p.read_bytes() for p in roots.iterdir()} == before
    assert (roots / "passwd").stat().st_uid == 0


def test_root_links_no_feature_behind_a_planted_link(
    planted: Path, roots: Path
) -> None:
    link = PlannedLink(path=planted / "api.conf", target="../api.conf")
    with pytest.raises(FileProblem, match="made by the user id"):
        carry_out(Plan(links=(link,)), owner=(NOBODY, NOBODY), narrator=Lines())
    assert list(roots.iterdir()) == []
