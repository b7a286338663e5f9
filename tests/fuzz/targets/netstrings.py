"""Frames: any stream, cut anywhere, gives what a reader byte by byte gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from icefloe.wire.errors import FramingError, Reason
from icefloe.wire.limits import HEAD_BYTES, TAIL_BYTES
from icefloe.wire.netstring import (
    Discarded,
    Frame,
    NetstringReader,
    Payload,
    encode,
)
from tests.fuzz.choices import Choices, pieces

BYTES_MAX = 8192

LIMITS = (1_048_576, 0, 1, 9, 10, 99, 4095, 4096, 4097, 5000, 999_999_999)
DISCARD_ABOVE = (None, 0, 1, 8, 511, 512, 513, 4096)
HEADER_BYTES_MAX = 10

SEEDS = {
    name: bytes(4) + stream
    for name, stream in {
        "empty": b"",
        "one": b"5:hello,",
        "two": b"5:hello,3:abc,",
        "zero-length": b"0:,0:,",
        "leading-zero": b"05:hello,",
        "two-zeros": b"00:,",
        "no-length": b":hello,",
        "no-comma": b"5:hello;",
        "negative": b"-1:x,",
        "plus": b"+1:x,",
        "blank": b" 1:x,",
        "ten-digits": b"1000000000:x,",
        "nine-digits": b"999999999:x",
        "cut-in-length": b"5:hello,12",
        "cut-in-payload": b"5:hel",
        "cut-before-comma": b"5:hello",
        "http": b"GET / HTTP/1.1\r\n\r\n",
        "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "comma-inside": b"3:,,,,",
        "nested": b"10:5:hello,,,,",
        "not-ascii-digits": "\u0665:hello,".encode(),
    }.items()
} | {
    "limit-hit": bytes((3, 0, 0, 0)) + b"9:123456789,",
    "limit-passed": bytes((3, 0, 0, 0)) + b"10:1234567890,",
    "discarded": bytes((0, 2, 0, 0)) + b"5:hello,1:a,",
    "discarded-byte-by-byte": bytes((0, 2, 0, 1, 1)) + b"5:hello,1:a,0:,",
    "discarded-large": bytes((0, 7, 0, 0)) + b"5000:" + b"x" * 5000 + b",3:abc,",
    "kept-by-its-head": bytes((0, 2, 1, 2, 3, 1)) + b"6:\x01hello,6:\x02hello,",
}


def reference(stream: bytes, limit: int) -> tuple[list[bytes], Reason | None]:
    """Read a stream one byte after the other, as the rules are written.

    Returns:
        The whole payloads, and the first fault; None also when it just ends.
    """
    payloads: list[bytes] = []
    digits, position = b"", 0
    while position < len(stream):
        byte = stream[position : position + 1]
        position += 1
        if byte in b"0123456789":
            if digits == b"0":
                return payloads, Reason.LENGTH_LEADING_ZERO
            if len(digits) == 9:
                return payloads, Reason.LENGTH_TOO_LONG
            digits += byte
            continue
        if byte != b":":
            return payloads, Reason.LENGTH_NOT_DECIMAL
        if not digits:
            return payloads, Reason.LENGTH_MISSING
        size, digits = int(digits), b""
        if size > limit:
            return payloads, Reason.PAYLOAD_TOO_LARGE
        payload = stream[position : position + size]
        comma = stream[position + size : position + size + 1]
        position += size + 1
        if comma and comma != b",":
            return payloads, Reason.COMMA_MISSING
        if comma:
            payloads.append(payload)
    return payloads, None


def check(data: bytes) -> None:
    """Feed a stream in pieces, and compare."""
    choices = Choices(data)
    limit = choices.one_of(LIMITS)
    discard_above = choices.one_of(DISCARD_ABOVE)
    keeps = choices.flag()
    cuts = choices.cuts()
    stream = choices.rest()
    wanted = _odd if keeps else None
    payloads, fault = reference(stream, limit)
    expected = [_as_frame(p, limit, discard_above, wanted) for p in payloads]
    for sizes in (cuts, ()):
        reader = NetstringReader(limit, discard_above=discard_above, should_keep=wanted)
        frames, reason = _feed(reader, stream, sizes)
        assert frames == expected
        assert reason == fault
    for payload in payloads:
        assert reference(encode(payload), limit) == ([payload], None)


def _feed(
    reader: NetstringReader, stream: bytes, sizes: Sequence[int]
) -> tuple[list[Frame], Reason | None]:
    frames: list[Frame] = []
    fed = 0
    for piece in pieces(stream, sizes):
        try:
            frames += reader.feed(piece)
        except FramingError as error:
            frames += error.frames
            _stays_failed(reader, error)
            return frames, error.reason
        fed += len(piece)
        # A head that is kept stands beside the last bytes, which it may overlap.
        assert reader.bytes_held <= HEADER_BYTES_MAX + fed + min(fed, HEAD_BYTES)
    return frames, None


def _stays_failed(reader: NetstringReader, first: FramingError) -> None:
    assert reader.bytes_held == 0
    try:
        reader.feed(b"1:a,")
    except FramingError as error:
        assert (error.reason, error.size) == (first.reason, first.size)
        assert error.frames == ()
    else:
        raise AssertionError("a failed reader went on")


def _odd(head: bytes) -> bool:
    return bool(head[:1] and head[0] & 1)


def _as_frame(
    payload: bytes,
    limit: int,
    discard_above: int | None,
    wanted: Callable[[bytes], bool] | None,
) -> Frame:
    above = limit if discard_above is None else discard_above
    head = payload[:HEAD_BYTES]
    if len(payload) <= above or (wanted is not None and wanted(head)):
        return Payload(payload)
    return Discarded(size=len(payload), head=head, tail=payload[-TAIL_BYTES:])
