"""The certificate requests of a node, for `ca list`.

They are in the ledger.  On a node that icinga2 has run until now they may also stand in
its `certificate-requests/`, until the daemon's first start imports them; such ones are
shown, too, so that nobody misses a request between the two.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography import x509

from icefloe.config.layout import NodeDirectories
from icefloe.doors import WallTime
from icefloe.enrollment.administration import Listed, list_requests
from icefloe.enrollment.ledger import Ledger
from icefloe.enrollment.model import RequestState
from icefloe.pki.certificates import common_names, describe, load_der, to_pem
from icefloe.storage.icinga_requests import IcingaRequest, read_icinga_requests
from icefloe.storage.ledger import SQLiteLedger

__all__ = ["Entry", "Which", "list_entries"]


class Which(enum.Enum):
    """Which requests to list."""

    OPEN = "open"
    """Without a certificate, and not removed."""

    ALL = "all"
    """Open and signed ones."""

    REMOVED = "removed"
    """Declined by an operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request, as it is shown.

    Attributes:
        fingerprint: SHA-256 of the presented certificate, lower-case hex.
        cn: The name asked for.
        request: The presented certificate.
        certificate: The signed one; None without one.
        state: Where it stands: a value of `RequestState`.
        via: The member or the address it came through.
        note: Why it waits, or "".
        created_at: When it was first recorded.
        asked_at: When it was last asked for.
    """

    fingerprint: str
    cn: str
    request: x509.Certificate = field(repr=False)
    certificate: x509.Certificate | None = field(repr=False)
    state: str
    via: str
    note: str
    created_at: WallTime
    asked_at: WallTime

    @property
    def subject(self) -> str:
        """The subject as Icinga prints it: `CN = name`."""
        return dict(describe(self.request))["Subject"]

    @property
    def timestamp(self) -> str:
        """When the presented certificate begins, as Icinga prints it."""
        return dict(describe(self.request))["Valid From"]

    @property
    def request_pem(self) -> str:
        """The presented certificate, PEM."""
        return to_pem(self.request)

    @property
    def certificate_pem(self) -> str | None:
        """The signed certificate, PEM."""
        return None if self.certificate is None else to_pem(self.certificate)


def list_entries(directories: NodeDirectories, which: Which) -> list[Entry]:
    """List requests, the oldest first.

    Raises:
        LedgerUnavailableError: The ledger is there and cannot be read.
    """
    entries: list[Entry] = []
    unknown: Iterable[IcingaRequest] = read_icinga_requests(
        directories.certificate_requests
    ).requests
    if directories.ledger.exists():
        with SQLiteLedger.open(directories.ledger, create=False) as ledger:
            entries += map(_of_ledger, list_requests(ledger, _states(which)))
            unknown = [each for each in unknown if not _is_known(ledger, each)]
    entries += (_of_icinga(each) for each in unknown if _is_wanted(each, which))
    return sorted(entries, key=lambda entry: (entry.created_at, entry.fingerprint))


def _states(which: Which) -> frozenset[RequestState]:
    removed = frozenset({RequestState.REMOVED})
    match which:
        case Which.REMOVED:
            return removed
        case Which.ALL:
            return frozenset(RequestState) - removed
        case Which.OPEN:
            return _OPEN_STATES


_OPEN_STATES = frozenset(
    {
        RequestState.RECEIVED,
        RequestState.FORWARDED,
        RequestState.AWAITING_APPROVAL,
        RequestState.DECIDED,
        RequestState.INTENDED,
    }
)


def _of_ledger(listed: Listed) -> Entry:
    request, attempt = listed.request, listed.attempt
    certificate = listed.certificate
    return Entry(
        fingerprint=attempt.fingerprint,
        cn=request.cn,
        request=load_der(attempt.certificate),
        certificate=None if certificate is None else load_der(certificate),
        state=request.state.value,
        via=attempt.via,
        note=request.note,
        created_at=request.created_at,
        asked_at=attempt.asked_at,
    )


def _is_known(ledger: Ledger, request: IcingaRequest) -> bool:
    return bool(ledger.attempts_by_fingerprint(request.fingerprint))


def _is_wanted(request: IcingaRequest, which: Which) -> bool:
    if which is Which.REMOVED or request.removed:
        return which is Which.REMOVED and request.removed
    return which is Which.ALL or request.answer is None


def _of_icinga(request: IcingaRequest) -> Entry:
    presented = load_der(request.certificate)
    state = RequestState.RECEIVED if request.answer is None else RequestState.ANSWERED
    if request.removed:
        state = RequestState.REMOVED
    return Entry(
        fingerprint=request.fingerprint,
        cn=next(iter(common_names(presented)), ""),
        request=presented,
        certificate=None if request.answer is None else load_der(request.answer),
        state=state.value,
        via="icinga2",
        note="",
        created_at=request.stored_at,
        asked_at=request.stored_at,
    )
