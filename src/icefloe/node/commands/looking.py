"""Looking at a parent before it is asked anything.

One connection without a certificate of ours: what the name resolves to, whether the
port takes connections, which certificate TLS shows, and, from an Icefloe parent, what
time it is there.  Nothing is requested and nothing is believed; what is found is held
against what the operator trusts elsewhere (`preflight`, the wizard).

`Look.problem` is the first thing that failed, `Look.reached` how far it came.
"""

from __future__ import annotations

import asyncio
import enum
import math
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from cryptography import x509

from icefloe import __version__
from icefloe.cluster.effects import HelloReceived
from icefloe.cluster.peer import identify
from icefloe.cluster.session import Session
from icefloe.cluster.settings import SessionSettings
from icefloe.cluster.states import Role
from icefloe.doors import Clock, WallTime
from icefloe.enrollment.events import LinkId
from icefloe.enrollment.requester import Parent
from icefloe.node.errors import ConnectFailed, HandshakeFailed, os_reason
from icefloe.node.link import Link
from icefloe.node.resolvers import Resolvers
from icefloe.node.tls.connecting import connect
from icefloe.node.tls.contexts import client_context
from icefloe.node.tls.stream_interface import CloseReport, TransportLimits
from icefloe.node.tls.transport import TLSStream
from icefloe.pki.certificates import load_der
from icefloe.pki.errors import PKIError
from icefloe.wire.jsonrpc import Message

__all__ = ["LOOK_SECONDS_MAX", "Look", "Reached", "look_at", "look_at_all"]

LOOK_SECONDS_MAX: Final = 10.0
"""For all of it: name, TCP, TLS, Hello.  Somebody waits in front of a screen."""

_RESOLVE_SECONDS_MAX: Final = 5.0
_HELLO_SECONDS_MAX: Final = 3.0
"""A parent says Hello right after the handshake; a busy one a moment later."""

_CLOSE_SECONDS_MAX: Final = 1.0
_ADDRESSES_SHOWN_MAX: Final = 3
_TIME_MAX: Final = 253402300800.0
"""The year 10000: what is beyond is no time of day."""


class Reached(enum.IntEnum):
    """How far looking at a parent came."""

    NOTHING = 0
    ADDRESS = 1
    PORT = 2
    TLS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen of a parent; **nothing of it has been verified**.

    Attributes:
        parent: Where.
        reached: How far it came.
        problem: Why not further, in words; "" when TLS stands.
        addresses: What its name resolved to, at most three.
        leaf: The certificate it showed.
        chain: Those it sent along, such as its CA's.
        ahead: Seconds by which its clock is ahead of ours; None when it does not tell
            its time (a real Icinga 2 does not).
        at: Our own time when we looked.
    """

    parent: Parent
    reached: Reached
    problem: str = ""
    addresses: tuple[str, ...] = ()
    leaf: x509.Certificate | None = None
    chain: tuple[x509.Certificate, ...] = field(default=(), repr=False)
    ahead: float | None = None
    at: WallTime


def look_at_all(
    parents: Sequence[Parent], *, clock: Clock, seconds_max: float = LOOK_SECONDS_MAX
) -> list[Look]:
    """Look at parents, all at once, in an event loop of its own.

    Returns:
        One for each, in their order.
    """

    async def together() -> list[Look]:
        looks = (
            look_at(each, clock=clock, seconds_max=seconds_max) for each in parents
        )
        return await asyncio.gather(*looks)

    return asyncio.run(together())


async def look_at(
    parent: Parent, *, clock: Clock, seconds_max: float = LOOK_SECONDS_MAX
) -> Look:
    """Look at one parent; whatever goes wrong is in the answer.

    Args:
        parent: Where.
        clock: The real one; the parent's time is held against it.
        seconds_max: For all of it.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds_max
    at = clock.now().wall
    try:
        addresses = await _resolve(parent, min(_RESOLVE_SECONDS_MAX, seconds_max))
    except (OSError, ValueError) as error:
        why = os_reason(error) if isinstance(error, OSError) else str(error)
        return Look(parent=parent, reached=Reached.NOTHING, problem=why, at=at)
    left = max(0.1, deadline - loop.time())
    limits = TransportLimits(connect_seconds_max=left, handshake_seconds_max=left)
    stream: TLSStream | None = None
    reached, problem = Reached.ADDRESS, ""
    try:
        async with asyncio.timeout(left):
            stream = await connect(
                parent.host, parent.port, context=client_context(None), limits=limits
            )
    except TimeoutError:
        problem = f"no answer in {seconds_max:g} s"
    except ConnectFailed as error:
        problem = "; ".join(f"{each.address}: {each.reason}" for each in error.attempts)
    except HandshakeFailed as error:
        reached, problem = Reached.PORT, error.reason
    if stream is None:
        return Look(
            parent=parent, reached=reached, problem=problem, addresses=addresses, at=at
        )
    return await _look_into(stream, parent, addresses, clock=clock, deadline=deadline)


async def _look_into(
    stream: TLSStream,
    parent: Parent,
    addresses: tuple[str, ...],
    *,
    clock: Clock,
    deadline: float,
) -> Look:
    """See what a TLS peer shows and says; closes the connection."""
    at = clock.now().wall
    try:
        certificate = stream.peer.certificate
        if certificate is None:
            raise PKIError("no certificate was shown")  # noqa: TRY301 - as unreadable
        leaf = load_der(certificate)
        chain = tuple(map(load_der, stream.peer.chain))
        greeting = _Greeting(stream, clock)
    except PKIError as error:
        stream.abort()
        await stream.wait_closed()
        problem = f"its certificate cannot be read: {error}"
        return Look(
            parent=parent,
            reached=Reached.PORT,
            problem=problem,
            addresses=addresses,
            at=at,
        )
    left = deadline - asyncio.get_running_loop().time()
    await greeting.hear(min(_HELLO_SECONDS_MAX, max(0.1, left)))
    return Look(
        parent=parent,
        reached=Reached.TLS,
        addresses=addresses,
        leaf=leaf,
        chain=chain,
        ahead=greeting.ahead,
        at=at,
    )


class _Greeting:
    """Hears a parent's Hello and nothing else: the owner of its link.

    Attributes:
        ahead: See `Look.ahead`.
    """

    def __init__(self, stream: TLSStream, clock: Clock) -> None:
        self.ahead: float | None = None
        self._clock = clock
        self._over = asyncio.Event()
        facts = stream.peer
        peer = identify(
            tree=None,
            certificate_der=facts.certificate,
            verified=False,
            address=f"{facts.address}:{facts.port}",
        )
        settings = SessionSettings(
            node_name="",
            hello_facts={"version": __version__},
            delivered_methods=frozenset(),
            drain_seconds=_CLOSE_SECONDS_MAX,
        )
        self._link = Link(
            link_id=LinkId(1),
            stream=stream,
            session=Session(
                role=Role.DIALLER, peer=peer, settings=settings, now=clock.now()
            ),
            peer=peer,
            role=Role.DIALLER,
            owner=self,
            clock=clock,
            log=self,
        )

    async def hear(self, seconds: float) -> None:
        """Wait for the Hello, then close in order."""
        link = self._link
        link.start()
        try:
            try:
                async with asyncio.timeout(seconds):
                    await self._over.wait()
            except TimeoutError:
                pass  # then it does not tell its time
            link.drain("seen")
            await link.wait_closed()
        except asyncio.CancelledError:
            link.abort()
            raise

    # From the link.

    def link_opened(self, link: Link) -> None:
        """Nothing is asked."""

    def link_hello(self, link: Link, hello: HelloReceived) -> None:
        """Hold the parent's time against ours."""
        del link
        told = (hello.icefloe or {}).get("time")
        if isinstance(told, int | float) and math.isfinite(told) and told < _TIME_MAX:
            self.ahead = told - self._clock.now().wall
        self._over.set()

    def link_message(self, link: Link, message: Message) -> None:
        """Nothing else concerns us."""

    def link_ending(self, link: Link) -> None:
        """The close says more."""

    def link_closed(self, link: Link, report: CloseReport) -> None:
        """It is over, with or without a Hello."""
        del link, report
        self._over.set()

    def log(self, level: int, event: str, **fields: Any) -> None:
        """Nothing: odd bytes show when the parent is asked."""


async def _resolve(parent: Parent, seconds: float) -> tuple[str, ...]:
    """Resolve a name in a thread that nobody waits for: a resolver may hang long.

    Raises:
        OSError: It does not resolve, or not in time.
    """
    look_up = partial(
        socket.getaddrinfo, parent.host, parent.port, type=socket.SOCK_STREAM
    )
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            entries = await loop.run_in_executor(Resolvers(1), look_up)
    except TimeoutError:
        raise OSError(None, f"the resolver did not answer in {seconds:g} s") from None
    addresses = dict.fromkeys(str(entry[4][0]) for entry in entries)
    return tuple(addresses)[:_ADDRESSES_SHOWN_MAX]
