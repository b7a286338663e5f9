"""Netstrings: `<decimal length>:<payload>,`, read from a stream as it arrives.

The reader holds no more than what has arrived: an announced length reserves nothing.
It checks a length against the limit before it takes the first byte of the payload.

Large frames of no interest (`config::Update` of several megabytes, say) need not be
held at all.  Above `discard_above` the first bytes are shown to `should_keep`; a frame
it declines is consumed as a stream, and only its first `HEAD_BYTES` and its last
`TAIL_BYTES` are kept: enough to count its method and to acknowledge its `ts`.

Source: protocol, "Framing (netstring)"; every rule there is a row of the tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from icefloe.wire.errors import FramingError, Reason
from icefloe.wire.limits import HEAD_BYTES, NETSTRING_BYTES_MAX, TAIL_BYTES

_LENGTH: Final = re.compile(rb"(0|[1-9][0-9]{0,8}):")
_DIGITS_MAX: Final = 9
_COMMA: Final = ord(b",")


@dataclass(frozen=True, slots=True)
class Payload:
    """A whole frame.

    Attributes:
        data: The payload, without length and comma.  Not in the `repr`: it may hold a
            ticket.
    """

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Discarded:
    """A frame that was read past without being held.

    Attributes:
        size: Payload bytes.
        head: The first `HEAD_BYTES` of the payload, or all of it if it is shorter.
        tail: The last `TAIL_BYTES` of the payload, or all of it if it is shorter.
    """

    size: int
    head: bytes = field(repr=False)
    tail: bytes = field(repr=False)


Frame: TypeAlias = Payload | Discarded


def encode(payload: bytes) -> bytes:
    """Wrap a payload in a frame.

    Raises:
        FramingError: The payload is larger than a frame can announce.
    """
    if len(payload) > NETSTRING_BYTES_MAX:
        raise FramingError(Reason.PAYLOAD_TOO_LARGE, size=len(payload))
    return b"%d:%b," % (len(payload), payload)


def _length_fault(header: bytes) -> Reason | None:
    """Name what is wrong with the start of a length, None if it may still become one.

    The verdict depends only on the first byte at fault, so a header that comes byte by
    byte is refused at the same byte, for the same reason, as one that comes whole.
    """
    digits = len(header) - len(header.lstrip(b"0123456789"))
    if digits == 0:
        colon = header.startswith(b":")
        return Reason.LENGTH_MISSING if colon else Reason.LENGTH_NOT_DECIMAL
    if digits > 1 and header.startswith(b"0"):
        return Reason.LENGTH_LEADING_ZERO
    if digits > _DIGITS_MAX:
        return Reason.LENGTH_TOO_LONG
    return Reason.LENGTH_NOT_DECIMAL if digits < len(header) else None


class NetstringReader:
    """Turns the bytes of one connection into frames.  Feed it; it never waits.

    After a `FramingError` the reader stays failed: each further `feed` raises again.
    """

    def __init__(
        self,
        limit: int,
        *,
        discard_above: int | None = None,
        should_keep: Callable[[bytes], bool] | None = None,
        kept_bytes_max: int | None = None,
    ) -> None:
        """Start at a frame's first byte.

        Args:
            limit: Largest payload in bytes; one byte more is a `FramingError`.
            discard_above: Payloads larger than this are shown to `should_keep`.  None
                keeps every frame.
            should_keep: Told the first `HEAD_BYTES` of such a payload (all of it if it
                is shorter), says whether the frame is wanted.  Without it every
                payload above `discard_above` is discarded.
            kept_bytes_max: Payloads larger than this are discarded whatever
                `should_keep` says.  Only used together with `discard_above`.
        """
        if limit < 0 or (discard_above is not None and discard_above < 0):
            raise ValueError("a number of bytes is never negative")
        self._limit = limit
        self._discard_above = limit if discard_above is None else discard_above
        self._kept_bytes_max = limit if kept_bytes_max is None else kept_bytes_max
        self._should_keep = should_keep
        self._failure: tuple[Reason, int | None] | None = None
        # The frame being read.  `_size` is None while its length is being read.
        self._header = b""
        self._size: int | None = None
        self._received = 0
        self._undecided = False
        self._head: bytes | None = None  # set: the frame is being discarded
        self._buffer = bytearray()  # all bytes so far, or the last ones if discarding

    @property
    def bytes_held(self) -> int:
        """How many bytes of an unfinished frame are in memory."""
        return len(self._header) + len(self._buffer) + len(self._head or b"")

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes of the stream.

        Args:
            data: Any number of bytes, cut anywhere.

        Returns:
            The frames these bytes complete, in order.

        Raises:
            FramingError: The stream breaks a rule.  `frames` of the error holds what
                was complete before that; close the connection after handling it.
        """
        if self._failure is not None:
            reason, size = self._failure
            raise FramingError(reason, size=size)
        frames: list[Frame] = []
        position = 0
        try:
            while position < len(data):
                if self._size is None:
                    position = self._read_length(data, position)
                else:
                    position = self._read_body(data, position, self._size, frames)
        except FramingError as error:
            error.frames = tuple(frames)
            self._failure = error.reason, error.size
            self._reset()
            raise
        return frames

    def finish(self) -> None:
        """Say that the stream has ended.

        Raises:
            FramingError: It ended inside a frame.
        """
        if self._header or self._size is not None:
            raise FramingError(Reason.TRUNCATED, size=self._size)

    def _read_length(self, data: bytes, position: int) -> int:
        held = len(self._header)
        header = self._header + data[position : position + _DIGITS_MAX + 1 - held]
        match = _LENGTH.match(header)
        if match is None:
            fault = _length_fault(header)
            if fault is not None:
                raise FramingError(fault)
            # Fewer than ten digits and no colon: the data ended inside the length.
            self._header = header
            return len(data)
        size = int(match[1])
        if size > self._limit:
            raise FramingError(Reason.PAYLOAD_TOO_LARGE, size=size)
        self._header = b""
        self._size = size
        self._undecided = size > self._discard_above
        return position + match.end() - held

    def _read_body(
        self, data: bytes, position: int, size: int, frames: list[Frame]
    ) -> int:
        end = position + size - self._received
        if end < len(data) and not self._received and not self._undecided:
            # Nearly every frame: all of it is here and wanted, so copy it only once.
            _require_comma(data[end], size)
            frames.append(Payload(data[position:end]))
            self._reset()
            return end + 1
        if position < end:
            chunk = data[position:end]
            self._take(chunk, size)
            return position + len(chunk)
        _require_comma(data[position], size)
        frames.append(self._frame(size))
        self._reset()
        return position + 1

    def _take(self, chunk: bytes, size: int) -> None:
        self._received += len(chunk)
        self._buffer += chunk
        if self._undecided and len(self._buffer) >= min(HEAD_BYTES, size):
            self._undecided = False
            head = bytes(self._buffer[:HEAD_BYTES])
            self._head = None if self._wants(head, size) else head
        if self._head is not None:
            del self._buffer[:-TAIL_BYTES]

    def _wants(self, head: bytes, size: int) -> bool:
        if size > self._kept_bytes_max or self._should_keep is None:
            return False
        return self._should_keep(head)

    def _frame(self, size: int) -> Frame:
        if self._head is None:
            return Payload(bytes(self._buffer))
        return Discarded(size=size, head=self._head, tail=bytes(self._buffer))

    def _reset(self) -> None:
        self._header = b""
        self._size = None
        self._undecided = False
        self._head = None
        if self._received:
            self._received = 0
            self._buffer = bytearray()  # a new one: clear() might keep the memory


def _require_comma(byte: int, size: int) -> None:
    if byte != _COMMA:
        raise FramingError(Reason.COMMA_MISSING, size=size)
