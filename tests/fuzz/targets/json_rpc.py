"""Messages: what Python's own JSON reader takes, we take, with the same values."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from icefloe.wire.errors import MessageError, Reason
from icefloe.wire.jsonrpc import (
    Message,
    Notification,
    Request,
    Response,
    decode,
    encode_error,
    encode_notification,
    encode_request,
    encode_response,
    peek_method,
    peek_ts,
)
from icefloe.wire.limits import CONTAINERS_MAX, HEAD_BYTES, NESTING_DEPTH_MAX

BYTES_MAX = 4096

KEYS = ("method", "params", "id", "ts", "originZone", "result", "error")
"""The keys that mean something; what others hold is skipped."""

ABOUT_SHAPE = {
    Reason.METHOD_MISSING,
    Reason.METHOD_NOT_TEXT,
    Reason.NOT_AN_OBJECT,
}
ABOUT_SIZE = {Reason.JSON_TOO_DEEP, Reason.JSON_TOO_MANY_CONTAINERS}


def _in_params(value: str) -> bytes:
    return f'{{"method":"m","params":{value}}}'.encode()


SEEDS = {
    "hello": b'{"jsonrpc":"2.0","method":"icinga::Hello",'
    b'"params":{"capabilities":3,"version":21400},"ts":1700000000.5}',
    "request": b'{"id":"7","method":"pki::RequestCertificate","params":{"ticket":""}}',
    "request-null-id": b'{"id":null,"method":"m","params":null}',
    "response": b'{"id":7,"result":{"status_code":2,"error":"pending"}}',
    "response-error": b'{"id":7,"error":"broken"}',
    "response-error-object": b'{"id":7,"error":{"code":-32600,"message":"broken"}}',
    "neither": b'{"jsonrpc":"2.0"}',
    "method-null": b'{"method":null,"id":1}',
    "method-number": b'{"method":1}',
    "two-methods": b'{"method":"a","method":"b"}',
    "escaped-key": b'{"\\u006dethod":"a"}',
    "origin-zone": b'{"method":"m","originZone":"z","ts":1e3}',
    "origin-zone-number": b'{"method":"m","originZone":1,"ts":true}',
    "ts-too-large": b'{"method":"m","ts":1' + b"0" * 400 + b"}",
    "array": b"[1,2]",
    "text": b'"text"',
    "number": b"1",
    "nothing": b"",
    "blank": b" \t\r\n",
    "byte-order-mark": b'\xef\xbb\xbf{"method":"m"}',
    "form-feed": b'\x0c{"method":"m"}',
    "two-values": b'{"method":"m"}{"method":"m"}',
    "trailing-comma": b'{"method":"m",}',
    "single-quotes": b"{'method':'m'}",
    "comment": b'{"method":"m"/**/}',
    "bare-key": b'{method:"m"}',
    "deep-32": b'{"method":"m","params":' + b"[" * 31 + b"]" * 31 + b"}",
    "deep-33": b'{"method":"m","params":' + b"[" * 32 + b"]" * 32 + b"}",
    "deep-open": b"[" * 4000,
    "deep-objects": b'{"a":' * 600,
    "deep-in-string": _in_params('"' + "[" * 100 + '"'),
    "deep-in-escaped-string": _in_params('"\\"' + "[" * 100 + '\\\\"'),
    "deep-in-skipped": b'{"x":' + b"[" * 31 + b"]" * 31 + b',"method":"m"}',
    "not-utf-8": _in_params('"?"').replace(b"?", b"\xff\xfe"),
    "utf-8-overlong": _in_params('"?"').replace(b"?", b"\xc0\x80"),
    "utf-8-surrogate": _in_params('"?"').replace(b"?", b"\xed\xa0\x80"),
    "utf-8-cut": b'{"method":"m","params":"\xf0\x9f',
    "not-utf-8-skipped": b'{"x":"\xff","method":"m"}',
    "not-utf-8-before": b'\xff{"method":"m"}',
} | {
    f"value-{name}": _in_params(value)
    for name, value in {
        "zero": "0",
        "minus-zero": "-0",
        "minus-zero-float": "-0.0",
        "minus": "-",
        "plus": "+1",
        "leading-zero": "01",
        "leading-point": ".5",
        "trailing-point": "1.",
        "no-exponent": "1e",
        "exponent": "1E+2",
        "small": "1e-400",
        "huge": "1e400",
        "just-finite": "1.7976931348623157e308",
        "denormal": "4.9e-324",
        "halfway": "9007199254740993.0",
        "many-digits": "0." + "3" * 800,
        "int-64": "9223372036854775808",
        "uint-64": "18446744073709551616",
        "int-4300": "9" * 4300,
        "hexadecimal": "0x1",
        "nan": "NaN",
        "infinity": "-Infinity",
        "true": "true",
        "cut-literal": "tru",
        "upper-literal": "True",
        "escapes": '"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9"',
        "bad-escape": '"\\x41"',
        "cut-escape": '"\\u12"',
        "surrogate-pair": '"\\ud83d\\ude00"',
        "lone-surrogate": '"\\ud800"',
        "lone-low-surrogate": '"\\udc00x"',
        "nul": '"\\u0000"',
        "raw-nul": '"\0"',
        "raw-newline": '"\n"',
        "delete": '"\x7f"',
        "line-separator": '"\u2028"',
        "double-comma": "[1,,2]",
        "unclosed": "[1",
        "mismatched": "[1}",
        "colon-in-array": "[1:2]",
        "number-key": "{1:2}",
        "no-value": '{"a"}',
        "duplicate": '{"a":1,"a":2}',
        "empty-key": '{"":1}',
    }.items()
}


class _Refused(Exception):
    """The second opinion: this is no JSON, or not such as we take."""


def check(data: bytes) -> None:
    """Decode, compare with `json`, write again, and look at both ends."""
    message: Message | None = None
    reason: Reason | None = None
    try:
        message = decode(data)
    except MessageError as error:
        assert error.size == len(data)
        assert len(str(error)) < 200
        reason = error.reason
    value = _second_opinion(data)
    if isinstance(value, dict) and _depth(value) <= NESTING_DEPTH_MAX:
        assert reason is None or reason in ABOUT_SHAPE, reason
    if message is None:
        return
    assert not isinstance(value, dict) or _depth(value) <= NESTING_DEPTH_MAX
    # What stands behind keys without a meaning is passed over, not decoded.
    if isinstance(value, dict):
        _compare(message, value)
        _compare_ends(message, value, data)
    _write_again(message)


def _second_opinion(data: bytes) -> object:
    """Return the value, or `_Refused` itself where `json` has none that we take."""
    if data.count(b"[") + data.count(b"{") > CONTAINERS_MAX:
        return _Refused
    try:
        value = json.loads(
            data.decode(errors="replace"),
            parse_constant=_no_constant,
            parse_float=_finite_float,
        )
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, _Refused, RecursionError):  # lone surrogates are ValueErrors
        return _Refused
    return value


def _no_constant(_name: str) -> NoReturn:
    raise _Refused


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Refused
    return value


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _compare(message: Message, value: dict[str, Any]) -> None:
    if isinstance(message, Response):
        assert value.get("method") is None
        assert _same(message.id, value["id"])
        assert _same(message.result, value.get("result"))
        error = value.get("error")
        assert (message.error is None) == (error is None)
        return
    assert message.method == value["method"]
    assert _same(message.params, value.get("params"))
    assert isinstance(message, Request) == ("id" in value)
    if isinstance(message, Request):
        assert _same(message.id, value["id"])
    ts = value.get("ts")
    if isinstance(ts, float):
        assert message.ts == ts
    if message.ts is not None:
        assert math.isfinite(message.ts)


def _same(ours: object, theirs: object) -> bool:
    """Equal, and of the same types: 1 is neither 1.0 nor true.  Keys have no order."""
    return json.dumps(ours, sort_keys=True) == json.dumps(theirs, sort_keys=True)


_ESCAPES_IN_KEYS = re.compile(rb'\\[^"]*"\s*:')


def _compare_ends(message: Message, value: dict[str, Any], data: bytes) -> None:
    """What a glance at the ends says is true where it says anything."""
    if isinstance(message, Response) or data.count(b"method") != 1:
        return
    if any(byte > 0x7F for byte in data):
        return  # a glance does not replace what is not UTF-8
    if not _ESCAPES_IN_KEYS.search(data):
        assert peek_method(data) == message.method
    for size in (len(data) // 2, HEAD_BYTES):
        assert peek_method(data[:size]) in (None, message.method)
    if data.count(b'"ts"') == 1 and "ts" in value:
        assert peek_ts(data) in (None, message.ts)


def _write_again(message: Message) -> None:
    expected: Message = message
    if isinstance(message, Notification):
        payload = encode_notification(
            message.method,
            message.params,
            ts=message.ts,
            origin_zone=message.origin_zone,
        )
    elif isinstance(message, Request):
        payload = encode_request(message.method, message.params, message.id)
        expected = Request(message.method, message.params, message.id)
    elif message.error is None:
        payload = encode_response(message.id, message.result)
    else:
        payload = encode_error(message.id, message.error)
        expected = Response(message.id, None, message.error)
    again = decode(payload)
    assert again == expected
    for name in ("params", "id", "result"):
        assert _same(getattr(again, name, None), getattr(expected, name, None))
