"""Looking at many nodes at once: one anonymous TLS connection to each.

What goes over the wire to a node: a TLS handshake without a client certificate, with
the host as SNI; for a greeting our Hello (`greeting`); then an orderly close.  No
request, no ticket, nothing that a node would store.  Its log has a line or two about it.

Every host has a deadline over everything that is done with it.  Looking up names takes
threads that cannot be cancelled, so there are many of them, and none is waited for.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from OpenSSL import SSL

from icefloe.node.descriptors import available, raise_to_hard_limit
from icefloe.node.errors import ConnectFailed, HandshakeFailed, HandshakeTimedOut
from icefloe.node.fleet.greeting import hear_greeting
from icefloe.node.fleet.sightings import (
    Cause,
    Greeting,
    Look,
    Presented,
    Sighting,
    Unreached,
)
from icefloe.node.fleet.targets import Target
from icefloe.node.resolvers import Resolvers
from icefloe.node.tls.connecting import connect
from icefloe.node.tls.contexts import client_context
from icefloe.node.tls.stream_interface import TransportLimits
from icefloe.node.tls.transport import TLSStream

__all__ = [
    "AT_ONCE_DEFAULT",
    "AT_ONCE_MAX",
    "SECONDS_DEFAULT",
    "Survey",
    "look_at_all",
]

AT_ONCE_DEFAULT: Final = 64
"""A core does some hundreds of handshakes a second; more at once only helps while most
hosts are silent."""

AT_ONCE_MAX: Final = 1000

SECONDS_DEFAULT: Final = 10.0
"""For one host, name, TCP, TLS and Hello together."""

TLS_SHARE: Final = 0.8
"""Of a host's deadline, for the handshake: less than all of it, so that a host whose
TCP answers and whose TLS does not is told from one that answers nothing."""

CLOSE_SECONDS_MAX: Final = 1.0
"""How long a node may take to answer our close; all is known by then."""

GREETING_SECONDS_MAX: Final = 5.0
"""A node that reads at all says Hello at once."""

DESCRIPTORS_KEPT: Final = 128
"""Beside the connections: files, pipes, the sockets of the resolvers."""

_NO_ANSWER: Final = "no answer"
_GIVEN_UP: Final = "given up after"
"""How `connecting` words silence, of one address and of all of it."""

_REFUSALS: Final = frozenset({os.strerror(errno.ECONNREFUSED)})
_SILENCES: Final = frozenset({os.strerror(errno.ETIMEDOUT), _NO_ANSWER})


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """How to look.

    Attributes:
        at_once: How many hosts at the same time; cut to what descriptors allow.
        seconds: Deadline of one host.
        greeting: Whether to say Hello and hear theirs.
    """

    at_once: int = AT_ONCE_DEFAULT
    seconds: float = SECONDS_DEFAULT
    greeting: bool = False


async def look_at_all(
    targets: Sequence[Target], survey: Survey, *, seen: Callable[[Look], None]
) -> None:
    """Look at every target once.

    Args:
        targets: Whom.
        survey: How.
        seen: Told of each as soon as it is over, so that an interruption loses only
            those under way.
    """
    raise_to_hard_limit()
    workers = max(1, min(survey.at_once, available() - DESCRIPTORS_KEPT, len(targets)))
    asyncio.get_running_loop().set_default_executor(Resolvers())
    context = client_context(None)
    waiting = iter(targets)
    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(_work(waiting, survey, context, seen))


async def _work(
    waiting: Iterator[Target],
    survey: Survey,
    context: SSL.Context,
    seen: Callable[[Look], None],
) -> None:
    for target in waiting:
        seen(Look(target, await _look(target, survey, context)))


async def _look(target: Target, survey: Survey, context: SSL.Context) -> Sighting:
    seconds = survey.seconds
    ends = asyncio.get_running_loop().time() + seconds
    limits = TransportLimits(
        connect_seconds_max=seconds,
        handshake_seconds_max=seconds * TLS_SHARE,
    )
    try:
        stream = await connect(target.host, target.port, context=context, limits=limits)
    except ConnectFailed as error:
        return _unreached(error)
    except HandshakeTimedOut as error:
        detail = f"TCP answers, but TLS does not: {error.reason}"
        return Unreached(cause=Cause.TIMEOUT, detail=detail)
    except HandshakeFailed as error:
        alert = f" (it says: {error.alert})" if error.alert else ""
        return Unreached(cause=Cause.TLS_FAILED, detail=f"{error.reason}{alert}")
    try:
        greeting, no_greeting = await _greeting(stream, survey, ends)
        await stream.drain_close(CLOSE_SECONDS_MAX)
    finally:
        stream.abort()
    return Presented(
        leaf=stream.peer.certificate,
        chain=stream.peer.chain,
        greeting=greeting,
        no_greeting=no_greeting,
    )


async def _greeting(
    stream: TLSStream, survey: Survey, ends: float
) -> tuple[Greeting | None, str]:
    if not survey.greeting:
        return None, ""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(min(ends, loop.time() + GREETING_SECONDS_MAX)):
            heard = await hear_greeting(stream)
    except TimeoutError:
        return None, "it shows a certificate, but says no Hello in time"
    return (heard, "") if isinstance(heard, Greeting) else (None, heard)


def _unreached(error: ConnectFailed) -> Unreached:
    reasons = [attempt.reason for attempt in error.attempts]
    detail = "; ".join(f"{each.address}: {each.reason}" for each in error.attempts)
    if not error.resolved:
        cause = Cause.NOT_RESOLVED
    elif any(each in _SILENCES or each.startswith(_GIVEN_UP) for each in reasons):
        cause = Cause.TIMEOUT
    elif reasons and all(each in _REFUSALS for each in reasons):
        cause = Cause.REFUSED
    else:
        cause = Cause.NETWORK
    return Unreached(cause=cause, detail=detail)
