"""What every ledger must do: one suite that each implementation's test file inherits.

A `Machine` is a computer with one ledger on it. It starts processes that use the
ledger, and kills them.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import pytest

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
from icefloe.enrollment.ledger_conflict import LedgerConflictError, LedgerRule
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

CANARY = "icefloe-canary-1"


class Machine(Protocol):
    """A computer with one ledger on it."""

    def start(self) -> LedgerWriter:
        """Start a process that opens the ledger; waits little for locks."""
        ...

    def kill(self, ledger: LedgerWriter) -> LedgerWriter:
        """Kill that process at once; return the ledger as its successor opens it."""
        ...


# -- records --------------------------------------------------------------------------


def a_request(
    name: str = "r1", *, created: float = 10.0, **changes: Any
) -> RequestRecord:
    record = RequestRecord(
        request_id=name,
        cn=f"{name}.example.org",
        key_id=f"key-of-{name}",
        renews="",
        state=RequestState.RECEIVED,
        created_at=WallTime(created),
        updated_at=WallTime(created),
    )
    return replace(record, **changes)


def an_attempt(
    name: str = "a1", request: str = "r1", *, asked: float = 10.0, **changes: Any
) -> AttemptRecord:
    record = AttemptRecord(
        attempt_id=name,
        request_id=request,
        fingerprint=f"fingerprint-of-{name}",
        certificate=f"certificate of {name}".encode(),
        ticket="a ticket",
        ticket_digest="digest of a ticket",
        requestor_ca="",
        origin=Origin.DIRECT,
        via="192.0.2.1",
        state=AttemptState.RECEIVED,
        asked_at=WallTime(asked),
    )
    return replace(record, **changes)


def a_decision(request: str = "r1", **changes: Any) -> DecisionRecord:
    record = DecisionRecord(
        request_id=request,
        kind=DecisionKind.TICKET,
        actor="master",
        at=WallTime(11.0),
        attempt_id="a1",
    )
    return replace(record, **changes)


def an_intent(
    request: str = "r1", *, serial: str = "5e51a1", **changes: Any
) -> IntentRecord:
    record = IntentRecord(
        request_id=request,
        serial=serial,
        tbs=b"to be signed",
        ca_key_id="the CA's key",
        at=WallTime(12.0),
    )
    return replace(record, **changes)


def a_certificate(
    request: str = "r1", *, serial: str = "5e51a1", **changes: Any
) -> CertificateRecord:
    record = CertificateRecord(
        serial=serial,
        request_id=request,
        certificate=f"certificate {serial}".encode(),
        source="master",
        at=WallTime(13.0),
    )
    return replace(record, **changes)


def a_hop(request: str = "r1", did: str = "received", **changes: Any) -> HopRecord:
    record = HopRecord(request_id=request, node="satellite", did=did, at=WallTime(10.0))
    return replace(record, **changes)


def a_key(cn: str = "agent.example.org", **changes: Any) -> KnownKey:
    record = KnownKey(cn=cn, key_id="first key", how="member", at=WallTime(9.0))
    return replace(record, **changes)


def stored(*records: RequestRecord | AttemptRecord) -> list[Write]:
    return [
        StoreRequest(record)
        if isinstance(record, RequestRecord)
        else StoreAttempt(record)
        for record in records
    ]


# -- steps ----------------------------------------------------------------------------


def commit(ledger: LedgerWriter, *writes: Write) -> None:
    """Apply writes in a transaction of their own."""
    ledger.begin()
    try:
        ledger.apply(writes)
        ledger.commit()
    except BaseException:
        ledger.rollback()
        raise


def refused_rule(ledger: LedgerWriter, *writes: Write) -> LedgerRule:
    """Apply writes of which the last must be refused; return the rule it breaks."""
    ledger.begin()
    ledger.apply(writes[:-1])
    with pytest.raises(LedgerConflictError) as refused:
        ledger.apply(writes[-1:])
    ledger.rollback()
    return refused.value.rule


def ids(records: Sequence[RequestRecord | AttemptRecord]) -> list[str]:
    return [
        r.request_id if isinstance(r, RequestRecord) else r.attempt_id for r in records
    ]


class LedgerContract(abc.ABC):
    """The suite. A subclass says which machine."""

    @pytest.fixture
    @abc.abstractmethod
    def machine(self) -> Machine:
        """A machine with an empty ledger."""

    @pytest.fixture
    def ledger(self, machine: Machine) -> LedgerWriter:
        return machine.start()

    # -- what is stored is read -----------------------------------------------

    def test_an_empty_ledger_answers_every_read(self, ledger: LedgerWriter) -> None:
        assert ledger.request("r1") is None
        assert ledger.attempt("a1") is None
        assert list(ledger.attempts("r1")) == []
        assert list(ledger.attempts_by_fingerprint("f")) == []
        assert list(ledger.open_attempts()) == []
        assert ledger.decision("r1") is None
        assert ledger.intent("r1") is None
        assert ledger.certificate("r1") is None
        assert ledger.certificate_by_serial("01") is None
        assert list(ledger.requests()) == []
        assert list(ledger.requests([RequestState.RECEIVED])) == []
        assert ledger.open_request_count() == 0
        assert list(ledger.stale_requests(before=WallTime(1e12), limit=9)) == []
        assert list(ledger.hops("r1")) == []
        assert ledger.known_key("agent") is None

    def test_every_record_is_read_as_it_was_written(self, ledger: LedgerWriter) -> None:
        request = a_request(
            renews="0a", note="reserved name", state=RequestState.ISSUED
        )
        refused = an_attempt(
            "a1",
            ticket="",
            state=AttemptState.REFUSED,
            refusal=Refusal("wrong-ticket", "No.", "master", retry_after=1.5),
            requestor_ca="-----BEGIN CERTIFICATE-----",
            origin=Origin.RELAYED,
        )
        asked = an_attempt("a2", certificate=b"\x00\xff", origin=Origin.POSTED)
        for_ever = an_attempt(
            "a3", state=AttemptState.REFUSED, refusal=Refusal("removed", "", "here")
        )
        decision = a_decision(kind=DecisionKind.APPROVAL, reserved=True)
        surplus = a_certificate(serial="0b", surplus=True)
        commit(
            ledger,
            *stored(request, refused, asked, for_ever),
            StoreDecision(decision),
            StoreIntent(an_intent(serial="0c")),
            StoreCertificate(a_certificate(serial="0c")),
            StoreCertificate(surplus),
            AddHop(a_hop()),
            RememberKey(a_key()),
        )
        assert ledger.request("r1") == request
        assert ledger.attempt("a1") == refused
        assert ledger.attempt("a2") == asked
        assert ledger.attempt("a3") == for_ever
        assert ledger.decision("r1") == decision
        assert ledger.intent("r1") == an_intent(serial="0c")
        assert ledger.certificate("r1") == a_certificate(serial="0c")
        assert ledger.certificate_by_serial("0b") == surplus
        assert list(ledger.hops("r1")) == [a_hop()]
        assert ledger.known_key("agent.example.org") == a_key()

    @pytest.mark.parametrize(
        "text",
        ["", "ä€😀", "a\x00b", "\ud83d", "x\udfffy", "'; DROP TABLE requests; --"],
        ids=["empty", "unicode", "nul", "half-pair", "broken", "sql"],
    )
    def test_text_of_strangers_is_kept_whatever_it_is(
        self, ledger: LedgerWriter, text: str
    ) -> None:
        attempt = an_attempt(
            fingerprint=f"f{text}",
            ticket=text,
            requestor_ca=text,
            via=text,
            state=AttemptState.REFUSED,
            refusal=Refusal(f"r{text}", text, text),
        )
        request = a_request(note=text)
        commit(
            ledger,
            *stored(request, attempt),
            StoreDecision(a_decision(actor=text)),
            AddHop(a_hop(did=text, node=text)),
            RememberKey(a_key(text)),
        )
        assert ledger.request("r1") == request
        assert ledger.attempt("a1") == attempt
        assert list(ledger.attempts_by_fingerprint(f"f{text}")) == [attempt]
        assert ledger.decision("r1") == a_decision(actor=text)
        assert list(ledger.hops("r1")) == [a_hop(did=text, node=text)]
        assert ledger.known_key(text) == a_key(text)
        assert ledger.request(f"no such {text}") is None

    def test_storing_a_request_again_replaces_it(self, ledger: LedgerWriter) -> None:
        changed = a_request(
            state=RequestState.REMOVED, note="declined", updated_at=WallTime(20.0)
        )
        commit(ledger, *stored(a_request(), changed))
        assert list(ledger.requests()) == [changed]

    def test_storing_an_attempt_again_replaces_it(self, ledger: LedgerWriter) -> None:
        changed = an_attempt(
            ticket="",
            state=AttemptState.SIGNED,
            asked_at=WallTime(20.0),
            origin=Origin.RELAYED,
            via="satellite",
        )
        commit(ledger, *stored(a_request(), an_attempt(), changed))
        assert list(ledger.attempts("r1")) == [changed]
        assert list(ledger.open_attempts()) == []

    def test_a_later_decision_replaces_the_earlier(self, ledger: LedgerWriter) -> None:
        later = a_decision(kind=DecisionKind.REMOVAL, actor="root", attempt_id="")
        commit(
            ledger,
            StoreRequest(a_request()),
            StoreDecision(a_decision()),
            StoreDecision(later),
        )
        assert ledger.decision("r1") == later

    def test_a_withdrawn_decision_is_gone(self, ledger: LedgerWriter) -> None:
        commit(ledger, StoreRequest(a_request()), StoreDecision(a_decision()))
        commit(ledger, WithdrawDecision("r1"), WithdrawDecision("r2"))
        assert ledger.decision("r1") is None

    def test_the_first_key_of_a_name_stays(self, ledger: LedgerWriter) -> None:
        commit(
            ledger,
            RememberKey(a_key()),
            RememberKey(a_key(key_id="another", how="issued")),
            RememberKey(a_key("Agent.example.org", key_id="other spelling")),
        )
        assert ledger.known_key("agent.example.org") == a_key()

    # -- lists and their order ------------------------------------------------

    def test_requests_come_oldest_first_then_by_id(self, ledger: LedgerWriter) -> None:
        commit(
            ledger,
            *stored(
                a_request("r3", created=5.0),
                a_request("r2", created=5.0),
                a_request("r1", created=7.0),
            ),
        )
        assert ids(ledger.requests()) == ["r2", "r3", "r1"]

    def test_requests_are_chosen_by_state(self, ledger: LedgerWriter) -> None:
        commit(
            ledger,
            *stored(
                a_request("r1", created=3.0, state=RequestState.CONFIRMED),
                a_request("r2", created=2.0, state=RequestState.FORWARDED),
                a_request("r3", created=1.0, state=RequestState.RECEIVED),
            ),
        )
        two = {RequestState.CONFIRMED, RequestState.RECEIVED}
        assert ids(ledger.requests(two)) == ["r3", "r1"]
        assert ids(ledger.requests(iter([RequestState.FORWARDED]))) == ["r2"]
        assert ids(ledger.requests([])) == []
        assert ids(ledger.requests(RequestState)) == ["r3", "r2", "r1"]

    def test_attempts_of_a_request_come_earliest_first(
        self, ledger: LedgerWriter
    ) -> None:
        commit(
            ledger,
            *stored(
                a_request("r1"),
                a_request("r2"),
                an_attempt("a3", asked=1.0),
                an_attempt("a2", asked=1.0),
                an_attempt("a1", asked=2.0),
                an_attempt("a0", "r2", asked=0.0),
            ),
        )
        assert ids(ledger.attempts("r1")) == ["a2", "a3", "a1"]
        commit(ledger, *stored(an_attempt("a2", asked=3.0)))
        assert ids(ledger.attempts("r1")) == ["a3", "a1", "a2"]

    def test_attempts_by_fingerprint_come_latest_first(
        self, ledger: LedgerWriter
    ) -> None:
        commit(
            ledger,
            *stored(
                a_request("r1"),
                a_request("r2"),
                an_attempt("a1", asked=1.0, fingerprint="f"),
                an_attempt("a2", asked=2.0, fingerprint="f"),
                an_attempt("a3", "r2", asked=2.0, fingerprint="f"),
                an_attempt("a4", "r2", asked=3.0, fingerprint="g"),
            ),
        )
        assert ids(ledger.attempts_by_fingerprint("f")) == ["a3", "a2", "a1"]

    def test_open_attempts_are_those_that_wait_for_a_certificate(
        self, ledger: LedgerWriter
    ) -> None:
        commit(
            ledger,
            *stored(
                a_request("r1"),
                a_request("r2"),
                a_request("r3"),
                an_attempt("a4", asked=1.0, state=AttemptState.PENDING),
                an_attempt("a3", asked=1.0, state=AttemptState.FORWARDED),
                an_attempt("a2", asked=0.5, state=AttemptState.REFUSED),
                an_attempt("a1", asked=0.5, state=AttemptState.SIGNED),
                an_attempt("b1", "r2", asked=0.0),
                an_attempt("c1", "r3", asked=2.0),
            ),
            StoreIntent(an_intent("r1")),
            StoreCertificate(a_certificate("r2", serial="02")),
            StoreCertificate(a_certificate("r3", serial="03", surplus=True)),
        )
        assert ids(ledger.open_attempts()) == ["a3", "a4", "c1"]

    def test_hops_keep_the_order_in_which_they_were_added(
        self, ledger: LedgerWriter
    ) -> None:
        hops = [a_hop(did=did, at=WallTime(at)) for did, at in (("b", 9), ("a", 3))]
        commit(
            ledger,
            *stored(a_request("r1"), a_request("r2")),
            AddHop(hops[0]),
            AddHop(a_hop("r2")),
            AddHop(hops[1]),
        )
        commit(ledger, AddHop(hops[0]))
        assert list(ledger.hops("r1")) == [hops[0], hops[1], hops[0]]

    # -- open requests --------------------------------------------------------

    def test_a_request_is_open_until_intent_or_certificate(
        self, ledger: LedgerWriter
    ) -> None:
        commit(ledger, *(StoreRequest(a_request(f"r{n}")) for n in range(5)))
        assert ledger.open_request_count() == 5
        commit(
            ledger,
            StoreRequest(a_request("r0", state=RequestState.REMOVED)),
            StoreIntent(an_intent("r1", serial="01")),
            StoreCertificate(a_certificate("r2", serial="02")),
            StoreCertificate(a_certificate("r3", serial="03", surplus=True)),
        )
        assert ledger.open_request_count() == 1  # removed ones do not wait
        commit(ledger, StoreRequest(a_request("r1", state=RequestState.INTENDED)))
        commit(ledger, ForgetRequest("r4"))
        assert ledger.open_request_count() == 0
        commit(ledger, StoreRequest(a_request("r0", state=RequestState.RECEIVED)))
        assert ledger.open_request_count() == 1

    def test_an_abandoned_intent_leaves_its_request_open_for_another(
        self, ledger: LedgerWriter
    ) -> None:
        commit(
            ledger,
            StoreRequest(a_request("r1")),
            StoreIntent(an_intent("r1", serial="01")),
        )
        commit(ledger, AbandonIntent("r1"))
        assert ledger.intent("r1") is None
        assert ledger.open_request_count() == 1
        commit(ledger, StoreIntent(an_intent("r1", serial="02")))
        assert ledger.open_request_count() == 0

    def test_abandoning_an_intent_that_never_was_changes_nothing(
        self, ledger: LedgerWriter
    ) -> None:
        commit(ledger, StoreRequest(a_request("r1")))
        commit(ledger, AbandonIntent("r1"))
        assert ledger.intent("r1") is None
        assert ledger.open_request_count() == 1

    def test_an_intent_with_a_certificate_is_not_abandoned(
        self, ledger: LedgerWriter
    ) -> None:
        commit(
            ledger,
            StoreRequest(a_request("r1")),
            StoreIntent(an_intent("r1", serial="01")),
            StoreCertificate(a_certificate("r1", serial="01")),
        )
        ledger.begin()
        with pytest.raises(LedgerUnavailableError):
            ledger.apply([AbandonIntent("r1")])
        ledger.rollback()
        assert ledger.intent("r1") is not None

    def test_an_approved_key_takes_the_place_of_the_first_one(
        self, ledger: LedgerWriter
    ) -> None:
        first, second = a_key(), replace(a_key(), key_id="other")
        commit(ledger, RememberKey(first), RememberKey(second))
        assert ledger.known_key(first.cn) == first
        commit(ledger, RememberKey(second, replaces=True))
        assert ledger.known_key(first.cn) == second

    def test_decided_requests_do_not_grow_stale(self, ledger: LedgerWriter) -> None:
        states = (RequestState.REMOVED, RequestState.DECIDED, RequestState.RECEIVED)
        for number, state in enumerate(states):
            name = f"r{number}"
            commit(ledger, StoreRequest(a_request(name, state=state, created=1.0)))
        assert list(ledger.stale_requests(before=WallTime(9.0), limit=9)) == ["r2"]

    def test_stale_requests_are_open_ones_whose_latest_attempt_is_old(
        self, ledger: LedgerWriter
    ) -> None:
        commit(
            ledger,
            *stored(
                a_request("r1", created=1.0),
                an_attempt("a1", "r1", asked=5.0),
                an_attempt("a2", "r1", asked=50.0),
                a_request("r2", created=2.0),
                an_attempt("a3", "r2", asked=8.0),
                an_attempt("a4", "r2", asked=6.0),
                a_request("r3", created=7.0),
                a_request("r4", created=4.0),
                an_attempt("a5", "r4", asked=4.0),
            ),
            StoreIntent(an_intent("r4")),
        )

        def stale(before: float, limit: int = 9) -> list[str]:
            return list(ledger.stale_requests(before=WallTime(before), limit=limit))

        assert stale(100.0) == ["r3", "r2", "r1"]
        assert stale(8.0) == ["r3"]
        assert stale(8.5) == ["r3", "r2"]
        assert stale(100.0, limit=1) == ["r3"]
        assert stale(100.0, limit=0) == []
        assert stale(100.0, limit=-1) == []
        assert stale(100.0, limit=10**30) == ["r3", "r2", "r1"]

    def test_staleness_follows_attempts_that_come_change_and_go(
        self, ledger: LedgerWriter
    ) -> None:
        def stale(before: float) -> bool:
            return bool(ledger.stale_requests(before=WallTime(before), limit=9))

        commit(ledger, StoreRequest(a_request(created=10.0)))
        assert stale(10.1)
        commit(ledger, StoreRequest(a_request(created=12.0)))
        assert not stale(12.0)
        assert stale(12.1)
        commit(ledger, StoreAttempt(an_attempt("a1", asked=11.0)))
        assert not stale(11.0)
        assert stale(11.1)
        commit(ledger, StoreAttempt(an_attempt("a2", asked=20.0)))
        assert not stale(20.0)
        commit(ledger, StoreAttempt(an_attempt("a1", asked=30.0)))
        assert not stale(30.0)
        commit(ledger, ForgetAttempt("a1"))
        assert not stale(20.0)
        assert stale(20.1)
        commit(ledger, StoreRequest(a_request(created=40.0)))
        assert stale(20.1)
        commit(ledger, ForgetAttempt("a2"))
        assert not stale(40.0)
        assert stale(40.1)

    # -- what is refused ------------------------------------------------------

    @pytest.mark.parametrize(
        "write",
        [
            StoreAttempt(an_attempt()),
            StoreDecision(a_decision()),
            StoreIntent(an_intent()),
            StoreCertificate(a_certificate()),
            StoreCertificate(a_certificate(surplus=True)),
            AddHop(a_hop()),
        ],
        ids=lambda write: type(write).__name__,
    )
    def test_what_belongs_to_no_request_is_refused(
        self, ledger: LedgerWriter, write: Write
    ) -> None:
        commit(ledger, StoreRequest(a_request("another")))
        assert refused_rule(ledger, write) is LedgerRule.REQUEST_EXISTS

    @pytest.mark.parametrize("field", ["cn", "key_id", "renews"])
    def test_a_request_never_changes_what_it_wishes_for(
        self, ledger: LedgerWriter, field: str
    ) -> None:
        changes: dict[str, Any] = {field: "other"}
        changed = a_request(**changes)
        rule = refused_rule(ledger, *stored(a_request(), changed))
        assert rule is LedgerRule.REQUEST_IS_FIXED

    @pytest.mark.parametrize("field", ["request_id", "fingerprint"])
    def test_an_attempt_never_changes_what_it_is_for(
        self, ledger: LedgerWriter, field: str
    ) -> None:
        changes: dict[str, Any] = {field: "r2"}
        changed = an_attempt(**changes)
        rule = refused_rule(
            ledger, *stored(a_request(), a_request("r2"), an_attempt(), changed)
        )
        assert rule is LedgerRule.ATTEMPT_IS_FIXED

    @pytest.mark.parametrize("serial", ["5e51a1", "02"])
    def test_a_second_intent_is_refused(
        self, ledger: LedgerWriter, serial: str
    ) -> None:
        commit(ledger, StoreRequest(a_request()), StoreIntent(an_intent()))
        rule = refused_rule(ledger, StoreIntent(an_intent(serial=serial)))
        assert rule is LedgerRule.ONE_INTENT
        assert ledger.intent("r1") == an_intent()

    def test_a_second_certificate_is_refused(self, ledger: LedgerWriter) -> None:
        commit(ledger, StoreRequest(a_request()), StoreCertificate(a_certificate()))
        second = a_certificate(serial="02")
        assert refused_rule(ledger, StoreCertificate(second)) is (
            LedgerRule.ONE_CERTIFICATE
        )
        assert ledger.certificate("r1") == a_certificate()
        assert ledger.certificate_by_serial("02") is None

    def test_surplus_certificates_are_kept_and_not_given_out(
        self, ledger: LedgerWriter
    ) -> None:
        surplus = [a_certificate(serial=s, surplus=True) for s in ("02", "03")]
        commit(
            ledger,
            StoreRequest(a_request()),
            StoreCertificate(surplus[0]),
            StoreCertificate(a_certificate()),
            StoreCertificate(surplus[1]),
        )
        assert ledger.certificate("r1") == a_certificate()
        assert ledger.certificate_by_serial("02") == surplus[0]
        assert ledger.certificate_by_serial("03") == surplus[1]

    @pytest.mark.parametrize("surplus", [False, True])
    def test_the_same_certificate_again_changes_nothing(
        self, ledger: LedgerWriter, *, surplus: bool
    ) -> None:
        first = a_certificate(surplus=surplus)
        commit(ledger, StoreRequest(a_request()), StoreCertificate(first))
        again = replace(first, source="another parent", at=WallTime(99.0))
        commit(ledger, StoreCertificate(first), StoreCertificate(again))
        assert ledger.certificate_by_serial(first.serial) == first

    @pytest.mark.parametrize(
        "second",
        [
            StoreCertificate(a_certificate("r2", serial="01")),
            StoreCertificate(a_certificate("r2", serial="01", surplus=True)),
            StoreCertificate(a_certificate("r1", serial="01", certificate=b"other")),
            StoreCertificate(a_certificate("r1", serial="01", surplus=True)),
            StoreIntent(an_intent("r2", serial="01")),
        ],
        ids=["other-request", "surplus", "other-bytes", "now-surplus", "intent"],
    )
    def test_a_serial_number_stands_for_one_certificate(
        self, ledger: LedgerWriter, second: Write
    ) -> None:
        commit(
            ledger,
            *stored(a_request("r1"), a_request("r2")),
            StoreCertificate(a_certificate("r1", serial="01")),
        )
        assert refused_rule(ledger, second) is LedgerRule.SERIAL_IS_UNIQUE

    @pytest.mark.parametrize(
        "second",
        [
            StoreIntent(an_intent("r2", serial="01")),
            StoreCertificate(a_certificate("r2", serial="01")),
            StoreCertificate(a_certificate("r2", serial="01", surplus=True)),
        ],
        ids=["intent", "certificate", "surplus"],
    )
    def test_an_intended_serial_number_is_taken(
        self, ledger: LedgerWriter, second: Write
    ) -> None:
        commit(
            ledger,
            *stored(a_request("r1"), a_request("r2")),
            StoreIntent(an_intent("r1", serial="01")),
        )
        assert refused_rule(ledger, second) is LedgerRule.SERIAL_IS_UNIQUE

    @pytest.mark.parametrize(
        "history",
        [
            StoreIntent(an_intent()),
            StoreCertificate(a_certificate()),
            StoreCertificate(a_certificate(surplus=True)),
        ],
        ids=["intent", "certificate", "surplus"],
    )
    def test_a_request_with_history_is_never_forgotten(
        self, ledger: LedgerWriter, history: Write
    ) -> None:
        commit(ledger, *stored(a_request(), an_attempt()), history)
        assert refused_rule(ledger, ForgetRequest("r1")) is LedgerRule.HISTORY_IS_KEPT
        assert ledger.request("r1") == a_request()
        assert ledger.attempt("a1") == an_attempt()

    def test_a_refusal_names_what_it_is_about_and_no_secret(
        self, ledger: LedgerWriter
    ) -> None:
        with pytest.raises(LedgerConflictError, match="r7") as refused:
            commit(ledger, StoreAttempt(an_attempt(request="r7")))
        assert refused.value.about == "r7"
        assert "a ticket" not in str(refused.value) + repr(refused.value)

    # -- what is forgotten ----------------------------------------------------

    def test_a_forgotten_request_takes_what_belongs_to_it(
        self, ledger: LedgerWriter
    ) -> None:
        commit(
            ledger,
            *stored(
                a_request("r1"),
                a_request("r2"),
                an_attempt("a1", fingerprint="f"),
                an_attempt("a2", fingerprint="f"),
                an_attempt("b1", "r2", fingerprint="f"),
            ),
            StoreDecision(a_decision()),
            AddHop(a_hop()),
            RememberKey(a_key("r1.example.org")),
        )
        commit(ledger, ForgetRequest("r1"), ForgetRequest("never there"))
        assert ids(ledger.requests()) == ["r2"]
        assert ledger.attempt("a1") is None
        assert list(ledger.attempts("r1")) == []
        assert ids(ledger.attempts_by_fingerprint("f")) == ["b1"]
        assert ledger.decision("r1") is None
        assert list(ledger.hops("r1")) == []
        assert ledger.open_request_count() == 1
        assert ledger.known_key("r1.example.org") is not None

    def test_a_forgotten_request_may_come_again_as_a_new_one(
        self, ledger: LedgerWriter
    ) -> None:
        commit(
            ledger,
            *stored(a_request(), an_attempt()),
            AddHop(a_hop()),
            ForgetRequest("r1"),
            *stored(a_request(key_id="any")),
            AddHop(a_hop(did="again")),
        )
        assert ledger.request("r1") == a_request(key_id="any")
        assert list(ledger.attempts("r1")) == []
        assert list(ledger.hops("r1")) == [a_hop(did="again")]

    def test_a_canary_is_forgotten_with_its_certificate(
        self, ledger: LedgerWriter
    ) -> None:
        canary = a_request("r1", cn=CANARY, state=RequestState.ISSUED)
        signing = (
            StoreDecision(a_decision()),
            AddHop(a_hop()),
            StoreIntent(an_intent()),
            StoreCertificate(a_certificate()),
        )
        commit(ledger, *stored(a_request("r2")))
        before = everything(ledger)
        commit(ledger, *stored(canary, an_attempt(asked=10.0)), *signing)
        assert list(ledger.old_canaries(before=WallTime(10.0), limit=9)) == []
        assert list(ledger.old_canaries(before=WallTime(10.1), limit=9)) == ["r1"]
        assert list(ledger.old_canaries(before=WallTime(99.0), limit=0)) == []
        commit(ledger, ForgetCanary("r1"), ForgetCanary("never there"))
        assert everything(ledger) == before
        # Its names and numbers are free again.
        commit(ledger, *stored(canary, an_attempt(asked=10.0)), *signing)
        assert ledger.certificate("r1") == a_certificate()

    def test_only_a_canary_is_forgotten_with_its_certificate(
        self, ledger: LedgerWriter
    ) -> None:
        commit(ledger, *stored(a_request(), an_attempt()), StoreIntent(an_intent()))
        assert refused_rule(ledger, ForgetCanary("r1")) is LedgerRule.CANARIES_ALONE
        assert ledger.intent("r1") == an_intent()

    def test_an_old_canary_is_one_that_nothing_happened_to(
        self, ledger: LedgerWriter
    ) -> None:
        commit(
            ledger,
            *stored(
                a_request("r1", cn="agent-" + CANARY),
                a_request("r2", cn=CANARY, updated_at=WallTime(30.0)),
                a_request("r3", cn=CANARY, state=RequestState.INTENDED),
                a_request("r4", cn=CANARY, state=RequestState.DECIDED),
                a_request("r5", cn=CANARY),
                an_attempt("a5", "r5", asked=40.0),
                a_request("r6", cn=CANARY, created=9.0, state=RequestState.REMOVED),
                a_request("r7", cn=CANARY.upper()),
            ),
        )

        def old(before: float) -> list[str]:
            return list(ledger.old_canaries(before=WallTime(before), limit=9))

        assert old(20.0) == ["r6"]
        assert old(31.0) == ["r6", "r2"]
        assert old(41.0) == ["r6", "r2", "r5"]

    def test_a_forgotten_attempt_is_gone_alone(self, ledger: LedgerWriter) -> None:
        commit(ledger, *stored(a_request(), an_attempt("a1"), an_attempt("a2")))
        commit(ledger, ForgetAttempt("a1"), ForgetAttempt("never there"))
        assert ids(ledger.attempts("r1")) == ["a2"]
        assert list(ledger.attempts_by_fingerprint("fingerprint-of-a1")) == []
        assert ids(ledger.open_attempts()) == ["a2"]

    # -- transactions ---------------------------------------------------------

    def test_reads_in_a_transaction_see_its_writes(self, ledger: LedgerWriter) -> None:
        ledger.begin()
        ledger.apply(stored(a_request(), an_attempt()))
        assert ledger.request("r1") == a_request()
        assert ids(ledger.open_attempts()) == ["a1"]
        ledger.apply([StoreAttempt(an_attempt(state=AttemptState.SIGNED))])
        assert list(ledger.open_attempts()) == []
        ledger.commit()

    def test_writes_of_any_iterable_are_applied_in_order(
        self, ledger: LedgerWriter
    ) -> None:
        ledger.begin()
        ledger.apply(write for write in stored(a_request(), an_attempt()))
        ledger.apply(())
        ledger.commit()
        assert ledger.attempt("a1") is not None

    def test_a_rollback_brings_everything_back(self, ledger: LedgerWriter) -> None:
        commit(
            ledger,
            *stored(a_request("r1"), a_request("r2"), an_attempt(), an_attempt("a2")),
            StoreDecision(a_decision()),
            AddHop(a_hop()),
        )
        before = everything(ledger)
        ledger.begin()
        ledger.apply(
            [
                *stored(a_request("r3"), an_attempt("a3"), an_attempt(ticket="")),
                ForgetAttempt("a2"),
                AddHop(a_hop(did="more")),
                StoreIntent(an_intent("r2", serial="02")),
                StoreCertificate(a_certificate("r2", serial="02")),
                ForgetRequest("r1"),
                RememberKey(a_key()),
            ]
        )
        assert everything(ledger) != before
        ledger.rollback()
        assert everything(ledger) == before

    def test_a_rollback_is_allowed_at_any_time(self, ledger: LedgerWriter) -> None:
        ledger.rollback()
        commit(ledger, StoreRequest(a_request()))
        ledger.rollback()
        ledger.begin()
        ledger.rollback()
        ledger.rollback()
        assert ledger.request("r1") is not None

    def test_a_transaction_with_a_failed_write_is_not_kept(
        self, ledger: LedgerWriter
    ) -> None:
        ledger.begin()
        ledger.apply([StoreRequest(a_request())])
        with pytest.raises(LedgerConflictError):
            ledger.apply([AddHop(a_hop()), AddHop(a_hop("no such request"))])
        with pytest.raises(LedgerUnavailableError):
            ledger.apply([AddHop(a_hop())])
        with pytest.raises(LedgerUnavailableError):
            ledger.commit()
        assert ledger.request("r1") is None
        commit(ledger, StoreRequest(a_request()))
        assert list(ledger.hops("r1")) == []

    def test_a_transaction_cut_by_a_bug_is_not_kept(self, ledger: LedgerWriter) -> None:
        def half() -> Any:
            yield StoreRequest(a_request())
            raise KeyError("a bug of the caller")

        ledger.begin()
        with pytest.raises(KeyError):
            ledger.apply(half())
        with pytest.raises(LedgerUnavailableError):
            ledger.commit()
        assert ledger.request("r1") is None

    def test_calls_out_of_order_are_bugs(self, ledger: LedgerWriter) -> None:
        with pytest.raises(RuntimeError, match="outside"):
            ledger.apply([StoreRequest(a_request())])
        with pytest.raises(RuntimeError, match="outside"):
            ledger.commit()
        ledger.begin()
        with pytest.raises(RuntimeError, match="inside"):
            ledger.begin()
        ledger.commit()
        assert ledger.request("r1") is None

    # -- processes ------------------------------------------------------------

    def test_what_was_committed_survives_kill_and_the_rest_does_not(
        self, machine: Machine
    ) -> None:
        ledger = machine.start()
        commit(ledger, *stored(a_request("r1"), an_attempt()), AddHop(a_hop()))
        before = everything(ledger)
        ledger.begin()
        ledger.apply([*stored(a_request("r2")), AddHop(a_hop()), ForgetAttempt("a1")])
        ledger = machine.kill(ledger)
        assert everything(ledger) == before
        commit(ledger, *stored(a_request("r2")))
        after = everything(ledger)
        assert everything(machine.kill(ledger)) == after

    def test_a_second_writer_is_told_that_the_ledger_is_locked(
        self, machine: Machine
    ) -> None:
        daemon, command = machine.start(), machine.start()
        daemon.begin()
        with pytest.raises(LedgerUnavailableError, match="lock"):
            command.begin()
        command.rollback()
        daemon.apply([StoreRequest(a_request())])
        daemon.commit()
        commit(command, StoreRequest(a_request("r2")))
        assert ids(daemon.requests()) == ["r1", "r2"]

    def test_the_change_token_tells_of_other_processes_only(
        self, machine: Machine
    ) -> None:
        daemon, command = machine.start(), machine.start()
        token = daemon.change_token()
        commit(daemon, StoreRequest(a_request()))
        assert daemon.change_token() == token
        command.begin()
        command.apply([StoreDecision(a_decision())])
        command.rollback()
        assert daemon.change_token() == token
        commit(command, StoreDecision(a_decision()))
        changed = daemon.change_token()
        assert changed != token
        assert daemon.change_token() == changed
        assert daemon.decision("r1") == a_decision()
        commit(daemon, WithdrawDecision("r1"))
        assert daemon.change_token() == changed


def everything(ledger: LedgerWriter) -> dict[str, object]:
    """Return all that can be read about the ids that these tests use."""
    requests = list(ledger.requests())
    names = sorted({"r1", "r2", "r3", *ids(requests)})
    attempts = {name: list(ledger.attempts(name)) for name in names}
    prints = {a.fingerprint for found in attempts.values() for a in found}
    serials = ["01", "02", "03", "5e51a1"]
    of_request: list[Callable[[str], object]] = [
        ledger.request,
        ledger.decision,
        ledger.intent,
        ledger.certificate,
        lambda name: list(ledger.hops(name)),
    ]
    return {
        "requests": requests,
        "attempts": attempts,
        "of request": [read(name) for read in of_request for name in names],
        "by state": [ids(ledger.requests([state])) for state in RequestState],
        "by fingerprint": [
            list(ledger.attempts_by_fingerprint(f)) for f in sorted(prints)
        ],
        "by serial": [ledger.certificate_by_serial(serial) for serial in serials],
        "open": list(ledger.open_attempts()),
        "open count": ledger.open_request_count(),
        "stale": list(ledger.stale_requests(before=WallTime(1e12), limit=99)),
        "canaries": list(ledger.old_canaries(before=WallTime(1e12), limit=99)),
        "a bit stale": list(ledger.stale_requests(before=WallTime(2.5), limit=2)),
        "keys": [ledger.known_key(cn) for cn in ("agent.example.org", "cn1", "cn2")],
    }
