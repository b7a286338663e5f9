"""Clients that go wrong later: in their certificate, their proofs, or once connected.

tlslite-ng (an implementation in pure Python) speaks TLS; single messages are exchanged
for wrong ones on their way out.
"""

from __future__ import annotations

import contextlib
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from tests.enrollment import playbook
from tests.tls_behaviour.observing import Seen, alert_name
from tests.tls_behaviour.records import (
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    HEARTBEAT,
    TLS_1_2,
    client_hello,
    message,
    record,
    vector,
)

from icefloe.pki.certificates import to_pem
from icefloe.wire import netstring

with warnings.catch_warnings():
    # It imports asyncore, which Python 3.12 no longer has, if that is there.
    warnings.simplefilter("ignore", DeprecationWarning)
    from tlslite.api import (
        X509,
        HandshakeSettings,
        TLSConnection,
        X509CertChain,
        parsePEMKey,
    )
    from tlslite.errors import TLSAbruptCloseError, TLSLocalAlert, TLSRemoteAlert
    from tlslite.messages import Message

CERTIFICATE = 11
CERTIFICATE_VERIFY = 15
CLIENT_KEY_EXCHANGE = 16
FINISHED = 20
KEY_UPDATE = 24

V12, V13 = (3, 3), (3, 4)

HELLO = b'{"jsonrpc":"2.0","method":"icinga::Hello","params":{"version":21400}}'

Change = Callable[[bytes], Sequence[tuple[int, bytes]]]
"""From one outgoing message to what goes out in its place: content types and bytes."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """One misbehaviour.

    Attributes:
        name: What is done.
        version: TLS version to speak.
        expected: The alert that must come, or None when none need come.
        at: Type of the handshake message to exchange; None leaves the handshake.
        change: What is sent in its place.
        afterwards: What is done once connected.
        with_certificate: Whether the client has a certificate (self-signed).
        stays: Whether nothing is wrong, so that both go on to speak.
    """

    name: str
    version: tuple[int, int]
    expected: str | None
    at: int | None = None
    change: Change | None = None
    afterwards: Callable[[TLSConnection, socket.socket], None] | None = None
    with_certificate: bool = True
    stays: bool = False


class _Deviant(TLSConnection):  # type: ignore[misc]  # untyped library
    """A connection that exchanges messages on their way out."""

    def __init__(self, sock: socket.socket, deviation: Deviation) -> None:
        super().__init__(sock)
        self.deviation = deviation

    def _sendMsg(self, msg: Any, *more: Any, **named: Any) -> Iterator[int]:  # noqa: N802
        wrong = self.deviation
        data = bytes(msg.write())
        if (
            wrong.change is None
            or msg.contentType != HANDSHAKE
            or data[:1] != bytes((wrong.at or 0,))
        ):
            yield from super()._sendMsg(msg, *more, **named)
            return
        for kind, content in wrong.change(data):
            yield from super()._sendMsg(Message(kind, bytearray(content)))


def settings(version: tuple[int, int]) -> HandshakeSettings:
    """One version, and only what our listener takes."""
    chosen = HandshakeSettings()
    chosen.minVersion = chosen.maxVersion = version
    chosen.keyShares = ["secp256r1"]
    chosen.eccCurves = ["secp256r1"]
    # The library would compress its certificate for servers that did not ask.
    chosen.certificate_compression_send = []
    chosen.certificate_compression_receive = []
    return chosen


@cache
def identity() -> tuple[X509CertChain, Any]:
    """A self-signed certificate and its key."""
    certificate = X509().parse(to_pem(playbook.request_certificate()))
    pem = playbook.key(1).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return X509CertChain([certificate]), parsePEMKey(pem.decode(), private=True)


def run(deviation: Deviation, sock: socket.socket) -> Seen:
    """Misbehave, and read until the server ends."""
    seen = Seen()
    chain, key = identity() if deviation.with_certificate else (None, None)
    connection = _Deviant(sock, deviation)
    connection.ignoreAbruptClose = False
    try:
        connection.handshakeClientCert(chain, key, settings=settings(deviation.version))
        if deviation.afterwards is not None:
            deviation.afterwards(connection, sock)
        if deviation.stays:
            connection.write(netstring.encode(HELLO))
            seen.answered = b"icinga::Hello" in connection.read(max=16384, min=10)
            return seen
        while connection.read(max=16384, min=1):
            pass
        seen.ended = True
        seen.alerts.append("close_notify")
    except TLSRemoteAlert as error:
        seen.ended = _ends(sock)
        seen.alerts.append(alert_name(error.description))
    except TLSLocalAlert as error:
        seen.alerts.append(f"client: {alert_name(error.description)}")
    except TimeoutError:
        pass
    except (TLSAbruptCloseError, OSError):
        seen.ended = True
    return seen


def _ends(sock: socket.socket) -> bool:
    """Whether nothing but the end follows."""
    try:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


# -- what is sent in a message's place -------------------------------------------------


def _instead(*contents: bytes, kind: int = HANDSHAKE) -> Change:
    return lambda _data: [(kind, content) for content in contents]


def _nothing(_data: bytes) -> Sequence[tuple[int, bytes]]:
    return []


def _twice(data: bytes) -> Sequence[tuple[int, bytes]]:
    return [(HANDSHAKE, data), (HANDSHAKE, data)]


def _last_bit_wrong(data: bytes) -> Sequence[tuple[int, bytes]]:
    return [(HANDSHAKE, data[:-1] + bytes((data[-1] ^ 1,)))]


def _cut_short(data: bytes) -> Sequence[tuple[int, bytes]]:
    body = data[4:-1]
    return [(HANDSHAKE, message(data[0], body))]


def _with_a_byte_more(data: bytes) -> Sequence[tuple[int, bytes]]:
    return [(HANDSHAKE, message(data[0], data[4:] + b"x"))]


def _in_pieces(data: bytes) -> Sequence[tuple[int, bytes]]:
    return [(HANDSHAKE, data[n : n + 1]) for n in range(len(data))]


def _with_data_between(data: bytes) -> Sequence[tuple[int, bytes]]:
    return [(HANDSHAKE, data[:6]), (APPLICATION_DATA, b"hello"), (HANDSHAKE, data[6:])]


def _certificates(version: tuple[int, int], *ders: bytes) -> Change:
    if version == V13:
        entries = b"".join(vector(der, 3) + b"\0\0" for der in ders)
        return _instead(message(CERTIFICATE, b"\0" + vector(entries, 3)))
    return _instead(
        message(CERTIFICATE, vector(b"".join(vector(d, 3) for d in ders), 3))
    )


# -- what is done once connected -------------------------------------------------------


def _send_raw(*records: bytes) -> Callable[[TLSConnection, socket.socket], None]:
    def send(_connection: TLSConnection, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.sendall(b"".join(records))

    return send


def _send(
    kind: int, content: bytes, times: int = 1
) -> Callable[[TLSConnection, socket.socket], None]:
    """Send properly encrypted records of any type."""

    def send(connection: TLSConnection, _sock: socket.socket) -> None:
        for _ in range(times):
            for _ in connection._sendMsg(
                Message(kind, bytearray(content)), update_hashes=False
            ):
                pass

    return send


def _update_keys(times: int) -> Callable[[TLSConnection, socket.socket], None]:
    def send(connection: TLSConnection, _sock: socket.socket) -> None:
        for _ in range(times):
            for _ in connection.send_keyupdate_request(0):
                pass

    return send


def _then_vanish(_connection: TLSConnection, sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


_IN_CLEAR = _send_raw(b"GET / HTTP/1.1\r\n\r\n")
_GARBAGE = b"not a certificate"
_HALF = playbook.der(playbook.request_certificate())[:100]
_WHOLE = playbook.der(playbook.request_certificate())
_NOISE = bytes(range(64))


def _in_both(name: str, expected: str | None, **how: Any) -> list[Deviation]:
    made = []
    for version, label in ((V12, "1.2"), (V13, "1.3")):
        given = {k: v(version) if k == "of_version" else v for k, v in how.items()}
        if "of_version" in given:
            given["change"] = given.pop("of_version")
        made.append(Deviation(f"{name} ({label})", version, expected, **given))
    return made


_CERTIFICATE_CASES = [
    *_in_both("no client certificate", None, with_certificate=False, stays=True),
    *_in_both("self-signed certificate", None, stays=True),
    *_in_both(
        "Certificate that is not DER",
        "decode_error",
        at=CERTIFICATE,
        of_version=lambda v: _certificates(v, _GARBAGE),
    ),
    *_in_both(
        "Certificate cut short",
        "decode_error",
        at=CERTIFICATE,
        of_version=lambda v: _certificates(v, _HALF),
    ),
    *_in_both(
        "Certificate of no bytes",
        "decode_error",
        at=CERTIFICATE,
        of_version=lambda v: _certificates(v, b""),
    ),
    *_in_both(
        "second certificate that is not DER",
        "decode_error",
        at=CERTIFICATE,
        of_version=lambda v: _certificates(v, _WHOLE, _GARBAGE),
    ),
    Deviation(
        "chain of 200 KB (1.2)",
        V12,
        "illegal_parameter",
        at=CERTIFICATE,
        change=_certificates(V12, *[_WHOLE] * (200_000 // len(_WHOLE))),
    ),
    *_in_both(
        "chain of 200 KB announced",
        "illegal_parameter",
        at=CERTIFICATE,
        change=_instead(message(CERTIFICATE, bytes(200_000))[:1000]),
    ),
    *_in_both(
        "empty Certificate message",
        "decode_error",
        at=CERTIFICATE,
        change=_instead(message(CERTIFICATE, b"")),
    ),
    *_in_both(
        "Certificate with a byte more",
        "decode_error",
        at=CERTIFICATE,
        change=_with_a_byte_more,
    ),
    *_in_both("no Certificate", "unexpected_message", at=CERTIFICATE, change=_nothing),
    *_in_both("Certificate twice", "unexpected_message", at=CERTIFICATE, change=_twice),
]

_PROOF_CASES = [
    *_in_both(
        "no CertificateVerify",
        "unexpected_message",
        at=CERTIFICATE_VERIFY,
        change=_nothing,
    ),
    *_in_both(
        "CertificateVerify cut short",
        "decode_error",
        at=CERTIFICATE_VERIFY,
        change=_cut_short,
    ),
    *_in_both(
        "CertificateVerify with a byte more",
        "decode_error",
        at=CERTIFICATE_VERIFY,
        change=_with_a_byte_more,
    ),
    *_in_both(
        "CertificateVerify of another signature",
        "decrypt_error",
        at=CERTIFICATE_VERIFY,
        change=_last_bit_wrong,
    ),
    *_in_both(
        "CertificateVerify of an algorithm not offered",
        "illegal_parameter",
        at=CERTIFICATE_VERIFY,
        change=_instead(message(CERTIFICATE_VERIFY, b"\x01\x01" + vector(_NOISE, 2))),
    ),
    *_in_both("wrong Finished", "decrypt_error", at=FINISHED, change=_last_bit_wrong),
    *_in_both("Finished cut short", "decode_error", at=FINISHED, change=_cut_short),
    *_in_both(
        "Finished in records of 1 byte",
        None,
        at=FINISHED,
        change=_in_pieces,
        stays=True,
    ),
    *_in_both(
        "application data inside Finished",
        "unexpected_message",
        at=FINISHED,
        change=_with_data_between,
    ),
    Deviation(
        "no ClientKeyExchange (1.2)",
        V12,
        "unexpected_message",
        at=CLIENT_KEY_EXCHANGE,
        change=_nothing,
    ),
    Deviation(
        "ClientKeyExchange with a point off the curve (1.2)",
        V12,
        "illegal_parameter",
        at=CLIENT_KEY_EXCHANGE,
        change=_instead(message(CLIENT_KEY_EXCHANGE, vector(b"\x04" + bytes(64), 1))),
    ),
    Deviation(
        "ChangeCipherSpec before ClientKeyExchange (1.2)",
        V12,
        "unexpected_message",
        at=CLIENT_KEY_EXCHANGE,
        change=_instead(b"\x01", kind=CHANGE_CIPHER_SPEC),
    ),
    Deviation(
        "ClientHello in place of Finished (1.3)",
        V13,
        "unexpected_message",
        at=FINISHED,
        change=_instead(client_hello()),
    ),
    Deviation(
        "application data in place of Finished (1.3)",
        V13,
        "unexpected_message",
        at=FINISHED,
        change=_instead(b"hello", kind=APPLICATION_DATA),
    ),
    Deviation(
        "KeyUpdate in place of Finished (1.3)",
        V13,
        "unexpected_message",
        at=FINISHED,
        change=_instead(message(KEY_UPDATE, b"\0")),
    ),
    Deviation(
        "heartbeat in place of Finished (1.3)",
        V13,
        "unexpected_message",
        at=FINISHED,
        change=_instead(b"\x01\x40\x00", kind=HEARTBEAT),
    ),
    Deviation(
        "fatal alert in place of Finished (1.3)",
        V13,
        None,
        at=FINISHED,
        change=_instead(b"\x02\x28", kind=ALERT),
    ),
]

_CONNECTED_CASES = [
    Deviation(
        "renegotiation (1.2)",
        V12,
        "no_renegotiation",
        afterwards=_send(HANDSHAKE, client_hello()),
    ),
    Deviation(
        "100 renegotiations (1.2)",
        V12,
        "no_renegotiation",
        afterwards=_send(HANDSHAKE, client_hello(), times=100),
    ),
    Deviation(
        "ClientHello once connected (1.3)",
        V13,
        "unexpected_message",
        afterwards=_send(HANDSHAKE, client_hello()),
    ),
    Deviation(
        "KeyUpdate, 1,000 times", V13, None, afterwards=_update_keys(1000), stays=True
    ),
    Deviation(
        "KeyUpdate of a strange kind",
        V13,
        "illegal_parameter",
        afterwards=_send(HANDSHAKE, message(KEY_UPDATE, b"\x07")),
    ),
    Deviation(
        "KeyUpdate of no bytes",
        V13,
        "decode_error",
        afterwards=_send(HANDSHAKE, message(KEY_UPDATE, b"")),
    ),
    *_in_both(
        "heartbeat once connected",
        "unexpected_message",
        afterwards=_send(HEARTBEAT, b"\x01\x40\x00"),
    ),
    # The alert is sent, but what else has arrived makes the kernel reset the
    # connection behind it.
    *_in_both(
        "1,000 warning alerts", None, afterwards=_send(ALERT, b"\x01\x5a", times=1000)
    ),
    *_in_both("fatal alert once connected", None, afterwards=_send(ALERT, b"\x02\x50")),
    *_in_both(
        "1,000 empty records", None, afterwards=_send(APPLICATION_DATA, b"", times=1000)
    ),
    *_in_both(
        "record that cannot be decrypted",
        "bad_record_mac",
        afterwards=_send_raw(record(APPLICATION_DATA, b"x" * 64, version=TLS_1_2)),
    ),
    *_in_both(
        "encrypted record too large",
        "record_overflow",
        afterwards=_send_raw(
            record(APPLICATION_DATA, bytes(2**14 + 2049), version=TLS_1_2)
        ),
    ),
    Deviation(
        "HTTP in clear once connected (1.2)",
        V12,
        "protocol_version",
        afterwards=_IN_CLEAR,
    ),
    Deviation(
        "HTTP in clear once connected (1.3)",
        V13,
        "unexpected_message",
        afterwards=_IN_CLEAR,
    ),
    *_in_both("end without close_notify", None, afterwards=_then_vanish),
]

PARTS = {
    "certificates": _CERTIFICATE_CASES,
    "proofs": _PROOF_CASES,
    "connected": _CONNECTED_CASES,
}

GOOD_CLIENT = next(case for case in _CERTIFICATE_CASES if case.stays)
