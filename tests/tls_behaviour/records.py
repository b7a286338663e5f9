"""TLS records and ClientHellos by hand, right ones and wrong ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

CHANGE_CIPHER_SPEC: Final = 20
ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23
HEARTBEAT: Final = 24

CLIENT_HELLO: Final = 1
SERVER_HELLO: Final = 2
SERVER_HELLO_DONE: Final = 14
FINISHED: Final = 20

TLS_1_0: Final = b"\x03\x01"
TLS_1_1: Final = b"\x03\x02"
TLS_1_2: Final = b"\x03\x03"
TLS_1_3: Final = b"\x03\x04"

SERVER_NAME: Final = 0
GROUPS: Final = 10
POINT_FORMATS: Final = 11
SIGNATURES: Final = 13
HEARTBEAT_MODE: Final = 15
EARLY_DATA: Final = 42
VERSIONS: Final = 43
KEY_SHARE: Final = 51

AES_128_GCM_SHA256: Final = b"\x13\x01"
ECDHE_ECDSA_AES_128: Final = b"\xc0\x2b"
ECDHE_RSA_AES_128: Final = b"\xc0\x2f"

Extension = tuple[int, bytes]


def record(kind: int, data: bytes, *, version: bytes = TLS_1_0) -> bytes:
    """One record, whatever its size."""
    return bytes((kind,)) + version + len(data).to_bytes(2, "big") + data


def message(kind: int, body: bytes) -> bytes:
    """One handshake message."""
    return bytes((kind,)) + len(body).to_bytes(3, "big") + body


def vector(data: bytes, size_bytes: int) -> bytes:
    """Data behind its length."""
    return len(data).to_bytes(size_bytes, "big") + data


def groups(*numbers: int) -> Extension:
    """The groups a client offers."""
    return GROUPS, vector(b"".join(n.to_bytes(2, "big") for n in numbers), 2)


P256: Final = 23
X25519: Final = 29

GOOD_12: Final[tuple[Extension, ...]] = (
    groups(X25519, P256),
    (POINT_FORMATS, b"\x01\x00"),
    (SIGNATURES, vector(b"\x04\x03\x08\x04\x04\x01", 2)),
)
"""What a TLS 1.2 client sends."""

SHARE: Final = b"\x00\x1d\x00\x20" + b"\x09" + bytes(31)
"""X25519's base point: a share whose secret anybody can know."""

GOOD_13: Final[tuple[Extension, ...]] = (
    groups(X25519, P256),
    (SIGNATURES, vector(b"\x04\x03\x08\x04\x04\x01", 2)),
    (VERSIONS, vector(TLS_1_3, 1)),
    (KEY_SHARE, vector(SHARE, 2)),
)
"""What a TLS 1.3 client sends."""

CIPHERS_12: Final = ECDHE_ECDSA_AES_128 + ECDHE_RSA_AES_128


def without(extensions: Iterable[Extension], *kinds: int) -> tuple[Extension, ...]:
    """Extensions but for some."""
    return tuple(e for e in extensions if e[0] not in kinds)


def replaced(
    extensions: Iterable[Extension], kind: int, data: bytes
) -> tuple[Extension, ...]:
    """Extensions, one of them with other content."""
    return tuple((k, data if k == kind else d) for k, d in extensions)


def client_hello(
    extensions: Sequence[Extension] = GOOD_12,
    *,
    version: bytes = TLS_1_2,
    ciphers: bytes = CIPHERS_12,
    compressions: bytes = b"\x00",
    session: bytes = b"",
    behind: bytes = b"",
) -> bytes:
    """A ClientHello message, a right one by default (TLS 1.2)."""
    listed = b"".join(
        kind.to_bytes(2, "big") + vector(data, 2) for kind, data in extensions
    )
    body = (
        version
        + bytes(range(32))
        + vector(session, 1)
        + vector(ciphers, 2)
        + vector(compressions, 1)
        + vector(listed, 2)
        + behind
    )
    return message(CLIENT_HELLO, body)


def hello_13(extensions: Sequence[Extension] = GOOD_13, **changes: bytes) -> bytes:
    """A ClientHello message of TLS 1.3."""
    return client_hello(
        extensions, **{"ciphers": AES_128_GCM_SHA256, "session": bytes(32)} | changes
    )


def cut(data: bytes, size: int) -> bytes:
    """A handshake message spread over records of that size."""
    return b"".join(
        record(HANDSHAKE, data[start : start + size])
        for start in range(0, len(data), size)
    )
