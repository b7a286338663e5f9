"""Both ledgers, driven by the same random steps, always say the same.

The one in memory is simple enough to be believed, and the simulator's word about the
promises is only worth what this agreement is worth.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from tests.enrollment.ledger_contract import everything

from icefloe.doors import WallTime
from icefloe.enrollment.ledger import (
    AbandonIntent,
    AddHop,
    ForgetAttempt,
    ForgetCanary,
    ForgetRequest,
    LedgerUnavailableError,
    LedgerWriter,
    RememberKey,
    StoreAttempt,
    StoreCertificate,
    StoreDecision,
    StoreIntent,
    StoreRequest,
    WithdrawDecision,
    Write,
)
from icefloe.enrollment.memory_ledger import MemoryLedger
from icefloe.enrollment.model import (
    AttemptRecord,
    AttemptState,
    CertificateRecord,
    DecisionKind,
    DecisionRecord,
    HopRecord,
    IntentRecord,
    KnownKey,
    Origin,
    Refusal,
    RequestRecord,
    RequestState,
)
from icefloe.storage.ledger import SQLiteLedger

# Few names, so that writes meet each other.
REQUESTS = st.sampled_from(["r1", "r2", "r3"])
ATTEMPTS = st.sampled_from(["a1", "a2", "a3", "a4"])
SERIALS = st.sampled_from(["01", "02", "03"])
TIMES = st.sampled_from([0.5, 1.0, 2.0, 3.0]).map(WallTime)
TEXTS = st.sampled_from(["", "text", "\ud83d", "ä\x00"])

REQUEST = st.builds(
    RequestRecord,
    request_id=REQUESTS,
    cn=st.just("agent") | st.sampled_from(["agent", "icefloe-canary-1", "other"]),
    key_id=st.just("key"),
    renews=st.just(""),
    state=st.sampled_from(RequestState),
    created_at=TIMES,
    updated_at=TIMES,
    note=TEXTS,
)
REFUSAL = st.builds(
    Refusal, reason=TEXTS, text=TEXTS, hop=TEXTS, retry_after=st.none() | TIMES
)
ATTEMPT = st.builds(
    AttemptRecord,
    attempt_id=ATTEMPTS,
    request_id=REQUESTS,
    fingerprint=st.sampled_from(["f1", "f1", "f1", "f2"]),
    certificate=st.sampled_from([b"", b"\x00\xff", b"x" * 5000]),
    ticket=TEXTS,
    ticket_digest=TEXTS,
    requestor_ca=TEXTS,
    origin=st.sampled_from(Origin),
    via=TEXTS,
    state=st.sampled_from(AttemptState),
    asked_at=TIMES,
    refusal=st.none() | REFUSAL,
)
DECISION = st.builds(
    DecisionRecord,
    request_id=REQUESTS,
    kind=st.sampled_from(DecisionKind),
    actor=TEXTS,
    at=TIMES,
    attempt_id=ATTEMPTS | st.just(""),
    reserved=st.booleans(),
)
INTENT = st.builds(
    IntentRecord,
    request_id=REQUESTS,
    serial=SERIALS,
    tbs=st.just(b"tbs"),
    ca_key_id=st.just("ca"),
    at=TIMES,
)
CERTIFICATE = st.builds(
    CertificateRecord,
    serial=SERIALS,
    request_id=REQUESTS,
    certificate=st.sampled_from([b"one", b"one", b"two"]),
    source=TEXTS,
    at=TIMES,
    surplus=st.booleans(),
)
HOP = st.builds(HopRecord, request_id=REQUESTS, node=TEXTS, did=TEXTS, at=TIMES)
KEY = st.builds(
    KnownKey,
    cn=st.sampled_from(["cn1", "cn2"]),
    key_id=st.sampled_from(["key1", "key2"]),
    how=TEXTS,
    at=TIMES,
)

WRITE: st.SearchStrategy[Write] = st.one_of(
    st.builds(StoreRequest, REQUEST),
    st.builds(StoreAttempt, ATTEMPT),
    st.builds(StoreDecision, DECISION),
    st.builds(WithdrawDecision, REQUESTS),
    st.builds(StoreIntent, INTENT),
    st.builds(StoreCertificate, CERTIFICATE),
    st.builds(AddHop, HOP),
    st.builds(RememberKey, KEY, replaces=st.booleans()),
    st.builds(AbandonIntent, REQUESTS),
    st.builds(ForgetRequest, REQUESTS),
    st.builds(ForgetCanary, REQUESTS),
    st.builds(ForgetAttempt, ATTEMPTS),
)


class TwoLedgers(RuleBasedStateMachine):
    """One daemon on each ledger; now and then it dies, or a command writes too."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="icefloe-test-"))
        self.disk = self.open_disk()
        self.memory = MemoryLedger()
        self.in_transaction = False

    def open_disk(self) -> SQLiteLedger:
        ledger = SQLiteLedger.open(self.directory / "ledger", busy_seconds=1.0)
        # Durability has its own tests; without it these run ten times as fast.
        ledger._connection.execute("PRAGMA synchronous = OFF")
        return ledger

    def teardown(self) -> None:
        self.disk.close()
        shutil.rmtree(self.directory)

    def both(self) -> tuple[LedgerWriter, LedgerWriter]:
        return self.disk, self.memory

    @initialize()
    def some_requests(self) -> None:
        for ledger in self.both():
            assert apply_all(ledger, FIRST_REQUESTS) == ""

    @precondition(lambda self: not self.in_transaction)
    @rule()
    def begin(self) -> None:
        for ledger in self.both():
            ledger.begin()
        self.in_transaction = True

    @precondition(lambda self: self.in_transaction)
    @rule(writes=st.lists(WRITE, min_size=1, max_size=6))
    def apply(self, writes: list[Write]) -> None:
        outcomes = [outcome_of(ledger, writes) for ledger in self.both()]
        assert outcomes[0] == outcomes[1]
        if outcomes[0]:
            self.rollback()

    @precondition(lambda self: self.in_transaction)
    @rule()
    def commit(self) -> None:
        for ledger in self.both():
            ledger.commit()
        self.in_transaction = False

    @rule()
    def rollback(self) -> None:
        for ledger in self.both():
            ledger.rollback()
        self.in_transaction = False

    @rule()
    def die_and_start_again(self) -> None:
        self.disk._connection.close()
        self.disk = self.open_disk()
        self.memory.crash()
        self.in_transaction = False

    @precondition(lambda self: not self.in_transaction)
    @rule(writes=st.lists(WRITE, min_size=1, max_size=3))
    def a_command_writes(self, writes: list[Write]) -> None:
        tokens = [ledger.change_token() for ledger in self.both()]
        with self.open_disk() as command:
            outcomes = [
                apply_all(command, writes),
                apply_all(self.memory.another_process(), writes),
            ]
        assert outcomes[0] == outcomes[1]
        told = [
            ledger.change_token() != token
            for ledger, token in zip(self.both(), tokens, strict=True)
        ]
        # Writes that changed nothing may be told of or not.
        assert told == [outcomes[0] == ""] * 2 or not any(map(changes, writes))

    @invariant()
    def they_say_the_same(self) -> None:
        assert everything(self.disk) == everything(self.memory)


FIRST_REQUESTS: list[Write] = [
    StoreRequest(
        RequestRecord(
            request_id=name,
            cn="agent",
            key_id="key",
            renews="",
            state=RequestState.RECEIVED,
            created_at=WallTime(1.0),
            updated_at=WallTime(1.0),
        )
    )
    for name in ("r1", "r2")
]


def changes(write: Write) -> bool:
    """Whether a write that succeeds always changes the ledger."""
    return isinstance(write, StoreIntent | AddHop)


def outcome_of(ledger: LedgerWriter, writes: list[Write]) -> str:
    """Apply writes; return the refusal in words, or ""."""
    try:
        ledger.apply(writes)
    except LedgerUnavailableError as error:
        return str(error)
    return ""


def apply_all(ledger: LedgerWriter, writes: list[Write]) -> str:
    """Apply writes in a transaction of their own."""
    ledger.begin()
    outcome = outcome_of(ledger, writes)
    if outcome:
        ledger.rollback()
    else:
        ledger.commit()
    return outcome


TestTwoLedgers = TwoLedgers.TestCase
TestTwoLedgers.settings = settings(max_examples=100, stateful_step_count=25)
