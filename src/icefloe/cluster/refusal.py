"""The answer to a peer that speaks HTTP at the cluster's port.

Icinga serves its management API there.  Icefloe does not: the port that every agent
reaches is not the place to manage a CA.
"""

from __future__ import annotations

from typing import Final

_BODY: Final = (
    b"This port serves the cluster protocol only. The management API is not served"
    b" here; it has a listener of its own.\n"
)

HTTP_REFUSAL: Final = (
    b"HTTP/1.1 404 Not Found\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\n"
    b"Connection: close\r\n"
    b"\r\n"
    b"%b" % (len(_BODY), _BODY)
)
"""A whole HTTP/1.1 response (RFC 9112), the same to whatever was asked: nothing of the
request is parsed."""
