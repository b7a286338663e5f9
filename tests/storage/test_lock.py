"""The daemon's lock: held by one process, freed by its end, and honest about who."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from icefloe.errors import IcefloeError
from icefloe.storage.lock import (
    DaemonLock,
    DaemonRunningError,
    LockUnusableError,
    holder_pid,
    is_held,
)

HOLD = """
import sys
from pathlib import Path
from icefloe.storage.lock import DaemonLock
lock = DaemonLock.acquire(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "icefloe.lock"


def test_a_lock_nobody_took_is_not_held_and_not_made(path: Path) -> None:
    assert not is_held(path)
    assert holder_pid(path) is None
    assert not path.exists()


def test_a_taken_lock_is_held_and_tells_by_whom(path: Path) -> None:
    with DaemonLock.acquire(path):
        assert is_held(path)
        assert holder_pid(path) == os.getpid()
        assert path.read_text(encoding="ascii") == f"{os.getpid()}\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_released_lock_can_be_taken_again(path: Path) -> None:
    lock = DaemonLock.acquire(path)
    lock.release()
    lock.release()
    assert not is_held(path)
    assert path.read_bytes() == b""
    with DaemonLock.acquire(path, patience_seconds=0):
        assert is_held(path)


def test_a_second_daemon_is_told_who_holds_the_lock(path: Path) -> None:
    with DaemonLock.acquire(path):
        with pytest.raises(DaemonRunningError) as refused:
            DaemonLock.acquire(path, patience_seconds=0.02)
        assert holder_pid(path) == os.getpid()
    assert refused.value.pid == os.getpid()
    assert refused.value.path == path
    assert isinstance(refused.value, IcefloeError)
    assert f"process {os.getpid()} holds {path}" in str(refused.value)


@pytest.mark.parametrize("content", ["", "not a number", "0", "9" * 100])
def test_a_holder_that_does_not_tell_its_id_is_another_process(
    path: Path, content: str
) -> None:
    with DaemonLock.acquire(path):
        path.write_text(content, encoding="ascii")
        told = holder_pid(path)
        with pytest.raises(DaemonRunningError) as refused:
            DaemonLock.acquire(path, patience_seconds=0)
    assert refused.value.pid == told
    if told is None:
        assert "another process holds" in str(refused.value)


def test_looking_at_the_lock_never_keeps_a_daemon_from_starting(path: Path) -> None:
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            is_held(path)

    watchers = [threading.Thread(target=look) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    try:
        for _ in range(20):
            DaemonLock.acquire(path, patience_seconds=10).release()
    finally:
        stop.set()
        for watcher in watchers:
            watcher.join()


def test_a_killed_daemon_leaves_the_lock_free(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert holder_pid(path) == process.pid
        with pytest.raises(DaemonRunningError, match=f"process {process.pid} "):
            DaemonLock.acquire(path, patience_seconds=0)
        process.kill()
        process.wait()
    assert path.read_text(encoding="ascii") == f"{process.pid}\n"  # stale
    assert not is_held(path)
    assert holder_pid(path) is None
    with DaemonLock.acquire(path):
        assert holder_pid(path) == os.getpid()


@pytest.mark.parametrize("there", ["nothing", "directory", "link"])
def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path, there: str) -> None:
    path = tmp_path / "some" / "lock"
    if there != "nothing":
        path.parent.mkdir()
    if there == "directory":
        path.mkdir()
    if there == "link":
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LockUnusableError, match="cannot be used") as failed:
        DaemonLock.acquire(path)
    assert failed.value.path == path
    assert failed.value.detail in str(failed.value)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("look", [is_held, holder_pid])
def test_a_lock_that_cannot_be_looked_at_is_told(path: Path, look: object) -> None:
    assert callable(look)
    path.symlink_to("elsewhere")
    with pytest.raises(LockUnusableError):
        look(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_file_belongs_to_the_daemon_user_when_root_makes_it(path: Path) -> None:
    DaemonLock.acquire(path, owner=(12345, 23456)).release()
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)
    DaemonLock.acquire(path, owner=(1, 1)).release()
    assert path.stat().st_uid == 12345
