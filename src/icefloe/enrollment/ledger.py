"""The ledger as enrollment needs it: reads as calls, writes as data.

The core reads through `Ledger` and returns `Write`s. Whoever runs the core
applies the writes of a batch of turns in one transaction and releases the
turns' sends only after it is committed (promise 2, durable before spoken).

An implementation must pass `tests/enrollment/ledger_contract.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from icefloe.doors import WallTime
from icefloe.enrollment.model import (
    AttemptRecord,
    CertificateRecord,
    DecisionRecord,
    HopRecord,
    IntentRecord,
    KnownKey,
    RequestRecord,
    RequestState,
)
from icefloe.errors import IcefloeError


class LedgerUnavailableError(IcefloeError):
    """The ledger could not be read or written: disk full, locked, damaged."""


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """Insert or replace a request by its id."""

    record: RequestRecord


@dataclass(frozen=True, slots=True)
class StoreAttempt:
    """Insert or replace an attempt by its id."""

    record: AttemptRecord


@dataclass(frozen=True, slots=True)
class StoreDecision:
    """Insert or replace the decision about a request."""

    record: DecisionRecord


@dataclass(frozen=True, slots=True)
class WithdrawDecision:
    """Delete the decision about a request (a removal that was restored)."""

    request_id: str


@dataclass(frozen=True, slots=True)
class StoreIntent:
    """Insert the intent of a request.

    A second intent for one request is a bug and must fail the transaction.
    """

    record: IntentRecord


@dataclass(frozen=True, slots=True)
class AbandonIntent:
    """Delete the intent of a request that has no certificate: it is of no use.

    Its CA key is gone, or the clock was set and its dates are wrong.

    With a certificate it is a bug and must fail the transaction.
    """

    request_id: str


@dataclass(frozen=True, slots=True)
class StoreCertificate:
    """Insert a certificate.

    A second one that is not surplus for one request, or a serial number that
    exists for another request, is a bug and must fail the transaction.
    Storing the identical record again is allowed and changes nothing.
    """

    record: CertificateRecord


@dataclass(frozen=True, slots=True)
class AddHop:
    """Append a hop."""

    record: HopRecord


@dataclass(frozen=True, slots=True)
class RememberKey:
    """Record the first key of a name; does nothing when the name has one.

    Attributes:
        replaces: a person approved this key in place of the first one.
    """

    record: KnownKey
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    """Delete an unfinished request with its attempts, decision and hops.

    Requests with an intent or a certificate are kept for ever: the history of
    a CA is not forgotten. Forgetting such a one must fail the transaction.
    """

    request_id: str


@dataclass(frozen=True, slots=True)
class ForgetCanary:
    """Delete a canary's request, finished or not, with all that belongs to it.

    The one exception from what `ForgetRequest` says, see `icefloe.pki.canaries`. For
    any other name it is a bug and must fail the transaction.
    """

    request_id: str


@dataclass(frozen=True, slots=True)
class ForgetAttempt:
    """Delete one attempt (the oldest of too many)."""

    attempt_id: str


Write = (
    StoreRequest
    | StoreAttempt
    | StoreDecision
    | WithdrawDecision
    | StoreIntent
    | AbandonIntent
    | StoreCertificate
    | AddHop
    | RememberKey
    | ForgetRequest
    | ForgetCanary
    | ForgetAttempt
)


class Ledger(Protocol):
    """What enrollment reads. Every method may raise `LedgerUnavailableError`.

    Within a transaction, reads see the writes applied before them.
    """

    def request(self, request_id: str) -> RequestRecord | None:
        """Return one request."""

    def attempt(self, attempt_id: str) -> AttemptRecord | None:
        """Return one attempt."""

    def attempts(self, request_id: str) -> Sequence[AttemptRecord]:
        """Return a request's attempts, the earliest `asked_at` first."""

    def attempts_by_fingerprint(self, fingerprint: str) -> Sequence[AttemptRecord]:
        """Return attempts that presented this certificate, latest asked first."""

    def open_attempts(self) -> Sequence[AttemptRecord]:
        """Return open attempts of requests without a certificate, oldest first."""

    def decision(self, request_id: str) -> DecisionRecord | None:
        """Return the decision about a request."""

    def intent(self, request_id: str) -> IntentRecord | None:
        """Return the intent of a request."""

    def certificate(self, request_id: str) -> CertificateRecord | None:
        """Return the certificate (not a surplus one) of a request."""

    def certificate_by_serial(self, serial: str) -> CertificateRecord | None:
        """Return a certificate by its serial number (lower-case hex)."""

    def requests(
        self, states: Iterable[RequestState] | None = None
    ) -> Sequence[RequestRecord]:
        """Return requests in the given states (default all), oldest first."""

    def open_request_count(self) -> int:
        """Return how many requests have neither a certificate nor an intent.

        Those that an administrator removed do not count.
        """

    def stale_requests(self, *, before: WallTime, limit: int) -> Sequence[str]:
        """Return ids of unfinished requests nobody has asked about for long.

        They have neither a certificate nor an intent, nobody decided about them,
        and their latest attempt was asked before the given time. At most `limit`.
        """

    def old_canaries(self, *, before: WallTime, limit: int) -> Sequence[str]:
        """Return ids of canaries' requests that nothing happened to for long.

        Finished or not, but not those decided or intended: these are being signed.
        They were created before the given time, and neither changed nor asked for
        since. At most `limit`, the oldest first.
        """

    def hops(self, request_id: str) -> Sequence[HopRecord]:
        """Return a request's hops in the order they were added."""

    def known_key(self, cn: str) -> KnownKey | None:
        """Return the first key seen for a name."""


class LedgerWriter(Ledger, Protocol):
    """A ledger that can be written in transactions.

    Usage: ``begin()``, any number of ``apply()`` and reads, then ``commit()``
    or ``rollback()``. What was committed survives kill -9 and power loss.
    """

    def begin(self) -> None:
        """Begin a write transaction; waits a bounded time for other writers.

        Raises:
            LedgerUnavailableError: another writer did not end in time, or IO failed.
        """

    def apply(self, writes: Iterable[Write]) -> None:
        """Apply writes inside the transaction, in order.

        Raises:
            LedgerUnavailableError: the write failed; the caller must roll back.
        """

    def commit(self) -> None:
        """Make the transaction durable.

        Raises:
            LedgerUnavailableError: nobody may count on the transaction.  It is rolled
                back, but what a disk would not promise to keep it may have kept: it may
                be found whole, at once or after a restart.
        """

    def rollback(self) -> None:
        """Forget the transaction. Allowed at any time; never raises."""

    def change_token(self) -> int:
        """Return a number that changes when another process has committed."""
