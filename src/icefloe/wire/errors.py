"""What can be wrong with bytes from a peer.

    IcefloeError
    +-- WireError                 reason, size
        +-- FramingError          the byte stream is lost: close the connection
        |                         (+ frames: what was complete before the fault)
        +-- MessageError          one frame is unusable: the stream goes on
                                  (+ field: the parameter at fault)

No text of these errors holds anything a peer sent, except numbers of bytes: tickets
travel in the same frames.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Self

from icefloe.errors import IcefloeError

if TYPE_CHECKING:
    from icefloe.wire.netstring import Frame


class Reason(StrEnum):
    """Why bytes were not accepted: a stable code, and `text`, a sentence for people.

    The codes go into logs and metrics; do not rename them.
    """

    text: str

    def __new__(cls, code: str, text: str) -> Self:
        """Make a member whose value is `code`."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.text = text
        return member

    # Framing (protocol: "Framing (netstring)").
    LENGTH_MISSING = "length-missing", "a frame starts with ':' instead of a length"
    LENGTH_NOT_DECIMAL = (
        "length-not-decimal",
        "a frame's length has a byte that is neither digit nor ':'",
    )
    LENGTH_LEADING_ZERO = "length-leading-zero", "a frame's length has a leading zero"
    LENGTH_TOO_LONG = "length-too-long", "a frame's length has more than 9 digits"
    PAYLOAD_TOO_LARGE = "payload-too-large", "a frame announces too large a payload"
    COMMA_MISSING = "comma-missing", "a frame's payload is not followed by ','"
    TRUNCATED = "truncated", "the stream ended inside a frame"

    # JSON and JSON-RPC (protocol: "JSON-RPC layer").
    JSON_MALFORMED = "json-malformed", "a message is not JSON"
    JSON_TOO_DEEP = "json-too-deep", "a message is nested too deeply"
    JSON_TOO_MANY_CONTAINERS = (
        "json-too-many-containers",
        "a message has too many objects and arrays",
    )
    NUMBER_OUT_OF_RANGE = "number-out-of-range", "a message has a number out of range"
    NOT_AN_OBJECT = "not-an-object", "a message is JSON but not an object"
    METHOD_MISSING = "method-missing", "a message has neither a method nor an id"
    METHOD_NOT_TEXT = "method-not-text", "a message's method is not text"
    NOT_ENCODABLE = "not-encodable", "a value cannot be written as JSON"

    # Parameters and results of a known method (protocol: "Cluster message catalogue").
    PARAMS_MISSING = "params-missing", "parameters are missing"
    PARAMS_NOT_AN_OBJECT = "params-not-an-object", "parameters are not an object"
    FIELD_MISSING = "field-missing", "a parameter is missing"
    FIELD_WRONG_TYPE = "field-wrong-type", "a parameter has the wrong type"
    FIELD_OUT_OF_RANGE = "field-out-of-range", "a parameter is out of range"


class WireError(IcefloeError):
    """A peer's bytes break the protocol.

    Attributes:
        reason: The stable code of what is wrong; equal to a plain `str`.
        size: Payload bytes of the frame at fault: as announced for a framing error,
            as received for a message.  None where there is no such number.
    """

    def __init__(
        self, reason: Reason, *, size: int | None = None, detail: str = ""
    ) -> None:
        text = f"{reason.text}: {detail}" if detail else reason.text
        super().__init__(text if size is None else f"{text} ({size} bytes)")
        self.reason = reason
        self.size = size


class FramingError(WireError):
    """The stream of frames is lost; nothing after it can be understood.

    Icinga closes the connection without an error reply, so do we.

    Attributes:
        frames: The frames of the same `feed` that were complete before the fault.
            They are valid and were sent before the garbage: handle them first.
    """

    frames: tuple[Frame, ...] = ()


class MessageError(WireError):
    """One frame holds no message we can use.  The stream of frames is intact.

    Icinga closes an anonymous link at such a frame and, since 2.14.9, skips it on an
    authenticated one.

    Attributes:
        field: Name of the parameter at fault, in the wire's spelling, or None.
    """

    def __init__(
        self,
        reason: Reason,
        *,
        size: int | None = None,
        detail: str = "",
        field: str | None = None,
    ) -> None:
        super().__init__(reason, size=size, detail=detail)
        self.field = field
