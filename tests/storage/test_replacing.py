"""Replacing files that belong together, where links and old files are odd."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from icefloe.doors import WallTime
from icefloe.storage.files import FileProblem, Owner, read_plain_file, write_file
from icefloe.storage.replacing import BACKUP_MARK, put_back, replace_together

NOBODY = 12345
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


class Swapper:
    """A hostile daemon's user who puts another directory there whenever one looks.

    What is asked for by name is answered by a directory of root's; what is asked of a
    descriptor is not his to change.
    """

    def __init__(self, root: Path) -> None:
        self.certs, self.roots, self._aside = root / "certs", root / "roots", root / "o"
        for directory in (self.certs, self.roots):
            directory.mkdir()
            (directory / "kept").write_bytes(directory.name.encode())
        for path in (self.certs, self.certs / "kept"):
            os.chown(path, NOBODY, NOBODY)
        self._stat = os.stat

    def stat(self, path: Any, **more: Any) -> os.stat_result:
        if not isinstance(path, (str, Path)) or Path(path).parent != self.certs:
            return self._stat(path, **more)
        self.certs.rename(self._aside)
        self.certs.symlink_to(self.roots)
        try:
            return self._stat(path, **more)
        finally:
            self.certs.unlink()
            self._aside.rename(self.certs)


@pytest.mark.usefixtures("no_second_names")
@pytest.mark.parametrize("owner", [None, (NOBODY, NOBODY)])
def test_root_makes_no_file_of_its_own_from_what_the_daemons_user_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Owner | None
) -> None:
    """He has it read here and judged there: content of his, owner root, set-user-id."""
    if os.geteuid() != 0:
        pytest.skip("it is about root")
    swapper = Swapper(tmp_path)
    target = swapper.certs / "tool"
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", swapper.stat)
        put_back(swapper.certs / "kept", target, mode=0o4755, owner=owner)
    status = target.lstat()
    assert target.read_bytes() == b"certs"
    assert (status.st_uid, status.st_gid) == (NOBODY, NOBODY)
    assert stat.S_IMODE(status.st_mode) == 0o755
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", swapper.stat)
        replace_together(
            [(swapper.certs / "kept", b"new")], mode=0o644, owner=owner, at=AT
        )
    (copy,) = swapper.certs.glob(f"kept{BACKUP_MARK}*")
    assert copy.lstat().st_uid == NOBODY


def test_a_written_file_is_never_set_user_id(tmp_path: Path) -> None:
    write_file(tmp_path / "tool", b"x", mode=0o6755)
    assert stat.S_IMODE((tmp_path / "tool").stat().st_mode) == 0o755
