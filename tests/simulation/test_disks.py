"""What is synced survives; of the rest a disk keeps what it likes."""

from __future__ import annotations

from random import Random

import pytest

from icefloe.doors import WallTime
from icefloe.enrollment.ledger import LedgerUnavailableError, RememberKey, Write
from icefloe.enrollment.model import KnownKey
from icefloe.simulation.disk import SimulatedLedger
from icefloe.simulation.faults import CommitFate, FaultPlan, Faults
from icefloe.simulation.files import DiskFails, SimulatedFiles
from icefloe.simulation.timeline import Timeline


def key(cn: str) -> RememberKey:
    return RememberKey(KnownKey(cn=cn, key_id=cn * 4, how="member", at=WallTime(1.0)))


class Book:
    """A ledger, and what it says is durable."""

    def __init__(self) -> None:
        self.ledger = SimulatedLedger()
        self.durable: list[Write] = []
        self.ledger.on_commit = self.durable.extend

    def write(self, cn: str, fate: CommitFate = CommitFate.DURABLE) -> bool:
        """Write a line; whether the commit returned."""
        ledger = self.ledger
        ledger.before_commit = lambda: fate
        try:
            ledger.begin()
            ledger.apply([key(cn)])
            ledger.commit()
        except LedgerUnavailableError:
            ledger.rollback()
            return False
        return True

    def holds(self, cn: str) -> bool:
        return self.ledger.known_key(cn) is not None


def test_a_commit_that_returned_is_there_after_a_restart() -> None:
    book = Book()
    assert book.write("a")
    assert not book.ledger.reopen()
    assert book.holds("a")
    assert book.durable == [key("a")]


def test_a_commit_that_failed_is_gone() -> None:
    book = Book()
    assert not book.write("a", CommitFate.REFUSED)
    assert not book.ledger.reopen()
    assert not book.holds("a")
    assert book.durable == []


def test_a_commit_that_failed_may_have_been_kept() -> None:
    book = Book()
    assert not book.write("a", CommitFate.KEPT)
    assert book.holds("a")
    assert book.durable == [key("a")]


def test_a_commit_that_failed_may_be_there_after_a_restart() -> None:
    book = Book()
    assert not book.write("a", CommitFate.RESTART)
    assert not book.holds("a")
    assert book.ledger.reopen()
    assert book.holds("a")
    assert book.durable == [key("a")]


def test_whatever_is_committed_next_takes_the_place_of_the_failed_one() -> None:
    book = Book()
    book.write("a", CommitFate.RESTART)
    operator = book.ledger.for_operator()
    operator.begin()
    operator.apply([key("b")])
    operator.commit()
    assert not book.ledger.reopen()
    assert book.holds("b")
    assert not book.holds("a")


def test_a_full_disk_is_read_and_not_written() -> None:
    book = Book()
    book.write("a")
    book.ledger.trouble = "full"
    assert not book.write("b")
    assert book.holds("a")
    book.ledger.trouble = None
    assert book.write("b")


def test_a_failing_disk_fails_at_anything() -> None:
    book = Book()
    book.write("a")
    book.ledger.trouble = "io"
    with pytest.raises(LedgerUnavailableError):
        book.holds("a")
    assert not book.write("b")
    book.ledger.io_fails = lambda: False
    assert book.holds("a")
    assert not book.write("b", CommitFate.KEPT)
    assert book.holds("b")


def test_an_older_copy_forgets_what_came_after_it() -> None:
    book = Book()
    book.write("a")
    copy = book.ledger.back_up()
    book.write("b")
    book.write("c", CommitFate.RESTART)
    book.ledger.restore(copy)
    assert not book.ledger.reopen()
    assert book.holds("a")
    assert not book.holds("b")
    assert book.write("b")


# -- files -----------------------------------------------------------------------------


def files(seed: int = 1) -> tuple[SimulatedFiles, Faults]:
    chance = Random(seed)
    faults = Faults(FaultPlan.none(), chance, Timeline())
    directory = SimulatedFiles(faults, chance)
    directory.begin_with({"node.crt": b"old"})
    return directory, faults


def test_a_killed_process_loses_nothing_it_wrote() -> None:
    directory, _ = files()
    directory.write("node.crt", b"new")
    assert directory.read("node.crt") == b"new"


def test_what_was_never_synced_comes_back_old_torn_or_whole() -> None:
    """Why nothing is written in place."""
    found = set()
    for seed in range(60):
        directory, _ = files(seed)
        directory.write("node.crt", b"new")
        directory.power_fails()
        found.add(directory.read("node.crt"))
    assert {b"old", b"", b"new"} < found


def test_a_file_that_was_synced_before_its_renaming_is_old_or_new() -> None:
    found = set()
    for seed in range(60):
        directory, faults = files(seed)
        directory.write(".staged", b"new")
        directory.sync(".staged")
        directory.rename(".staged", "node.crt")
        directory.power_fails()
        found.add(directory.read("node.crt"))
        assert not faults.counts["file-torn"]
    assert found == {b"old", b"new"}


def test_a_directory_that_was_synced_is_as_it_was() -> None:
    for seed in range(20):
        directory, faults = files(seed)
        directory.write(".staged", b"new")
        directory.sync(".staged")
        directory.rename(".staged", "node.crt")
        directory.sync_directory()
        directory.power_fails()
        assert directory.read("node.crt") == b"new"
        assert not faults.counts


def test_a_full_disk_takes_no_file_and_keeps_the_old_one() -> None:
    directory, _ = files()
    directory.full = True
    with pytest.raises(DiskFails, match="disk full"):
        directory.write("node.crt", b"new")
    assert directory.read("node.crt") == b"old"
