"""The ledger in memory, for tests and the simulator.

It keeps every promise of the ledger but durability, and its "disk" survives
`crash()`: what was committed stays, what was not is gone. It does no IO.

How it works: every table maps text to an immutable value, and a transaction
writes in place after noting the value that stood there before in a journal.
Commit drops the journal; rollback and crash walk it backwards. So a turn costs
what it touches, whatever the ledger holds. The lists that reads return are
sorted at the read, by time and then by id, so their order follows from the
contents alone and a replayed seed reads the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, Literal, TypeVar, assert_never

from icefloe.doors import WallTime
from icefloe.enrollment.ledger import (
    AbandonIntent,
    AddHop,
    ForgetAttempt,
    ForgetCanary,
    ForgetRequest,
    LedgerUnavailableError,
    RememberKey,
    StoreAttempt,
    StoreCertificate,
    StoreDecision,
    StoreIntent,
    StoreRequest,
    WithdrawDecision,
    Write,
)
from icefloe.enrollment.ledger_conflict import (
    LedgerConflictError,
    LedgerRule,
    same_certificate,
)
from icefloe.enrollment.model import (
    OPEN_ATTEMPT_STATES,
    AttemptRecord,
    CertificateRecord,
    DecisionRecord,
    HopRecord,
    IntentRecord,
    KnownKey,
    RequestRecord,
    RequestState,
)
from icefloe.pki.canaries import is_canary

V = TypeVar("V")

# Somebody decided about these; they do not grow stale.
_DECIDED = frozenset({RequestState.REMOVED, RequestState.DECIDED})
_BEING_SIGNED = frozenset({RequestState.DECIDED, RequestState.INTENDED})


class _Table(dict[str, V], Generic[V]):
    """Rows by key; every change is journalled so that it can be undone."""

    __slots__ = ("_journal",)

    def __init__(self, journal: list[tuple[dict[str, Any], str, Any]]) -> None:
        super().__init__()
        self._journal = journal

    def put(self, key: str, value: V) -> None:
        self._journal.append((self, key, self.get(key)))
        self[key] = value

    def drop(self, key: str) -> None:
        if key in self:
            self._journal.append((self, key, self.pop(key)))


class _Disk:
    """What survives a crash, and the journal of the transaction that may not."""

    def __init__(self) -> None:
        # No table holds None, so None in the journal says "there was no row".
        self.journal: list[tuple[dict[str, Any], str, Any]] = []
        self.writer: MemoryLedger | None = None
        self.commits = 0

        self.requests: _Table[RequestRecord] = _Table(self.journal)
        self.attempts: _Table[AttemptRecord] = _Table(self.journal)
        self.decisions: _Table[DecisionRecord] = _Table(self.journal)
        self.intents: _Table[IntentRecord] = _Table(self.journal)
        self.certificates: _Table[CertificateRecord] = _Table(self.journal)
        self.hops: _Table[tuple[HopRecord, ...]] = _Table(self.journal)
        self.known_keys: _Table[KnownKey] = _Table(self.journal)

        # Ways to find them.
        self.attempts_of: _Table[tuple[str, ...]] = _Table(self.journal)
        self.attempts_with: _Table[tuple[str, ...]] = _Table(self.journal)
        self.intent_serials: _Table[str] = _Table(self.journal)
        self.certificate_of: _Table[str] = _Table(self.journal)
        # Requests with neither intent nor certificate, surplus ones included.
        self.open_requests: _Table[bool] = _Table(self.journal)
        self.removed_requests: _Table[bool] = _Table(self.journal)

    def undo(self) -> None:
        for table, key, value in reversed(self.journal):
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
        self.journal.clear()


class MemoryLedger:
    """A `LedgerWriter` in memory: one process's view of it.

    `another_process()` gives a second view, as an operator's command has beside
    the daemon. While one process is in a transaction the other ones can neither
    begin one (as with SQLite, only at once instead of after a while) nor read:
    simulated processes take whole turns, so that would be a bug of the test.
    """

    def __init__(self) -> None:
        """Make an empty ledger."""
        self._disk = _Disk()
        self._own_commits = 0
        self._failed = False
        self._faults: set[str] = set()

    # -- for tests and the simulator -------------------------------------------

    def another_process(self) -> MemoryLedger:
        """Return another process's view of the same ledger."""
        other = MemoryLedger()
        other._disk = self._disk
        return other

    def crash(self) -> None:
        """Die as by kill -9 and be the process that starts afterwards.

        What was not committed is forgotten, and planned faults with it.
        """
        self.rollback()
        self._own_commits = 0
        self._faults.clear()

    def fail_next(self, operation: Literal["begin", "apply", "commit"]) -> None:
        """Let the next such call raise `LedgerUnavailableError`, once."""
        self._faults.add(operation)

    def rows(self) -> dict[str, int]:
        """Return how many rows there are of each kind of record."""
        disk = self._disk
        return {
            "requests": len(disk.requests),
            "attempts": len(disk.attempts),
            "decisions": len(disk.decisions),
            "intents": len(disk.intents),
            "certificates": len(disk.certificates),
            "hops": sum(map(len, disk.hops.values())),
            "known keys": len(disk.known_keys),
        }

    # -- reads ------------------------------------------------------------------

    def request(self, request_id: str) -> RequestRecord | None:
        """Return one request."""
        return self._readable.requests.get(request_id)

    def attempt(self, attempt_id: str) -> AttemptRecord | None:
        """Return one attempt."""
        return self._readable.attempts.get(attempt_id)

    def attempts(self, request_id: str) -> Sequence[AttemptRecord]:
        """Return a request's attempts, the earliest `asked_at` first."""
        disk = self._readable
        ids = disk.attempts_of.get(request_id, ())
        return sorted((disk.attempts[i] for i in ids), key=_asked)

    def attempts_by_fingerprint(self, fingerprint: str) -> Sequence[AttemptRecord]:
        """Return attempts that presented this certificate, latest asked first."""
        disk = self._readable
        ids = disk.attempts_with.get(fingerprint, ())
        return sorted((disk.attempts[i] for i in ids), key=_asked, reverse=True)

    def open_attempts(self) -> Sequence[AttemptRecord]:
        """Return open attempts of requests without a certificate, oldest first."""
        disk = self._readable
        found = (
            attempt
            for attempt in disk.attempts.values()
            if attempt.state in OPEN_ATTEMPT_STATES
            and attempt.request_id not in disk.certificate_of
        )
        return sorted(found, key=_asked)

    def decision(self, request_id: str) -> DecisionRecord | None:
        """Return the decision about a request."""
        return self._readable.decisions.get(request_id)

    def intent(self, request_id: str) -> IntentRecord | None:
        """Return the intent of a request."""
        return self._readable.intents.get(request_id)

    def certificate(self, request_id: str) -> CertificateRecord | None:
        """Return the certificate (not a surplus one) of a request."""
        disk = self._readable
        serial = disk.certificate_of.get(request_id)
        return None if serial is None else disk.certificates[serial]

    def certificate_by_serial(self, serial: str) -> CertificateRecord | None:
        """Return a certificate by its serial number (lower-case hex)."""
        return self._readable.certificates.get(serial)

    def requests(
        self, states: Iterable[RequestState] | None = None
    ) -> Sequence[RequestRecord]:
        """Return requests in the given states (default all), oldest first."""
        found: Iterable[RequestRecord] = self._readable.requests.values()
        if states is not None:
            wanted = frozenset(states)
            found = (request for request in found if request.state in wanted)
        return sorted(found, key=lambda r: (r.created_at, r.request_id))

    def open_request_count(self) -> int:
        """Return how many requests wait; removed ones do not."""
        disk = self._readable
        return len(disk.open_requests) - len(disk.removed_requests)

    def stale_requests(self, *, before: WallTime, limit: int) -> Sequence[str]:
        """Return ids of undecided requests not asked for since, the stalest first.

        A request without attempts counts from its creation.
        """
        asked = (
            (self._last_asked(request_id), request_id)
            for request_id in self._readable.open_requests
            if self._disk.requests[request_id].state not in _DECIDED
        )
        return [i for at, i in sorted(asked) if at < before][: max(limit, 0)]

    def old_canaries(self, *, before: WallTime, limit: int) -> Sequence[str]:
        """Return ids of canaries' requests that nothing happened to since."""
        found = [
            (request.created_at, request.request_id)
            for request in self._readable.requests.values()
            if is_canary(request.cn)
            and request.state not in _BEING_SIGNED
            and max(request.created_at, request.updated_at) < before
            and self._last_asked(request.request_id) < before
        ]
        return [request_id for _, request_id in sorted(found)][: max(limit, 0)]

    def hops(self, request_id: str) -> Sequence[HopRecord]:
        """Return a request's hops in the order they were added."""
        return self._readable.hops.get(request_id, ())

    def known_key(self, cn: str) -> KnownKey | None:
        """Return the first key seen for a name."""
        return self._readable.known_keys.get(cn)

    # -- transactions -----------------------------------------------------------

    def begin(self) -> None:
        """Begin a write transaction.

        Raises:
            LedgerUnavailableError: another process is in one.
        """
        disk = self._disk
        if disk.writer is self:
            raise RuntimeError("begin() inside a transaction")
        self._maybe_fail("begin")
        if disk.writer is not None:
            raise LedgerUnavailableError("the ledger is locked by another process")
        disk.writer = self

    def apply(self, writes: Iterable[Write]) -> None:
        """Apply writes inside the transaction, in order.

        Raises:
            LedgerConflictError: a write contradicts what is there.
        """
        self._expect_transaction("apply")
        self._refuse_after_failure()
        try:
            self._maybe_fail("apply")
            for write in writes:
                self._write(write)
        except BaseException:
            self._failed = True
            raise

    def commit(self) -> None:
        """Keep the transaction.

        Raises:
            LedgerUnavailableError: an `apply()` had failed; nothing is kept.
        """
        self._expect_transaction("commit")
        try:
            self._refuse_after_failure()
            self._maybe_fail("commit")
        except LedgerUnavailableError:
            self.rollback()
            raise
        disk = self._disk
        if disk.journal:
            disk.commits += 1
            self._own_commits += 1
        disk.journal.clear()
        disk.writer = None

    def rollback(self) -> None:
        """Forget the transaction."""
        if self._disk.writer is self:
            self._disk.undo()
            self._disk.writer = None
        self._failed = False

    def change_token(self) -> int:
        """Return a number that changes when another process has committed."""
        return self._disk.commits - self._own_commits

    # -- inside -----------------------------------------------------------------

    @property
    def _readable(self) -> _Disk:
        writer = self._disk.writer
        if writer is not None and writer is not self:
            raise RuntimeError("read while another process is in a transaction")
        return self._disk

    def _expect_transaction(self, what: str) -> None:
        if self._disk.writer is not self:
            raise RuntimeError(f"{what}() outside a transaction")

    def _refuse_after_failure(self) -> None:
        if self._failed:
            raise LedgerUnavailableError("a write of the transaction had failed")

    def _maybe_fail(self, operation: str) -> None:
        if operation in self._faults:
            self._faults.discard(operation)
            raise LedgerUnavailableError(f"planned fault: {operation} failed")

    def _last_asked(self, request_id: str) -> WallTime:
        disk = self._disk
        times = [
            disk.attempts[i].asked_at for i in disk.attempts_of.get(request_id, ())
        ]
        return max(times) if times else disk.requests[request_id].created_at

    def _write(self, write: Write) -> None:  # noqa: C901 - one row an order
        match write:
            case StoreRequest(record=request):
                self._store_request(request)
            case StoreAttempt(record=attempt):
                self._store_attempt(attempt)
            case StoreDecision(record=decision):
                self._expect_request(decision.request_id)
                self._disk.decisions.put(decision.request_id, decision)
            case WithdrawDecision(request_id=request_id):
                self._disk.decisions.drop(request_id)
            case StoreIntent(record=intent):
                self._store_intent(intent)
            case AbandonIntent(request_id=request_id):
                self._abandon_intent(request_id)
            case StoreCertificate(record=certificate):
                self._store_certificate(certificate)
            case AddHop(record=hop):
                self._expect_request(hop.request_id)
                earlier = self._disk.hops.get(hop.request_id, ())
                self._disk.hops.put(hop.request_id, (*earlier, hop))
            case RememberKey(record=key, replaces=replaces):
                if replaces or key.cn not in self._disk.known_keys:
                    self._disk.known_keys.put(key.cn, key)
            case ForgetRequest(request_id=request_id):
                self._forget_request(request_id)
            case ForgetCanary(request_id=request_id):
                self._forget_canary(request_id)
            case ForgetAttempt(attempt_id=attempt_id):
                self._forget_attempt(attempt_id)
            case _:
                assert_never(write)

    def _expect_request(self, request_id: str) -> None:
        if request_id not in self._disk.requests:
            raise LedgerConflictError(LedgerRule.REQUEST_EXISTS, about=request_id)

    def _store_request(self, new: RequestRecord) -> None:
        disk = self._disk
        old = disk.requests.get(new.request_id)
        if old is None:
            disk.open_requests.put(new.request_id, True)  # noqa: FBT003 - a row
        elif (old.cn, old.key_id, old.renews) != (new.cn, new.key_id, new.renews):
            raise LedgerConflictError(LedgerRule.REQUEST_IS_FIXED, about=new.request_id)
        disk.requests.put(new.request_id, new)
        if new.state is RequestState.REMOVED:
            disk.removed_requests.put(new.request_id, True)  # noqa: FBT003 - a row
        else:
            disk.removed_requests.drop(new.request_id)

    def _store_attempt(self, new: AttemptRecord) -> None:
        disk = self._disk
        old = disk.attempts.get(new.attempt_id)
        if old is None:
            self._expect_request(new.request_id)
            _add(disk.attempts_of, new.request_id, new.attempt_id)
            _add(disk.attempts_with, new.fingerprint, new.attempt_id)
        elif (old.request_id, old.fingerprint) != (new.request_id, new.fingerprint):
            raise LedgerConflictError(LedgerRule.ATTEMPT_IS_FIXED, about=new.attempt_id)
        disk.attempts.put(new.attempt_id, new)

    def _store_intent(self, new: IntentRecord) -> None:
        disk = self._disk
        self._expect_request(new.request_id)
        if new.request_id in disk.intents:
            raise LedgerConflictError(LedgerRule.ONE_INTENT, about=new.request_id)
        self._expect_free_serial(new.serial, request_id=new.request_id)
        disk.intents.put(new.request_id, new)
        disk.intent_serials.put(new.serial, new.request_id)
        disk.open_requests.drop(new.request_id)

    def _abandon_intent(self, request_id: str) -> None:
        disk = self._disk
        if request_id in disk.certificate_of:
            raise LedgerConflictError(LedgerRule.HISTORY_IS_KEPT, about=request_id)
        old = disk.intents.get(request_id)
        if old is not None:
            disk.intents.drop(request_id)
            disk.intent_serials.drop(old.serial)
            disk.open_requests.put(request_id, True)  # noqa: FBT003 - a row

    def _store_certificate(self, new: CertificateRecord) -> None:
        disk = self._disk
        self._expect_request(new.request_id)
        old = disk.certificates.get(new.serial)
        if old is not None and same_certificate(old, new):
            return
        self._expect_free_serial(new.serial, request_id=new.request_id)
        if old is not None:
            raise LedgerConflictError(LedgerRule.SERIAL_IS_UNIQUE, about=new.serial)
        if not new.surplus:
            if new.request_id in disk.certificate_of:
                raise LedgerConflictError(
                    LedgerRule.ONE_CERTIFICATE, about=new.request_id
                )
            disk.certificate_of.put(new.request_id, new.serial)
        disk.certificates.put(new.serial, new)
        disk.open_requests.drop(new.request_id)

    def _expect_free_serial(self, serial: str, *, request_id: str) -> None:
        """Refuse a serial number that another request has, intended or issued."""
        disk = self._disk
        issued = disk.certificates.get(serial)
        holders = {
            disk.intent_serials.get(serial, request_id),
            issued.request_id if issued else request_id,
        }
        if holders != {request_id}:
            raise LedgerConflictError(LedgerRule.SERIAL_IS_UNIQUE, about=serial)

    def _forget_request(self, request_id: str) -> None:
        disk = self._disk
        if request_id not in disk.requests:
            return
        if request_id not in disk.open_requests:
            raise LedgerConflictError(LedgerRule.HISTORY_IS_KEPT, about=request_id)
        for attempt_id in disk.attempts_of.get(request_id, ()):
            self._forget_attempt(attempt_id)
        disk.decisions.drop(request_id)
        disk.hops.drop(request_id)
        disk.open_requests.drop(request_id)
        disk.removed_requests.drop(request_id)
        disk.requests.drop(request_id)

    def _forget_canary(self, request_id: str) -> None:
        disk = self._disk
        request = disk.requests.get(request_id)
        if request is None:
            return
        if not is_canary(request.cn):
            raise LedgerConflictError(LedgerRule.CANARIES_ALONE, about=request_id)
        intent = disk.intents.get(request_id)
        if intent is not None:
            disk.intent_serials.drop(intent.serial)
            disk.intents.drop(request_id)
        disk.certificate_of.drop(request_id)
        for serial, record in list(disk.certificates.items()):
            if record.request_id == request_id:
                disk.certificates.drop(serial)
        disk.open_requests.put(request_id, True)  # noqa: FBT003 - a row
        self._forget_request(request_id)

    def _forget_attempt(self, attempt_id: str) -> None:
        disk = self._disk
        attempt = disk.attempts.get(attempt_id)
        if attempt is not None:
            _remove(disk.attempts_of, attempt.request_id, attempt_id)
            _remove(disk.attempts_with, attempt.fingerprint, attempt_id)
            disk.attempts.drop(attempt_id)


def _asked(attempt: AttemptRecord) -> tuple[float, str]:
    return (attempt.asked_at, attempt.attempt_id)


def _add(index: _Table[tuple[str, ...]], key: str, value: str) -> None:
    index.put(key, (*index.get(key, ()), value))


def _remove(index: _Table[tuple[str, ...]], key: str, value: str) -> None:
    rest = tuple(other for other in index[key] if other != value)
    if rest:
        index.put(key, rest)
    else:
        index.drop(key)
