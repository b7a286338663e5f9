"""What enrollment reads from the ledger on SQLite: each method of `Ledger` as SQL.

Every statement is served by an index (a test asks SQLite for its plan), and lists of
requests touch no certificate.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

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
from icefloe.pki.canaries import CANARY_PREFIX
from icefloe.storage import ledger_rows as rows
from icefloe.storage.ledger_rows import Row

LIMIT_MAX = 1_000_000
"""The most ids that one `stale_requests` returns."""

# The states are spelled as in the index `attempts_open`, or it would not be used;
# a test holds that they are OPEN_ATTEMPT_STATES.
OPEN_ATTEMPTS = """
    WHERE state IN ('received', 'forwarded', 'pending') AND NOT EXISTS (
        SELECT 1 FROM certificates
        WHERE certificates.request_id = attempts.request_id AND surplus = 0
    )
    ORDER BY asked_at, attempt_id
"""

R = TypeVar("R")


class LedgerReads(abc.ABC):
    """The reads of a `Ledger`, over rows that a subclass fetches."""

    @abc.abstractmethod
    def _fetch(
        self, record_from: Callable[[Row], R], statement: str, *values: object
    ) -> list[R]:
        """Return all rows as records.

        Raises:
            SQLiteLedgerError: they could not be read or understood.
        """

    def request(self, request_id: str) -> RequestRecord | None:
        """Return one request."""
        statement = rows.SELECT_REQUEST + " WHERE request_id = ?"
        return self._one(rows.request_from, statement, request_id)

    def attempt(self, attempt_id: str) -> AttemptRecord | None:
        """Return one attempt."""
        statement = rows.SELECT_ATTEMPT + " WHERE attempt_id = ?"
        return self._one(rows.attempt_from, statement, attempt_id)

    def attempts(self, request_id: str) -> Sequence[AttemptRecord]:
        """Return a request's attempts, the earliest `asked_at` first."""
        statement = (
            rows.SELECT_ATTEMPT + " WHERE request_id = ? ORDER BY asked_at, attempt_id"
        )
        return self._fetch(rows.attempt_from, statement, request_id)

    def attempts_by_fingerprint(self, fingerprint: str) -> Sequence[AttemptRecord]:
        """Return attempts that presented this certificate, latest asked first."""
        statement = (
            rows.SELECT_ATTEMPT
            + " WHERE fingerprint = ? ORDER BY asked_at DESC, attempt_id DESC"
        )
        return self._fetch(rows.attempt_from, statement, fingerprint)

    def open_attempts(self) -> Sequence[AttemptRecord]:
        """Return open attempts of requests without a certificate, oldest first."""
        return self._fetch(rows.attempt_from, rows.SELECT_ATTEMPT + OPEN_ATTEMPTS)

    def decision(self, request_id: str) -> DecisionRecord | None:
        """Return the decision about a request."""
        statement = rows.SELECT_DECISION + " WHERE request_id = ?"
        return self._one(rows.decision_from, statement, request_id)

    def intent(self, request_id: str) -> IntentRecord | None:
        """Return the intent of a request."""
        statement = rows.SELECT_INTENT + " WHERE request_id = ?"
        return self._one(rows.intent_from, statement, request_id)

    def certificate(self, request_id: str) -> CertificateRecord | None:
        """Return the certificate (not a surplus one) of a request."""
        statement = rows.SELECT_CERTIFICATE + " WHERE request_id = ? AND surplus = 0"
        return self._one(rows.certificate_from, statement, request_id)

    def certificate_by_serial(self, serial: str) -> CertificateRecord | None:
        """Return a certificate by its serial number (lower-case hex)."""
        statement = rows.SELECT_CERTIFICATE + " WHERE serial = ?"
        return self._one(rows.certificate_from, statement, serial)

    def requests(
        self, states: Iterable[RequestState] | None = None
    ) -> Sequence[RequestRecord]:
        """Return requests in the given states (default all), oldest first."""
        order = " ORDER BY created_at, request_id"
        if states is None:
            return self._fetch(rows.request_from, rows.SELECT_REQUEST + order)
        values = [state.value for state in frozenset(states)]
        marks = ", ".join("?" * len(values))
        statement = f"{rows.SELECT_REQUEST} WHERE state IN ({marks}){order}"
        return self._fetch(rows.request_from, statement, *values)

    def open_request_count(self) -> int:
        """Return how many requests wait; removed ones do not."""
        (count,) = self._fetch(
            _number,
            "SELECT (SELECT count(*) FROM open_requests)"
            " - (SELECT count(*) FROM requests WHERE state = 'removed')",
        )
        return count

    def stale_requests(self, *, before: WallTime, limit: int) -> Sequence[str]:
        """Return ids of undecided requests not asked for since, the stalest first.

        A request without attempts counts from its creation.
        """
        return self._fetch(
            _word,
            "SELECT request_id FROM open_requests WHERE asked_at < ? AND NOT EXISTS ("
            " SELECT 1 FROM requests WHERE state IN ('removed', 'decided')"
            " AND requests.request_id = open_requests.request_id)"
            " ORDER BY asked_at, request_id LIMIT ?",
            before,
            min(max(limit, 0), LIMIT_MAX),
        )

    def old_canaries(self, *, before: WallTime, limit: int) -> Sequence[str]:
        """Return ids of canaries' requests that nothing happened to since.

        It goes through all requests by age, so the core asks only when it had a
        canary, and now and then; an index for a handful of rows is not worth a
        migration.
        """
        return self._fetch(
            _word,
            "SELECT request_id FROM requests WHERE created_at < ? AND updated_at < ?"
            " AND substr(cn, 1, ?) = ? AND state NOT IN ('decided', 'intended')"
            " AND NOT EXISTS (SELECT 1 FROM attempts"
            " WHERE attempts.request_id = requests.request_id AND asked_at >= ?)"
            " ORDER BY created_at, request_id LIMIT ?",
            before,
            before,
            len(CANARY_PREFIX),
            CANARY_PREFIX,
            before,
            min(max(limit, 0), LIMIT_MAX),
        )

    def hops(self, request_id: str) -> Sequence[HopRecord]:
        """Return a request's hops in the order they were added."""
        statement = rows.SELECT_HOP + " WHERE request_id = ? ORDER BY position"
        return self._fetch(rows.hop_from, statement, request_id)

    def known_key(self, cn: str) -> KnownKey | None:
        """Return the first key seen for a name."""
        statement = rows.SELECT_KNOWN_KEY + " WHERE cn = ?"
        return self._one(rows.known_key_from, statement, cn)

    def _one(
        self, record_from: Callable[[Row], R], statement: str, key: str
    ) -> R | None:
        found = self._fetch(record_from, statement, key)
        return found[0] if found else None


def _number(row: Row) -> int:
    return int(row[0])


def _word(row: Row) -> str:
    return str(row[0])
