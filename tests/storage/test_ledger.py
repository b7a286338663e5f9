"""The ledger on SQLite: the contract, its file, and what a disk and a kill can do."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from tests.enrollment.ledger_contract import (
    LedgerContract,
    Machine,
    a_certificate,
    a_hop,
    a_request,
    an_attempt,
    an_intent,
    commit,
    everything,
    ids,
    stored,
)
from tests.peer_gate import REQUIRE_VARIABLE, peers_are_required

from icefloe.doors import WallTime
from icefloe.enrollment.ledger import (
    AddHop,
    LedgerUnavailableError,
    LedgerWriter,
    StoreAttempt,
    StoreCertificate,
    StoreIntent,
    StoreRequest,
)
from icefloe.enrollment.model import OPEN_ATTEMPT_STATES, AttemptState, RequestState
from icefloe.storage import ledger_file
from icefloe.storage.ledger import SQLiteLedger
from icefloe.storage.ledger_errors import (
    LedgerProblem,
    LedgerTooNewError,
    SQLiteLedgerError,
    from_sqlite,
)
from icefloe.storage.ledger_schema import APPLICATION_ID, LEDGER_SCHEMA

IMPATIENT = 0.02


class DiskMachine:
    """A machine whose disk is a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._running: list[SQLiteLedger] = []

    def start(self) -> SQLiteLedger:
        ledger = SQLiteLedger.open(self.path, busy_seconds=IMPATIENT)
        self._running.append(ledger)
        return ledger

    def kill(self, ledger: LedgerWriter) -> LedgerWriter:
        assert isinstance(ledger, SQLiteLedger)
        # As close to kill -9 as one process comes; below there are real ones.
        ledger._connection.close()
        return self.start()

    def stop(self) -> None:
        for ledger in self._running:
            ledger.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "icefloe" / "ledger.sqlite"


@pytest.fixture
def disk(path: Path) -> Iterator[DiskMachine]:
    machine = DiskMachine(path)
    yield machine
    machine.stop()


class TestSQLiteLedger(LedgerContract):
    @pytest.fixture
    def machine(self, disk: DiskMachine) -> Machine:
        return disk


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def side_file(path: Path, side: str) -> Path:
    return path.with_name(path.name + side)


def failed_open(path: Path, *, create: bool = True) -> SQLiteLedgerError:
    with pytest.raises(SQLiteLedgerError) as failed:
        SQLiteLedger.open(path, create=create, busy_seconds=IMPATIENT)
    assert str(path) in str(failed.value)
    return failed.value


# -- the file -------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_everything_is_private_whatever_the_umask(
    disk: DiskMachine, path: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        ledger = disk.start()
        commit(ledger, StoreRequest(a_request()))
    finally:
        os.umask(before)
    assert mode_of(path.parent) == 0o700
    names = [path, side_file(path, "-wal"), side_file(path, "-shm")]
    assert [mode_of(name) for name in names] == [0o600] * 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_everything_belongs_to_the_daemon_user_when_root_makes_it(path: Path) -> None:
    with SQLiteLedger.open(path, owner=(12345, 23456)) as ledger:
        commit(ledger, StoreRequest(a_request()))
        names = [path.parent, path, side_file(path, "-wal"), side_file(path, "-shm")]
        owners = {(n.stat().st_uid, n.stat().st_gid) for n in names}
    assert owners == {(12345, 23456)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_an_existing_ledger_keeps_its_owner(path: Path) -> None:
    SQLiteLedger.open(path, owner=(12345, 23456)).close()
    SQLiteLedger.open(path, owner=(1, 1)).close()
    assert path.stat().st_uid == 12345


def test_an_existing_directory_keeps_its_mode(path: Path) -> None:
    path.parent.mkdir(mode=0o750)
    path.parent.chmod(0o750)
    SQLiteLedger.open(path).close()
    assert mode_of(path.parent) == 0o750


def test_a_missing_ledger_is_not_made_unless_wanted(path: Path) -> None:
    error = failed_open(path, create=False)
    assert error.problem is LedgerProblem.MISSING
    assert not path.parent.exists()


def test_a_ledger_of_another_user_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(ledger_file, "_check", refuse)
    error = failed_open(path)
    assert error.problem is LedgerProblem.NOT_PERMITTED
    assert "as root or as the daemon's user" in str(error)


def test_a_missing_data_directory_is_told(tmp_path: Path) -> None:
    error = failed_open(tmp_path / "no" / "icefloe" / "ledger.sqlite")
    assert error.problem is LedgerProblem.NOT_PERMITTED


@pytest.mark.parametrize("side", ["", "-wal", "-shm"])
def test_a_ledger_that_others_may_read_is_refused(path: Path, side: str) -> None:
    SQLiteLedger.open(path).close()
    exposed = side_file(path, side)
    exposed.touch()
    exposed.chmod(0o640)
    error = failed_open(path)
    assert error.problem is LedgerProblem.EXPOSED
    assert error.path == exposed
    assert "chmod 600" in str(error)
    assert "0640" in str(error)


@pytest.mark.parametrize("there", ["directory", "link", "pipe"])
def test_what_is_not_a_plain_file_is_refused(path: Path, there: str) -> None:
    path.parent.mkdir()
    if there == "directory":
        path.mkdir()
    elif there == "pipe":
        os.mkfifo(path, 0o600)
    else:
        path.symlink_to(path.parent / "elsewhere")
    assert failed_open(path).problem is LedgerProblem.NOT_A_LEDGER
    assert not (path.parent / "elsewhere").exists()


def test_a_file_of_something_else_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.touch(mode=0o600)
    text = "certainly no database " * 100
    path.write_text(text, encoding="ascii")
    assert failed_open(path).problem is LedgerProblem.NOT_A_LEDGER
    assert path.read_text(encoding="ascii") == text


def test_a_database_of_something_else_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.touch(mode=0o600)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE songs (title)")
        other.commit()
    before = path.read_bytes()
    assert failed_open(path).problem is LedgerProblem.NOT_A_LEDGER
    assert path.read_bytes() == before


def test_an_empty_file_left_by_a_crash_becomes_a_ledger(path: Path) -> None:
    path.parent.mkdir()
    path.touch(mode=0o600)
    with SQLiteLedger.open(path) as ledger:
        commit(ledger, StoreRequest(a_request()))


def test_a_ledger_replaced_while_open_is_not_written_to(
    disk: DiskMachine, path: Path
) -> None:
    ledger = disk.start()
    path.rename(path.with_name("moved"))
    with pytest.raises(SQLiteLedgerError) as failed:
        ledger.begin()
    assert failed.value.problem is LedgerProblem.REPLACED
    path.with_name("moved").rename(path)
    commit(ledger, StoreRequest(a_request()))


# -- the schema -----------------------------------------------------------------------


def test_a_ledger_of_a_later_version_is_refused_and_left_alone(path: Path) -> None:
    SQLiteLedger.open(path).close()
    later = LEDGER_SCHEMA.version + 1
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {later}")
        connection.execute("CREATE TABLE news (x)")
    before = path.read_bytes()
    error = failed_open(path)
    assert isinstance(error, LedgerTooNewError)
    assert (error.found, error.known) == (later, LEDGER_SCHEMA.version)
    assert error.opens_from == later
    assert "Install that version" in str(error)
    assert path.read_bytes() == before


def test_a_ledger_upgraded_while_open_is_not_written_to(
    disk: DiskMachine, path: Path
) -> None:
    ledger = disk.start()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SQLiteLedgerError) as failed:
        ledger.begin()
    assert failed.value.problem is LedgerProblem.UPGRADED
    assert not ledger._connection.in_transaction


def test_the_connection_is_set_up_for_safety(disk: DiskMachine) -> None:
    connection = disk.start()._connection
    wanted = {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "secure_delete": 1,
        "temp_store": 2,
        "busy_timeout": 20,
        "user_version": LEDGER_SCHEMA.stamp.number,
        "application_id": APPLICATION_ID,
    }
    found = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted
    }
    assert found == wanted


def test_the_states_spelled_in_sql_are_the_open_ones() -> None:
    """The index and the query repeat OPEN_ATTEMPT_STATES; they must agree."""
    from icefloe.storage.ledger_reads import OPEN_ATTEMPTS

    schema = " ".join(LEDGER_SCHEMA.migrations[0].statements)
    index = schema[schema.index("INDEX attempts_open") :]
    for text in (index, OPEN_ATTEMPTS):
        inside = text[text.index("IN (") + 4 : text.index(")", text.index("IN ("))]
        words = {word.strip().strip("'") for word in inside.split(",")}
        assert words == {state.value for state in OPEN_ATTEMPT_STATES}


def test_every_read_is_served_by_an_index(disk: DiskMachine) -> None:
    ledger = disk.start()
    statements: list[str] = []
    ledger._connection.set_trace_callback(statements.append)
    everything(ledger)
    ledger.request("r1")
    ledger.attempt("a1")
    ledger.attempts("r1")
    ledger.attempts_by_fingerprint("f")
    ledger._connection.set_trace_callback(None)
    plans = {
        (statement, row[3])
        for statement in statements
        for row in ledger._connection.execute("EXPLAIN QUERY PLAN " + statement)
    }
    assert len({statement for statement, _ in plans}) > 15
    without = {
        statement
        for statement, step in plans
        if step.startswith("SCAN") and "INDEX" not in step
    }
    # This table holds nothing but what is counted.
    assert all("FROM open_requests)" in statement for statement in without)


def test_listing_requests_reads_no_certificate(disk: DiskMachine) -> None:
    ledger = disk.start()
    commit(ledger, *stored(a_request(), an_attempt()))
    touched: set[str] = set()

    def note(action: int, table: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_READ and table:
            touched.add(table)
        return sqlite3.SQLITE_OK

    ledger._connection.set_authorizer(note)
    ledger.requests()
    ledger.requests([RequestState.RECEIVED])
    ledger.open_request_count()
    ledger.stale_requests(before=WallTime(99.0), limit=5)
    ledger._connection.set_authorizer(None)
    assert touched == {"requests", "open_requests"}


class StubbornConnection:
    """Answers `PRAGMA journal_mode` from a list; an exception is raised."""

    def __init__(self, *answers: str | sqlite3.Error) -> None:
        self._answers = list(answers)

    def execute(self, _statement: str) -> Self:
        return self

    def fetchall(self) -> list[tuple[str]]:
        answer = self._answers.pop(0)
        if isinstance(answer, sqlite3.Error):
            raise answer
        return [(answer,)]


def busy() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    error.sqlite_errorname = "SQLITE_BUSY"
    return error


def test_a_file_system_without_shared_memory_is_told(disk: DiskMachine) -> None:
    connection: Any = StubbornConnection("delete")
    with pytest.raises(SQLiteLedgerError) as failed:
        disk.start()._enter_wal_mode(connection)
    assert failed.value.problem is LedgerProblem.NO_WAL


def test_a_new_ledger_that_another_process_opens_too_is_waited_for(
    disk: DiskMachine,
) -> None:
    connection: Any = StubbornConnection(busy(), busy(), "wal")
    disk.start()._enter_wal_mode(connection)
    connection = StubbornConnection(*(busy() for _ in range(100)))
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        disk.start()._enter_wal_mode(connection)


# -- secrets --------------------------------------------------------------------------


def test_a_cleared_ticket_is_nowhere_on_the_disk(disk: DiskMachine, path: Path) -> None:
    """Overwritten in the file at once, and out of the -wal file at a checkpoint."""
    ledger = disk.start()
    tickets = {f"a{n}": f"ticket-{n:04}-" + "5ec7e7" * 6 for n in range(300)}
    commit(ledger, StoreRequest(a_request()))
    for name, ticket in tickets.items():
        commit(
            ledger,
            StoreAttempt(an_attempt(name, ticket=ticket, certificate=b"x" * 700)),
        )
    assert b"5ec7e7" in everything_on_disk(path)
    for name in tickets:
        commit(
            ledger,
            StoreAttempt(
                an_attempt(
                    name,
                    ticket="",
                    certificate=b"x" * 700,
                    state=AttemptState.SIGNED,
                    asked_at=WallTime(99.0),
                )
            ),
        )
    assert ledger.checkpoint()
    assert side_file(path, "-wal").stat().st_size == 0
    assert b"5ec7e7" not in everything_on_disk(path)


def everything_on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_a_checkpoint_does_not_wait_for_other_processes(disk: DiskMachine) -> None:
    ledger, other = disk.start(), disk.start()
    other.begin()
    other.apply([StoreRequest(a_request())])
    assert not ledger.checkpoint()
    other.commit()
    assert ledger.checkpoint()


# -- what a disk can do ---------------------------------------------------------------


def big_attempts(count: int) -> list[StoreAttempt]:
    return [
        StoreAttempt(an_attempt(f"big{n}", certificate=bytes(4000)))
        for n in range(count)
    ]


def test_a_full_disk_is_told_and_loses_nothing(disk: DiskMachine) -> None:
    ledger = disk.start()
    commit(ledger, *stored(a_request(), an_attempt()))
    before = everything(ledger)
    (pages,) = ledger._connection.execute("PRAGMA page_count").fetchone()
    ledger._connection.execute(f"PRAGMA max_page_count = {pages + 2}").fetchall()
    with pytest.raises(SQLiteLedgerError) as failed:
        commit(ledger, *big_attempts(50))
    assert failed.value.problem is LedgerProblem.FULL
    assert "SQLITE_FULL" in str(failed.value)
    assert everything(ledger) == before
    ledger._connection.execute("PRAGMA max_page_count = 1000000").fetchall()
    commit(ledger, *big_attempts(50))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    where = tmp_path / "small"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(where)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        reason = "no small file system can be mounted"
        if peers_are_required():
            pytest.fail(f"{reason}; {REQUIRE_VARIABLE} forbids to skip it")
        pytest.skip(reason)
    yield where
    subprocess.run(["umount", "--lazy", str(where)], check=True)


def test_a_really_full_disk_is_told_and_loses_nothing(small_disk: Path) -> None:
    with SQLiteLedger.open(small_disk / "icefloe" / "ledger.sqlite") as ledger:
        commit(ledger, *stored(a_request(), an_attempt()))
        problems = set()
        kept = 0
        for number in range(400):
            attempt = an_attempt(f"b{number}", certificate=bytes(3000))
            try:
                commit(ledger, StoreAttempt(attempt))
                kept += 1
            except SQLiteLedgerError as error:
                problems.add(error.problem)
        assert problems == {LedgerProblem.FULL}
        # What was committed is there, each whole, and nothing else.
        assert len(ledger.attempts("r1")) == 1 + kept
        assert kept > 50
        before = everything(ledger)
    with SQLiteLedger.open(small_disk / "icefloe" / "ledger.sqlite") as ledger:
        assert everything(ledger) == before


def damage(path: Path, *, from_page: int) -> None:
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(from_page * 4096)
        file.write(b"\xa5" * (size - file.tell()))


def test_a_damaged_ledger_is_told(disk: DiskMachine, path: Path) -> None:
    ledger = disk.start()
    commit(ledger, StoreRequest(a_request()), *big_attempts(50))
    (pages,) = ledger._connection.execute("PRAGMA page_count").fetchone()
    ledger.close()
    damage(path, from_page=pages - 20)
    damaged = disk.start()
    assert ids(damaged.requests()) == ["r1"]
    with pytest.raises(SQLiteLedgerError) as failed:
        damaged.open_attempts()
    assert failed.value.problem is LedgerProblem.DAMAGED
    with pytest.raises(SQLiteLedgerError) as failed:
        commit(damaged, *big_attempts(50))
    assert failed.value.problem is LedgerProblem.DAMAGED
    damaged.close()
    damage(path, from_page=1)
    assert failed_open(path).problem is LedgerProblem.DAMAGED


def test_a_value_that_icefloe_never_wrote_is_told(disk: DiskMachine) -> None:
    ledger = disk.start()
    commit(ledger, StoreRequest(a_request()))
    ledger._connection.execute("UPDATE requests SET state = 'sold'")
    with pytest.raises(SQLiteLedgerError, match="sold") as failed:
        ledger.request("r1")
    assert failed.value.problem is LedgerProblem.DAMAGED


def test_a_read_only_ledger_is_told(disk: DiskMachine) -> None:
    ledger = disk.start()
    ledger._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(SQLiteLedgerError) as failed:
        commit(ledger, StoreRequest(a_request()))
    assert failed.value.problem is LedgerProblem.READ_ONLY


def test_a_failed_rollback_is_mended_at_the_next_use(disk: DiskMachine) -> None:
    ledger = disk.start()
    commit(ledger, StoreRequest(a_request()))
    token = ledger.change_token()
    ledger.begin()
    ledger._connection.close()
    ledger.rollback()
    assert ids(ledger.requests()) == ["r1"]
    assert ledger.change_token() != token  # the new connection may have missed some
    commit(ledger, StoreRequest(a_request("r2")))


def test_a_closed_ledger_stays_closed(disk: DiskMachine) -> None:
    ledger = disk.start()
    ledger.begin()
    ledger.close()
    ledger.close()
    ledger.rollback()
    for use in (ledger.begin, ledger.requests, ledger.change_token, ledger.checkpoint):
        with pytest.raises(SQLiteLedgerError) as failed:
            use()
        assert failed.value.problem is LedgerProblem.CLOSED


def test_the_constraints_of_the_schema_hold_where_the_code_does_not_look(
    disk: DiskMachine,
) -> None:
    """A bug that gets past the checks of `ledger_writes` still breaks no promise."""
    ledger = disk.start()
    commit(
        ledger,
        *stored(a_request("r1"), a_request("r2")),
        StoreIntent(an_intent("r1", serial="01")),
        StoreCertificate(a_certificate("r1", serial="01")),
    )
    for statement in (
        "INSERT INTO intents VALUES ('r1', '02', 'k', 1, x'00')",
        "INSERT INTO intents VALUES ('r2', '01', 'k', 1, x'00')",
        "INSERT INTO certificates VALUES ('02', 'r1', 'm', 1, 0, x'00')",
        "INSERT INTO certificates VALUES ('01', 'r2', 'm', 1, 1, x'00')",
        "DELETE FROM requests WHERE request_id = 'r1'",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            ledger._connection.execute(statement)


@pytest.mark.parametrize("problem", LedgerProblem, ids=lambda p: p.code)
def test_every_problem_says_what_happened_and_what_to_do(
    problem: LedgerProblem,
) -> None:
    error = SQLiteLedgerError(problem, path=Path("/d/l"), doing="write", detail="why")
    assert isinstance(error, LedgerUnavailableError)
    assert str(error).startswith("Ledger /d/l: cannot write: ")
    assert problem.happened in str(error)
    assert str(error).endswith(problem.remedy)
    assert "(why)" in str(error)
    assert problem.remedy.endswith(".")


@pytest.mark.parametrize(
    "name, problem",
    [
        ("SQLITE_BUSY", LedgerProblem.LOCKED),
        ("SQLITE_BUSY_SNAPSHOT", LedgerProblem.LOCKED),
        ("SQLITE_FULL", LedgerProblem.FULL),
        ("SQLITE_IOERR_FSYNC", LedgerProblem.IO_ERROR),
        ("SQLITE_IOERR_WRITE", LedgerProblem.IO_ERROR),
        ("SQLITE_CORRUPT", LedgerProblem.DAMAGED),
        ("SQLITE_CORRUPT_INDEX", LedgerProblem.DAMAGED),
        ("SQLITE_NOTADB", LedgerProblem.NOT_A_LEDGER),
        ("SQLITE_READONLY", LedgerProblem.READ_ONLY),
        ("SQLITE_READONLY_DIRECTORY", LedgerProblem.READ_ONLY),
        ("SQLITE_CANTOPEN", LedgerProblem.NOT_PERMITTED),
        ("SQLITE_PERM", LedgerProblem.NOT_PERMITTED),
        ("SQLITE_ERROR", LedgerProblem.UNEXPECTED),
        ("", LedgerProblem.UNEXPECTED),
    ],
)
def test_errors_of_sqlite_become_problems(name: str, problem: LedgerProblem) -> None:
    error = sqlite3.OperationalError("words of SQLite")
    if name:
        error.sqlite_errorcode = getattr(sqlite3, name)
        error.sqlite_errorname = name
    translated = from_sqlite(error, path=Path("/d/l"), doing="write")
    assert translated.problem is problem
    assert "words of SQLite" in str(translated)


# -- threads and processes ------------------------------------------------------------


def test_a_ledger_opened_by_one_thread_serves_another(disk: DiskMachine) -> None:
    ledger = disk.start()
    worker = threading.Thread(target=commit, args=(ledger, StoreRequest(a_request())))
    worker.start()
    worker.join()
    assert ids(ledger.requests()) == ["r1"]


PREAMBLE = """
import sys
from pathlib import Path
from icefloe.storage.ledger import SQLiteLedger
from icefloe.enrollment.ledger import AddHop, StoreAttempt, StoreRequest
from tests.enrollment.ledger_contract import a_hop, a_request, an_attempt, commit
path = Path(sys.argv[1])
"""


def start_process(script: str, path: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PREAMBLE + script, str(path), *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent.parent,
    )


DIE_IN_TRANSACTION = """
ledger = SQLiteLedger.open(path)
commit(ledger, StoreRequest(a_request()), AddHop(a_hop(did="committed")))
ledger.begin()
# More than SQLite's cache holds: pages of the transaction are in the -wal file.
for number in range(1500):
    ledger.apply([StoreAttempt(an_attempt(f"a{number}", certificate=bytes(4000)))])
ledger.apply([AddHop(a_hop(did="uncommitted"))])
print("now", flush=True)
sys.stdin.read()
"""


def test_kill_in_the_middle_of_a_transaction_keeps_all_or_nothing(
    disk: DiskMachine, path: Path
) -> None:
    with start_process(DIE_IN_TRANSACTION, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        assert side_file(path, "-wal").stat().st_size > 1_000_000
        process.kill()
        assert process.wait() == -signal.SIGKILL
    ledger = disk.start()
    assert list(ledger.hops("r1")) == [a_hop(did="committed")]
    assert list(ledger.attempts("r1")) == []
    commit(ledger, AddHop(a_hop(did="next")))
    assert len(ledger.hops("r1")) == 2


COMMIT_FOR_EVER = """
ledger = SQLiteLedger.open(path)
commit(ledger, StoreRequest(a_request()))
number = 0
while True:
    commit(
        ledger,
        AddHop(a_hop(did=f"{number}-first")),
        StoreAttempt(an_attempt(f"a{number}", certificate=bytes(2000))),
        AddHop(a_hop(did=f"{number}-last")),
    )
    print(number, flush=True)
    number += 1
"""


@pytest.mark.parametrize("lines", [1, 7, 40])
def test_what_was_told_as_committed_survives_kill_at_any_moment(
    disk: DiskMachine, path: Path, lines: int
) -> None:
    with start_process(COMMIT_FOR_EVER, path) as process:
        assert process.stdout is not None
        told = -1
        for _ in range(lines):
            told = int(process.stdout.readline())
        process.kill()
        # It may have told more before it died.
        told = max([told, *map(int, process.stdout.read().split())])
    ledger = disk.start()
    done = [hop.did for hop in ledger.hops("r1")]
    whole = len(done) // 2
    assert done == [f"{n}-{part}" for n in range(whole) for part in ("first", "last")]
    assert len(ledger.attempts("r1")) == whole
    assert whole >= told + 1


COUNT = """
ledger = SQLiteLedger.open(path)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(100):
    ledger.begin()
    count = len(ledger.hops("r1"))
    ledger.apply([AddHop(a_hop(did=str(count)))])
    ledger.commit()
"""


def test_two_processes_writing_at_once_lose_nothing(
    disk: DiskMachine, path: Path
) -> None:
    """Each counts what is there and writes the next number: none may come twice."""
    ledger = disk.start()
    commit(ledger, StoreRequest(a_request()))
    token = ledger.change_token()
    processes = [start_process(COUNT, path) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.communicate("go\n")
    assert [process.returncode for process in processes] == [0, 0]
    assert [hop.did for hop in ledger.hops("r1")] == [str(n) for n in range(200)]
    assert ledger.change_token() != token


OPEN = """
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    with SQLiteLedger.open(path.with_name(f"icefloe-{number}") / "ledger") as ledger:
        commit(ledger, StoreRequest(a_request(sys.argv[2])))
"""


def test_processes_that_make_the_ledger_at_once_share_it(tmp_path: Path) -> None:
    names = ["r1", "r2", "r3", "r4"]
    processes = [start_process(OPEN, tmp_path / "any", name) for name in names]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0] * 4
    for number in range(20):
        with SQLiteLedger.open(tmp_path / f"icefloe-{number}" / "ledger") as ledger:
            assert ids(ledger.requests()) == names


def test_a_lock_held_for_too_long_is_told_with_what_to_do(disk: DiskMachine) -> None:
    daemon, command = disk.start(), disk.start()
    daemon.begin()
    with pytest.raises(SQLiteLedgerError) as failed:
        command.begin()
    daemon.rollback()
    assert failed.value.problem is LedgerProblem.LOCKED
    assert "begin a transaction" in str(failed.value)
    assert "fuser" in str(failed.value)


def test_readers_do_not_wait_for_a_writer(disk: DiskMachine) -> None:
    daemon, command = disk.start(), disk.start()
    daemon.begin()
    daemon.apply([StoreRequest(a_request()), AddHop(a_hop())])
    assert list(command.requests()) == []
    daemon.commit()
    assert ids(command.requests()) == ["r1"]
