"""The messages of the cluster protocol: their names, and what enrollment needs typed.

Every method of Icinga 2 is known by name, so that it can be counted under it; only the
ones an Icefloe node acts on have a type.  The types for executing commands are in
`icefloe.wire.commands`.

Each type has `parse`, which reads the `params` (or the `result`) of a decoded message
and raises `MessageError`, and `to_params`, which makes what the encoder wants.  Texts
that are absent are empty strings.

Source: protocol, "Session messages", "Certificate signing protocol" and "Cluster
message catalogue".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from icefloe.wire import params as read
from icefloe.wire.errors import MessageError, Reason
from icefloe.wire.limits import (
    ANONYMOUS_MESSAGE_BYTES_MAX,
    CHILD_MESSAGE_BYTES_MAX,
    NETSTRING_BYTES_MAX,
)

__all__ = [
    "ANONYMOUS_MESSAGE_BYTES_MAX",
    "CHECK_RESULT",
    "CHILD_MESSAGE_BYTES_MAX",
    "CONFIG_DELETE_OBJECT",
    "CONFIG_UPDATE",
    "CONFIG_UPDATE_OBJECT",
    "EXECUTED_COMMAND",
    "EXECUTE_COMMAND",
    "HEARTBEAT",
    "HELLO",
    "KNOWN_METHODS",
    "NETSTRING_BYTES_MAX",
    "OUR_CAPABILITIES",
    "OUR_VERSION",
    "REQUEST_CERTIFICATE",
    "SET_LOG_POSITION",
    "STATUS_ERROR",
    "STATUS_PENDING",
    "STATUS_SIGNED",
    "UPDATE_CERTIFICATE",
    "VERSION_UNKNOWN",
    "CertificateResult",
    "Hello",
    "RequestCertificate",
    "SetLogPosition",
    "UpdateCertificate",
    "format_version",
    "is_known",
]

HELLO: Final = "icinga::Hello"
HEARTBEAT: Final = "event::Heartbeat"
SET_LOG_POSITION: Final = "log::SetLogPosition"
REQUEST_CERTIFICATE: Final = "pki::RequestCertificate"
UPDATE_CERTIFICATE: Final = "pki::UpdateCertificate"
CHECK_RESULT: Final = "event::CheckResult"
EXECUTE_COMMAND: Final = "event::ExecuteCommand"
EXECUTED_COMMAND: Final = "event::ExecutedCommand"
CONFIG_UPDATE: Final = "config::Update"
CONFIG_UPDATE_OBJECT: Final = "config::UpdateObject"
CONFIG_DELETE_OBJECT: Final = "config::DeleteObject"

KNOWN_METHODS: Final = frozenset(
    {
        HELLO,
        HEARTBEAT,
        SET_LOG_POSITION,
        REQUEST_CERTIFICATE,
        UPDATE_CERTIFICATE,
        CHECK_RESULT,
        "event::SetNextCheck",
        "event::SetLastCheckStarted",
        "event::SetStateBeforeSuppression",
        "event::SetSuppressedNotifications",
        "event::SetSuppressedNotificationTypes",
        "event::SetNextNotification",
        "event::UpdateLastNotifiedStatePerUser",
        "event::ClearLastNotifiedStatePerUser",
        "event::SetForceNextCheck",
        "event::SetForceNextNotification",
        "event::SetAcknowledgement",
        "event::ClearAcknowledgement",
        "event::SendNotifications",
        "event::NotificationSentUser",
        "event::NotificationSentToAllUsers",
        EXECUTE_COMMAND,
        EXECUTED_COMMAND,
        "event::UpdateExecutions",
        "event::SetRemovalInfo",
        CONFIG_UPDATE,
        CONFIG_UPDATE_OBJECT,
        CONFIG_DELETE_OBJECT,
    }
)
"""Every method that a release of Icinga 2 up to 2.16 sends."""

OUR_VERSION: Final = 21405
"""What our Hello says: the first release after 2.14.4 that answers "pending" again."""

OUR_CAPABILITIES: Final = 0
"""No capability: bit 0 would invite commands that we do not run."""

VERSION_UNKNOWN: Final = 21200
"""What a Hello without a version stands for: 2.12 or older."""

STATUS_SIGNED: Final = 0
STATUS_ERROR: Final = 1
STATUS_PENDING: Final = 2

# Guards the file name `<fingerprint>.json` against path traversal (protocol 6.7).
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{1,64}")


def is_known(method: str) -> bool:
    """Say whether Icinga 2 has this method.

    Only a known name may become a log field or a metric's label unclipped: an unknown
    one is text of any length from a peer.
    """
    return method in KNOWN_METHODS


def format_version(version: int) -> str:
    """Write the version of a Hello as people do: 21605 is 2.16.5."""
    major, rest = divmod(version, 10_000)
    minor, patch = divmod(rest, 100)
    return f"{major}.{minor}.{patch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The first message of each side (`icinga::Hello`).

    Attributes:
        version: 10000 major + 100 minor + patch, so 21405 is 2.14.5; `VERSION_UNKNOWN`
            if the peer names none.
        capabilities: Bit field; 0 if the peer names none.
        icefloe: Facts that an Icefloe node adds, `version` and `time` (its clock, unix
            seconds); None from others.
    """

    version: int = OUR_VERSION
    capabilities: int = OUR_CAPABILITIES
    icefloe: Mapping[str, object] | None = None

    @classmethod
    def parse(cls, params: object) -> Hello:
        """Read `params`; raises `MessageError`."""
        given = read.as_object(params)
        return cls(
            version=read.natural(given, "version") or VERSION_UNKNOWN,
            capabilities=read.natural(given, "capabilities") or 0,
            icefloe=read.facts(given),
        )

    def to_params(self) -> dict[str, object]:
        """Return the `params` to send."""
        numbers = _present(capabilities=self.capabilities, version=self.version)
        return _with_facts(numbers, self.icefloe)


@dataclass(frozen=True, slots=True)
class SetLogPosition:
    """Acknowledges relayed messages (`log::SetLogPosition`).

    Attributes:
        log_position: `ts` of the newest message received, in unix seconds; finite.
    """

    log_position: float

    @classmethod
    def parse(cls, params: object) -> SetLogPosition:
        """Read `params`; raises `MessageError`."""
        return cls(read.required_number(read.as_object(params), "log_position"))

    def to_params(self) -> dict[str, object]:
        """Return the `params` to send."""
        return {"log_position": self.log_position}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCertificate:
    """Asks for a certificate (`pki::RequestCertificate`).

    Attributes:
        ticket: Ticket or token as given, not trimmed; empty if there is none.  Not in
            the `repr`.
        cert_request: PEM of the certificate to be signed; empty if it is the one the
            sender presented in TLS.  Not checked here.
        requestor_ca: PEM of the CA certificate the requester uses now, or empty.
        icefloe: Facts that an Icefloe node adds; None from others.  Not in the `repr`.
    """

    ticket: str = field(default="", repr=False)
    cert_request: str = ""
    requestor_ca: str = ""
    icefloe: Mapping[str, object] | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, params: object) -> RequestCertificate:
        """Read `params`; raises `MessageError`, whose text never shows the ticket."""
        given = read.as_object(params)
        return cls(
            ticket=read.text(given, "ticket"),
            cert_request=read.text(given, "cert_request"),
            requestor_ca=read.text(given, "requestor_ca"),
            icefloe=read.facts(given),
        )

    def to_params(self) -> dict[str, object]:
        """Return the `params` to send; the ticket is there even if it is empty."""
        optional = _present(
            cert_request=self.cert_request, requestor_ca=self.requestor_ca
        )
        return _with_facts({"ticket": self.ticket} | optional, self.icefloe)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCertificate:
    """Delivers a certificate (`pki::UpdateCertificate`).

    Attributes:
        cert: PEM of the new certificate, never empty.  Not checked here.
        ca: PEM of the CA certificate the sender uses, or empty.
        fingerprint_request: SHA-256 of the request certificate's DER, lower-case hex,
            safe as a file name; empty if the sender names none.
        status_code: As in `CertificateResult`, None if the sender names none.  A real
            receiver does not look at it.
    """

    cert: str
    ca: str
    fingerprint_request: str = ""
    status_code: int | None = STATUS_SIGNED

    @classmethod
    def parse(cls, params: object) -> UpdateCertificate:
        """Read `params`; raises `MessageError`."""
        given = read.as_object(params)
        fingerprint = read.text(given, "fingerprint_request")
        if fingerprint and not _FINGERPRINT.fullmatch(fingerprint):
            key = "fingerprint_request"
            raise MessageError(Reason.FIELD_OUT_OF_RANGE, field=key, detail=key)
        return cls(
            cert=read.required_text(given, "cert"),
            ca=read.text(given, "ca"),
            fingerprint_request=fingerprint,
            status_code=read.natural(given, "status_code"),
        )

    def to_params(self) -> dict[str, object]:
        """Return the `params` to send."""
        return _present(
            cert=self.cert,
            ca=self.ca,
            fingerprint_request=self.fingerprint_request,
            status_code=self.status_code,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateResult:
    """The `result` that answers a `pki::RequestCertificate`.

    Attributes:
        status_code: `STATUS_SIGNED`, `STATUS_ERROR` (refused, or nothing to do),
            `STATUS_PENDING`, or another number from 0 that some node may invent.
        cert: PEM of the certificate; never empty if `status_code` is `STATUS_SIGNED`.
        ca: PEM of the answering node's CA certificate, or empty.  Tools take it for
            success, so a refusal of ours carries none.
        error: Why there is no certificate, in the peer's words, or empty.
        fingerprint_request: As the peer sent it, or empty; not checked.
        icefloe: Facts that Icefloe nodes add; empty from others.
    """

    status_code: int
    cert: str = ""
    ca: str = ""
    error: str = ""
    fingerprint_request: str = ""
    icefloe: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def parse(cls, result: object) -> CertificateResult:
        """Read `result`; raises `MessageError`.

        Without `status_code` an `error` means `STATUS_ERROR` and a `cert` means
        `STATUS_SIGNED`, as Icinga's client has it.
        """
        given = read.as_object(result)
        cert, error = read.text(given, "cert"), read.text(given, "error")
        status_code = read.natural(given, "status_code")
        if status_code is None:
            status_code = STATUS_ERROR if error else STATUS_SIGNED
        if status_code == STATUS_SIGNED:
            read.required_text(given, "cert")
        return cls(
            status_code=status_code,
            cert=cert,
            ca=read.text(given, "ca"),
            error=error,
            fingerprint_request=read.text(given, "fingerprint_request"),
            icefloe=read.facts(given) or {},
        )

    def to_params(self) -> dict[str, object]:
        """Return the `result` to send; empty texts are left out."""
        known = _present(
            status_code=self.status_code,
            cert=self.cert,
            ca=self.ca,
            error=self.error,
            fingerprint_request=self.fingerprint_request,
        )
        return _with_facts(known, self.icefloe or None)

    @property
    def hop(self) -> str | None:
        """Name of the node that decided, if it is an Icefloe node that says so."""
        return read.fact_text(self.icefloe, "hop")

    @property
    def reason(self) -> str | None:
        """Code of why there is no certificate, if the peer is an Icefloe node."""
        return read.fact_text(self.icefloe, "reason")

    @property
    def retry_after(self) -> float | None:
        """Seconds after which asking again makes sense, if the peer says so."""
        return read.fact_seconds(self.icefloe, "retry_after")

    @property
    def hops(self) -> tuple[object, ...]:
        """What the nodes on the way say they did; entries of any JSON type."""
        return read.fact_list(self.icefloe, "hops")


def _present(**values: str | int | None) -> dict[str, object]:
    return {key: value for key, value in values.items() if value not in {None, ""}}


def _with_facts(
    params: dict[str, object], facts: Mapping[str, object] | None
) -> dict[str, object]:
    return params if facts is None else params | {read.ICEFLOE: dict(facts)}
