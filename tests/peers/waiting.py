"""Waiting for the world, and ports nobody else has.

Tests never sleep for a fixed time: they look again and again until what they wait for
is there, and fail after a deadline so generous that only a broken node misses it.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

GENEROUS_SECONDS = 90.0
"""How long a wait may take before the test fails.

The slowest honest wait is two of Icinga's 10 s reconnect ticks plus a start; several
test runs may share one slow core.
"""

LOOK_AGAIN_SECONDS = 0.05

PORTS = range(20000, 32000)
"""Below Linux's ephemeral ports (32768 up), so that no outgoing connection sits here."""

LONG_VARIABLE = "ICEFLOE_LONG_TESTS"

T = TypeVar("T")

_held_ports: dict[int, socket.socket] = {}


class DeadlineMissed(AssertionError):
    """What a test waited for did not happen in time."""


def wait_until(
    look: Callable[[], T | None],
    *,
    what: str,
    timeout_seconds: float = GENEROUS_SECONDS,
    every_seconds: float = LOOK_AGAIN_SECONDS,
) -> T:
    """Return what `look` returns as soon as that is true.

    Args:
        look: Called again and again; anything false means "not yet".
        what: What is awaited, for the failure's text.
        timeout_seconds: When to give up.
        every_seconds: How often to look; a look that costs somebody a TLS handshake
            need not be made 20 times a second.

    Raises:
        DeadlineMissed: Nothing true came in time.
    """
    end = time.monotonic() + timeout_seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= end:
            raise DeadlineMissed(f"not within {timeout_seconds:g} s: {what}")
        time.sleep(every_seconds)


def watch(
    look: Callable[[], str], *, seconds: float, every_seconds: float = 1.0
) -> None:
    """Look again and again for a while; fail as soon as something is wrong.

    Args:
        look: Returns what is wrong; empty when nothing is.
        seconds: How long to look.
        every_seconds: How often.

    Raises:
        AssertionError: What `look` said, and when.
    """
    start = time.monotonic()
    while True:
        wrong = look()
        after = time.monotonic() - start
        if wrong:
            raise AssertionError(f"after {after:.1f} s: {wrong}")
        if after >= seconds:
            return
        time.sleep(min(every_seconds, seconds - after))


def observation_seconds(*, short: float, long: float) -> float:
    """Return how long to observe something that must not change.

    `ICEFLOE_LONG_TESTS=1` asks for the long time; a usual run takes the short one.
    """
    return long if os.environ.get(LONG_VARIABLE, "") not in {"", "0"} else short


def free_port() -> int:
    """Return a TCP port on loopback that is this process's until it ends.

    Icinga binds with `SO_REUSEPORT`: two nodes of two test runs could share one port
    and each see half of the connections.  A name per port keeps them apart.
    """
    for port in _candidates():
        if port not in _held_ports and _hold(port):
            return port
    raise DeadlineMissed("no free port on loopback")


def is_listening(host: str, port: int) -> bool:
    """Say whether a TCP connection to `host`:`port` is accepted."""
    try:
        with socket.create_connection((host, port), timeout=2.0):
            return True
    except OSError:
        return False


def _candidates() -> Iterator[int]:
    start = random.randrange(len(PORTS))
    return itertools.chain(PORTS[start:], PORTS[:start])


def _hold(port: int) -> bool:
    # A name of Linux's abstract space: it leaves no file, and ends with this process.
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        lock.bind(f"\0icefloe-test-port-{port}")
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        lock.close()
        return False
    _held_ports[port] = lock
    return True
