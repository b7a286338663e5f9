"""What the service manager is told: systemd's notification protocol, sd_notify(3).

One datagram of `NAME=value` lines to the socket that `NOTIFY_SOCKET` names.  Where it is
not set nobody wants to know.  `systemctl start` returns when the node is ready.

The watchdog: a unit with `WatchdogSec=` wants a word (`ALIVE`) in every such span, and
ends and starts anew what says none.  So the word must prove something: `tell_of_life`
says it only after a proof of life, for which the core took one more turn with the ledger
(`TurnRunner.prove_life`).  A timer would go on ticking beside a daemon that hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"

ALIVE_PER_SPAN: Final = 3
"""How often the word is said in the span in which it must be.  systemd asks for two; the
proof itself may take a while on a busy disk."""

_MICROSECONDS: Final = 1_000_000


def reloading() -> str:
    """Return the words for the beginning of a reload; `READY` tells its end."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def notify(words: str) -> None:
    """Tell the service manager, if there is one; it never fails.

    Args:
        words: `READY`, `STOPPING`, `ALIVE` or `reloading()`.
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


def watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """Return the span in which the service manager wants a word; None for no watchdog.

    Args:
        environment: The process's; `WATCHDOG_USEC`, and `WATCHDOG_PID` which keeps a
            child from speaking for its parent (sd_watchdog_enabled(3)).
    """
    for_whom = environment.get("WATCHDOG_PID", "")
    if for_whom and for_whom != str(os.getpid()):
        return None
    span = environment.get("WATCHDOG_USEC", "")
    if not span.isascii() or not span.isdigit() or not int(span):
        return None
    return int(span) / _MICROSECONDS


def show_stacks_when_aborted() -> None:
    """Have the log show where a process hung that its watchdog ends (by SIGABRT)."""
    if watchdog_seconds(os.environ) is not None:
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            faulthandler.enable()


async def tell_of_life(
    prove: Callable[[], Awaitable[None]], notify: Callable[[str], None]
) -> None:
    """Tell the watchdog again and again, each time after a proof; needs no watchdog.

    Args:
        prove: Returns when the node has shown that it works; hangs when it hangs.
        notify: Tells the service manager.
    """
    span = watchdog_seconds(os.environ)
    if span is None:
        return
    while True:
        await prove()
        notify(ALIVE)
        await asyncio.sleep(span / ALIVE_PER_SPAN)
