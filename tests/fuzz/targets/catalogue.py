"""Parameters of known methods: typed errors only, and what we write reads the same."""

from __future__ import annotations

from typing import Any

import msgspec

from icefloe.wire.catalogue import (
    CertificateResult,
    Hello,
    RequestCertificate,
    SetLogPosition,
    UpdateCertificate,
)
from icefloe.wire.commands import ExecuteCommand
from icefloe.wire.errors import MessageError
from tests.fuzz.choices import Choices

BYTES_MAX = 2048

KINDS: tuple[Any, ...] = (
    Hello,
    SetLogPosition,
    RequestCertificate,
    UpdateCertificate,
    CertificateResult,
    ExecuteCommand,
)

SEEDS = {
    name: bytes((kind,)) + text
    for name, (kind, text) in {
        "hello": (0, b'{"version":21400,"capabilities":3}'),
        "hello-floats": (0, b'{"version":21400.0,"capabilities":3.0}'),
        "hello-fraction": (0, b'{"version":21400.5}'),
        "hello-negative": (0, b'{"version":-1}'),
        "hello-boolean": (0, b'{"version":true}'),
        "hello-huge": (0, b'{"version":1' + b"0" * 400 + b"}"),
        "hello-facts": (0, b'{"icefloe":{"version":"0.1"}}'),
        "hello-odd-facts": (0, b'{"icefloe":{"version":[1]}}'),
        "null": (0, b"null"),
        "array": (0, b"[]"),
        "position": (1, b'{"log_position":1700000000.25}'),
        "position-huge": (1, b'{"log_position":1e308}'),
        "position-text": (1, b'{"log_position":"1"}'),
        "request": (2, b'{"ticket":"tick","cert_request":"","requestor_ca":null}'),
        "request-number": (2, b'{"ticket":"tick-secret","cert_request":1}'),
        "update": (3, b'{"cert":"c","ca":"a","fingerprint_request":"0a"}'),
        "update-path": (3, b'{"cert":"c","fingerprint_request":"../../x"}'),
        "update-newline": (3, b'{"cert":"c","fingerprint_request":"aa\\n"}'),
        "update-status": (3, b'{"cert":"c","status_code":1e300}'),
        "signed": (4, b'{"status_code":0,"cert":"c","ca":"a"}'),
        "signed-without": (4, b'{"status_code":0}'),
        "refused": (4, b'{"status_code":1,"error":"no","icefloe":{"retry_after":5}}'),
        "no-status": (4, b'{"error":"no"}'),
        "odd-facts": (4, b'{"error":"no","icefloe":{"retry_after":-1,"hops":{}}}'),
        "execute": (5, b'{"command_type":"check_command","command":"c","host":"h"}'),
        "execute-deadline": (5, b'{"deadline":1e999}'),
        "execute-macros": (5, b'{"macros":{"a":[{"b":null}]},"source":"u"}'),
    }.items()
}


def check(data: bytes) -> None:
    """Read parameters, ask everything, write them, and read them again."""
    choices = Choices(data)
    kind = choices.one_of(KINDS)
    try:
        params = msgspec.json.decode(choices.rest())
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    try:
        parsed = kind.parse(params)
    except MessageError as error:
        _says_nothing_secret(error, params)
        return
    for name in ("version", "capabilities", "status_code"):
        number = getattr(parsed, name, None)
        assert number is None or (type(number) is int and 0 <= number < 2**53)
    if isinstance(parsed, CertificateResult):
        assert parsed.hop is None or parsed.hop
        assert parsed.reason is None or parsed.reason
        assert parsed.retry_after is None or parsed.retry_after >= 0
        assert isinstance(parsed.hops, tuple)
    written = parsed.to_params()
    assert kind.parse(written) == parsed
    assert kind.parse(msgspec.json.decode(msgspec.json.encode(written))) == parsed
    if isinstance(parsed, RequestCertificate) and len(parsed.ticket) > 30:
        assert parsed.ticket not in repr(parsed).replace(parsed.cert_request, "")


def _says_nothing_secret(error: MessageError, params: object) -> None:
    ticket = params.get("ticket") if isinstance(params, dict) else None
    if isinstance(ticket, str) and len(ticket) > 10:
        assert ticket not in str(error)
