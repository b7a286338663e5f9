"""A name server that keeps whoever asks it, for programs that run as their own process."""

from __future__ import annotations

from typing import Final

SLOW_NAMES: Final = """
import socket, time
real = socket.getaddrinfo
def slow(host, *words, **options):
    if options.get("flags", 0) & socket.AI_NUMERICHOST:
        return real(host, *words, **options)
    time.sleep(60)
socket.getaddrinfo = slow
"""
"""Python to be run first: each name takes a minute; addresses take no time."""
