"""What a session orders, as data.

A session touches nothing: each of its inputs returns a list of these, to be carried
out in that order by whoever owns the connection.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from icefloe.wire.jsonrpc import Message


class Level(enum.IntEnum):
    """How loud a log event is (the values of the `logging` module)."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer speaks JSON-RPC and our Hello is on its way: messages may be sent.

    Comes once, before the first `Deliver`; not at all when the peer speaks HTTP or
    nothing.
    """


@dataclass(frozen=True, slots=True)
class Transmit:
    """Write these bytes to the peer, behind what was written before.

    Attributes:
        data: whole frames (or an HTTP response); may hold a ticket.
    """

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand a message to the upper layers: its sender may say that, and we act on it.

    A `Request` must be answered, with `send_response`.
    """

    message: Message


@dataclass(frozen=True, slots=True)
class HelloReceived:
    """The peer's first `icinga::Hello`.

    Attributes:
        version: 10000 * major + 100 * minor + patch of Icinga 2's version.
        capabilities: bit set (protocol: Icinga 2, `icinga::Hello`).
        icefloe: what an Icefloe node says about itself, None from a real Icinga 2
            node.  Unverified and of unknown shape.
    """

    version: int
    capabilities: int
    icefloe: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class Finish:
    """Close the connection in order.  Comes at most once in a session.

    The transport flushes what was written, sends TLS close_notify, goes on reading
    and discarding until the peer's close or the deadline, and then closes TCP.
    (Closing with unread input makes the kernel reset the connection, and the peer
    loses what it has not read yet.)

    Attributes:
        deadline_seconds: how long all of that may take.
        reason: stable code, for logs.
    """

    deadline_seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Abort:
    """Close the connection at once; the peer misuses the time it was given."""

    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """Write a log event.

    Attributes:
        level: how loud.
        event: stable name, dotted.
        fields: plain values; they name the peer and hold no secret.
    """

    level: Level
    event: str
    fields: Mapping[str, object]


Effect: TypeAlias = (
    Opened | Transmit | Deliver | HelloReceived | Finish | Abort | Report
)
