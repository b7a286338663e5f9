"""Power goes at any moment: what was told as committed is there, and nothing half.

A real SQLite works on real files, seen through `watched_disk`. From what it did, every
content that the disk may hold after a power cut is made (`crash_images`), and opened by
the code that runs in production.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tests.enrollment.ledger_contract import (
    a_certificate,
    a_decision,
    a_hop,
    a_key,
    a_request,
    an_attempt,
    an_intent,
    commit,
    everything,
)
from tests.storage.crash_images import Image, crash_images
from tests.storage.schemas import ADDITIVE, BREAKING, rows_of
from tests.storage.watched_disk import Watch, watched

from icefloe.enrollment.ledger import (
    AddHop,
    ForgetAttempt,
    RememberKey,
    StoreAttempt,
    StoreCertificate,
    StoreDecision,
    StoreIntent,
    StoreRequest,
    Write,
)
from icefloe.enrollment.model import AttemptState, RequestState
from icefloe.storage.ledger import SQLiteLedger
from icefloe.storage.ledger_copies import check_ledger_file, integrity_faults
from icefloe.storage.ledger_schema import LEDGER_SCHEMA, Schema

NAME = "ledger.sqlite"

Work = Callable[[SQLiteLedger], object]

COMMITS: list[list[Write]] = [
    [StoreRequest(a_request()), StoreAttempt(an_attempt()), AddHop(a_hop())],
    [
        StoreRequest(a_request(state=RequestState.DECIDED)),
        StoreDecision(a_decision()),
        AddHop(a_hop(did="decided")),
    ],
    [
        StoreRequest(a_request(state=RequestState.INTENDED)),
        StoreIntent(an_intent()),
        RememberKey(a_key()),
    ],
    # More pages than fit in a few sectors.
    [StoreAttempt(an_attempt(f"b{n}", certificate=os.urandom(3000))) for n in range(4)],
    [
        StoreRequest(a_request(state=RequestState.ISSUED)),
        StoreCertificate(a_certificate()),
        StoreAttempt(an_attempt(ticket="", state=AttemptState.SIGNED)),
    ],
    [*(ForgetAttempt(f"b{n}") for n in range(4)), AddHop(a_hop(did="delivered"))],
    [StoreRequest(a_request("r2")), StoreAttempt(an_attempt("a2", "r2"))],
]


@pytest.fixture
def directory(memory_directory: Path) -> Path:
    return memory_directory


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in directory.iterdir()
        if path.name.startswith(NAME) and not path.name.endswith("-shm")
    }


@contextlib.contextmanager
def lying(directory: Path, files: Mapping[str, bytes]) -> Iterator[Path]:
    """Lay an image on the disk, and clear it away."""
    for name, content in files.items():
        path = directory / name
        path.touch(mode=0o600)
        path.write_bytes(content)
    try:
        yield directory / NAME
    finally:
        for path in directory.iterdir():
            path.unlink()


def record(path: Path, work: Work) -> tuple[Watch, list[object]]:
    """Work on a ledger; a mark follows each commit, with what is there then."""
    states: list[object] = [None]
    with watched(path.parent) as watch:
        ledger = SQLiteLedger.open(path)
        watch.mark("open")
        states.append(everything(ledger))
        for number, writes in enumerate(COMMITS):
            commit(ledger, *writes)
            watch.mark(f"commit {number}")
            states.append(everything(ledger))
            work(ledger)
            if number == len(COMMITS) // 2:
                ledger.close()  # which removes the log, and a new one is made
                ledger = SQLiteLedger.open(path)
        ledger.close()
    return watch, states


def verdict(image: Image, states: list[object], directory: Path) -> str:
    """Open an image with the code that runs; return what is wrong, or ""."""
    with (
        lying(directory, {NAME: b"", **image.files}) as path,
        SQLiteLedger.open(path) as ledger,
    ):
        found = everything(ledger)
        assert not integrity_faults(ledger._connection)
        if image.moment % 5 == 0:
            commit(ledger, StoreRequest(a_request("r3")))
    # What was under way when the power went may be there or not, but whole.
    allowed = states[max(image.told, 1) : image.told + 2]
    return "" if found in allowed else f"{image!r} holds {found!r}"


def checkpoint(ledger: SQLiteLedger) -> None:
    ledger.checkpoint()


def nothing(_ledger: SQLiteLedger) -> None:
    pass


def small_log(ledger: SQLiteLedger) -> None:
    """SQLite itself writes the log back, and begins it anew."""
    ledger._connection.execute("PRAGMA wal_autocheckpoint = 4").fetchall()


@pytest.mark.parametrize("work", [nothing, checkpoint, small_log])
@pytest.mark.timeout(180)  # 10 s where nothing else runs
def test_power_loss_keeps_every_commit_that_returned_and_nothing_half(
    directory: Path, work: Work
) -> None:
    watch, states = record(directory / NAME, work)
    for path in directory.iterdir():
        path.unlink()
    images = 0
    for image in crash_images(watch.events, {NAME: b""}, seed=1, torn=2):
        assert verdict(image, states, directory) == ""
        images += 1
    assert images > 200


def test_a_ledger_that_does_not_wait_for_the_disk_is_found_out(
    directory: Path,
) -> None:
    """The judgement itself: without syncs the same images lose what was told."""

    def careless(ledger: SQLiteLedger) -> None:
        ledger._connection.execute("PRAGMA synchronous = OFF")

    watch, states = record(directory / NAME, careless)
    for path in directory.iterdir():
        path.unlink()
    images = crash_images(watch.events, {NAME: b""}, seed=1, torn=2)
    assert any(verdict(image, states, directory) for image in images)


@pytest.mark.parametrize("schema", [ADDITIVE, BREAKING], ids=["adds", "breaks"])
def test_power_loss_in_an_upgrade_leaves_the_old_ledger_or_the_new_one(
    directory: Path, schema: Schema
) -> None:
    path = directory / NAME
    with SQLiteLedger.open(path) as ledger:
        for writes in COMMITS:
            commit(ledger, *writes)
    before, rows = contents(directory), rows_of(path)
    with watched(directory) as watch:
        SQLiteLedger.open(path, schema=schema).close()
    for each in directory.iterdir():
        each.unlink()
    events = [e for e in watch.events if not hasattr(e, "name") or ".v1." not in e.name]
    found = set()
    for image in crash_images(events, before, seed=1, torn=4):
        with lying(directory, image.files) as file:
            check_ledger_file(file, any_version=True)
            with contextlib.closing(sqlite3.connect(file)) as connection:
                (number,) = connection.execute("PRAGMA user_version").fetchone()
            found.add(number)
            if number == LEDGER_SCHEMA.stamp.number:
                with SQLiteLedger.open(file):  # the older release goes on
                    assert rows_of(file) == rows
            with SQLiteLedger.open(file, schema=schema):
                assert rows_of(file) == rows
    assert found == {LEDGER_SCHEMA.stamp.number, schema.stamp.number}


def test_sqlite_was_not_built_to_skip_syncing() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        options = connection.execute("PRAGMA compile_options").fetchall()
    assert ("NO_SYNC",) not in options
