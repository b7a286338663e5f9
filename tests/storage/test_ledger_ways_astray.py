"""Copies, upgrades and restores where something is odd: clocks, leftovers, others."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.enrollment.ledger_contract import (
    a_certificate,
    a_decision,
    a_request,
    commit,
)
from tests.storage.schemas import ADDITIVE, old_ledger, rows_of
from tests.storage.test_ledger_copies import AT
from tests.storage.test_ledger_upgrade import older_daemon

from icefloe.doors import WallTime
from icefloe.enrollment.ledger import StoreCertificate, StoreDecision, StoreRequest
from icefloe.storage import ledger_restore, ledger_upgrade
from icefloe.storage.ledger import SQLiteLedger
from icefloe.storage.ledger_copies import (
    KEPT_OF_A_VERSION,
    VERSIONS_KEPT,
    check_ledger_file,
    copy_ledger,
    keep_copy,
    list_copies,
    remove_old_copies,
)
from icefloe.storage.ledger_errors import LedgerProblem, SQLiteLedgerError
from icefloe.storage.ledger_restore import restore_ledger, what_is_forgotten
from icefloe.storage.ledger_upgrade import LOCK_NAME

LONG_AFTER = WallTime(AT + 1e9)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return old_ledger(tmp_path / "icefloe" / "ledger.sqlite")


def upgraded_copy(path: Path) -> Path:
    """Upgrade, and return the copy that is the way back."""
    with SQLiteLedger.open(path, schema=ADDITIVE) as ledger:
        assert ledger.upgraded is not None
        copy = ledger.upgraded.copy
    assert copy is not None
    return copy


# -- the copy that is the way back -----------------------------------------------------


def test_the_copy_just_made_stays_though_others_seem_to_be_later(path: Path) -> None:
    """The clock was ahead when these were made, and was set right since."""
    for number in range(KEPT_OF_A_VERSION):
        at = WallTime(LONG_AFTER + number)
        keep_copy(path, version=1, at=at, owner=None)
    before = rows_of(path)
    copy = upgraded_copy(path)
    assert rows_of(copy) == before


def test_the_copy_just_made_stays_though_many_are_of_later_versions(path: Path) -> None:
    """An old ledger was brought back, and is upgraded once more."""
    for version in range(2, 2 + VERSIONS_KEPT):
        keep_copy(path, version=version, at=AT, owner=None)
    before = rows_of(path)
    copy = upgraded_copy(path)
    assert rows_of(copy) == before


def test_a_daemon_that_starts_while_a_command_upgrades_keeps_its_ledger(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.ExitStack() as daemon:

        def slow_copy(*given: Any, **named: Any) -> Path:
            daemon.enter_context(older_daemon(path))
            return keep_copy(*given, **named)

        monkeypatch.setattr(ledger_upgrade, "keep_copy", slow_copy)
        with pytest.raises(SQLiteLedgerError) as failed:
            SQLiteLedger.open(path, schema=ADDITIVE)
        assert failed.value.problem is LedgerProblem.DAEMON_OLDER
        assert check_ledger_file(path) == 1
        assert list_copies(path) == ()
    assert path.with_name(LOCK_NAME).exists()


# -- what is left behind ---------------------------------------------------------------


def test_what_a_killed_restore_left_unfinished_is_removed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds tickets; nobody else would ever look for it."""
    copy = path.with_name("copy")
    copy_ledger(path, copy)
    kept: list[bytes] = []

    def killed(_ledger: Path) -> None:
        left = [each for each in path.parent.iterdir() if ".tmp-" in each.name]
        kept.extend(each.read_bytes() for each in left)
        names.extend(each.name for each in left)
        raise KeyboardInterrupt

    names: list[str] = []
    monkeypatch.setattr(ledger_restore, "_remove_log", killed)
    with pytest.raises(KeyboardInterrupt):
        restore_ledger(path, copy, at=AT)
    assert names
    for name, content in zip(names, kept, strict=True):
        path.with_name(name).write_bytes(content)
        path.with_name(f".{name}.tmp-0123456789abcdef").write_bytes(content)
    remove_old_copies(path)
    assert not [each for each in path.parent.iterdir() if ".tmp-" in each.name]
    assert path.exists()
    assert copy.exists()


# -- a restore -------------------------------------------------------------------------


def hot_journal(path: Path) -> bytes:
    """Return the journal of a transaction that was cut by a kill."""
    other = path.with_name("other.sqlite")
    with contextlib.closing(sqlite3.connect(other, isolation_level=None)) as one:
        one.execute("PRAGMA cache_size = 1")
        one.execute("CREATE TABLE t (x)")
        one.executemany("INSERT INTO t VALUES (?)", [("a" * 900,)] * 200)
        one.execute("BEGIN")
        one.execute("UPDATE t SET x = 'b' || substr(x, 2)")
        return other.with_name("other.sqlite-journal").read_bytes()


def test_a_journal_of_the_lost_ledger_never_meets_the_restored_one(
    path: Path,
) -> None:
    copy = path.with_name("copy")
    copy_ledger(path, copy)
    before = rows_of(path)
    path.unlink()
    journal = path.with_name(path.name + "-journal")
    journal.write_bytes(hot_journal(path))
    restore_ledger(path, copy, at=AT)
    assert not journal.exists()
    assert rows_of(path) == before


def test_a_ledger_that_is_locked_is_not_taken_for_a_damaged_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_restore, "BUSY_SECONDS", 0.05)
    copy = path.with_name("copy")
    copy_ledger(path, copy)
    with SQLiteLedger.open(path):
        pass
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE requests SET note = 'mine'")
        with pytest.raises(SQLiteLedgerError) as failed:
            restore_ledger(path, copy, at=AT)
        assert failed.value.problem is LedgerProblem.LOCKED
        other.execute("COMMIT")
    assert not list(path.parent.glob("*damaged*"))


def test_a_decision_that_was_changed_since_the_copy_is_forgotten_by_it(
    path: Path,
) -> None:
    """An approval that was taken back must not come to life again unsaid."""
    with SQLiteLedger.open(path) as ledger:
        commit(ledger, StoreRequest(a_request("r1")))
        commit(ledger, StoreDecision(a_decision("r1")))
        copy = path.with_name("copy")
        copy_ledger(path, copy)
        assert not what_is_forgotten(path, copy).anything
        changed = a_decision("r1", actor="somebody else")
        commit(ledger, StoreDecision(changed))
    lost = what_is_forgotten(path, copy)
    assert lost.decisions == 1
    assert lost.names == ("r1.example.org",)


def test_a_certificate_alone_is_forgotten_by_a_copy_without_it(path: Path) -> None:
    with SQLiteLedger.open(path) as ledger:
        commit(ledger, StoreRequest(a_request("r1")))
        copy = path.with_name("copy")
        copy_ledger(path, copy)
        commit(ledger, StoreCertificate(a_certificate("r1", serial="0badcafe")))
    assert what_is_forgotten(path, copy).certificates == 1
