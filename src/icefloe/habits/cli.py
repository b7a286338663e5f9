"""What `icinga2 pki request` does with one connection; all releases are alike.

    wrote                    got                          ends with
    one request with an id   nothing more                 exit 1
                             a top-level `error`          exit 1
                             a response without a result  a crash, 134
                             result with `ca`             the root is written, and then:
                               and `error`, code 1        exit 1
                               and `error`, other code    exit 0: pending
                               and no `error`             the certificate is written, 0

The root is written before the error is looked at: a wrong ticket replaces `ca.crt`.
Everything else that comes in is skipped, Hello and notifications too; but any message
with our id is taken for the response, so a request of the peer with it is a crash.

Source: protocol, "What the CLI requester does"; the odd codes, ids and texts were tried
on 2.13.6.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TypeAlias

from icefloe.pki import certificates
from icefloe.pki.errors import PKIError
from icefloe.wire.catalogue import (
    REQUEST_CERTIFICATE,
    STATUS_ERROR,
    RequestCertificate,
)
from icefloe.wire.jsonrpc import Message, Notification, Request

CRASH_EXIT_CODE = 134
"""128 + SIGABRT."""


class Saw(enum.Enum):
    """What the operator at this command sees."""

    SIGNED = "signed"
    PENDING = "pending"
    REFUSED = "refused"
    CUT = "cut off"
    FAILED = "failed"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class WriteCA:
    """Write `ca.crt`.

    Attributes:
        ca: PEM.
    """

    ca: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WriteCertificate:
    """Write the certificate file.

    Attributes:
        certificate: PEM.
    """

    certificate: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Exit:
    """The command has ended, and its connection with it.

    Attributes:
        code: The exit code.
        saw: What it amounts to.
        error: The peer's words, if it sent any.
    """

    code: int
    saw: Saw
    error: str = ""


CLIEffect: TypeAlias = Request | WriteCA | WriteCertificate | Exit


class HabitualCLI:
    """One run of `pki request`, from the TLS handshake on.

    It knows no timeout: the end of the connection has to be told.
    """

    def __init__(self, *, call: str, ticket: str = "") -> None:
        """Prepare a run.

        Args:
            call: The id of the request; a real one takes a random UUID.
            ticket: The ticket, or empty.
        """
        self._call = call
        self._ticket = ticket
        self._has_ended = False

    def on_connected(self) -> list[CLIEffect]:
        """Ask, once; no Hello is sent."""
        params = RequestCertificate(ticket=self._ticket).to_params()
        return [Request(REQUEST_CERTIFICATE, params, self._call)]

    def on_message(self, message: Message) -> list[CLIEffect]:
        """Take a message of the peer."""
        if self._has_ended or isinstance(message, Notification):
            return []
        if isinstance(message, Request):
            return self._crash() if message.id == self._call else []
        if message.error is not None:
            return self._end(1, Saw.FAILED, message.error)
        if message.id != self._call:
            return []
        if not isinstance(message.result, dict):
            return self._crash()
        return self._on_result(message.result)

    def on_closed(self) -> list[CLIEffect]:
        """Take the end of the connection, or bytes that are no message."""
        return [] if self._has_ended else self._end(1, Saw.CUT)

    def _on_result(self, result: dict[str, object]) -> list[CLIEffect]:
        effects: list[CLIEffect] = []
        if "ca" in result:
            ca = _certificate_in(result, "ca")
            if ca is None:
                return self._end(1, Saw.FAILED)
            effects.append(WriteCA(ca))
        if "error" in result:
            status = _status_in(result)
            if status is None:
                return [*effects, *self._crash()]
            refused = status == STATUS_ERROR
            code, saw = (1, Saw.REFUSED) if refused else (0, Saw.PENDING)
            return [*effects, *self._end(code, saw, str(result["error"]))]
        certificate = _certificate_in(result, "cert")
        if certificate is None:
            return [*effects, *self._end(1, Saw.FAILED)]
        return [*effects, WriteCertificate(certificate), *self._end(0, Saw.SIGNED)]

    def _crash(self) -> list[CLIEffect]:
        return self._end(CRASH_EXIT_CODE, Saw.CRASHED)

    def _end(self, code: int, saw: Saw, error: str = "") -> list[CLIEffect]:
        self._has_ended = True
        return [Exit(code, saw, error)]


def _certificate_in(result: dict[str, object], key: str) -> str | None:
    """Return a certificate (PEM) out of a result; None if it cannot be read."""
    text = result.get(key)
    try:
        return certificates.to_pem(certificates.load_pem(str(text)))
    except PKIError:
        return None


def _status_in(result: dict[str, object]) -> int | None:
    """Return the status as Icinga converts it; None where the conversion throws."""
    value = result.get("status_code", STATUS_ERROR)
    if not value:
        return None if isinstance(value, dict | list) else 0
    if isinstance(value, str) and value != value.strip():
        return None
    try:
        return int(float(value)) if isinstance(value, str | int | float) else None
    except ValueError:
        return None
