"""What the enrollment core is told: past facts, in the order they happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NewType

from icefloe.cluster.peer import Peer
from icefloe.wire.catalogue import (
    CertificateResult,
    RequestCertificate,
    UpdateCertificate,
)

# One connection, named by whoever owns the connections; never reused.
LinkId = NewType("LinkId", int)


@dataclass(frozen=True, slots=True)
class CallId:
    """The JSON-RPC id a requester gave; absent means it asked without one.

    A peer may give two calls one value. They are told apart by the object, which
    goes from the asking into its answer and is never made anew.

    Attributes:
        value: any JSON value.
    """

    value: object


@dataclass(frozen=True, slots=True)
class Started:
    """The node runs; the ledger may hold work of an earlier life."""


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A session began.

    Attributes:
        upstream: requests may be forwarded here (a parent, or a same-zone
            peer where there is no parent zone).
        shown: hex SHA-256 of the certificate (DER) that we showed on it; "" for our
            present one, where nobody changes it.
    """

    link: LinkId
    peer: Peer
    upstream: bool = False
    shown: str = ""


@dataclass(frozen=True, slots=True)
class PeerIsIcefloe:
    """The peer's Hello shows that it understands our additions."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class ParentStays:
    """A parent was heard on a connection later than it would let a stranger stay.

    Told once for a connection.  When it was heard is the shell's affair
    (`confirming.CONFIRMED_AFTER_SECONDS`): the core may come to it much later.
    """

    link: LinkId


@dataclass(frozen=True, slots=True)
class LinkEnding:
    """A parent's session closes: nothing more is sent or heard; `LinkDown` follows.

    Attributes:
        detail: what the parent said about our certificate when it ended the connection
            in TLS, or "".
    """

    link: LinkId
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LinkDown:
    """A session ended.

    Attributes:
        clean: the peer closed in order after everything we sent was flushed.
    """

    link: LinkId
    clean: bool = False


@dataclass(frozen=True, slots=True)
class DialFailed:
    """An endpoint was dialled, and there is no session with it.

    Attributes:
        endpoint: its name.
        refused: the endpoint answered, as its certificate shows, and refused ours in TLS
            (an alert).  Else nobody answered, or not as one of ours: that says nothing
            about us.
        detail: for people.
        tls_failed: somebody answered, whoever it was, with an alert.
    """

    endpoint: str
    refused: bool
    detail: str
    tls_failed: bool = False


@dataclass(frozen=True, slots=True)
class CertificateAsked:
    """`pki::RequestCertificate` arrived."""

    link: LinkId
    call: CallId | None
    params: RequestCertificate


@dataclass(frozen=True, slots=True)
class ParentAnswered:
    """A parent answered our ask with a result object.

    Attributes:
        call: the id that `commands.Ask` carried.
    """

    link: LinkId
    call: str
    result: CertificateResult


@dataclass(frozen=True, slots=True)
class ParentFailed:
    """A parent answered with an error, or the ask could not be delivered."""

    link: LinkId
    call: str
    detail: str


@dataclass(frozen=True, slots=True)
class CertificateUpdated:
    """`pki::UpdateCertificate` arrived."""

    link: LinkId
    params: UpdateCertificate


@dataclass(frozen=True, slots=True)
class TicketChecked:
    """The ticket of an attempt was compared."""

    attempt_id: str
    valid: bool


@dataclass(frozen=True, slots=True)
class TicketCheckFailed:
    """The ticket of an attempt could not be compared: a bug, or no memory.

    It says nothing about the ticket.
    """

    attempt_id: str


@dataclass(frozen=True, slots=True)
class Signed:
    """The CA key signed the intent of a request.

    Attributes:
        signature: bytes as they stand in the certificate.
    """

    request_id: str
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SigningFailed:
    """The CA key could not be used."""

    request_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class LedgerChanged:
    """Another process (an operator's command) committed to the ledger."""


@dataclass(frozen=True, slots=True)
class DeadlineReached:
    """`EnrollmentCore.next_deadline` has passed."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """The node stops: who waits has an answer now, and so has who still comes."""


Event = (
    Started
    | LinkUp
    | PeerIsIcefloe
    | ParentStays
    | LinkEnding
    | LinkDown
    | DialFailed
    | CertificateAsked
    | ParentAnswered
    | ParentFailed
    | CertificateUpdated
    | TicketChecked
    | TicketCheckFailed
    | Signed
    | SigningFailed
    | LedgerChanged
    | DeadlineReached
    | Stopping
)
