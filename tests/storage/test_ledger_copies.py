"""Copies of the ledger, and a copy in its place."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from pathlib import Path

import pytest
from tests.enrollment.ledger_contract import (
    a_certificate,
    a_decision,
    a_request,
    commit,
    everything,
)
from tests.storage.schemas import BREAKING, old_ledger, rows_of

from icefloe.doors import WallTime
from icefloe.enrollment.ledger import StoreCertificate, StoreDecision, StoreRequest
from icefloe.storage import ledger_copies
from icefloe.storage.ledger import SQLiteLedger
from icefloe.storage.ledger_copies import (
    Copy,
    check_ledger_file,
    copy_ledger,
    keep_copy,
    list_copies,
    remove_old_copies,
    surplus_of,
)
from icefloe.storage.ledger_errors import (
    LedgerProblem,
    LedgerTooNewError,
    SQLiteLedgerError,
)
from icefloe.storage.ledger_restore import (
    NAMES_MAX,
    Forgotten,
    restore_ledger,
    what_is_forgotten,
)
from icefloe.storage.ledger_schema import Stamp
from icefloe.storage.ledger_status import ledger_status
from icefloe.storage.lock import DaemonLock, DaemonRunningError

AT = WallTime(1_795_371_709.0)  # 2026-11-22T18:21:49Z


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return old_ledger(tmp_path / "icefloe" / "ledger.sqlite")


def damage(path: Path) -> None:
    """Spoil a page in the middle, as a bad disk does."""
    with path.open("r+b") as file:
        file.seek(3 * 4096 + 8)
        file.write(b"\xff" * 2000)


def problem_of(copy: Path, target: Path) -> LedgerProblem:
    with pytest.raises(SQLiteLedgerError) as failed:
        copy_ledger(copy, target)
    assert not os.path.lexists(target)
    assert not list(target.parent.glob(".*"))
    return failed.value.problem


# -- copies -------------------------------------------------------------------------------


def test_a_copy_has_every_row_and_is_one_private_file(path: Path) -> None:
    copy = path.with_name("copy")
    with SQLiteLedger.open(path) as ledger:
        commit(ledger, StoreRequest(a_request()))  # still in the log
        copy_ledger(path, copy)
        assert rows_of(copy) == rows_of(path)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert sorted(p.name for p in path.parent.iterdir()) == ["copy", "ledger.sqlite"]
    with SQLiteLedger.open(copy) as opened:
        assert opened.request("r1") is not None


def test_a_copy_is_made_beside_an_open_transaction(path: Path) -> None:
    """What is not committed is not in it."""
    with SQLiteLedger.open(path) as ledger:
        before = rows_of(path)
        ledger.begin()
        ledger.apply([StoreRequest(a_request())])
        copy_ledger(path, path.with_name("copy"))
        ledger.commit()
    assert rows_of(path.with_name("copy")) == before


def test_a_copy_never_replaces_a_file(path: Path) -> None:
    target = path.with_name("copy")
    target.write_text("precious")
    with pytest.raises(SQLiteLedgerError, match="already"):
        copy_ledger(path, target)
    assert target.read_text() == "precious"


def test_a_copy_follows_no_link(path: Path, tmp_path: Path) -> None:
    target, victim = path.with_name("copy"), tmp_path / "victim"
    target.symlink_to(victim)
    with pytest.raises(SQLiteLedgerError, match="already"):
        copy_ledger(path, target)
    assert not victim.exists()


def test_a_damaged_ledger_is_not_copied(path: Path) -> None:
    damage(path)
    assert problem_of(path, path.with_name("copy")) is LedgerProblem.DAMAGED


def test_what_is_no_ledger_is_not_copied(tmp_path: Path) -> None:
    other = tmp_path / "songs"
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE songs (title)")
    assert problem_of(other, tmp_path / "copy") is LedgerProblem.NOT_A_LEDGER


def test_copies_are_named_with_version_and_time_and_listed_latest_first(
    path: Path,
) -> None:
    for later in (0.0, 0.0, 60.0):
        keep_copy(path, version=1, at=WallTime(AT + later), owner=None)
    copies = list_copies(path)
    assert [copy.path.name for copy in copies] == [
        "ledger.sqlite.v1.20261122T182249Z",
        "ledger.sqlite.v1.20261122T182149Z.2",
        "ledger.sqlite.v1.20261122T182149Z",
    ]
    assert [copy.made_at for copy in copies] == [AT + 60.0, AT, AT]
    assert {copy.version for copy in copies} == {1}


def test_what_only_looks_like_a_copy_is_not_listed_and_not_removed(path: Path) -> None:
    names = [
        "ledger.sqlite.v1.20269922T182149Z",
        "ledger.sqlite.v1",
        "ledger.sqlite.orig",
        "ledger.sqlite.damaged.20261122T182149Z",
    ]
    for name in names:
        path.with_name(name).touch()
    path.with_name("ledger.sqlite.v2.20261122T182149Z").mkdir()
    assert list_copies(path) == ()
    remove_old_copies(path)
    assert all(path.with_name(name).exists() for name in names)


def test_the_last_two_copies_of_the_last_three_versions_are_kept() -> None:
    made = [(4, 9), (4, 8), (4, 7), (3, 6), (2, 5), (2, 4), (2, 3), (1, 2), (1, 1)]
    copies = [Copy(Path(f"v{v}-{n}"), v, WallTime(float(n)), 1) for v, n in made]
    surplus = {str(path) for path in surplus_of(copies)}
    assert surplus == {"v4-7", "v2-3", "v1-2", "v1-1"}


def test_what_a_killed_process_left_unfinished_is_removed(path: Path) -> None:
    left = path.with_name(f".{path.name}.v1.20261122T182149Z.tmp-0123456789abcdef")
    left.touch()
    remove_old_copies(path)
    assert not left.exists()
    assert path.exists()


# -- the way back -----------------------------------------------------------------------------


def test_a_copy_takes_the_ledgers_place_and_the_ledger_is_kept(path: Path) -> None:
    copy = path.with_name("copy")
    copy_ledger(path, copy)
    before = rows_of(path)
    with SQLiteLedger.open(path) as ledger:
        commit(ledger, StoreRequest(a_request()))
    changed = rows_of(path)
    done = restore_ledger(path, copy, at=AT)
    assert (done.version, rows_of(path)) == (1, before)
    assert done.kept is not None
    assert rows_of(done.kept) == changed
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list(path.parent.glob(".*"))
    # And back again.
    restore_ledger(path, done.kept, at=WallTime(AT + 1))
    assert rows_of(path) == changed


def test_after_an_upgrade_the_copy_lets_the_older_release_return(path: Path) -> None:
    """The whole way: N-1, N with a step that breaks, restore, N-1."""
    with SQLiteLedger.open(path) as ledger:
        commit(ledger, StoreRequest(a_request()))
        before = everything(ledger)
    with SQLiteLedger.open(path, schema=BREAKING) as newer:
        assert newer.upgraded is not None
        copy = newer.upgraded.copy
        assert copy is not None
        assert str(copy) in newer.upgraded.way_back
    with pytest.raises(LedgerTooNewError):
        SQLiteLedger.open(path)
    done = restore_ledger(path, copy, at=AT)
    with SQLiteLedger.open(path) as older:
        assert everything(older) == before
    assert done.kept is not None
    assert ledger_status(done.kept).version == BREAKING.version


def test_a_missing_ledger_is_restored(path: Path) -> None:
    copy = path.with_name("copy")
    copy_ledger(path, copy)
    path.unlink()
    done = restore_ledger(path, copy, at=AT)
    assert done.kept is None
    assert rows_of(path) == rows_of(copy)


def test_a_damaged_ledger_is_set_aside_with_its_log_as_it_is(path: Path) -> None:
    copy = path.with_name("copy")
    copy_ledger(path, copy)
    damage(path)
    log = path.with_name(path.name + "-wal")
    log.touch(mode=0o600)
    log.write_bytes(b"what was in the log")
    spoilt = path.read_bytes()
    lost = what_is_forgotten(path, copy)
    assert lost.unreadable
    log.write_bytes(b"what was in the log")
    done = restore_ledger(path, copy, at=AT)
    assert done.kept is not None
    assert done.kept.name == "ledger.sqlite.damaged.20261122T182149Z"
    assert done.kept.read_bytes() == spoilt
    assert rows_of(path) == rows_of(copy)
    assert not log.exists()
    assert SQLiteLedger.open(path).requests()


def test_a_damaged_copy_is_refused_and_the_ledger_left_alone(path: Path) -> None:
    copy = path.with_name("copy")
    copy_ledger(path, copy)
    damage(copy)
    before = path.read_bytes()
    for attempt in (
        lambda: what_is_forgotten(path, copy),
        lambda: restore_ledger(path, copy, at=AT),
    ):
        with pytest.raises(SQLiteLedgerError) as failed:
            attempt()
        assert failed.value.problem is LedgerProblem.DAMAGED
    assert path.read_bytes() == before


def test_a_copy_of_a_later_release_is_refused(path: Path, tmp_path: Path) -> None:
    later = old_ledger(tmp_path / "later" / "ledger.sqlite")
    SQLiteLedger.open(later, schema=BREAKING).close()
    with pytest.raises(LedgerTooNewError):
        restore_ledger(path, later, at=AT)


def test_the_ledger_is_no_copy_of_itself(path: Path) -> None:
    before = rows_of(path)
    with pytest.raises(SQLiteLedgerError, match="not a copy"):
        restore_ledger(path, path, at=AT)
    assert rows_of(path) == before


def test_nothing_is_restored_while_a_daemon_runs(path: Path) -> None:
    copy = path.with_name("copy")
    copy_ledger(path, copy)
    lock = DaemonLock.acquire(path.with_name("lock"))
    with lock, pytest.raises(DaemonRunningError):
        restore_ledger(path, copy, at=AT)
    assert list_copies(path) == ()


def test_nothing_is_restored_while_a_command_has_the_ledger_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from icefloe.storage import ledger_restore

    monkeypatch.setattr(ledger_restore, "BUSY_SECONDS", 0.05)
    copy = path.with_name("copy")
    copy_ledger(path, copy)
    with SQLiteLedger.open(path) as command:
        command.requests()
        with pytest.raises(SQLiteLedgerError) as failed:
            restore_ledger(path, copy, at=AT)
        assert failed.value.problem is LedgerProblem.LOCKED
        commit(command, StoreRequest(a_request()))
    assert list_copies(path) == ()


def test_without_room_the_ledger_is_left_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = path.with_name("copy")
    copy_ledger(path, copy)
    with SQLiteLedger.open(path) as ledger:
        commit(ledger, StoreRequest(a_request()))
    before = rows_of(path)
    monkeypatch.setattr(ledger_copies, "SPACE_MARGIN_BYTES", 1 << 60)
    with pytest.raises(SQLiteLedgerError) as failed:
        restore_ledger(path, copy, at=AT)
    assert failed.value.problem is LedgerProblem.FULL
    assert rows_of(path) == before


def test_what_is_forgotten_is_counted_and_named(path: Path) -> None:
    copy = path.with_name("copy")
    copy_ledger(path, copy)
    assert what_is_forgotten(path, copy) == Forgotten()
    assert not Forgotten().anything
    with SQLiteLedger.open(path) as ledger:
        for number in range(NAMES_MAX + 5):
            commit(ledger, StoreRequest(a_request(f"r{number:02}")))
        commit(ledger, StoreDecision(a_decision("r03")))
        commit(ledger, StoreCertificate(a_certificate("r03", serial="0badcafe")))
    lost = what_is_forgotten(path, copy)
    assert lost.anything
    assert (lost.requests, lost.decisions, lost.certificates) == (NAMES_MAX + 5, 1, 1)
    assert lost.names[:2] == ("r00.example.org", "r01.example.org")
    assert len(lost.names) == NAMES_MAX
    # The other way round nothing is: the copy only knows more.
    assert not what_is_forgotten(copy, path).anything


# -- status ----------------------------------------------------------------------------------


def test_the_status_of_a_ledger_says_what_is_there_and_changes_nothing(
    path: Path,
) -> None:
    keep_copy(path, version=1, at=AT, owner=None)
    before = path.read_bytes()
    status = ledger_status(path)
    assert (status.version, status.opens_from, status.usable) == (1, 1, True)
    assert status.rows["requests"] == 10
    assert status.faults == ()
    assert status.upgrade is None
    assert status.size_bytes == len(before)
    assert [copy.version for copy in status.copies] == [1]
    assert path.read_bytes() == before


def test_the_status_tells_of_an_upgrade_to_come(path: Path) -> None:
    status = ledger_status(path, BREAKING)
    assert status.usable
    assert status.upgrade is not None
    assert (status.upgrade.before, status.upgrade.after) == (
        Stamp(1, 1),
        BREAKING.stamp,
    )


def test_the_status_of_a_later_ledger_is_told_as_far_as_it_is_known(
    path: Path,
) -> None:
    SQLiteLedger.open(path, schema=BREAKING).close()
    status = ledger_status(path)
    assert (status.version, status.usable) == (2, False)
    assert status.rows["hops"] == 20


def test_the_status_of_a_damaged_ledger_names_the_damage(path: Path) -> None:
    damage(path)
    assert ledger_status(path).faults


def test_there_is_no_status_without_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(SQLiteLedgerError) as failed:
        ledger_status(tmp_path / "ledger.sqlite")
    assert failed.value.problem is LedgerProblem.MISSING


def test_a_row_that_refers_to_nothing_is_damage(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM requests WHERE state = 'received'")
        connection.commit()
    with pytest.raises(SQLiteLedgerError, match="refers to no requests"):
        check_ledger_file(path)
