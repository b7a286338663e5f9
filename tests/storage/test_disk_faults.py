"""A disk that is full or broken: told by name, nothing lost, and over when it is over."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import sqlite3
from pathlib import Path

import pytest
from tests.enrollment.ledger_contract import (
    a_hop,
    a_request,
    an_attempt,
    commit,
    everything,
)
from tests.storage.small_disks import fill
from tests.storage.watched_disk import Event, Sync, watched

from icefloe.enrollment.ledger import AddHop, StoreAttempt, StoreRequest, Write
from icefloe.storage.ledger import SQLiteLedger
from icefloe.storage.ledger_copies import check_ledger_file, copy_ledger, list_copies
from icefloe.storage.ledger_errors import LedgerProblem, SQLiteLedgerError

NAME = "ledger.sqlite"
FAULTS = {
    "SQLITE_FULL": LedgerProblem.FULL,
    "SQLITE_IOERR_WRITE": LedgerProblem.IO_ERROR,
    "SQLITE_IOERR_FSYNC": LedgerProblem.IO_ERROR,
}


def writes(number: int) -> list[Write]:
    """One commit's writes, of some pages."""
    return [
        AddHop(a_hop(did=f"{number}")),
        StoreAttempt(
            an_attempt(f"a{number}", certificate=bytes([number % 256]) * 5000)
        ),
    ]


def problem_of_commit(ledger: SQLiteLedger, number: int) -> LedgerProblem | None:
    """Commit; return the problem there was."""
    try:
        commit(ledger, *writes(number))
    except SQLiteLedgerError as error:
        return error.problem
    return None


@pytest.mark.parametrize("code", FAULTS)
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for a while"])
def test_a_fault_at_any_write_or_sync_is_told_and_loses_nothing(
    memory_directory: Path, code: str, *, lasting: bool
) -> None:
    """At the first change of a file, the second, and so on through some commits."""
    path = memory_directory / NAME
    with watched(memory_directory) as watch:
        ledger = SQLiteLedger.open(path)
        commit(ledger, StoreRequest(a_request()))
        kept: list[str] = []
        steps = begin = 0

        def fault(_event: Event) -> int | None:
            nonlocal steps
            steps += 1
            bad = steps > begin if lasting else steps == begin + 1
            return int(getattr(sqlite3, code)) if bad else None

        number = 0
        told = 0
        for begin in range(60):
            steps = 0
            watch.fault = fault
            problems = []
            for _ in range(3):
                number += 1
                problems.append(problem_of_commit(ledger, number))
                if problems[-1] is None:
                    kept.append(f"{number}")
            if begin % 4 == 3:
                # The log is written back by the way, too.
                with contextlib.suppress(SQLiteLedgerError):
                    ledger.checkpoint()
            watch.fault = None
            assert set(problems) <= {None, FAULTS[code]}
            told += sum(problem is not None for problem in problems)
            # It is over: the same ledger goes on, with all that was told as kept.
            assert [hop.did for hop in ledger.hops("r1")] == kept
            number += 1
            commit(ledger, *writes(number))
            kept.append(f"{number}")
        assert told >= 10
        found = everything(ledger)
        ledger.close()
    check_ledger_file(path)
    with SQLiteLedger.open(path) as again:
        assert everything(again) == found


def test_a_commit_that_the_disk_would_not_promise_is_there_whole_or_not_at_all(
    memory_directory: Path,
) -> None:
    """The sync failed, the daemon said so and was killed: both ends are possible."""
    path = memory_directory / NAME
    with watched(memory_directory) as watch:
        ledger = SQLiteLedger.open(path)
        commit(ledger, StoreRequest(a_request()), *writes(1))
        watch.fault = lambda e: sqlite3.SQLITE_IOERR if isinstance(e, Sync) else None
        assert problem_of_commit(ledger, 2) is LedgerProblem.IO_ERROR
        watch.fault = None
        other = memory_directory / "killed"
        other.mkdir(mode=0o700)
        for side in ("", "-wal"):
            name = other / (NAME + side)
            name.touch(mode=0o600)
            name.write_bytes((memory_directory / (NAME + side)).read_bytes())
        ledger.close()
    with SQLiteLedger.open(other / NAME) as next_life:
        hops = [hop.did for hop in next_life.hops("r1")]
        attempts = [attempt.attempt_id for attempt in next_life.attempts("r1")]
    assert (hops, attempts) in [(["1"], ["a1"]), (["1", "2"], ["a1", "a2"])]


# -- a real full disk ---------------------------------------------------------------------


def test_a_full_disk_refuses_by_name_and_the_ledger_goes_on_when_there_is_room(
    small_disk: Path,
) -> None:
    path = small_disk / NAME
    with SQLiteLedger.open(path) as ledger:
        commit(ledger, StoreRequest(a_request()))
        kept: list[str] = []
        for number in range(3):
            assert problem_of_commit(ledger, number) is None
            kept.append(f"{number}")
        # Room for some commits more, so that it fills up in the middle of one.
        for leave in (0, 4096, 20_000, 50_000):
            ballast = fill(small_disk, leave=leave)
            problem = None
            while problem is None:
                number += 1
                problem = problem_of_commit(ledger, number)
                if problem is None:
                    kept.append(f"{number}")
            assert problem is LedgerProblem.FULL
            # What is there can be read, and what cannot be written stays told.
            assert [hop.did for hop in ledger.hops("r1")] == kept
            assert problem_of_commit(ledger, number) is LedgerProblem.FULL
            ballast.unlink()
            number += 1
            assert problem_of_commit(ledger, number) is None
            kept.append(f"{number}")
            assert ledger.checkpoint()
            assert [hop.did for hop in ledger.hops("r1")] == kept
    check_ledger_file(path)


def test_a_ledger_on_a_full_disk_is_not_made_and_not_half_made(
    small_disk: Path,
) -> None:
    ballast = fill(small_disk)
    with pytest.raises(SQLiteLedgerError) as failed:
        SQLiteLedger.open(small_disk / NAME)
    assert failed.value.problem is LedgerProblem.FULL
    ballast.unlink()
    with SQLiteLedger.open(small_disk / NAME) as ledger:
        commit(ledger, StoreRequest(a_request()))


def test_a_nearly_full_disk_opens_a_ledger_that_is_there(small_disk: Path) -> None:
    """A daemon that is restarted then answers "ledger-fault", and does not die."""
    path = small_disk / NAME
    with SQLiteLedger.open(path) as ledger:
        commit(ledger, StoreRequest(a_request()))
    # Its log needs 32 KB of shared memory, and SQLite has to have them.
    fill(small_disk, leave=40_000)
    with SQLiteLedger.open(path) as ledger:
        assert ledger.request("r1") is not None
        assert problem_of_commit(ledger, 1) is LedgerProblem.FULL


def test_a_disk_without_any_room_is_told_as_full_when_a_ledger_is_opened(
    small_disk: Path,
) -> None:
    """SQLite calls it an I/O error of the shared memory."""
    path = small_disk / NAME
    with SQLiteLedger.open(path) as ledger:
        commit(ledger, StoreRequest(a_request()))
    ballast = fill(small_disk)
    with pytest.raises(SQLiteLedgerError) as failed:
        SQLiteLedger.open(path)
    assert failed.value.problem is LedgerProblem.FULL
    assert not list(small_disk.glob(".probe*"))
    ballast.unlink()
    with SQLiteLedger.open(path) as ledger:
        assert ledger.request("r1") is not None


def test_a_quota_that_is_used_up_is_a_full_disk(
    memory_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite calls it an I/O error: it knows only of ENOSPC."""

    def refuse(*_: object) -> int:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with watched(memory_directory) as watch:
        ledger = SQLiteLedger.open(memory_directory / NAME)
        commit(ledger, StoreRequest(a_request()))
        watch.fault = lambda _event: sqlite3.SQLITE_IOERR_WRITE
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", refuse)
            assert problem_of_commit(ledger, 1) is LedgerProblem.FULL
        assert problem_of_commit(ledger, 1) is LedgerProblem.IO_ERROR
        watch.fault = None
        assert problem_of_commit(ledger, 1) is None
        ledger.close()
    assert not list(memory_directory.glob(".probe*"))


def test_a_copy_that_has_no_room_is_refused_and_leaves_nothing(
    small_disk: Path,
) -> None:
    path = small_disk / NAME
    with SQLiteLedger.open(path) as ledger:
        commit(ledger, StoreRequest(a_request()), *writes(1))
        with pytest.raises(SQLiteLedgerError) as failed:
            copy_ledger(path, small_disk / "copy")
    assert failed.value.problem is LedgerProblem.FULL
    assert list_copies(path) == ()
    assert [p.name for p in small_disk.iterdir() if "copy" in p.name] == []


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path: Path) -> None:
    """RLIMIT_FSIZE, as a service manager may set it."""
    with SQLiteLedger.open(tmp_path / NAME) as ledger:
        commit(ledger, StoreRequest(a_request()))
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = (tmp_path / f"{NAME}-wal").stat().st_size
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 6000, before[1]))
            problem = problem_of_commit(ledger, 1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert problem in {LedgerProblem.FULL, LedgerProblem.IO_ERROR}
        assert ledger.hops("r1") == []
        assert problem_of_commit(ledger, 1) is None
