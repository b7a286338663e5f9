"""One turn: what one event reads, writes and orders.

Reads see the turn's own writes. Nothing here touches the world: the writes and
commands are handed to whoever runs the core, who commits before releasing.
"""

from __future__ import annotations

from dataclasses import replace

from icefloe.doors import Entropy, Now
from icefloe.enrollment.commands import Command, Level, Log
from icefloe.enrollment.ledger import (
    AbandonIntent,
    AddHop,
    ForgetAttempt,
    ForgetCanary,
    ForgetRequest,
    Ledger,
    RememberKey,
    StoreAttempt,
    StoreCertificate,
    StoreDecision,
    StoreIntent,
    StoreRequest,
    WithdrawDecision,
    Write,
)
from icefloe.enrollment.model import (
    TRANSITIONS,
    AttemptRecord,
    AttemptState,
    CertificateRecord,
    DecisionRecord,
    HopRecord,
    IntentRecord,
    KnownKey,
    Refusal,
    RequestRecord,
    RequestState,
)
from icefloe.enrollment.reasons import HopDid


class Turn:
    """The working table of one event."""

    def __init__(
        self, *, ledger: Ledger, now: Now, entropy: Entropy, node_name: str
    ) -> None:
        """Begin a turn."""
        self.now = now
        self.entropy = entropy
        self.node_name = node_name
        self.writes: list[Write] = []
        self.commands: list[Command] = []
        self._ledger = ledger
        self._requests: dict[str, RequestRecord] = {}
        self._attempts: dict[str, AttemptRecord] = {}
        self._decisions: dict[str, DecisionRecord] = {}
        self._certificates: dict[str, CertificateRecord] = {}
        self._intents: dict[str, IntentRecord] = {}
        self._hops: list[HopRecord] = []
        self._forgotten: set[str] = set()

    # -- reads ----------------------------------------------------------------

    @property
    def ledger(self) -> Ledger:
        """The ledger, for lists; single records are read through the turn."""
        return self._ledger

    def request(self, request_id: str) -> RequestRecord | None:
        """Return a request as this turn sees it."""
        return self._requests.get(request_id) or self._ledger.request(request_id)

    def attempt(self, attempt_id: str) -> AttemptRecord | None:
        """Return an attempt as this turn sees it."""
        if attempt_id in self._forgotten:
            return None
        return self._attempts.get(attempt_id) or self._ledger.attempt(attempt_id)

    def attempts(self, request_id: str) -> list[AttemptRecord]:
        """Return a request's attempts as this turn sees them, oldest first."""
        found = {a.attempt_id: a for a in self._ledger.attempts(request_id)}
        for attempt in self._attempts.values():
            if attempt.request_id == request_id:
                found[attempt.attempt_id] = attempt
        for forgotten in self._forgotten:
            found.pop(forgotten, None)
        return sorted(found.values(), key=lambda a: (a.asked_at, a.attempt_id))

    def decision(self, request_id: str) -> DecisionRecord | None:
        """Return the decision about a request as this turn sees it."""
        return self._decisions.get(request_id) or self._ledger.decision(request_id)

    def intent(self, request_id: str) -> IntentRecord | None:
        """Return the intent of a request as this turn sees it."""
        return self._intents.get(request_id) or self._ledger.intent(request_id)

    def certificate(self, request_id: str) -> CertificateRecord | None:
        """Return the certificate of a request as this turn sees it."""
        return self._certificates.get(request_id) or self._ledger.certificate(
            request_id
        )

    def hops(self, request_id: str) -> list[HopRecord]:
        """Return a request's hops as this turn sees them."""
        return [
            *self._ledger.hops(request_id),
            *(hop for hop in self._hops if hop.request_id == request_id),
        ]

    @property
    def forgotten(self) -> frozenset[str]:
        """The attempts that this turn deletes."""
        return frozenset(self._forgotten)

    # -- writes ---------------------------------------------------------------

    def store_request(self, record: RequestRecord) -> RequestRecord:
        """Write a request."""
        self._requests[record.request_id] = record
        self.writes.append(StoreRequest(record))
        return record

    def move(
        self, request: RequestRecord, state: RequestState, *, note: str = ""
    ) -> RequestRecord:
        """Change a request's state; the one place where that happens.

        Raises:
            AssertionError: the table does not allow it, which is our bug.
        """
        if request.state is state and request.note == note:
            return request
        if request.state is not state and state not in TRANSITIONS[request.state]:
            raise AssertionError(f"{request.state} -> {state}")
        return self.store_request(
            replace(request, state=state, note=note, updated_at=self.now.wall)
        )

    def store_attempt(self, record: AttemptRecord) -> AttemptRecord:
        """Write an attempt."""
        self._attempts[record.attempt_id] = record
        self.writes.append(StoreAttempt(record))
        return record

    def settle_attempt(
        self,
        attempt: AttemptRecord,
        state: AttemptState,
        *,
        refusal: Refusal | None = None,
    ) -> AttemptRecord:
        """Change an attempt's state; a final one forgets its ticket (promise 8)."""
        final = state in (AttemptState.SIGNED, AttemptState.REFUSED)
        changed = replace(
            attempt,
            state=state,
            refusal=refusal,
            ticket="" if final else attempt.ticket,
        )
        if changed == attempt:
            return attempt
        return self.store_attempt(changed)

    def forget_attempt(self, attempt: AttemptRecord) -> None:
        """Delete an attempt."""
        self._attempts.pop(attempt.attempt_id, None)
        self._forgotten.add(attempt.attempt_id)
        self.writes.append(ForgetAttempt(attempt.attempt_id))

    def store_decision(self, record: DecisionRecord) -> None:
        """Write a decision."""
        self._decisions[record.request_id] = record
        self.writes.append(StoreDecision(record))

    def store_intent(self, record: IntentRecord) -> None:
        """Write an intent."""
        self._intents[record.request_id] = record
        self.writes.append(StoreIntent(record))

    def abandon_intent(self, request_id: str) -> None:
        """Delete an intent whose CA key is gone."""
        self._intents.pop(request_id, None)
        self.writes.append(AbandonIntent(request_id))

    def withdraw_decision(self, request_id: str) -> None:
        """Delete a decision that cannot be carried out."""
        self._decisions.pop(request_id, None)
        self.writes.append(WithdrawDecision(request_id))

    def forget_request(self, request_id: str) -> None:
        """Delete an unfinished request, as the turn's last word about it."""
        self.writes.append(ForgetRequest(request_id))

    def forget_canary(self, request_id: str) -> None:
        """Delete a canary's request, as the turn's last word about it."""
        self.writes.append(ForgetCanary(request_id))

    def store_certificate(self, record: CertificateRecord) -> None:
        """Write a certificate."""
        if not record.surplus:
            self._certificates[record.request_id] = record
        self.writes.append(StoreCertificate(record))

    def remember_key(
        self, *, cn: str, key_id: str, how: str, replaces: bool = False
    ) -> None:
        """Write a name's first key; an earlier one stays, unless replaced."""
        record = KnownKey(cn=cn, key_id=key_id, how=how, at=self.now.wall)
        self.writes.append(RememberKey(record, replaces=replaces))

    def add_hop(self, request_id: str, did: HopDid) -> None:
        """Write what we did with a request."""
        self.add_hop_of(
            HopRecord(
                request_id=request_id,
                node=self.node_name,
                did=did.value,
                at=self.now.wall,
            )
        )

    def add_hop_of(self, hop: HopRecord) -> None:
        """Write what some node did with a request.

        Doing the same again (a wrong ticket, every ten seconds) adds nothing.
        """
        before = [h for h in self.hops(hop.request_id) if h.node == hop.node]
        if before and before[-1].did == hop.did:
            return
        self._hops.append(hop)
        self.writes.append(AddHop(hop))

    # -- commands -------------------------------------------------------------

    def order(self, command: Command) -> None:
        """Give a command."""
        self.commands.append(command)

    def log(self, level: Level, event: str, **fields: object) -> None:
        """Order a log event."""
        self.commands.append(Log(level, event, fields))
