"""Clients that go wrong before anything is encrypted: bytes, and the alert they get.

Expected is what RFC 5246, RFC 8446 and RFC 6066 ask for; where they leave a choice, or
OpenSSL sends none, the case says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.tls_behaviour.observing import Send, sending
from tests.tls_behaviour.records import (
    AES_128_GCM_SHA256,
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    EARLY_DATA,
    FINISHED,
    GOOD_12,
    GOOD_13,
    GROUPS,
    HANDSHAKE,
    HEARTBEAT,
    HEARTBEAT_MODE,
    KEY_SHARE,
    SERVER_HELLO,
    SERVER_NAME,
    SHARE,
    SIGNATURES,
    TLS_1_0,
    TLS_1_1,
    TLS_1_2,
    VERSIONS,
    client_hello,
    cut,
    groups,
    hello_13,
    message,
    record,
    replaced,
    vector,
    without,
)

NO_ALERT = None
GOES_ON = "goes on"


@dataclass(frozen=True, slots=True)
class Case:
    """One misbehaviour.

    Attributes:
        name: What is sent.
        send: Sends it.
        expected: The alert that must come, `GOES_ON` when a ServerHello must, or
            `NO_ALERT` when none can or need be sent.
    """

    name: str
    send: Send
    expected: str | None


def _hello(name: str, hello: bytes, expected: str | None) -> Case:
    return Case(name, sending(record(HANDSHAKE, hello)), expected)


def _bytes(name: str, data: bytes, expected: str | None, *, end: bool = False) -> Case:
    return Case(name, sending(data, then_end=end), expected)


_HELLO = client_hello()

_SSLV2 = (
    b"\x80\x1c\x01\x00\x02"  # length, ClientHello, version 0.2
    b"\x00\x03\x00\x00\x00\x10"  # one cipher, no session, challenge of 16 bytes
    b"\x07\x00\xc0" + bytes(16)
)

_RECORDS = [
    _bytes("plaintext HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", NO_ALERT),
    _bytes("not TLS at all", b"5:hello," * 20, NO_ALERT),
    _bytes("nothing, then the end", b"", "decode_error", end=True),
    _bytes("half a record header", b"\x16\x03", "decode_error", end=True),
    _bytes(
        "half a ClientHello", record(HANDSHAKE, _HELLO)[:40], "decode_error", end=True
    ),
    _bytes(
        "half a ClientHello, whole record",
        record(HANDSHAKE, _HELLO[:40]),
        "decode_error",
        end=True,
    ),
    _bytes(
        "record version 3.0", record(HANDSHAKE, _HELLO, version=b"\x03\x00"), GOES_ON
    ),
    _bytes(
        "record version 3.255", record(HANDSHAKE, _HELLO, version=b"\x03\xff"), GOES_ON
    ),
    _bytes(
        "record version 4.1", record(HANDSHAKE, _HELLO, version=b"\x04\x01"), NO_ALERT
    ),
    _bytes(
        "record of 2^14+1 bytes",
        record(HANDSHAKE, message(1, bytes(20_000))[: 2**14 + 1]),
        "record_overflow",
    ),
    _bytes(
        "record of 65,535 bytes", record(HANDSHAKE, bytes(65_535)), "record_overflow"
    ),
    _bytes("a record of no bytes", record(HANDSHAKE, b""), "decode_error", end=True),
    _bytes(
        "empty records before a ClientHello",
        record(HANDSHAKE, b"") * 100 + record(HANDSHAKE, _HELLO),
        "unexpected_message",
    ),
    _bytes("unknown content type", record(99, b"x" * 16), "unexpected_message"),
    _bytes("heartbeat first", record(HEARTBEAT, b"\x01\x40\x00"), "unexpected_message"),
    _bytes(
        "application data first",
        record(APPLICATION_DATA, b"hello"),
        "unexpected_message",
    ),
    _bytes(
        "ChangeCipherSpec first",
        record(CHANGE_CIPHER_SPEC, b"\x01"),
        "unexpected_message",
    ),
    _bytes("ClientHello in records of 1 byte", cut(_HELLO, 1), GOES_ON),
    _bytes("ClientHello in records of 50 bytes", cut(_HELLO, 50), GOES_ON),
    _bytes("fatal alert first", record(ALERT, b"\x02\x28"), "unexpected_message"),
    _bytes("close_notify first", record(ALERT, b"\x01\x00"), "unexpected_message"),
    _bytes(
        "warning alerts first", record(ALERT, b"\x01\x5a") * 100, "unexpected_message"
    ),
    _bytes("alert of 1 byte", record(ALERT, b"\x01"), "unexpected_message"),
    _bytes(
        "ClientHello, then heartbeat",
        record(HANDSHAKE, _HELLO) + record(HEARTBEAT, b"\x01\x40\x00", version=TLS_1_2),
        "unexpected_message",
    ),
    _bytes(
        "ClientHello, then early application data",
        record(HANDSHAKE, _HELLO)
        + record(APPLICATION_DATA, b"x" * 100, version=TLS_1_2),
        "unexpected_message",
    ),
    _bytes(
        "ClientHello, then Finished in clear",
        record(HANDSHAKE, _HELLO)
        + record(HANDSHAKE, message(FINISHED, bytes(12)), version=TLS_1_2),
        "unexpected_message",
    ),
    _bytes(
        "ClientHello twice",
        record(HANDSHAKE, _HELLO) + record(HANDSHAKE, _HELLO, version=TLS_1_2),
        "unexpected_message",
    ),
    _bytes(
        "ClientHello, then a record of another version",
        record(HANDSHAKE, _HELLO) + record(HANDSHAKE, b"x", version=TLS_1_0),
        "protocol_version",
    ),
    # SSLv2 has no such alerts.
    _bytes("SSLv2 ClientHello", _SSLV2, NO_ALERT),
]

_MESSAGES = [
    _hello("empty ClientHello", message(1, b""), "decode_error"),
    _hello("ClientHello of zeros", message(1, bytes(50)), "decode_error"),
    _hello(
        "ClientHello without compressions", message(1, _HELLO[4:42]), "decode_error"
    ),
    _hello("bytes behind the extensions", client_hello(behind=b"xx"), "decode_error"),
    _hello("16 MB announced", b"\x01\xff\xff\xff" + _HELLO[4:], "illegal_parameter"),
    _hello(
        "ServerHello first", message(SERVER_HELLO, _HELLO[4:]), "unexpected_message"
    ),
    _hello("Finished first", message(FINISHED, bytes(12)), "unexpected_message"),
    _hello("unknown message first", message(77, bytes(12)), "unexpected_message"),
    _hello("no cipher suites", client_hello(ciphers=b""), "decode_error"),
    _hello("odd cipher suites", client_hello(ciphers=b"\xc0\x2b\xc0"), "decode_error"),
    _hello("no compressions", client_hello(compressions=b""), "decode_error"),
    _hello("compression only", client_hello(compressions=b"\x01"), "illegal_parameter"),
    _hello("session id of 33 bytes", client_hello(session=bytes(33)), "decode_error"),
]

_NEGOTIATION = [
    _hello(
        "no shared cipher suite", client_hello(ciphers=b"\x00\x05"), "handshake_failure"
    ),
    _hello(
        "static RSA only",
        client_hello(ciphers=b"\x00\x9c\x00\x2f"),
        "handshake_failure",
    ),
    _hello(
        "signalling value only", client_hello(ciphers=b"\x00\xff"), "handshake_failure"
    ),
    _hello(
        "unknown suites beside",
        client_hello(ciphers=b"\xaa\xaa\xc0\x2b\xc0\x2f"),
        GOES_ON,
    ),
    _hello("SSL 3.0", client_hello(version=b"\x03\x00"), "protocol_version"),
    _hello("TLS 1.0 only", client_hello(version=TLS_1_0), "protocol_version"),
    _hello("TLS 1.1 only", client_hello(version=TLS_1_1), "protocol_version"),
    _hello("legacy version 2.0", client_hello(version=b"\x02\x00"), "protocol_version"),
    _hello("version 3.9", client_hello(version=b"\x03\x09"), GOES_ON),
    _hello(
        "fallback from what both could do",
        client_hello(version=TLS_1_2, ciphers=b"\xc0\x2b\xc0\x2f\x56\x00"),
        "inappropriate_fallback",
    ),
    _hello(
        "unknown versions only",
        hello_13(replaced(GOOD_13, VERSIONS, vector(b"\x7f\x1c\x0a\x0a", 1))),
        "protocol_version",
    ),
    _hello(
        "old versions only, in the extension",
        hello_13(replaced(GOOD_13, VERSIONS, vector(TLS_1_1 + TLS_1_0, 1))),
        "protocol_version",
    ),
    _hello(
        "no shared group (1.2)",
        client_hello((groups(0xFE00), *GOOD_12[1:])),
        "handshake_failure",
    ),
    _hello(
        "no shared group (1.3)",
        hello_13(
            replaced(
                (groups(0xFE00), *GOOD_13[1:]), KEY_SHARE, vector(b"\xfe\0\0\1x", 2)
            )
        ),
        "handshake_failure",
    ),
    _hello(
        "no shared signature",
        hello_13(replaced(GOOD_13, SIGNATURES, vector(b"\x02\x01", 2))),
        "handshake_failure",
    ),
    _hello(
        "1.3 suite only, in 1.2",
        client_hello(ciphers=AES_128_GCM_SHA256),
        "handshake_failure",
    ),
]

_EXTENSIONS = [
    _hello(
        "unknown extensions",
        client_hello((*GOOD_12, (0xFE00, b"x"), (0x0A0A, b""))),
        GOES_ON,
    ),
    _hello(
        "extension twice", client_hello((*GOOD_12, GOOD_12[0])), "illegal_parameter"
    ),
    _hello("empty groups", client_hello(((GROUPS, b""), *GOOD_12[1:])), "decode_error"),
    _hello(
        "groups of odd size",
        client_hello(((GROUPS, b"\0\1x"), *GOOD_12[1:])),
        "decode_error",
    ),
    _hello(
        "signature algorithms cut short",
        client_hello(replaced(GOOD_12, SIGNATURES, b"\x00\x08\x04")),
        "decode_error",
    ),
    _hello(
        "server name of no bytes",
        client_hello((*GOOD_12, (SERVER_NAME, b"\x00\x03\x00\x00\x00"))),
        GOES_ON,  # RFC 6066 has names of 1 byte or more; OpenSSL lets it pass
    ),
    _hello(
        "server name with a zero",
        client_hello((*GOOD_12, (SERVER_NAME, vector(b"\0" + vector(b"a\0b", 2), 2)))),
        "unrecognized_name",
    ),
    _hello(
        "server name that is an address",
        client_hello(
            (*GOOD_12, (SERVER_NAME, vector(b"\0" + vector(b"127.0.0.1", 2), 2)))
        ),
        GOES_ON,
    ),
    _hello(
        "server name with our suffix",
        client_hello(
            (*GOOD_12, (SERVER_NAME, vector(b"\0" + vector(b"m1:zone", 2), 2)))
        ),
        GOES_ON,
    ),
    _hello(
        "heartbeat offered",
        client_hello((*GOOD_12, (HEARTBEAT_MODE, b"\x01"))),
        GOES_ON,
    ),
    _hello(
        "no key share (1.3)", hello_13(without(GOOD_13, KEY_SHARE)), "missing_extension"
    ),
    _hello("no groups (1.3)", hello_13(without(GOOD_13, GROUPS)), "missing_extension"),
    _hello(
        "no signatures (1.3)",
        hello_13(without(GOOD_13, SIGNATURES)),
        "missing_extension",
    ),
    _hello(
        "key share of a wrong size",
        hello_13(replaced(GOOD_13, KEY_SHARE, vector(b"\0\x1d\0\5hello", 2))),
        "illegal_parameter",
    ),
    _hello(
        "key share of zeros",
        hello_13(replaced(GOOD_13, KEY_SHARE, vector(SHARE[:4] + bytes(32), 2))),
        "illegal_parameter",
    ),
    _hello(
        "key share cut short",
        hello_13(replaced(GOOD_13, KEY_SHARE, vector(SHARE, 2)[:10])),
        "decode_error",
    ),
    _hello(
        "key share for what was not offered",
        hello_13(replaced(GOOD_13, KEY_SHARE, vector(b"\0\x18\0\x61" + bytes(97), 2))),
        "illegal_parameter",
    ),
    _hello(
        "compression (1.3)", hello_13(compressions=b"\x01\x00"), "illegal_parameter"
    ),
    _hello("early data offered", hello_13((*GOOD_13, (EARLY_DATA, b""))), GOES_ON),
    _hello(
        "TLS 1.3, legacy version 3.0", hello_13(version=b"\x03\x00"), "protocol_version"
    ),
]

PARTS = {
    "records": _RECORDS,
    "messages": _MESSAGES,
    "negotiation": _NEGOTIATION,
    "extensions": _EXTENSIONS,
}
