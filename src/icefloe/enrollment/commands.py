"""What the enrollment core orders: to be carried out after the commit, in order."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from icefloe.doors import MonotonicTime
from icefloe.enrollment.events import CallId, LinkId
from icefloe.enrollment.own_status import OwnStatus
from icefloe.wire.catalogue import RequestCertificate, UpdateCertificate


@dataclass(frozen=True, slots=True)
class Answer:
    """Send the response to a requester's call.

    Attributes:
        result: the result object (protocol: Icinga 2, `pki::RequestCertificate`).
    """

    link: LinkId
    call: CallId
    result: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Push:
    """Send `pki::UpdateCertificate` to a peer."""

    link: LinkId
    params: UpdateCertificate


@dataclass(frozen=True, slots=True)
class Ask:
    """Send `pki::RequestCertificate` to a parent, with an id.

    The carrier must report `ParentAnswered` or `ParentFailed` with the same
    call, or `LinkDown`.

    Attributes:
        asker: for whom; a carrier that cannot carry all at once gives each its turn.
            "" for this node itself.
    """

    link: LinkId
    call: str
    params: RequestCertificate
    asker: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep an anonymous connection beyond its idle lifetime: it waits."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class Release:
    """The connection no longer waits for anything; its idle lifetime applies."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class Drain:
    """Close a connection in order, everything sent before flushed."""

    link: LinkId
    reason: str


@dataclass(frozen=True, slots=True)
class CheckTicket:
    """Compare a ticket; report `TicketChecked`. Costs 10-20 ms of CPU."""

    attempt_id: str
    cn: str
    ticket: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sign:
    """Sign an intent's bytes with the CA key; report `Signed` or `SigningFailed`.

    Attributes:
        tbs: DER TBSCertificate.
    """

    request_id: str
    tbs: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class InstallIdentity:
    """Install a certificate for this node's own key.

    Attributes:
        certificate: PEM, verified: it matches our key and name and chains to
            the CA certificate below.
        ca: PEM of the CA certificate, the trusted one or its successor.
    """

    certificate: str = field(repr=False)
    ca: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ConfirmIdentity:
    """This identity was accepted by a parent: nothing is to be put back.

    Attributes:
        fingerprint: of its certificate, hex SHA-256 of the DER.  Another one may have
            been put in place since: nothing is known of that.
    """

    fingerprint: str


@dataclass(frozen=True, slots=True)
class RollBackIdentity:
    """Put the older identity back, and reload: no parent accepts the new one.

    Attributes:
        reason: for people; may quote a parent.
        fingerprint: of the new one, as in `ConfirmIdentity`.
    """

    reason: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class TellOwnStatus:
    """Keep this record of our own certificate where commands find it."""

    status: OwnStatus


@dataclass(frozen=True, slots=True)
class Shun:
    """Refuse a peer's askings with a ticket outside the core, until it is heard again.

    Attributes:
        key: of `failures.Asker`.
        label: the peer, for people.
        until: when it is heard again; when that is now or was before, it is heard.
    """

    key: str
    label: str
    until: MonotonicTime


class Level(enum.IntEnum):
    """How loud a log event is (the values of the `logging` module)."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40
    CRITICAL = 50


@dataclass(frozen=True, slots=True)
class Log:
    """Write a log event. The fields never hold a secret."""

    level: Level
    event: str
    fields: Mapping[str, object]


Command = (
    Answer
    | Push
    | Ask
    | Hold
    | Release
    | Drain
    | CheckTicket
    | Sign
    | InstallIdentity
    | ConfirmIdentity
    | RollBackIdentity
    | TellOwnStatus
    | Shun
    | Log
)
