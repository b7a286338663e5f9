"""Letting nobody new in at a listening socket, without turning anybody away.

A socket that is closed resets the connections in its backlog, and refuses those that
come after.  Before a node stops, nobody new is let in instead: the kernel passes over every
first packet (SYN) of a new connection without a word, and the client's own kernel sends
it again, after 1, 3 and 7 seconds, by which time the restarted node listens.  What was
let in before is served.

That is a filter on the listening socket (`SO_ATTACH_FILTER`, Linux; no privilege is
needed).  Accepted sockets inherit it and never see such a packet.
"""

from __future__ import annotations

import ctypes
import select
import socket
import struct
from typing import Final

_SO_ATTACH_FILTER: Final = 26
"""From <asm-generic/socket.h>; Python's `socket` does not name it."""

_NO_NEW_CONNECTIONS: Final = (
    (0x30, 0, 0, 13),  # load the byte with the flags of the TCP header,
    (0x54, 0, 0, 0x12),  # of them SYN and ACK;
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # all else passes
)


def let_nobody_in(listening: socket.socket) -> bool:
    """Let new connections wait in their own kernels from now on.

    Returns:
        Whether it could be done; otherwise they are accepted as before.
    """
    code = b"".join(struct.pack("HBBI", *step) for step in _NO_NEW_CONNECTIONS)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HL", len(_NO_NEW_CONNECTIONS), ctypes.addressof(buffer))
    try:
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        return False  # another system, or one that forbids it
    return True


def someone_waits(listening: socket.socket) -> bool:
    """Whether a connection is there that was not accepted yet."""
    look = select.poll()
    look.register(listening, select.POLLIN)
    return bool(look.poll(0))
