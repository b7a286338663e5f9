"""Bytes to messages and back: netstring, JSON-RPC, the message catalogue (no IO).

    stream of bytes --netstring--> payloads --jsonrpc--> messages --catalogue--> params

What a peer sends is fed in as it arrives and comes out as typed values or as a
`WireError`; nothing here waits, and nothing is held that has not arrived.
"""

from __future__ import annotations

from icefloe.wire.errors import FramingError, MessageError, Reason, WireError
from icefloe.wire.jsonrpc import Message, Notification, Request, Response
from icefloe.wire.netstring import Discarded, Frame, NetstringReader, Payload

__all__ = [
    "Discarded",
    "Frame",
    "FramingError",
    "Message",
    "MessageError",
    "NetstringReader",
    "Notification",
    "Payload",
    "Reason",
    "Request",
    "Response",
    "WireError",
]
