"""Writers of files that belong together wait for each other."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.pki.makers import AGENT, NOW
from tests.storage.material import CA, ISSUED, Lines, certs_dir
from tests.storage.switches import journal_in

from icefloe.config.layout import NodeDirectories
from icefloe.doors import WallTime
from icefloe.storage.authority import AuthorityExists, create_authority, load_authority
from icefloe.storage.directory_lock import locked_directories
from icefloe.storage.files import FileProblem
from icefloe.storage.identity import load_identity
from icefloe.storage.keys import KeyType
from icefloe.storage.replacing import replace_together
from icefloe.storage.switching import Phase

HERE = Path(__file__).parent
PROGRAM = {
    "cwd": HERE.parent.parent,
    "env": {**os.environ, "PYTHONPATH": os.pathsep.join([".", *sys.path])},
    "text": True,
    "stderr": subprocess.PIPE,
}


def test_a_second_writer_waits_and_then_says_what_it_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.crt"
    found: list[object] = []

    def second() -> None:
        try:
            with locked_directories([path], patience_seconds=0.05):
                found.append("locked")
        except FileProblem as error:
            found.append(str(error))

    with locked_directories([path]) as locked:
        assert locked
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "another process has been replacing files" in str(found)
    second()
    assert found[1] == "locked"


def test_one_writer_may_take_a_directory_again(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    paths = [tmp_path / "a.crt", tmp_path / "link" / "a.key"]
    with locked_directories(paths, patience_seconds=0.05):
        replace_together(
            [(paths[0], b"x")], mode=0o644, owner=None, at=WallTime(1_000_000.0)
        )
    assert paths[0].read_bytes() == b"x"


def test_where_no_directory_can_be_locked_the_work_is_done_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked_directories([tmp_path / "a"]) as locked:
        assert not locked
    replace_together([(tmp_path / "a", b"x")], mode=0o644, owner=None, at=NOW)
    assert (tmp_path / "a").read_bytes() == b"x"


def test_a_directory_that_is_not_there_is_told_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "a.crt"
    with (
        pytest.raises(FileProblem, match=r"a\.crt") as raised,
        locked_directories([path]),
    ):
        pass
    assert raised.value.is_missing


@pytest.mark.timeout(180)
def test_processes_that_switch_at_once_leave_one_whole_identity(tmp_path: Path) -> None:
    certs_dir(tmp_path, certificate=ISSUED, ca=CA)
    writers = [
        subprocess.Popen(
            [sys.executable, HERE / "switch_writers.py", tmp_path, str(number), "25"],
            **PROGRAM,  # type: ignore[call-overload]
        )
        for number in (1, 2, 3)
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=150)
        assert writer.returncode == 0, errors
    load_identity(tmp_path / "certs", AGENT)
    state = journal_in(tmp_path).state()
    assert state is not None
    assert state.state is Phase.CONFIRMED
    assert not list((tmp_path / "certs").glob(".*"))


def test_two_commands_that_make_a_ca_at_once_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one used to overwrite the key of the first one's certificate."""
    directories = NodeDirectories(config_dir=tmp_path, data_dir=tmp_path)
    both = threading.Barrier(2)
    real = create_authority.__globals__["ensure_directory"]

    def together(path: Path, **options: Any) -> None:
        real(path, **options)
        if path == directories.ca_dir:
            both.wait(timeout=30)

    monkeypatch.setattr("icefloe.storage.authority.ensure_directory", together)
    outcomes: list[object] = []

    def make() -> None:
        try:
            outcomes.append(
                create_authority(
                    directories,
                    key_type=KeyType.EC,
                    entropy=Drawn(),
                    at=NOW,
                    owner=None,
                    narrator=Lines(),
                ).certificate
            )
        except AuthorityExists:
            outcomes.append(None)

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load_authority(directories).certificate in outcomes
    assert None in outcomes


class Drawn:
    """Numbers that no two threads share."""

    def bytes(self, count: int) -> bytes:
        return os.urandom(count)

    def uniform(self, low: float, high: float) -> float:
        del high
        return low
