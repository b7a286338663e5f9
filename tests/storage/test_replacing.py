"""Replacing files that belong together, where links and old files are odd."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from icefloe.doors import WallTime
from icefloe.storage.files import FileProblem, read_plain_file
from icefloe.storage.replacing import BACKUP_MARK, replace_together

AT = WallTime(1_795_371_709.0)


@pytest.fixture
def no_second_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without hard links, or a file that has as many as it may."""

    def refuse(*_given: object, **_named: object) -> None:
        raise OSError(31, "Too many links")

    monkeypatch.setattr(os, "link", refuse)


def kept(path: Path) -> list[bytes]:
    begin = path.name + BACKUP_MARK
    return [p.read_bytes() for p in path.parent.iterdir() if p.name.startswith(begin)]


@pytest.mark.usefixtures("no_second_names")
def test_without_second_names_the_old_content_is_copied(tmp_path: Path) -> None:
    path = tmp_path / "agent.crt"
    path.write_bytes(b"old")
    replace_together([(path, b"new")], mode=0o644, owner=None, at=AT)
    assert (path.read_bytes(), kept(path)) == (b"new", [b"old"])


@pytest.mark.usefixtures("no_second_names")
def test_what_a_link_leads_to_is_not_copied(tmp_path: Path) -> None:
    """Root may read what the daemon user, who made the link, may not."""
    secret, path = tmp_path / "shadow", tmp_path / "agent.crt"
    secret.write_bytes(b"secret")
    path.symlink_to(secret)
    replace_together([(path, b"new")], mode=0o644, owner=None, at=AT)
    assert (path.read_bytes(), kept(path)) == (b"new", [])
    assert secret.read_bytes() == b"secret"


def test_a_plain_file_is_no_link(tmp_path: Path) -> None:
    secret, path = tmp_path / "shadow", tmp_path / "agent.crt"
    secret.write_bytes(b"secret")
    path.symlink_to(secret)
    with pytest.raises(FileProblem):
        read_plain_file(path)
    assert read_plain_file(secret) == b"secret"
