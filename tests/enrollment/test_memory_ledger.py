"""The ledger in memory: the contract, and what it offers to tests and the simulator."""

from __future__ import annotations

from typing import Literal

import pytest
from tests.enrollment.ledger_contract import (
    LedgerContract,
    Machine,
    a_request,
    an_attempt,
    commit,
    everything,
    ids,
    stored,
)

from icefloe.enrollment.ledger import (
    LedgerUnavailableError,
    LedgerWriter,
    StoreRequest,
)
from icefloe.enrollment.memory_ledger import MemoryLedger


class MemoryMachine:
    """A machine whose disk is memory."""

    def __init__(self) -> None:
        self._first = MemoryLedger()

    def start(self) -> MemoryLedger:
        return self._first.another_process()

    def kill(self, ledger: LedgerWriter) -> LedgerWriter:
        assert isinstance(ledger, MemoryLedger)
        ledger.crash()
        return ledger


class TestMemoryLedger(LedgerContract):
    @pytest.fixture
    def machine(self) -> Machine:
        return MemoryMachine()


@pytest.mark.parametrize("operation", ["begin", "apply", "commit"])
def test_a_planned_fault_happens_once_and_leaves_nothing(
    operation: Literal["begin", "apply", "commit"],
) -> None:
    ledger = MemoryLedger()
    commit(ledger, StoreRequest(a_request("r1")))
    before = everything(ledger)
    ledger.fail_next(operation)
    with pytest.raises(LedgerUnavailableError, match="planned"):
        commit(ledger, StoreRequest(a_request("r2")))
    assert everything(ledger) == before
    commit(ledger, StoreRequest(a_request("r2")))
    assert ids(ledger.requests()) == ["r1", "r2"]


def test_a_crash_cancels_planned_faults() -> None:
    ledger = MemoryLedger()
    ledger.fail_next("commit")
    ledger.crash()
    commit(ledger, StoreRequest(a_request()))


def test_reading_while_another_process_writes_is_a_bug_of_the_test() -> None:
    daemon = MemoryLedger()
    command = daemon.another_process()
    daemon.begin()
    with pytest.raises(RuntimeError, match="read while"):
        command.request("r1")
    daemon.commit()
    assert command.request("r1") is None


def test_a_transaction_without_writes_is_no_change() -> None:
    daemon = MemoryLedger()
    command = daemon.another_process()
    token = daemon.change_token()
    commit(command)
    assert daemon.change_token() == token


def test_a_turn_costs_what_it_touches_whatever_the_ledger_holds() -> None:
    """The undo journal, which is all that a transaction copies, stays small."""
    ledger = MemoryLedger()
    for number in range(1000):
        name = f"r{number}"
        commit(ledger, *stored(a_request(name), an_attempt(f"a{number}", name)))
    ledger.begin()
    ledger.apply(stored(a_request("r5"), an_attempt("a5", "r5", asked=11.0)))
    assert len(ledger._disk.journal) == 2
    ledger.rollback()


def test_it_says_how_many_rows_of_each_kind_it_holds() -> None:
    ledger = MemoryLedger()
    assert set(ledger.rows().values()) == {0}
    commit(ledger, StoreRequest(a_request()))
    assert ledger.rows()["requests"] == 1
    assert sum(ledger.rows().values()) == 1
