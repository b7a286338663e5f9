"""What an operator decides: approve, remove, restore. Pure functions.

`ca sign`, `ca remove` and `ca restore` apply the returned writes in one
transaction; a running daemon sees the commit and acts, without a daemon the
command runs the core itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from icefloe.doors import WallTime
from icefloe.enrollment.ledger import (
    AddHop,
    Ledger,
    StoreDecision,
    StoreRequest,
    WithdrawDecision,
    Write,
)
from icefloe.enrollment.model import (
    SETTLED_STATES,
    TRANSITIONS,
    AttemptRecord,
    DecisionKind,
    DecisionRecord,
    HopRecord,
    RequestRecord,
    RequestState,
)
from icefloe.enrollment.policy import reserved_gate
from icefloe.enrollment.reasons import HopDid
from icefloe.errors import IcefloeError


class DecisionError(IcefloeError):
    """The decision cannot be made; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One request as `ca list` shows it.

    Attributes:
        attempt: the attempt that names it (the newest), with its fingerprint.
    """

    request: RequestRecord
    attempt: AttemptRecord
    certificate: bytes | None


def find_request(ledger: Ledger, name: str) -> RequestRecord:
    """Find a request by the fingerprint of a presented certificate, or its id.

    Raises:
        DecisionError: there is none, or the fingerprint fits several requests.
    """
    ids = {a.request_id for a in ledger.attempts_by_fingerprint(name.lower())}
    found = [r for i in ids if (r := ledger.request(i)) is not None]
    if not found and (request := ledger.request(name.lower())) is not None:
        found = [request]
    undecided = [r for r in found if r.state not in SETTLED_STATES]
    candidates = undecided or found
    if not candidates:
        raise DecisionError(
            f"No certificate request with fingerprint '{name}' is known here. "
            "'ca list --all' shows them."
        )
    return max(candidates, key=lambda r: (r.updated_at, r.request_id))


def approve(
    ledger: Ledger,
    request: RequestRecord,
    *,
    actor: str,
    at: WallTime,
    reserved: bool,
    reserved_names: frozenset[str],
    node_name: str,
) -> Sequence[Write]:
    """Decide that a request is to be signed.

    Args:
        ledger: is only read.
        request: the request as read in the same transaction.
        actor: who decides, for the record.
        at: when.
        reserved: `--reserved` was given.
        reserved_names: see `EnrollmentSettings`.
        node_name: the node it is decided on, for the hop.

    Returns:
        The writes; none when it is decided or signed already.

    Raises:
        DecisionError: it was removed, or is a reserved name's other key and
            `--reserved` was not given.
    """
    if request.state in SETTLED_STATES:
        return ()
    if request.state in (RequestState.DECIDED, RequestState.INTENDED):
        return ()
    if request.state is RequestState.REMOVED:
        raise DecisionError(
            f"The request of '{request.cn}' was removed; restore it first (ca restore)."
        )
    needs = reserved_gate(
        cn=request.cn,
        key_id=request.key_id,
        known_key=ledger.known_key(request.cn),
        reserved_names=reserved_names,
    )
    if needs is not None and not reserved:
        raise DecisionError(
            f"{needs.text}. If this is its rightful new key, approve it with "
            "'ca sign --reserved'."
        )
    decision = DecisionRecord(
        request_id=request.request_id,
        kind=DecisionKind.APPROVAL,
        actor=actor,
        at=at,
        reserved=reserved,
    )
    hop = HopRecord(
        request_id=request.request_id,
        node=node_name,
        did=HopDid.APPROVED.value,
        at=at,
    )
    return (
        StoreDecision(decision),
        _moved(request, RequestState.DECIDED, at),
        AddHop(hop),
    )


def remove(request: RequestRecord, *, actor: str, at: WallTime) -> Sequence[Write]:
    """Decide that a request is declined.

    Raises:
        DecisionError: it is signed, or being signed.
    """
    if request.state is RequestState.REMOVED:
        return ()
    if RequestState.REMOVED not in TRANSITIONS[request.state]:
        raise DecisionError(
            f"The request of '{request.cn}' is {request.state.value}; a signed "
            "request cannot be removed."
        )
    decision = DecisionRecord(
        request_id=request.request_id, kind=DecisionKind.REMOVAL, actor=actor, at=at
    )
    return StoreDecision(decision), _moved(request, RequestState.REMOVED, at)


def restore(request: RequestRecord, *, at: WallTime) -> Sequence[Write]:
    """Take back a removal.

    Raises:
        DecisionError: the request was not removed.
    """
    if request.state is not RequestState.REMOVED:
        raise DecisionError(
            f"The request of '{request.cn}' was not removed: it is "
            f"{request.state.value}."
        )
    return (
        WithdrawDecision(request.request_id),
        _moved(request, RequestState.RECEIVED, at),
    )


def list_requests(
    ledger: Ledger, states: frozenset[RequestState] | None
) -> list[Listed]:
    """List requests in the given states (None: all) with their newest attempt."""
    listed = []
    for request in ledger.requests(states):
        attempts = ledger.attempts(request.request_id)
        if not attempts:
            continue
        record = ledger.certificate(request.request_id)
        certificate = record.certificate if record is not None else None
        listed.append(Listed(request, attempts[-1], certificate))
    return listed


def _moved(request: RequestRecord, state: RequestState, at: WallTime) -> StoreRequest:
    return StoreRequest(replace(request, state=state, updated_at=at, note=""))
