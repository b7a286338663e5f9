"""Run as a program: kill -9 at every step of what changes files, one after another.

    python kill_points.py SCENARIO DIRECTORY

A step is a change that SQLite makes to a file (see `watched_disk`) or a call of Python's
that opens, links, renames or removes one. For each a child does the scenario from the
beginning and dies just before that step; then the directory is judged. Prints how many
steps there were, or what was wrong and exits with 1. It forks, so it is no test itself:
a test runner has threads.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.enrollment.ledger_contract import a_request, commit
from tests.storage.schemas import ADDITIVE, BREAKING, old_ledger, rows_of
from tests.storage.watched_disk import watched

from icefloe.doors import WallTime
from icefloe.enrollment.ledger import StoreRequest
from icefloe.storage.ledger import SQLiteLedger
from icefloe.storage.ledger_copies import check_ledger_file, copy_ledger, list_copies
from icefloe.storage.ledger_restore import restore_ledger
from icefloe.storage.ledger_schema import Schema

Rows = dict[str, list[tuple[object, ...]]]

_CALLS = frozenset({"open", "os.link", "os.remove", "os.rename", "os.truncate"})


def _make_old(directory: Path) -> None:
    old_ledger(directory / "ledger.sqlite")


def _upgrade(schema: Schema) -> Callable[[Path], None]:
    def act(directory: Path) -> None:
        SQLiteLedger.open(directory / "ledger.sqlite", schema=schema).close()

    return act


def _judge_upgrade(schema: Schema) -> Callable[[Path, Rows], None]:
    def judge(directory: Path, rows: Rows) -> None:
        path = directory / "ledger.sqlite"
        check_ledger_file(path, any_version=True)
        for copy in list_copies(path):
            check_ledger_file(copy.path)
            assert rows_of(copy.path) == rows
        with SQLiteLedger.open(path, schema=schema):
            assert rows_of(path) == rows
        left = [p.name for p in directory.iterdir() if ".tmp-" in p.name]
        # What was left unfinished is swept away by the next upgrade.
        assert not left or not list_copies(path), left

    return judge


def _make_changed(directory: Path) -> None:
    path = old_ledger(directory / "ledger.sqlite")
    copy_ledger(path, directory / "copy")
    with SQLiteLedger.open(path) as ledger:
        commit(ledger, StoreRequest(a_request("since")))
    # As a killed daemon leaves it: with a log that must never meet the copy.
    ledger = SQLiteLedger.open(path)
    commit(ledger, StoreRequest(a_request("in the log")))
    for side in ("", "-wal"):
        name = f"ledger.sqlite{side}"
        shutil.copyfile(directory / name, directory / f"kept{side}")
    ledger.close()
    for side in ("", "-wal"):
        (directory / f"kept{side}").rename(directory / f"ledger.sqlite{side}")
        (directory / f"ledger.sqlite{side}").chmod(0o600)


def _restore(directory: Path) -> None:
    at = WallTime(1_000_000.0)
    restore_ledger(directory / "ledger.sqlite", directory / "copy", at=at)


def _judge_restore(directory: Path, rows: Rows) -> None:
    path = directory / "ledger.sqlite"
    check_ledger_file(path)
    found = rows_of(path)
    assert found in (rows, rows_of(directory / "copy"))
    if found != rows:  # then the one before is kept
        assert [rows_of(copy.path) for copy in list_copies(path)] == [rows]
    restore_ledger(path, directory / "copy", at=WallTime(2_000_000.0))
    assert rows_of(path) == rows_of(directory / "copy")


SCENARIOS: dict[str, tuple[Any, Any, Any]] = {
    "adds": (_make_old, _upgrade(ADDITIVE), _judge_upgrade(ADDITIVE)),
    "breaks": (_make_old, _upgrade(BREAKING), _judge_upgrade(BREAKING)),
    "restore": (_make_changed, _restore, _judge_restore),
}


def _die_at(number: int, directory: Path, act: Callable[[Path], None]) -> bool:
    """Do it in a child that dies before a step; return whether it came so far."""
    child = os.fork()
    if child == 0:
        count = 0

        def step(*_: object) -> None:
            nonlocal count
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(lambda event, _args: step() if event in _CALLS else None)
        with watched(directory) as watch:
            watch.fault = step
            act(directory)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert status == 0, status
    return False


def main(scenario: str, directory: Path) -> int:
    """Kill at the first step, the second, and so on, until it is done before."""
    make, act, judge = SCENARIOS[scenario]
    begin = directory / "begin"
    begin.mkdir(mode=0o700)
    make(begin)
    place = directory / "place"
    shutil.copytree(begin, place)
    rows = rows_of(place / "ledger.sqlite")
    number, killed = 0, True
    while killed:
        number += 1
        shutil.rmtree(place)
        shutil.copytree(begin, place)
        killed = _die_at(number, place, act)
        judge(place, rows)
    return number - 1


if __name__ == "__main__":
    print(main(sys.argv[1], Path(sys.argv[2])))  # noqa: T201
