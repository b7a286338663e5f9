"""How deep and how crowded a JSON text is, found out before anything is built from it.

A parser that recurses can be driven into the ground by a kilobyte of `[` (GHSA-wh38-
wg57-5w7g: Icinga's stack overflow, without authentication), and one that builds
objects turns small texts into much memory.  So the text is scanned first, with passes
over bytes that run in C and in windows that bound the scan's own memory.

The scan does not check that the text is JSON.  For what it is used it need not: up to
the first byte at which a parser gives up, both see the same strings and brackets.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Final

from icefloe.wire.errors import MessageError, Reason

_WINDOW_BYTES: Final = 65_536
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_DELTAS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # +1 and -1, signed


def check_nesting(text: bytes, *, depth_max: int, containers_max: int) -> None:
    """Refuse a JSON text that is nested too deeply or has too many containers.

    Args:
        text: JSON in UTF-8, or anything.
        depth_max: Objects and arrays that may stand inside each other.
        containers_max: Objects and arrays that may stand anywhere in the text.

    Raises:
        MessageError: `JSON_TOO_DEEP` or `JSON_TOO_MANY_CONTAINERS`.
    """
    openings = text.count(b"{") + text.count(b"[")
    if openings <= depth_max and openings <= containers_max:
        return  # nearly every message: even inside strings there are few brackets
    size = len(text)
    if b"\\" in text:
        # What is left of a run of backslashes after pairs are gone escapes what follows.
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    depth = containers = inside_string = 0
    for start in range(0, len(text), _WINDOW_BYTES):
        pieces = text[start : start + _WINDOW_BYTES].split(b'"')
        outside = b"".join(pieces[inside_string::2])
        inside_string ^= (len(pieces) - 1) & 1
        brackets = outside.translate(_DELTAS, _NOT_BRACKETS)
        containers += brackets.count(b"\x01")
        depths = list(accumulate(memoryview(brackets).cast("b"), initial=depth))
        depth = depths[-1]
        if max(depths) > depth_max:
            raise MessageError(Reason.JSON_TOO_DEEP, size=size)
        if containers > containers_max:
            raise MessageError(Reason.JSON_TOO_MANY_CONTAINERS, size=size)
