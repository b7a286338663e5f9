"""A plan is carried out step by step; what is so already is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.storage.material import Lines

from icefloe.config.plan import Plan, PlannedFile, PlannedLink
from icefloe.storage.carrying_out import carry_out
from icefloe.storage.files import FileProblem


def done(plan: Plan) -> list[str]:
    lines = Lines()
    carry_out(plan, owner=None, narrator=lines)
    return lines.told


def plan_of(root: Path, text: str = "new", mode: int = 0o640) -> Plan:
    return Plan(files=(PlannedFile(path=root / "etc/a.conf", text=text, mode=mode),))


def test_a_file_is_written_with_its_directory_and_mode(tmp_path: Path) -> None:
    told = done(plan_of(tmp_path))
    path = tmp_path / "etc/a.conf"
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o7777 == 0o640
    assert told == [f"information/cli: Updated '{path}'."]


def test_the_first_change_keeps_the_original(tmp_path: Path) -> None:
    path = tmp_path / "etc/a.conf"
    path.parent.mkdir()
    path.write_text("original")
    assert "Created backup file" in done(plan_of(tmp_path))[0]
    done(plan_of(tmp_path, "newer"))
    assert (tmp_path / "etc/a.conf.orig").read_text() == "original"
    assert path.read_text() == "newer"


def test_what_is_so_already_is_not_touched(tmp_path: Path) -> None:
    done(plan_of(tmp_path))
    inode = (tmp_path / "etc/a.conf").stat().st_ino
    assert done(plan_of(tmp_path)) == []
    assert (tmp_path / "etc/a.conf").stat().st_ino == inode
    assert not (tmp_path / "etc/a.conf.orig").exists()


def test_a_link_is_made_and_made_again(tmp_path: Path) -> None:
    link = PlannedLink(path=tmp_path / "on/a.conf", target="../etc/a.conf")
    for _ in range(2):
        done(Plan(links=(link,)))
        assert link.path.is_symlink()
        assert str(link.path.readlink()) == "../etc/a.conf"
    assert [each.name for each in link.path.parent.iterdir()] == ["a.conf"]


def test_a_removal_of_what_is_gone_is_no_error(tmp_path: Path) -> None:
    link = tmp_path / "a.conf"
    link.symlink_to("nowhere")
    for _ in range(2):
        done(Plan(removals=(link,)))
        assert not link.is_symlink()


def test_what_cannot_be_done_is_named(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("a file in the directory's place")
    with pytest.raises(FileProblem, match="etc"):
        done(plan_of(tmp_path))
    occupied = tmp_path / "on/a.conf"
    occupied.mkdir(parents=True)
    with pytest.raises(FileProblem, match=r"a\.conf"):
        done(Plan(links=(PlannedLink(path=occupied, target="x"),)))
    assert [each.name for each in occupied.parent.iterdir()] == ["a.conf"]
