from __future__ import annotations

import os
from pathlib import Path

import pytest

from icefloe.config import sources
from icefloe.config.sources import (
    FileIncludes,
    SourceMissing,
    SourceUnreadable,
    files_below,
    is_directory,
    list_directory,
    named_files,
    read_source,
)
from tests.config.helpers import write


def test_file_is_read_as_utf8(tmp_path: Path) -> None:
    write(tmp_path, {"a.conf": "zürich\r\n"})
    source = read_source(tmp_path / "a.conf")
    assert (source.name, source.text) == (str(tmp_path / "a.conf"), "zürich\r\n")


def test_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, {"a.conf": b"a\nb\xff\n"})
    with pytest.raises(SourceUnreadable) as caught:
        read_source(tmp_path / "a.conf")
    assert caught.value.message.endswith("a.conf is not UTF-8 (line 2)")
    assert "\ufffd" in read_source(tmp_path / "a.conf", strict=False).text


def test_missing_file_is_told_from_an_unreadable_one(tmp_path: Path) -> None:
    write(tmp_path, {"a.conf": ""})
    for path in (tmp_path / "nope", tmp_path / "a.conf" / "below"):
        with pytest.raises(SourceMissing):
            read_source(path)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    """A pipe would block for ever and a device never end."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(SourceUnreadable, match="regular"):
            read_source(path)


def test_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    with pytest.raises(SourceUnreadable, match="cannot be read"):
        read_source(tmp_path / "a")
    with pytest.raises(SourceUnreadable):
        is_directory(tmp_path / "a")


def test_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "FILE_BYTES_MAX", 3)
    write(tmp_path, {"a": "abc", "b": "abcd"})
    read_source(tmp_path / "a")
    with pytest.raises(SourceUnreadable, match="3 bytes"):
        read_source(tmp_path / "b")


def test_closed_file_and_directory_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything, so the system's refusal is played."""

    def refusing(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    write(tmp_path, {"d/a.conf": ""})
    for method, look in (
        ("open", lambda: read_source(tmp_path / "d/a.conf")),
        ("stat", lambda: is_directory(tmp_path / "d")),
        ("iterdir", lambda: list_directory(tmp_path / "d")),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, refusing)
            with pytest.raises(SourceUnreadable, match="Permission denied") as caught:
                look()
        assert "root" in caught.value.remedy
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SourceUnreadable, match="Permission denied"):
        named_files(str(tmp_path / "x"), "d/*.conf")


def names(paths: list[Path], root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in paths]


def test_include_starts_at_the_including_file_and_takes_files(tmp_path: Path) -> None:
    write(tmp_path, {"d/b.conf": "", "d/a.conf": "", "d/c.txt": "", "d/e/f.conf": ""})
    including = str(tmp_path / "icinga2.conf")
    assert names(named_files(including, "d/*.conf"), tmp_path) == [
        "d/a.conf",
        "d/b.conf",
    ]
    assert names(named_files(including, "d/c.txt"), tmp_path) == ["d/c.txt"]
    assert named_files(including, str(tmp_path / "d/a.conf"))
    assert named_files(including, "d") == []
    assert len(named_files(including, "d/*")) == 3


def test_include_of_a_missing_file_is_a_problem_unless_it_has_a_wildcard(
    tmp_path: Path,
) -> None:
    including = str(tmp_path / "icinga2.conf")
    assert FileIncludes().named(including, "nope*.conf") == []
    assert FileIncludes().named(including, "nope?") == []
    with pytest.raises(SourceMissing, match=r"nope\.conf does not exist"):
        FileIncludes().named(including, "nope.conf")


def test_include_recursive_finds_everything_below_once(tmp_path: Path) -> None:
    write(
        tmp_path, {"d/b.conf": "B", "d/x/a.conf": "A", "d/x.txt": "", "e/c.conf": "C"}
    )
    (tmp_path / "d/loop").symlink_to(tmp_path / "d")
    (tmp_path / "d/other").symlink_to(tmp_path / "e")
    found = FileIncludes().below(str(tmp_path / "icinga2.conf"), "d", "*.conf")
    assert [source.text for source in found] == ["B", "C", "A"]
    assert names(files_below(tmp_path / "d", "*.txt"), tmp_path) == ["d/x.txt"]


def test_include_recursive_of_a_missing_directory_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match="cannot be listed"):
        files_below(tmp_path / "nope", "*.conf")


def test_missing_directory_holds_nothing(tmp_path: Path) -> None:
    assert list_directory(tmp_path / "nope") == []
    assert not is_directory(tmp_path / "nope")
