"""A newer release opens an older ledger, and the older release can come back."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.enrollment.ledger_contract import (
    a_certificate,
    a_hop,
    a_request,
    an_attempt,
    commit,
    everything,
)
from tests.storage.schemas import ADDITIVE, BREAKING, old_ledger, rows_of
from tests.storage.watched_disk import Event, Write, watched

from icefloe.config.layout import NodeDirectories
from icefloe.enrollment.administration import list_requests
from icefloe.enrollment.ledger import AddHop, StoreAttempt, StoreRequest
from icefloe.enrollment.model import RequestState
from icefloe.storage import ledger_copies
from icefloe.storage.ledger import SQLiteLedger
from icefloe.storage.ledger_copies import check_ledger_file, list_copies
from icefloe.storage.ledger_errors import (
    LedgerProblem,
    LedgerTooNewError,
    SQLiteLedgerError,
)
from icefloe.storage.ledger_schema import (
    LEDGER_SCHEMA,
    Migration,
    Schema,
    Stamp,
    read_stamp,
)
from icefloe.storage.ledger_upgrade import LOCK_NAME, planned_upgrade
from icefloe.storage.lock import DaemonLock

BOTH = pytest.mark.parametrize("schema", [ADDITIVE, BREAKING], ids=["adds", "breaks"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "icefloe" / "ledger.sqlite"


def stamp_of(path: Path) -> Stamp:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return read_stamp(connection)


# -- ledgers of earlier releases --------------------------------------------------------


def test_a_ledger_of_the_first_release_opens_and_keeps_every_row(path: Path) -> None:
    old_ledger(path, version=1)
    before = rows_of(path)
    assert all(before[table] for table in before)
    with SQLiteLedger.open(path) as ledger:
        assert rows_of(path) == before
        listed = list_requests(ledger, frozenset(RequestState))
        assert {each.request.state for each in listed} == set(RequestState)
        assert everything(ledger)
        commit(
            ledger,
            StoreRequest(a_request()),
            StoreAttempt(an_attempt()),
            AddHop(a_hop()),
        )
        assert ledger.open_request_count() == len(before["open_requests"])


def test_the_first_releases_stamp_is_read_and_still_written(path: Path) -> None:
    """It knows nothing of a second number, and compares the whole of it."""
    old_ledger(path, version=1)
    assert stamp_of(path) == Stamp(version=1, opens_from=1)
    assert Schema(LEDGER_SCHEMA.migrations[:1]).stamp.number == 1


@pytest.mark.parametrize(
    "stamp", [Stamp(0, 0), Stamp(1, 1), Stamp(2, 1), Stamp(2, 2), Stamp(300, 299)]
)
def test_a_stamp_is_one_number_and_back(stamp: Stamp) -> None:
    assert Stamp.from_number(stamp.number) == stamp
    assert stamp.number < 1 << 31  # what `user_version` can hold


def test_one_step_that_breaks_is_remembered_by_those_that_only_add() -> None:
    more = Migration(("CREATE TABLE socks (x)",), opens_from=1)
    schema = Schema((*BREAKING.migrations, more))
    assert schema.stamp.opens_from == BREAKING.version


# -- forward ---------------------------------------------------------------------------------


@BOTH
def test_an_upgrade_keeps_every_row_and_a_copy_of_what_was(
    path: Path, schema: Schema
) -> None:
    old_ledger(path)
    before = rows_of(path)
    with SQLiteLedger.open(path, schema=schema) as ledger:
        done = ledger.upgraded
        assert rows_of(path) == before
    assert done is not None
    assert done.copy is not None
    (copy,) = list_copies(path)
    assert copy.path == done.copy
    assert copy.version == done.before.version == 1
    assert rows_of(copy.path) == before
    assert copy.path.stat().st_mode & 0o777 == 0o600
    assert not list(path.parent.glob(".*"))
    assert stamp_of(path) == schema.stamp
    with SQLiteLedger.open(path, schema=schema) as ledger:
        assert ledger.upgraded is None
    assert len(list_copies(path)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_copy_belongs_to_the_daemon_user_when_root_upgrades(path: Path) -> None:
    old_ledger(path)
    SQLiteLedger.open(path, schema=ADDITIVE, owner=(12345, 23456)).close()
    (copy,) = list_copies(path)
    assert (copy.path.stat().st_uid, copy.path.stat().st_gid) == (12345, 23456)


def test_a_new_ledger_is_made_without_a_copy(path: Path) -> None:
    with SQLiteLedger.open(path) as ledger:
        assert ledger.upgraded is None
    assert list_copies(path) == ()


def test_several_steps_are_one_upgrade_with_one_copy(path: Path) -> None:
    old_ledger(path)
    last = Migration(("ALTER TABLE shoes ADD COLUMN color TEXT",), opens_from=1)
    schema = Schema((*ADDITIVE.migrations, last))
    with SQLiteLedger.open(path, schema=schema) as ledger:
        ledger._connection.execute("SELECT size, color FROM shoes").fetchall()
    assert len(list_copies(path)) == 1


@BOTH
def test_what_an_upgrade_would_do_is_told_before_it_is_done(
    path: Path, schema: Schema
) -> None:
    assert planned_upgrade(path, schema) is None
    old_ledger(path)
    before = path.read_bytes()
    planned = planned_upgrade(path, schema)
    assert planned is not None
    assert (planned.before.version, planned.after.version) == (1, 2)
    assert "version 1 to 2" in planned.what
    assert ("ledger restore" in planned.way_back) is (schema is BREAKING)
    assert path.read_bytes() == before
    SQLiteLedger.open(path, schema=schema).close()
    assert planned_upgrade(path, schema) is None


# -- and back --------------------------------------------------------------------------------


def test_the_older_release_uses_what_a_newer_one_only_added_to(path: Path) -> None:
    old_ledger(path)
    SQLiteLedger.open(path, schema=ADDITIVE).close()
    with SQLiteLedger.open(path) as older:
        commit(
            older,
            StoreRequest(a_request()),
            StoreAttempt(an_attempt()),
            AddHop(a_hop()),
        )
        found = everything(older)
    assert stamp_of(path) == ADDITIVE.stamp
    with SQLiteLedger.open(path, schema=ADDITIVE) as newer:
        assert everything(newer) == found
        assert newer.upgraded is None


def test_the_older_release_leaves_alone_what_it_would_trip_over(path: Path) -> None:
    old_ledger(path)
    SQLiteLedger.open(path, schema=BREAKING).close()
    before = path.read_bytes()
    with pytest.raises(LedgerTooNewError) as failed:
        SQLiteLedger.open(path)
    assert (failed.value.found, failed.value.known) == (2, 1)
    assert "ledger restore" in str(failed.value)
    assert path.read_bytes() == before


def test_a_daemon_goes_on_when_a_newer_command_only_adds(path: Path) -> None:
    """No lock here: as if it had been taken between the look and the step."""
    old_ledger(path)
    with SQLiteLedger.open(path) as daemon:
        SQLiteLedger.open(path, schema=ADDITIVE).close()
        commit(daemon, StoreRequest(a_request()))


def test_a_daemon_stops_writing_when_a_newer_command_breaks(path: Path) -> None:
    old_ledger(path)
    with SQLiteLedger.open(path) as daemon:
        SQLiteLedger.open(path, schema=BREAKING).close()
        with pytest.raises(SQLiteLedgerError) as failed:
            commit(daemon, StoreRequest(a_request()))
    assert failed.value.problem is LedgerProblem.UPGRADED


HOLD_LOCK = """
import sys
from pathlib import Path
from icefloe.storage.lock import DaemonLock
with DaemonLock.acquire(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def older_daemon(path: Path) -> Iterator[None]:
    command = [sys.executable, "-c", HOLD_LOCK, str(path.with_name(LOCK_NAME))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate()


def test_a_command_does_not_upgrade_under_a_running_daemon(path: Path) -> None:
    """The package was upgraded at night; nobody has restarted the daemon yet."""
    old_ledger(path)
    with older_daemon(path):
        with pytest.raises(SQLiteLedgerError) as failed:
            SQLiteLedger.open(path, schema=ADDITIVE)
        assert failed.value.problem is LedgerProblem.DAEMON_OLDER
        assert "Restart the daemon" in str(failed.value)
        assert stamp_of(path) == Stamp(1, 1)
        assert list_copies(path) == ()
        SQLiteLedger.open(path).close()
    SQLiteLedger.open(path, schema=ADDITIVE).close()


def test_the_daemon_itself_upgrades_while_it_holds_its_lock(path: Path) -> None:
    old_ledger(path)
    with DaemonLock.acquire(path.with_name(LOCK_NAME)):
        SQLiteLedger.open(path, schema=ADDITIVE).close()


def test_the_lock_is_where_the_daemon_has_it(tmp_path: Path) -> None:
    directories = NodeDirectories(config_dir=tmp_path, data_dir=tmp_path)
    assert directories.ledger.with_name(LOCK_NAME) == directories.lock


def test_an_upgrade_waits_for_nobody_who_reads(path: Path) -> None:
    old_ledger(path)
    with SQLiteLedger.open(path) as reader:
        reader._connection.execute("BEGIN")
        reader.requests()
        SQLiteLedger.open(path, schema=ADDITIVE).close()
        reader._connection.execute("ROLLBACK")


# -- what goes wrong on the way -------------------------------------------------------------


def expect_untouched(path: Path, before: object) -> None:
    """The older release opens it, and everything is there; no copy is in the way."""
    assert list_copies(path) == ()
    check_ledger_file(path)
    with SQLiteLedger.open(path):
        assert rows_of(path) == before
    assert not list(path.parent.glob(".*"))


def test_a_step_that_fails_leaves_the_ledger_as_it_was(path: Path) -> None:
    old_ledger(path)
    before = rows_of(path)
    bad = Migration(("CREATE TABLE one (x)", "CREATE TABLE requests (x)"), opens_from=1)
    with pytest.raises(SQLiteLedgerError) as failed:
        SQLiteLedger.open(path, schema=Schema((*LEDGER_SCHEMA.migrations, bad)))
    assert failed.value.problem is LedgerProblem.UNEXPECTED
    expect_untouched(path, before)


def test_without_room_for_a_copy_nothing_is_begun(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_ledger(path)
    before = rows_of(path)
    monkeypatch.setattr(ledger_copies, "SPACE_MARGIN_BYTES", 1 << 60)
    with pytest.raises(SQLiteLedgerError) as failed:
        SQLiteLedger.open(path, schema=BREAKING)
    assert failed.value.problem is LedgerProblem.FULL
    assert "bytes are needed" in str(failed.value)
    expect_untouched(path, before)


def problem_of_upgrade(path: Path, schema: Schema) -> LedgerProblem | None:
    try:
        SQLiteLedger.open(path, schema=schema).close()
    except SQLiteLedgerError as error:
        return error.problem
    return None


@BOTH
@pytest.mark.parametrize("code", ["SQLITE_FULL", "SQLITE_IOERR_FSYNC"])
@pytest.mark.timeout(180)  # 10 s where nothing else runs
def test_a_disk_that_fails_at_any_step_leaves_the_old_ledger_usable(
    memory_directory: Path, schema: Schema, code: str
) -> None:
    """At every write and sync, the copy's and the upgrade's, until it goes through."""
    reached = -1
    failing = True
    while failing:
        reached += 1
        path = old_ledger(memory_directory / str(reached) / "ledger.sqlite")
        before = rows_of(path)
        steps = 0

        def fail_from(_event: Event) -> int | None:
            nonlocal steps
            steps += 1
            return getattr(sqlite3, code) if steps > reached else None  # noqa: B023

        with watched(path.parent) as watch:
            SQLiteLedger.open(path).close()  # in write-ahead mode from here
            watch.fault = fail_from
            problem = problem_of_upgrade(path, schema)
            watch.fault = None
        failing = steps > reached
        assert problem in {None, LedgerProblem.FULL, LedgerProblem.IO_ERROR}
        if stamp_of(path) == Stamp(1, 1) and list_copies(path):
            # The commit failed: nobody could say whether it had.
            (copy,) = list_copies(path)
            assert rows_of(copy.path) == before
            copy.path.unlink()
        if stamp_of(path) == Stamp(1, 1):
            expect_untouched(path, before)
        else:
            assert len(list_copies(path)) == 1
        with SQLiteLedger.open(path, schema=schema):
            assert rows_of(path) == before
    assert reached > 20


def test_every_page_of_a_copy_reaches_the_disk(path: Path) -> None:
    old_ledger(path)
    with watched(path.parent) as watch:
        SQLiteLedger.open(path, schema=ADDITIVE).close()
    written = {e.name for e in watch.events if isinstance(e, Write)}
    assert any(".v1." in name for name in written)


@pytest.mark.parametrize("scenario", ["adds", "breaks", "restore"])
@pytest.mark.timeout(180)  # 10 s where nothing else runs
def test_kill_at_any_step_leaves_a_whole_ledger(
    memory_directory: Path, scenario: str
) -> None:
    """kill -9, in a process of its own, before every single change of a file."""
    program = Path(__file__).with_name("kill_points.py")
    done = subprocess.run(
        [sys.executable, str(program), scenario, str(memory_directory)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent.parent,
        env={**os.environ, "PYTHONPATH": "."},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_certificates_that_are_read_back_are_the_bytes_that_were_stored(
    path: Path,
) -> None:
    old_ledger(path)
    with SQLiteLedger.open(path, schema=ADDITIVE) as ledger:
        found = ledger.certificate_by_serial("5e06")
    assert found is not None
    assert found.certificate == a_certificate(serial="5e06").certificate
