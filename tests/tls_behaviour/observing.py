"""What a server does about something sent: its alerts, its handshake, its end."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tests.tls_behaviour.records import ALERT, HANDSHAKE, SERVER_HELLO

WAIT_SECONDS: Final = 20.0
"""How long a server may take; Icinga's handshake timeout is 10 s."""

ALERT_NAMES: Final = {
    0: "close_notify",
    10: "unexpected_message",
    20: "bad_record_mac",
    22: "record_overflow",
    40: "handshake_failure",
    42: "bad_certificate",
    43: "unsupported_certificate",
    46: "certificate_unknown",
    47: "illegal_parameter",
    48: "unknown_ca",
    50: "decode_error",
    51: "decrypt_error",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    86: "inappropriate_fallback",
    90: "user_canceled",
    100: "no_renegotiation",
    109: "missing_extension",
    110: "unsupported_extension",
    112: "unrecognized_name",
    116: "certificate_required",
    120: "no_application_protocol",
}

Send = Callable[[socket.socket], None]


@dataclass(slots=True)
class Seen:
    """What came back.

    Attributes:
        alerts: Names, in order.
        answered: Whether the handshake went on: a ServerHello, or a finished one.
        ended: Whether the server closed the connection, in order or by reset.
    """

    alerts: list[str] = field(default_factory=list)
    answered: bool = False
    ended: bool = False

    def __str__(self) -> str:
        parts = ["goes on"] if self.answered else []
        parts += self.alerts
        parts += ["end"] if self.ended else ["stays open"]
        return ", ".join(parts)


def alert_name(number: int) -> str:
    """The alert's name in the RFCs, or its number."""
    return ALERT_NAMES.get(number, str(number))


def connect(address: tuple[str, int], source: str) -> socket.socket:
    """Connect from an address of this machine (127.0.0.x)."""
    sock = socket.create_connection(
        address, timeout=WAIT_SECONDS, source_address=(source, 0)
    )
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_in_clear(sock: socket.socket, *, until_hello: bool = False) -> Seen:
    """Read records that nobody encrypts until the server ends.

    Args:
        sock: The connection.
        until_hello: Whether a ServerHello is all that is waited for.
    """
    seen = Seen()
    data = b""
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        try:
            got = sock.recv(65536)
        except TimeoutError:
            break
        except OSError:
            seen.ended = True
            break
        if not got:
            seen.ended = True
            break
        data = _take_records(data + got, seen)
        if until_hello and seen.answered:
            break
    return seen


def _take_records(data: bytes, seen: Seen) -> bytes:
    while len(data) >= 5:
        size = int.from_bytes(data[3:5], "big")
        if len(data) < 5 + size:
            break
        kind, content, data = data[0], data[5 : 5 + size], data[5 + size :]
        if kind == ALERT and size == 2:
            seen.alerts.append(alert_name(content[1]))
        if kind == HANDSHAKE and content[:1] == bytes((SERVER_HELLO,)):
            seen.answered = True
    return data


def sending(data: bytes, *, then_end: bool = False) -> Send:
    """Send these bytes, and perhaps end our side."""

    def send(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the server may end before all is sent
            sock.sendall(data)
            if then_end:
                sock.shutdown(socket.SHUT_WR)

    return send
