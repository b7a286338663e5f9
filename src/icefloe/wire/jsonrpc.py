r"""JSON-RPC as Icinga nodes speak it: payload bytes to messages and back.

Which kind a message is follows from its keys (protocol: "JSON-RPC layer"):

    method   id        kind
    text     absent    Notification
    text     present   Request; a null id is an id and wants an answer
    absent   present   Response
    absent   absent    MessageError

A null `method` counts as absent.  `jsonrpc` is not checked and unknown keys are
ignored, as real nodes do.

Where JSON leaves a choice:

* Invalid UTF-8 is replaced by U+FFFD (Icinga sanitises before it parses).
* Of duplicate keys the last one counts.
* A number that no double can hold (`1e999`) is a `MessageError`, an integer of up to
  4300 digits is kept exact: it may be an id, to be returned as it came.
* A lone surrogate (`"\ud800"`), NaN, Infinity and a byte order mark are not JSON.
* Depth and number of containers are bounded before anything is built.

Written messages have sorted keys and no spaces.  NaN and infinities become null and
lone surrogates U+FFFD, so that what we write can always be read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET

from icefloe.wire.errors import MessageError, Reason
from icefloe.wire.limits import CONTAINERS_MAX, NESTING_DEPTH_MAX
from icefloe.wire.nesting import check_nesting
from icefloe.wire.peek import peek_method, peek_ts

__all__ = [
    "Message",
    "Notification",
    "Request",
    "Response",
    "decode",
    "encode_empty_response",
    "encode_error",
    "encode_notification",
    "encode_request",
    "encode_response",
    "peek_method",
    "peek_ts",
]


@dataclass(frozen=True, slots=True)
class Notification:
    """A message that wants no answer: nearly all traffic.

    Attributes:
        method: Method name as sent, known or not, of any length.
        params: Any JSON value; None if missing or null.  Not in the `repr`: it may
            hold a ticket.
        ts: Unix seconds at which the message was relayed, or None; finite.
        origin_zone: Zone the sender says the message comes from, or None.  To be
            believed only from a peer of our own zone.
    """

    method: str
    params: object = field(default=None, repr=False)
    ts: float | None = None
    origin_zone: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A message that wants exactly one answer with the same `id`.

    Attributes:
        method: As in `Notification`.
        params: As in `Notification`.
        id: Any JSON value, None included.
        ts: As in `Notification`.
        origin_zone: As in `Notification`.
    """

    method: str
    params: object = field(repr=False)
    id: object
    ts: float | None = None
    origin_zone: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a request.

    Attributes:
        id: The `id` of the request, any JSON value.
        result: Any JSON value; None if missing (a real node leaves it out when it does
            not know the method) or null.
        error: What went wrong at the peer, in its words, perhaps many lines and
            perhaps empty; None if the call succeeded.
    """

    id: object
    result: object = field(repr=False)
    error: str | None = None


Message: TypeAlias = Notification | Request | Response


class _Envelope(msgspec.Struct):
    """The top-level keys that mean something; other keys are never built."""

    method: Any = None
    params: Any = None
    id: Any = UNSET
    ts: Any = None
    origin_zone: Any = msgspec.field(default=None, name="originZone")
    result: Any = None
    error: Any = None


_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode
_encode_json: Final = msgspec.json.Encoder(order="deterministic").encode
_JSON_BLANKS: Final = b" \t\r\n"


def decode(payload: bytes, *, depth_max: int = NESTING_DEPTH_MAX) -> Message:
    """Read a message.

    Args:
        payload: What stood in the frame, any bytes.
        depth_max: Objects and arrays that may stand inside each other.

    Returns:
        The message.  Only its shape is checked, not whether its method is known.

    Raises:
        MessageError: The payload is no such message.  `size` is the payload's.
    """
    check_nesting(payload, depth_max=depth_max, containers_max=CONTAINERS_MAX)
    envelope = _parse(payload)
    method = envelope.method
    if isinstance(method, str):
        ts = _finite(envelope.ts)
        zone = envelope.origin_zone
        zone = zone if zone and isinstance(zone, str) else None
        if envelope.id is UNSET:
            return Notification(method, envelope.params, ts, zone)
        return Request(method, envelope.params, envelope.id, ts, zone)
    if method is not None:
        raise MessageError(Reason.METHOD_NOT_TEXT, size=len(payload))
    if envelope.id is UNSET:
        raise MessageError(Reason.METHOD_MISSING, size=len(payload))
    return Response(envelope.id, envelope.result, _error_text(envelope.error))


def encode_notification(
    method: str,
    params: object,
    *,
    ts: float | None = None,
    origin_zone: str | None = None,
) -> bytes:
    """Write a message that wants no answer.

    Args:
        method: Method name.
        params: Any JSON value; None leaves the key out (a peer's handler is then not
            called: send `{}` for no parameters).
        ts: Unix seconds; None and what is not finite leave the key out.
        origin_zone: None leaves the key out.

    Returns:
        The payload, without a frame.

    Raises:
        MessageError: There is too much inside each other or in all, or an integer
            has more than 4300 digits.  (A key that is no text, or an object JSON
            has no word for, is a bug of the caller and a TypeError.)
    """
    message = {"jsonrpc": "2.0", "method": method}
    optional = {"originZone": origin_zone, "params": params, "ts": _finite(ts)}
    present = {key: value for key, value in optional.items() if value is not None}
    return _encode(message | present)


def encode_request(method: str, params: object, id: object) -> bytes:  # noqa: A002 (the wire's word)
    """Write a message that wants an answer.

    `params` and what is raised are as for `encode_notification`; `id` is any JSON
    value and comes back in the answer.
    """
    message = {"id": id, "jsonrpc": "2.0", "method": method}
    return _encode(message if params is None else message | {"params": params})


def encode_response(id: object, result: object) -> bytes:  # noqa: A002 (the wire's word)
    """Write the answer to a request; a `result` of None is written as null."""
    return _encode({"id": id, "jsonrpc": "2.0", "result": result})


def encode_error(id: object, text: str) -> bytes:  # noqa: A002 (the wire's word)
    """Write the answer to a request that failed.

    On this wire `error` is a text, not JSON-RPC's error object.
    """
    return _encode({"error": text, "id": id, "jsonrpc": "2.0"})


def encode_empty_response(id: object) -> bytes:  # noqa: A002 (the wire's word)
    """Write the answer to a request whose method is unknown: no result, no error."""
    return _encode({"id": id, "jsonrpc": "2.0"})


def _parse(payload: bytes) -> _Envelope:
    try:
        outcome = _try_parse(payload, len(payload))
    except UnicodeDecodeError:
        # Only bytes above 0x7f are replaced: strings and brackets stay where the scan
        # of `check_nesting` saw them.
        text = payload.decode(errors="replace").encode()
        outcome = _try_parse(text, len(payload))
    if isinstance(outcome, MessageError):
        # Raised out here, where no exception is being handled: the one that was holds
        # the payload, and a traceback would keep it.
        raise outcome
    return outcome


def _try_parse(text: bytes, size: int) -> _Envelope | MessageError:
    try:
        return _decode_envelope(text)
    except msgspec.ValidationError:
        # Valid JSON so far.  No key has a type to violate, so two causes are left.
        if text.lstrip(_JSON_BLANKS).startswith(b"{"):
            return MessageError(Reason.NUMBER_OUT_OF_RANGE, size=size)
        return MessageError(Reason.NOT_AN_OBJECT, size=size)
    except msgspec.DecodeError as error:
        # Its text names a place and a rule, never a value.
        detail = str(error).removeprefix("JSON is malformed: ")
        return MessageError(Reason.JSON_MALFORMED, size=size, detail=detail)
    except RecursionError:  # a `depth_max` beyond what this interpreter can do
        return MessageError(Reason.JSON_TOO_DEEP, size=size)


def _finite(value: object) -> float | None:
    """Return a JSON number as a float, None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the range of a double
        return None
    return number if math.isfinite(number) else None


def _error_text(error: object) -> str | None:
    if error is None or isinstance(error, str):
        return error
    # JSON-RPC's own shape, which Icinga nodes do not use.
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else "an error that is not text"


def _encode(message: dict[str, object]) -> bytes:
    fault = Reason.NOT_ENCODABLE
    payload = None
    try:
        try:
            payload = _encode_json(message)
        except UnicodeEncodeError:
            payload = _encode_json(_without_lone_surrogates(message))
    except RecursionError:
        fault = Reason.JSON_TOO_DEEP
    except ValueError:  # an integer of more than 4300 digits
        pass
    if payload is None:
        raise MessageError(fault)
    check_nesting(payload, depth_max=NESTING_DEPTH_MAX, containers_max=CONTAINERS_MAX)
    return payload


def _without_lone_surrogates(value: object) -> object:
    if isinstance(value, str):
        # Through UTF-16, where a pair of surrogates is one character.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        clean = _without_lone_surrogates
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_lone_surrogates(item) for item in value]
    return value
