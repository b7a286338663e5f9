"""`icefloe ledger`: what an operator sees and can do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.command import Command
from tests.enrollment.ledger_contract import a_request, commit
from tests.storage.schemas import BREAKING, old_ledger, rows_of

from icefloe.enrollment.commands import Level
from icefloe.enrollment.ledger import StoreRequest
from icefloe.node.ledger_opening import opened_ledger
from icefloe.storage.ledger import SQLiteLedger
from icefloe.storage.ledger_copies import list_copies
from icefloe.storage.lock import DaemonLock


@pytest.fixture
def ledger(icefloe: Command) -> Path:
    return old_ledger(icefloe.directories.ledger)


def test_the_status_is_told_in_words(icefloe: Command, ledger: Path) -> None:
    icefloe.ok("ledger", "copy", icefloe.path("copy"))
    text = icefloe.ok("ledger", "status")
    assert f"Ledger:     {ledger}" in text
    assert "version 1; releases that know version 1 or later" in text
    assert "Condition:  whole" in text
    assert "10 requests" in text
    assert "Next start" not in text


def test_the_status_is_told_as_json(icefloe: Command, ledger: Path) -> None:
    facts: Any = icefloe.json("ledger", "status")
    assert facts["path"] == str(ledger)
    assert (facts["schema_version"], facts["opens_from"]) == (1, 1)
    assert facts["rows"]["certificates"] == 5
    assert (facts["usable"], facts["faults"], facts["copies"]) == (True, [], [])


def test_a_ledger_of_a_later_release_fails_the_status(
    icefloe: Command, ledger: Path
) -> None:
    SQLiteLedger.open(ledger, schema=BREAKING).close()
    done = icefloe("ledger", "status")
    assert done.code == 1
    assert "which this release cannot use" in done.out
    assert "Copy:" in done.out


def test_without_a_ledger_the_reason_is_told(icefloe: Command) -> None:
    done = icefloe("ledger", "status")
    assert done.code == 1
    assert "there is no such file" in done.err


def test_a_copy_is_made_once(icefloe: Command, ledger: Path) -> None:
    copy = icefloe.path("copy")
    assert "Copied the ledger" in icefloe.ok("ledger", "copy", copy)
    assert rows_of(copy) == rows_of(ledger)
    done = icefloe("ledger", "copy", copy)
    assert done.code == 1
    assert "already" in done.err


def test_a_copy_that_knows_everything_is_restored_at_once(
    icefloe: Command, ledger: Path
) -> None:
    copy = icefloe.path("copy")
    icefloe.ok("ledger", "copy", copy)
    text = icefloe.ok("ledger", "restore", copy)
    assert "schema version 1" in text
    assert "is kept as" in text
    assert rows_of(ledger) == rows_of(copy)


def test_what_would_be_forgotten_is_told_and_has_to_be_wanted(
    icefloe: Command, ledger: Path
) -> None:
    copy = icefloe.path("copy")
    icefloe.ok("ledger", "copy", copy)
    with SQLiteLedger.open(ledger) as opened:
        commit(opened, StoreRequest(a_request("new")))
    done = icefloe("ledger", "restore", copy)
    assert done.code == 1
    assert "1 requests, 0 decisions and 0 certificates" in done.err
    assert "new.example.org" in done.err
    assert "--forget" in done.err
    assert rows_of(ledger) != rows_of(copy)
    icefloe.ok("ledger", "restore", copy, "--forget")
    assert rows_of(ledger) == rows_of(copy)


def test_nothing_is_restored_beside_a_running_daemon(
    icefloe: Command, ledger: Path
) -> None:
    copy = icefloe.path("copy")
    icefloe.ok("ledger", "copy", copy)
    with DaemonLock.acquire(icefloe.directories.lock):
        done = icefloe("ledger", "restore", copy)
    assert done.code == 1
    assert "running already" in done.err
    assert list_copies(ledger) == ()


class Log:
    """Collects log events."""

    def __init__(self) -> None:
        self.events: list[tuple[int, str, dict[str, Any]]] = []

    def log(self, level: int, event: str, **fields: Any) -> None:
        self.events.append((level, event, fields))


def test_the_daemon_tells_of_an_upgrade_before_and_after_with_the_way_back(
    ledger: Path,
) -> None:
    log = Log()
    with opened_ledger(ledger, None, log, schema=BREAKING):
        pass
    (copy,) = list_copies(ledger)
    assert [(level, event) for level, event, _ in log.events] == [
        (Level.WARNING, "ledger is about to be upgraded"),
        (Level.WARNING, "ledger upgraded"),
    ]
    before, after = (fields for *_, fields in log.events)
    assert "version 1 to 2" in before["detail"]
    assert "ledger restore" in before["next"]
    assert after["copy"] == str(copy.path)
    assert str(copy.path) in after["next"]
    log.events.clear()
    with opened_ledger(ledger, None, log, schema=BREAKING):
        pass
    assert log.events == []


# -- root and the daemon user ------------------------------------------------------------


AS_PROGRAM = "import sys; from icefloe.cli.app import run; sys.exit(run(sys.argv[1:]))"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(
    "words",
    [["ledger", "copy", "FORBIDDEN"], ["ca", "list"], ["daemon", "-C"]],
    ids=["copy", "list", "daemon"],
)
def test_root_works_on_the_ledger_as_the_daemon_user(
    icefloe: Command, tmp_path: Path, words: list[str]
) -> None:
    """CVE-2017-16933's kind: SQLite opens files by name, so root must not.

    Seen from outside: nothing that only root may write is written, and what the
    command opens it opens as the other user, or it says that it cannot be him.
    """
    nobody = 65534
    forbidden = tmp_path / "forbidden"
    forbidden.mkdir(mode=0o700)
    ledger = old_ledger(icefloe.directories.ledger)
    for name in (icefloe.directories.data_dir, ledger.parent, ledger):
        os.chown(name, nobody, nobody)
    directories = icefloe.directories
    trace = (
        "import os, sys\n"
        "def note(event, args):\n"
        "    if event == 'sqlite3.connect' and os.geteuid() == 0:\n"
        "        print('opened as root', file=sys.stderr)\n"
        "sys.addaudithook(note)\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-c", trace + AS_PROGRAM),
            *("--config-dir", directories.config_dir),
            *("--data-dir", directories.data_dir),
            *(word.replace("FORBIDDEN", str(forbidden / "copy")) for word in words),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "opened as root" not in done.stderr
    assert list(forbidden.iterdir()) == []
    if words[0] == "ledger":
        assert done.returncode == 1
