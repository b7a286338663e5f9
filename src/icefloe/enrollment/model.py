"""The records of the ledger and the states they pass through.

A *request* is one wish for one certificate: a common name, a key and the
serial it renews (none at first enrollment). An *attempt* is one asking for it:
the certificate that was presented, the ticket, the way it came. One request
has many attempts; a certificate answers all of them, a refusal only its own.

    relay:   RECEIVED -> FORWARDED -> ANSWERED -> DELIVERED -> CONFIRMED
    signer:  RECEIVED -> [AWAITING_APPROVAL] -> DECIDED -> INTENDED -> ISSUED
             -> DELIVERED -> CONFIRMED
    either:  ... -> REMOVED  (declined by an administrator; can be restored)

Everything here is a plain value: no clock, no randomness, no file.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, field

from icefloe.doors import WallTime


class RequestState(enum.Enum):
    """Where a request stands at this node. The value is what the ledger stores."""

    RECEIVED = "received"
    FORWARDED = "forwarded"
    AWAITING_APPROVAL = "awaiting-approval"
    DECIDED = "decided"
    INTENDED = "intended"
    ISSUED = "issued"
    ANSWERED = "answered"
    DELIVERED = "delivered"
    CONFIRMED = "confirmed"
    REMOVED = "removed"


# A certificate for the request is in the ledger.
SETTLED_STATES = frozenset(
    {
        RequestState.ISSUED,
        RequestState.ANSWERED,
        RequestState.DELIVERED,
        RequestState.CONFIRMED,
    }
)

TRANSITIONS: dict[RequestState, frozenset[RequestState]] = {
    RequestState.RECEIVED: frozenset(
        {
            RequestState.FORWARDED,
            RequestState.AWAITING_APPROVAL,
            RequestState.DECIDED,
            RequestState.ANSWERED,
            RequestState.REMOVED,
        }
    ),
    RequestState.FORWARDED: frozenset(
        {
            RequestState.ANSWERED,
            RequestState.REMOVED,
            # A relay that was given the CA key decides what it used to forward.
            RequestState.AWAITING_APPROVAL,
            RequestState.DECIDED,
        }
    ),
    RequestState.AWAITING_APPROVAL: frozenset(
        {
            RequestState.DECIDED,
            RequestState.REMOVED,
            # A signer that lost its CA key becomes a relay.
            RequestState.FORWARDED,
            RequestState.ANSWERED,
        }
    ),
    # The last two of each: a signer that lost its CA key goes on as a relay.
    RequestState.DECIDED: frozenset(
        {
            RequestState.INTENDED,
            # The approval was not enough: it takes `--reserved`.
            RequestState.AWAITING_APPROVAL,
            RequestState.REMOVED,
            RequestState.FORWARDED,
            RequestState.ANSWERED,
        }
    ),
    RequestState.INTENDED: frozenset(
        {
            RequestState.ISSUED,
            # The CA's key was replaced before it signed.
            RequestState.DECIDED,
            RequestState.FORWARDED,
            RequestState.ANSWERED,
        }
    ),
    RequestState.ISSUED: frozenset({RequestState.DELIVERED, RequestState.CONFIRMED}),
    RequestState.ANSWERED: frozenset({RequestState.DELIVERED, RequestState.CONFIRMED}),
    RequestState.DELIVERED: frozenset({RequestState.CONFIRMED}),
    RequestState.CONFIRMED: frozenset(),
    RequestState.REMOVED: frozenset({RequestState.RECEIVED}),
}


class AttemptState(enum.Enum):
    """What became of one asking."""

    RECEIVED = "received"
    FORWARDED = "forwarded"
    PENDING = "pending"
    SIGNED = "signed"
    REFUSED = "refused"


OPEN_ATTEMPT_STATES = frozenset(
    {AttemptState.RECEIVED, AttemptState.FORWARDED, AttemptState.PENDING}
)


class Origin(enum.Enum):
    """How an attempt reached this node, which says what it proves."""

    # The key of the request is the key of the TLS connection: possession proven.
    DIRECT = "direct"
    # A member of the cluster forwarded it (`cert_request` on a member link).
    RELAYED = "relayed"
    # A stranger posted a certificate that is not its own (a gateway does that).
    POSTED = "posted"


class DecisionKind(enum.Enum):
    """Why a request was signed or refused."""

    TICKET = "ticket"
    TOKEN = "token"  # noqa: S105 - a kind of decision, not a secret
    APPROVAL = "approval"
    RENEWAL = "renewal"
    POLICY = "policy"
    REMOVAL = "removal"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an attempt was refused, as told to the requester.

    Attributes:
        reason: stable code from `reasons.py`, such as ``wrong-ticket``.
        text: one sentence for a person; printed verbatim by Icinga's own client.
        hop: name of the node that refused.
        retry_after: seconds after which asking again may help, or None.
    """

    reason: str
    text: str
    hop: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One wish for one certificate.

    Attributes:
        request_id: 32 hex digits, `request_id()` of the three fields below.
        cn: common name, checked by `pki.names`.
        key_id: hex SHA-256 of the SubjectPublicKeyInfo.
        renews: lower-case hex serial number it renews; "" at first enrollment.
        state: where it stands.
        created_at: when it was first recorded here.
        updated_at: when its state last changed.
        note: why it waits, for a person (reserved name, another key, ...); may be "".
    """

    request_id: str
    cn: str
    key_id: str
    renews: str
    state: RequestState
    created_at: WallTime
    updated_at: WallTime
    note: str = ""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One asking for a request.

    Attributes:
        attempt_id: 32 hex digits, `attempt_id()`: the same certificate with the
            same ticket is the same attempt, however often it is asked.
        request_id: the request asked for.
        fingerprint: hex SHA-256 of the presented certificate's DER.
        certificate: the presented certificate, DER.
        ticket: the ticket while it is still needed, else "". Never in a repr.
        ticket_digest: hex SHA-256 of the ticket; "" when none was given.
        requestor_ca: PEM of the root the requester uses, or "".
        origin: how it came.
        via: the member's name, or the address of a stranger.
        state: what became of it.
        asked_at: when it was last asked.
        refusal: set in state REFUSED.
    """

    attempt_id: str
    request_id: str
    fingerprint: str
    certificate: bytes = field(repr=False)
    ticket: str = field(repr=False)
    ticket_digest: str = field(repr=False)
    requestor_ca: str = field(repr=False)
    origin: Origin
    via: str
    state: AttemptState
    asked_at: WallTime
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """Who decided what about a request, and why. One per request.

    Attributes:
        kind: ticket, approval, renewal, ...
        actor: the person or node that decided.
        attempt_id: the attempt whose ticket decided; "" otherwise.
        reserved: the decision may sign a reserved name (`ca sign --reserved`).
    """

    request_id: str
    kind: DecisionKind
    actor: str
    at: WallTime
    attempt_id: str = ""
    reserved: bool = False


@dataclass(frozen=True, slots=True)
class IntentRecord:
    """What is about to be signed, recorded before the signature exists.

    Attributes:
        serial: lower-case hex.
        tbs: DER TBSCertificate, the bytes to be signed.
        ca_key_id: key id of the CA key that is to sign.
    """

    request_id: str
    serial: str
    tbs: bytes = field(repr=False)
    ca_key_id: str
    at: WallTime


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """A certificate for a request.

    Attributes:
        serial: lower-case hex.
        certificate: DER.
        source: the node that signed it or handed it down.
        surplus: a parent signed twice; this one is not given out.
    """

    serial: str
    request_id: str
    certificate: bytes = field(repr=False)
    source: str
    at: WallTime
    surplus: bool = False


@dataclass(frozen=True, slots=True)
class HopRecord:
    """One thing a node did with a request, and when.

    Attributes:
        did: a word of `reasons.HopDid`, such as ``received`` or ``signed``.
    """

    request_id: str
    node: str
    did: str
    at: WallTime


@dataclass(frozen=True, slots=True)
class KnownKey:
    """The first key ever seen in use for a name.

    Attributes:
        how: ``issued`` (we signed it) or ``member`` (it connected as a member).
    """

    cn: str
    key_id: str
    how: str
    at: WallTime


def serial_text(number: int) -> str:
    """Write a serial number as the ledger keeps it: lower-case hex, even length."""
    digits = f"{number:x}"
    return digits.zfill(len(digits) + len(digits) % 2)


def request_id(*, cn: str, key_id: str, renews: str) -> str:
    """Name a request by what it wishes for.

    Returns:
        32 hex digits; the same for the same three values on every node.
    """
    # The key id has a fixed length and the serial no slash: no ambiguity.
    return hashlib.sha256(f"{key_id}/{renews}/{cn}".encode()).hexdigest()[:32]


def ticket_digest(ticket: str) -> str:
    """Digest a ticket so that the same one is recognised after it is forgotten.

    Returns:
        Hex SHA-256 of the ticket's UTF-8 bytes, or "" for no ticket.
    """
    if not ticket:
        return ""
    return hashlib.sha256(ticket.encode("utf-8", "surrogatepass")).hexdigest()


def attempt_id(*, request_id: str, fingerprint: str, digest: str) -> str:
    """Name an attempt by the request, the presented certificate and the ticket.

    Returns:
        32 hex digits.
    """
    return hashlib.sha256(f"{request_id}/{fingerprint}/{digest}".encode()).hexdigest()[
        :32
    ]
