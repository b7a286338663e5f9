"""What one ledger has committed, as the judge sees it: kept apart from the ledger."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.enrollment.ledger import (
    AbandonIntent,
    AddHop,
    ForgetAttempt,
    ForgetCanary,
    ForgetRequest,
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
    OPEN_ATTEMPT_STATES,
    TRANSITIONS,
    AttemptRecord,
    AttemptState,
    CertificateRecord,
    DecisionKind,
    DecisionRecord,
    IntentRecord,
    KnownKey,
    RequestRecord,
    ticket_digest,
)
from icefloe.simulation.reached import attempted, decided, hopped, moved

Fault = tuple[str, str]
"""Name of the promise, and what is wrong."""


_DURABLE = (
    *("requests", "attempts", "decisions", "intents"),
    *("_certificates", "_refused", "_known_keys"),
)

_CANARY = "icefloe-canary-"
"""As `icefloe.pki.canaries` has it; the judge does not take it from the judged."""


class CommittedView:
    """Everything durable at one node.

    Attributes:
        name: the node.
        requests: by id; likewise the others.
        attempts: by id.
        decisions: by request.
        intents: by request.
        signs: it holds the CA key.
        reached: steps, states, kinds and hops committed so far, by name.
    """

    def __init__(
        self,
        name: str,
        *,
        signs: bool,
        parents: frozenset[str],
        reserved: frozenset[str] = frozenset(),
    ) -> None:
        """Begin empty.

        Args:
            name: the node.
            signs: it holds the CA key.
            parents: the only ones it may take a certificate from.
            reserved: names whose second key needs a person.
        """
        self._reserved = reserved
        self.name = name
        self.requests: dict[str, RequestRecord] = {}
        self.attempts: dict[str, AttemptRecord] = {}
        self.decisions: dict[str, DecisionRecord] = {}
        self.intents: dict[str, IntentRecord] = {}
        self.signs = signs
        self._parents = parents
        self._certificates: dict[str, CertificateRecord] = {}
        self._attempts_of: dict[str, set[str]] = {}
        self._fresh: list[CertificateRecord] = []
        self._surplus: list[bytes] = []
        self._touched: set[str] = set()
        self._parted: dict[str, AttemptRecord] = {}
        self.reached: Counter[str] = Counter()
        self._refused: set[str] = set()
        self._known_keys: dict[str, str] = {}

    # -- copies -----------------------------------------------------------------------

    def copy(self) -> CommittedView:
        """Return what is durable now."""
        other = copy.copy(self)
        other.restore(self)
        return other

    def restore(self, older: CommittedView) -> None:
        """Go back to what was durable then."""
        for name in _DURABLE:
            setattr(self, name, copy.copy(getattr(older, name)))
        self._attempts_of = {k: set(v) for k, v in older._attempts_of.items()}

    # -- reads ------------------------------------------------------------------------

    def attempts_of(self, request_id: str) -> set[str]:
        """Return the ids of a request's attempts."""
        return self._attempts_of.get(request_id, set())

    def attempt(self, attempt_id: str) -> AttemptRecord | None:
        """Return an attempt that may be spoken of now.

        It stands in the ledger, or the transaction whose commands are carried out now
        forgot it.  A transaction keeps a whole batch of turns: one of them records
        a refusal and tells it, a later one forgets that attempt to make room for
        another one.  What is told was recorded all the same, and is told after the
        commit.  From the next batch on (`all_was_said`) it may not be spoken of.
        """
        return self.attempts.get(attempt_id) or self._parted.get(attempt_id)

    def attempt_of(self, presented: str, digest: str) -> AttemptRecord | None:
        """Return what may be said of a fingerprint and a ticket's digest, the last."""
        found = None
        for attempt in (*self._parted.values(), *self.attempts.values()):
            if (attempt.fingerprint, attempt.ticket_digest) == (presented, digest):
                found = attempt
        return found

    def open_attempts(self) -> list[AttemptRecord]:
        """Return the attempts that nobody has decided about."""
        return [a for a in self.attempts.values() if a.state in OPEN_ATTEMPT_STATES]

    def was_refused(self, attempt: AttemptRecord) -> bool:
        """Whether a refusal of an attempt was recorded, now or before."""
        return attempt.attempt_id in self._refused

    def certificate_of(self, request_id: str) -> CertificateRecord | None:
        """Return the certificate of a request."""
        return self._certificates.get(request_id)

    def holds_certificate(self, certificate: x509.Certificate) -> bool:
        """Whether some request has exactly this certificate, be it a surplus one."""
        der = certificate.public_bytes(Encoding.DER)
        if der in self._surplus:
            return True
        return any(r.certificate == der for r in self._certificates.values())

    def fresh_certificates(self) -> Iterator[CertificateRecord]:
        """Return the certificates that are new since the last call."""
        fresh, self._fresh = self._fresh, []
        return iter(fresh)

    def touched_requests(self) -> Iterator[str]:
        """Return the requests whose attempts changed since the last call."""
        touched, self._touched = self._touched, set()
        return iter(sorted(touched))

    # -- writes -------------------------------------------------------------------------

    def all_was_said(self) -> None:
        """Another batch begins: what was forgotten before may not be spoken of."""
        self._parted = {}

    def take(  # noqa: C901, PLR0911 - one row a write
        self, write: Write
    ) -> list[Fault]:
        """Take a committed write; returns what is wrong with it."""
        match write:
            case StoreRequest(record=request):
                return self._take_request(request)
            case StoreAttempt(record=attempt):
                return self._take_attempt(attempt)
            case StoreDecision(record=decision):
                return self._take_decision(decision)
            case WithdrawDecision(request_id=request_id):
                self.decisions.pop(request_id, None)
            case StoreIntent(record=intent):
                return self._take_intent(intent)
            case AbandonIntent(request_id=request_id):
                return self._abandon_intent(request_id)
            case StoreCertificate(record=certificate):
                return self._take_certificate(certificate)
            case ForgetRequest(request_id=request_id):
                self._forget_request(request_id)
            case ForgetCanary(request_id=request_id):
                return self._forget_canary(request_id)
            case ForgetAttempt(attempt_id=attempt_id):
                self._forget_attempt(attempt_id)
            case RememberKey(record=key, replaces=replaces):
                return self._take_key(key, replaces=replaces)
            case AddHop(record=hop):
                self.reached[hopped(hop.did)] += 1
        return []

    def _take_request(self, request: RequestRecord) -> list[Fault]:
        old = self.requests.get(request.request_id)
        self.requests[request.request_id] = request
        if old is not None and old.state is request.state:
            return []
        before = None if old is None else old.state
        step = moved(signs=self.signs, old=before, new=request.state)
        self.reached[step] += 1
        if old is None:
            return []
        if request.state in TRANSITIONS[old.state]:
            return []
        move = f"{request.cn} from {old.state.value} to {request.state.value}"
        return [("states_follow_the_table", move)]

    def _take_attempt(self, attempt: AttemptRecord) -> list[Fault]:
        old = self.attempts.get(attempt.attempt_id)
        self.attempts[attempt.attempt_id] = attempt
        owned = self._attempts_of.setdefault(attempt.request_id, set())
        owned.add(attempt.attempt_id)
        self._touched.add(attempt.request_id)
        self.reached[attempted(attempt.state)] += 1
        if attempt.state is AttemptState.REFUSED:
            self._refused.add(attempt.attempt_id)
        if attempt.state not in OPEN_ATTEMPT_STATES:
            if attempt.ticket:
                detail = f"{attempt.state.value} attempt keeps its ticket"
                return [("tickets_are_forgotten", detail)]
        elif ticket_digest(attempt.ticket) != attempt.ticket_digest:
            return [("a_stored_ticket_stays", "an open attempt has another ticket")]
        if (
            old is not None
            and old.ticket
            and old.ticket_digest != attempt.ticket_digest
        ):
            return [("a_stored_ticket_stays", "an attempt's ticket was replaced")]
        return []

    def _take_decision(self, decision: DecisionRecord) -> list[Fault]:
        self.decisions[decision.request_id] = decision
        self.reached[decided(decision.kind)] += 1
        signs = decision.kind is not DecisionKind.REMOVAL and not decision.reserved
        if signs and self._is_another_key(decision.request_id):
            detail = "decides for another key of a reserved name without a person"
            return [("reserved_names_need_a_person", detail)]
        return []

    def _take_key(self, key: KnownKey, *, replaces: bool) -> list[Fault]:
        """The first key of a name stays, unless a person took another one for it."""
        if not replaces:
            self._known_keys.setdefault(key.cn, key.key_id)
            return []
        self._known_keys[key.cn] = key.key_id
        asked = [r.request_id for r in self.requests.values() if r.key_id == key.key_id]
        decided = [self.decisions[each] for each in asked if each in self.decisions]
        if any(decision.reserved for decision in decided):
            return []
        detail = f"another key replaces that of {key.cn} without a person"
        return [("reserved_names_need_a_person", detail)]

    def _take_intent(self, intent: IntentRecord) -> list[Fault]:
        earlier = self.intents.get(intent.request_id)
        self.intents[intent.request_id] = intent
        if earlier is not None and earlier.tbs != intent.tbs:
            return [("one_request_one_certificate", "a second intent")]
        return []

    def _abandon_intent(self, request_id: str) -> list[Fault]:
        """What nobody has seen may be decided anew."""
        self.intents.pop(request_id, None)
        if request_id in self._certificates:
            return [("one_request_one_certificate", "abandons what it has signed")]
        return []

    def _take_certificate(self, record: CertificateRecord) -> list[Fault]:
        faults = self._provenance_faults(record)
        earlier = self._certificates.get(record.request_id)
        if record.surplus:
            # Two signers signed: the first one counts, the other is written down.
            if self.signs or earlier is None or earlier.serial == record.serial:
                faults.append(("one_request_one_certificate", "a surplus certificate"))
            self._fresh.append(record)
            self._surplus.append(record.certificate)
            return faults
        if earlier is not None and earlier.serial != record.serial:
            faults.append(("one_request_one_certificate", "a second certificate"))
        self._certificates[record.request_id] = record
        self._fresh.append(record)
        return faults

    def _provenance_faults(self, record: CertificateRecord) -> list[Fault]:
        if not self.signs:
            if record.source in self._parents:
                return []
            detail = f"a certificate from '{record.source}', which is no parent"
            return [("only_a_parent_changes_an_identity", detail)]
        name = "no_certificate_without_decision"
        intent = self.intents.get(record.request_id)
        faults = []
        if intent is None or intent.serial != record.serial:
            faults.append((name, "a certificate without its intent"))
        if record.request_id not in self.decisions:
            faults.append((name, "a certificate without a decision"))
        return faults

    def _is_another_key(self, request_id: str) -> bool:
        """Whether a request is for a reserved name that has had another key."""
        request = self.requests.get(request_id)
        if request is None or request.cn not in self._reserved:
            return False
        return self._known_keys.get(request.cn, request.key_id) != request.key_id

    def _forget_request(self, request_id: str) -> None:
        self.requests.pop(request_id, None)
        self.decisions.pop(request_id, None)
        for attempt_id in self._attempts_of.get(request_id, set()).copy():
            self._forget_attempt(attempt_id)
        self._attempts_of.pop(request_id, None)

    def _forget_canary(self, request_id: str) -> list[Fault]:
        """Of a canary alone is forgotten what was signed."""
        request = self.requests.get(request_id)
        if request is not None and not request.cn.startswith(_CANARY):
            detail = f"forgets the history of {request.cn}, which is no canary"
            return [("no_certificate_without_decision", detail)]
        self.intents.pop(request_id, None)
        self._certificates.pop(request_id, None)
        self._forget_request(request_id)
        return []

    def _forget_attempt(self, attempt_id: str) -> None:
        attempt = self.attempts.pop(attempt_id, None)
        if attempt is not None:
            self._parted[attempt_id] = attempt
            self._attempts_of[attempt.request_id].discard(attempt_id)
