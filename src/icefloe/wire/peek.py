"""What can be known of a JSON-RPC message from its two ends alone.

For frames that are discarded as a stream (`icefloe.wire.netstring`).  Nothing here is
a decision of trust: a frame that is kept is decoded in full afterwards, and one that
is not is never acted on.
"""

from __future__ import annotations

import math
import re
from typing import Final

import msgspec

_TOKEN: Final = re.compile(
    rb"[ \t\r\n]*+"
    rb'("[^"\\]*+(?:\\.[^"\\]*+)*+"'  # a string, whole
    rb"|[{}\[\]:,]"
    rb'|[^\s{}\[\]:,"]++)',  # a number or a literal, perhaps cut short
    re.DOTALL,
)
_OPENING: Final = frozenset((b"{", b"["))
_CLOSING: Final = frozenset((b"}", b"]"))

# The number must be followed by the brace that closes the message, and its key must
# follow a comma or brace directly.  Inside a string the key's quotes would be escaped,
# so in well-formed JSON nothing else matches.
_LAST_TS: Final = re.compile(
    rb'[,{][ \t\r\n]*"ts"[ \t\r\n]*:[ \t\r\n]*'
    rb"(-?[0-9][0-9.eE+-]*)"
    rb"[ \t\r\n]*\}[ \t\r\n]*\Z"
)

_decode_text = msgspec.json.Decoder(str).decode
_decode_number = msgspec.json.Decoder(float).decode


def peek_method(head: bytes) -> str | None:
    """Find the method of a message from its first bytes.

    Real nodes sort their keys (`id`, `jsonrpc`, `method`, `originZone`, `params`,
    `ts`), so it is in the first hundred bytes; other orders are found as well, if what
    stands before `method` ends within `head`.

    Args:
        head: The first bytes of a JSON object, perhaps cut anywhere.

    Returns:
        The text of the top-level key `method` (the first, if there are several), or
        None if it is not text or not within `head`.
    """
    depth = position = 0
    key = colon = b""  # the two tokens before the present one
    while match := _TOKEN.match(head, position):
        position = match.end()
        token = match[1]
        if depth == 1 and colon == b":" and _text(key) == "method":
            return _text(token)
        if token in _OPENING:
            depth += 1
        elif token in _CLOSING:
            depth -= 1
        if depth == 0 or (depth == 1 and token == b"["):
            return None  # not an object, or the object has ended
        key, colon = colon, token
    return None


def peek_ts(tail: bytes) -> float | None:
    """Find the `ts` of a message from its last bytes.

    Args:
        tail: The last bytes of a JSON object, up to its end.

    Returns:
        The value of the top-level key `ts` in unix seconds if it is the last key (as
        it is where keys are sorted) and a finite number, else None.
    """
    match = _LAST_TS.search(tail)
    if match is None:
        return None
    try:
        ts = _decode_number(match[1])
    except msgspec.DecodeError:
        return None
    return ts if math.isfinite(ts) else None


def _text(token: bytes) -> str | None:
    """Decode a JSON string token, None if it is something else or not decodable."""
    try:
        return _decode_text(token)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
