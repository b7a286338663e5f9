"""Files are whole, closed to others, and never left lying about."""

from __future__ import annotations

import errno
import os
import resource
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from icefloe.errors import IcefloeError
from icefloe.storage import files
from icefloe.storage.files import (
    FileProblem,
    back_up,
    ensure_directory,
    read_file,
    read_file_if_there,
    remove_file,
    write_file,
)

IS_ROOT = os.geteuid() == 0
SOMEBODY = (4242, 4343)
AS_ROOT = pytest.mark.skipif(not IS_ROOT, reason="only root can give files away")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def owner_of(path: Path) -> tuple[int, int]:
    return path.lstat().st_uid, path.lstat().st_gid


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@contextmanager
def without_privileges() -> Iterator[None]:
    """Be nobody for a while, when we are root; permissions do not bind root."""
    if not IS_ROOT:
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    old = os.umask(mask)
    try:
        yield
    finally:
        os.umask(old)


def failing(number: int, *, at_call: int = 1) -> Callable[..., Any]:
    """Return a stand-in for a system call that fails at its n-th call."""
    calls = iter(range(1, 1000))

    def fail(*_: object, **__: object) -> None:
        if next(calls) >= at_call:
            raise OSError(number, os.strerror(number))

    return fail


# --- Writing --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_file_gets_its_content_and_exactly_its_mode(
    mode: int, mask: int, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    with umask(mask):
        write_file(path, b"new", mode=mode)
    assert path.read_bytes() == b"new"
    assert mode_of(path) == mode
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("data", [b"", b"x" * 3_000_000])
def test_an_old_file_is_replaced_whole(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old and longer than nothing")
    path.chmod(0o666)
    write_file(path, data, mode=0o600)
    assert path.read_bytes() == data
    assert mode_of(path) == 0o600


def test_a_file_is_never_open_to_more_than_its_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    create = os.open

    def watch(path: str, flags: int, mode: int = 0o777, **rest: Any) -> int:
        descriptor = create(path, flags, mode, **rest)
        if flags & os.O_CREAT:
            seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
            assert flags & os.O_EXCL
            assert flags & os.O_NOFOLLOW
        return descriptor

    monkeypatch.setattr(os, "open", watch)
    with umask(0):
        write_file(tmp_path / "key", b"secret", mode=0o600)
    assert seen == [0o600]


def test_content_and_directory_are_brought_to_disk_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    synchronize, rename = os.fsync, os.replace

    def watch_synchronize(descriptor: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        done.append("directory" if is_directory else "file")
        synchronize(descriptor)

    def watch_rename(*names: Any, **rest: Any) -> None:
        done.append("rename")
        rename(*names, **rest)

    monkeypatch.setattr(os, "fsync", watch_synchronize)
    monkeypatch.setattr(os, "replace", watch_rename)
    write_file(tmp_path / "file", b"x", mode=0o600)
    assert done == ["file", "rename", "directory"]


def test_a_link_under_the_final_name_is_replaced_and_not_followed(
    tmp_path: Path,
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "file"
    path.symlink_to(victim)
    write_file(path, b"new", mode=0o600)
    assert victim.read_text() == "precious"
    assert not path.is_symlink()
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("plant", ["symlink", "dangling", "file"])
def test_what_is_planted_under_the_temporary_name_is_not_touched(
    plant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _: "guessed")
    victim = tmp_path / "victim"
    planted = tmp_path / ".file.tmp.guessed"
    if plant == "file":
        planted.write_text("precious")
    else:
        planted.symlink_to(victim)
        if plant == "symlink":
            victim.write_text("precious")
    with pytest.raises(FileProblem) as caught:
        write_file(tmp_path / "file", b"new", mode=0o600)
    assert caught.value.errno == errno.EEXIST
    assert "file" not in names_in(tmp_path)
    assert planted.is_symlink() or planted.read_text() == "precious"
    if plant == "symlink":
        assert victim.read_text() == "precious"
    else:
        assert not victim.exists()


def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_else(
    tmp_path: Path,
) -> None:
    """The limit on file size stands in for it: a real refusal in mid-write."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(FileProblem, match=r"cannot write '.*file': File too large"):
            write_file(path, b"x" * 100_000, mode=0o600)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["write", "fsync", "fchmod", "replace"])
@pytest.mark.parametrize(
    "number, advice",
    [
        (errno.ENOSPC, "No space left on device; free some space and try again"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "Read-only file system; the file system is mounted read-only"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_failure_at_any_step_leaves_the_old_file_and_nothing_else(
    call: str,
    number: int,
    advice: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, failing(number))
    with pytest.raises(FileProblem) as caught:
        write_file(path, b"new", mode=0o600)
    monkeypatch.undo()
    assert (caught.value.path, caught.value.action) == (path, "write")
    assert caught.value.errno == number
    assert str(caught.value).startswith(f"cannot write '{path}': ")
    assert advice in str(caught.value)
    assert isinstance(caught.value, IcefloeError)
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["write", "replace"])
def test_an_interruption_leaves_the_old_file_and_nothing_else(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, call, interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "file", b"new", mode=0o600)
    assert names_in(tmp_path) == []


def test_a_directory_that_cannot_be_brought_to_disk_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new content is in place; it might not survive a power cut."""
    monkeypatch.setattr(os, "fsync", failing(errno.EIO, at_call=2))
    with pytest.raises(FileProblem, match="Input/output error"):
        write_file(tmp_path / "file", b"new", mode=0o600)
    assert (tmp_path / "file").read_bytes() == b"new"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_knows_no_such_thing_is_no_failure(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(number, at_call=2))
    write_file(tmp_path / "file", b"new", mode=0o600)


def test_writes_in_pieces_are_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: whole(fd, bytes(data[:3])))
    write_file(tmp_path / "file", b"0123456789", mode=0o600)
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_directory_without_permission_is_reported_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o555)
    monkeypatch.chdir(tmp_path)  # nobody may not walk through pytest's directories
    with without_privileges(), pytest.raises(FileProblem) as caught:
        write_file(Path("file"), b"new", mode=0o600)
    assert caught.value.errno == errno.EACCES
    assert "Permission denied; run this as the daemon user or as root" in str(
        caught.value
    )
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("name", ["missing/file", "note/file"])
def test_a_directory_that_is_not_there_is_reported(name: str, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("not a directory")
    with pytest.raises(FileProblem) as caught:
        write_file(tmp_path / name, b"new", mode=0o600)
    assert caught.value.is_missing is (name == "missing/file")


def test_a_directory_in_the_files_place_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(FileProblem, match="Is a directory"):
        write_file(tmp_path / "file", b"new", mode=0o600)
    assert names_in(tmp_path) == ["file"]


def test_a_path_that_cannot_be_one_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match="null") as caught:
        write_file(tmp_path / "a\0b", b"new", mode=0o600)
    assert caught.value.errno is None


# --- Owners ---------------------------------------------------------------------------


@AS_ROOT
def test_root_gives_a_file_to_its_owner(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"new", mode=0o600, owner=SOMEBODY)
    assert owner_of(tmp_path / "file") == SOMEBODY
    assert mode_of(tmp_path / "file") == 0o600


@AS_ROOT
def test_root_leaves_an_old_file_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    os.chown(path, *SOMEBODY)
    write_file(path, b"new", mode=0o600)
    assert owner_of(path) == SOMEBODY


def test_another_user_owns_what_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    write_file(tmp_path / "file", b"new", mode=0o600, owner=SOMEBODY)
    ensure_directory(tmp_path / "directory", mode=0o700, owner=SOMEBODY)
    us = (tmp_path.stat().st_uid, os.getegid())
    assert owner_of(tmp_path / "file") == us
    assert owner_of(tmp_path / "directory") == us


def test_a_file_that_cannot_be_given_away_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", failing(errno.EPERM))
    with pytest.raises(FileProblem, match="run this as the daemon user or as root"):
        write_file(tmp_path / "file", b"new", mode=0o600, owner=SOMEBODY)
    assert names_in(tmp_path) == []


# --- Reading --------------------------------------------------------------------------


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 2_500_000)
    assert read_file(path) == b"x" * 2_500_000
    (tmp_path / "link").symlink_to(path)
    assert len(read_file(tmp_path / "link")) == 2_500_000


@pytest.mark.parametrize("size, is_read", [(0, True), (10, True), (11, False)])
def test_a_file_has_a_greatest_length(
    size: int, *, is_read: bool, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * size)
    if is_read:
        assert read_file(path, bytes_max=10) == b"x" * size
    else:
        with pytest.raises(FileProblem, match="it is longer than 10 bytes"):
            read_file(path, bytes_max=10)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match=r"cannot read .*: No such file") as caught:
        read_file(tmp_path / "missing")
    assert caught.value.is_missing


def test_a_file_that_may_be_missing_is_read_when_it_is_there(tmp_path: Path) -> None:
    assert read_file_if_there(tmp_path / "file") is None
    (tmp_path / "file").write_bytes(b"x")
    assert read_file_if_there(tmp_path / "file") == b"x"
    with pytest.raises(FileProblem, match="not a regular file"):
        read_file_if_there(tmp_path)


def test_what_is_no_regular_file_is_not_read_or_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    for name in ("pipe", "directory"):
        with pytest.raises(FileProblem, match="it is not a regular file") as caught:
            read_file(tmp_path / name)
        assert not caught.value.is_missing


def test_an_error_without_words_still_has_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no number, no name")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(FileProblem, match="no number, no name"):
        read_file(tmp_path / "file")


# --- Back-up --------------------------------------------------------------------------


def test_the_first_state_of_a_file_is_kept_and_no_later_one(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    path.write_bytes(b"first")
    path.chmod(0o640)
    copy = tmp_path / "node.key.orig"
    assert back_up(path) == copy
    path.write_bytes(b"second")
    assert back_up(path) is None
    assert copy.read_bytes() == b"first"
    assert mode_of(copy) == 0o640


def test_what_is_not_there_needs_no_copy(tmp_path: Path) -> None:
    assert back_up(tmp_path / "missing") is None
    assert names_in(tmp_path) == []


def test_a_link_in_the_copys_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    (tmp_path / "file.orig").symlink_to(tmp_path / "victim")
    assert back_up(path) is None
    assert not (tmp_path / "victim").exists()


def test_a_link_is_not_followed_to_what_its_maker_may_not_read(tmp_path: Path) -> None:
    """A daemon's user could lead root to a file in a closed directory."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    (tmp_path / "file").symlink_to(secret)
    assert back_up(tmp_path / "file") is None
    assert names_in(tmp_path) == ["file", "secret"]


def test_a_copy_is_never_a_program_that_changes_users(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    path.chmod(0o4755)
    copy = back_up(path)
    assert copy is not None
    assert mode_of(copy) == 0o755


def test_what_cannot_be_copied_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(FileProblem, match=r"cannot back up .*file': it is not a regul"):
        back_up(tmp_path / "file")


def test_a_copy_that_cannot_be_written_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setattr(os, "write", failing(errno.ENOSPC))
    with pytest.raises(FileProblem, match=r"cannot write .*file.orig': No space left"):
        back_up(tmp_path / "file")
    assert names_in(tmp_path) == ["file"]


# --- Removing -------------------------------------------------------------------------


def test_a_file_is_removed_once(tmp_path: Path) -> None:
    (tmp_path / "ticket").write_text("x")
    assert remove_file(tmp_path / "ticket")
    assert not remove_file(tmp_path / "ticket")


def test_what_cannot_be_removed_is_reported(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(FileProblem, match="cannot remove") as caught:
        remove_file(tmp_path / "directory")
    assert caught.value.action == "remove"


# --- Directories ----------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_missing_directories_are_made_with_exactly_their_mode(
    mask: int, tmp_path: Path
) -> None:
    with umask(mask):
        ensure_directory(tmp_path / "a/b", mode=0o750)
    assert mode_of(tmp_path / "a") == mode_of(tmp_path / "a/b") == 0o750


def test_directories_that_exist_are_left_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o711)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    ensure_directory(tmp_path / "a", mode=0o700)
    ensure_directory(tmp_path / "link", mode=0o700)
    assert mode_of(tmp_path / "a") == 0o711


@AS_ROOT
def test_root_gives_directories_to_their_owner(tmp_path: Path) -> None:
    ensure_directory(tmp_path / "a/b", mode=0o700, owner=SOMEBODY)
    assert owner_of(tmp_path / "a") == owner_of(tmp_path / "a/b") == SOMEBODY
    assert owner_of(tmp_path) != SOMEBODY


def test_a_file_in_a_directorys_place_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "file/below"):
        with pytest.raises(FileProblem, match="cannot create") as caught:
            ensure_directory(tmp_path / name, mode=0o700)
        assert caught.value.action == "create"


def test_temporary_names_cannot_be_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    create = files._create

    def watch(directory: int, name: str, *rest: Any, **more: Any) -> None:
        names.append(name)
        create(directory, name, *rest, **more)

    monkeypatch.setattr(files, "_create", watch)
    write_file(tmp_path / "file", b"x", mode=0o600)
    write_file(tmp_path / "file", b"x", mode=0o600)
    first, second = names
    assert first != second
    assert first.startswith(".file.tmp.")
    assert len(first) == len(".file.tmp.") + 16
