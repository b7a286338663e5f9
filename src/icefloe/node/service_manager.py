"""What the service manager is told: systemd's notification protocol, sd_notify(3).

One datagram of `NAME=value` lines to the socket that `NOTIFY_SOCKET` names.  Where it is
not set nobody wants to know.  The unit then says `Type=notify-reload`: `systemctl start`
and `systemctl reload` return when the node is ready, and whether it is.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"


def reloading() -> str:
    """Return the words for the beginning of a reload; `READY` tells its end."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def notify(words: str) -> None:
    """Tell the service manager, if there is one; it never fails.

    Args:
        words: `READY`, `STOPPING` or `reloading()`.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    # A name in the abstract namespace is written with an @ in place of the NUL.
    place = "\0" + address[1:] if address.startswith("@") else address
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        sock.settimeout(0)  # a full queue is not waited for
        sock.sendto(words.encode("ascii"), place)
