"""A plan is carried out step by step; what is so already is left alone."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from tests.storage.material import Lines

from icefloe.config.plan import Plan, PlannedFile, PlannedLink
from icefloe.storage.carrying_out import carry_out, staged
from icefloe.storage.files import FileProblem

NOBODY = 12345


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


# --- Staged ---------------------------------------------------------------------------


def whole_plan(root: Path) -> Plan:
    (root / "etc").mkdir()
    (root / "etc/old.conf").write_text("old")
    (root / "etc/gone.conf").write_text("gone")
    return Plan(
        files=(
            PlannedFile(path=root / "etc/old.conf", text="new", mode=0o640),
            PlannedFile(path=root / "etc/deep/er/new.conf", text="new", mode=0o644),
        ),
        links=(PlannedLink(path=root / "on/link.conf", target="../etc/old.conf"),),
        removals=(root / "etc/gone.conf",),
    )


def everything(root: Path) -> dict[str, str | None]:
    return {
        str(path.relative_to(root)): path.read_text() if path.is_file() else None
        for path in root.rglob("*")
    }


def test_what_is_staged_and_not_committed_leaves_nothing(tmp_path: Path) -> None:
    plan, lines = whole_plan(tmp_path), Lines()
    before = everything(tmp_path)
    with staged(plan, owner=None, narrator=lines):
        assert (tmp_path / "etc/.old.conf.staged").read_text() == "new"
        visible = {name for name in everything(tmp_path) if name.endswith(".conf")}
        assert visible == {"etc/old.conf", "etc/gone.conf"}
    assert everything(tmp_path) == before
    assert lines.told == []


def test_what_is_committed_is_in_place_and_nothing_else_is(tmp_path: Path) -> None:
    plan = whole_plan(tmp_path)
    with staged(plan, owner=None, narrator=Lines()) as changes:
        changes.commit()
    assert everything(tmp_path) == {
        "etc": None,
        "etc/deep": None,
        "etc/deep/er": None,
        "etc/deep/er/new.conf": "new",
        "etc/old.conf": "new",
        "etc/old.conf.orig": "old",
        "on": None,
        "on/link.conf": "new",
    }


def test_what_cannot_be_staged_changes_nothing(tmp_path: Path) -> None:
    plan = whole_plan(tmp_path)
    (tmp_path / "on").write_text("in the way")
    before = everything(tmp_path)
    with pytest.raises(FileProblem):
        carry_out(plan, owner=None, narrator=Lines())
    assert everything(tmp_path) == before


def test_a_stopped_stage_is_no_hindrance(tmp_path: Path) -> None:
    """After a kill -9 the files of the stage are still there."""
    plan = whole_plan(tmp_path)
    (tmp_path / "on").mkdir()
    (tmp_path / "on/.link.conf.staged").symlink_to("elsewhere")
    (tmp_path / "etc/.old.conf.staged").write_text("half")
    carry_out(plan, owner=None, narrator=Lines())
    assert (tmp_path / "on/link.conf").read_text() == "new"
    assert not [name for name in everything(tmp_path) if name.endswith(".staged")]


@pytest.mark.parametrize("fails", ["old.conf", "new.conf", "link", "removal"])
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_when_one_step_fails_those_before_it_are_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, *, links: bool
) -> None:
    """As a file that is mounted by itself does: nothing can be renamed over it."""
    plan = whole_plan(tmp_path)
    steps = {
        "old.conf": plan.files[0].path,
        "new.conf": plan.files[1].path,
        "link": plan.links[0].path,
        "removal": plan.removals[0],
    }
    before = everything(tmp_path)
    mode = plan.files[0].path.stat().st_mode
    replace, unlink, link = os.replace, os.unlink, os.link

    def stubborn(source: str, target: str, **more: int) -> None:
        if target == steps[fails].name and source.endswith(".staged"):
            raise OSError(errno.EBUSY, "Device or resource busy")
        replace(source, target, **more)

    def stubborn_unlink(name: str, **more: int) -> None:
        if fails == "removal" and name == steps[fails].name:
            raise OSError(errno.EPERM, "Operation not permitted")
        unlink(name, **more)

    def no_links(*names: str, **more: Any) -> None:
        if not links:
            raise OSError(errno.EPERM, "Operation not permitted")
        link(*names, **more)

    monkeypatch.setattr("os.replace", stubborn)
    monkeypatch.setattr("os.unlink", stubborn_unlink)
    monkeypatch.setattr("os.link", no_links)
    with pytest.raises(FileProblem) as caught:
        carry_out(plan, owner=None, narrator=Lines())
    assert caught.value.path == steps[fails]
    monkeypatch.undo()
    assert everything(tmp_path) == before
    assert plan.files[0].path.stat().st_mode == mode


def test_root_makes_no_link_to_a_place_the_daemons_user_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link of root's is followed by root; its maker must not choose where it leads.

    Who gives a link of his as many names as it may have gets it copied instead.
    """
    if os.geteuid() != 0:
        pytest.skip("it is about root")
    etc, made = tmp_path / "etc", []
    etc.mkdir()
    os.chown(etc, NOBODY, NOBODY)
    (etc / "a.conf").symlink_to("/any/where")
    os.chown(etc / "a.conf", NOBODY, NOBODY, follow_symlinks=False)

    def too_many(*_given: object, **_named: object) -> None:
        raise OSError(errno.EMLINK, "Too many links")

    monkeypatch.setattr(os, "link", too_many)
    monkeypatch.setattr(os, "symlink", lambda *given, **_named: made.append(given))
    with pytest.raises(FileProblem, match="made by the user id 12345"):
        carry_out(plan_of(tmp_path), owner=(NOBODY, NOBODY), narrator=Lines())
    assert made == []
    assert [each.name for each in etc.iterdir()] == ["a.conf"]
    assert (etc / "a.conf").lstat().st_uid == NOBODY
