"""Listening: from a host and a port to a callback per established `TLSStream`.

The listener is what strangers reach first, so everything in it has a bound: the
connections that have not shown who they are, altogether and per source, and the
handshakes under way.  A connection counts from `accept` until its owner releases its
`Admission` (the peer is a member) or it is closed.  Over a limit the connection is
closed at once and counted; the alternative, leaving it in the backlog, would let one
source keep everybody else waiting.

When the system is out of file descriptors, accepting pauses; a backlog that the kernel
keeps is better than a loop that spins on the error.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from OpenSSL import SSL

from icefloe.node.errors import BindFailed, HandshakeFailed, os_reason
from icefloe.node.tls.address import PeerAddress
from icefloe.node.tls.handshake import accept, owned
from icefloe.node.tls.handshake_line import HandshakeLine
from icefloe.node.tls.shutting import let_nobody_in, someone_waits
from icefloe.node.tls.stream_interface import TransportLimits
from icefloe.node.tls.transport import TLSStream

ACCEPTS_PER_TURN: Final = 32
"""Connections accepted before everything else has its turn."""

QUIET_SECONDS: Final = 0.25
"""With nobody new and no handshake finished for so long, those under way are idlers."""

DUAL_STACK_HOST: Final = "::"
"""Every address of the machine, IPv6 and IPv4."""

_NO_IPV6 = frozenset((errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL))

_TRANSIENT_ERRORS = frozenset(
    # accept(2): errors already pending on the new connection; try the next one.
    (
        errno.ECONNABORTED,
        errno.EINTR,
        errno.ENETDOWN,
        errno.EPROTO,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerLimits:
    """Bounds of what strangers can take.

    Attributes:
        backlog: Connections the kernel keeps until we accept them.
        handshake_threads: Private-key operations at a time; others wait in line
            (`handshake_line`).  Two cut the storm's time by a fifth (measured), more
            only take cores from the loop.
        strangers_max: Connections that have not shown who they are.  One costs about
            40 KB.
        strangers_reserve: As many beyond that for sources with few connections:
            a member is a stranger, too, until its handshake is done.
        strangers_few: So many connections of one source are few.
        strangers_per_source_max: The same from one IPv4 address or IPv6 /64.  A whole
            site may sit behind one address, so this is not small.
        accept_pause_seconds: How long accepting rests when the system is out of file
            descriptors or memory.
    """

    backlog: int = 4096
    handshake_threads: int = 2
    strangers_max: int = 4096
    strangers_reserve: int = 512
    strangers_few: int = 4
    strangers_per_source_max: int = 1024
    accept_pause_seconds: float = 1.0


@dataclass(slots=True)
class ListenerCounts:
    """What happened since the listener was made; only ever grows.

    Attributes:
        accepted: TCP connections taken from the kernel.
        refused_total: Closed because `strangers_max` was reached.
        refused_source: Closed because `strangers_per_source_max` was reached.
        handshakes_failed: Handshakes that failed or timed out.
        established: Streams given to the owner.
        accept_pauses: Times the system had nothing left to accept with.
    """

    accepted: int = 0
    refused_total: int = 0
    refused_source: int = 0
    handshakes_failed: int = 0
    established: int = 0
    accept_pauses: int = 0


@dataclass(frozen=True, slots=True)
class ConnectionRefused:
    """A connection was closed for a limit: `strangers_max` or `..._per_source_max`."""

    address: PeerAddress
    limit: str


@dataclass(frozen=True, slots=True)
class HandshakeRefused:
    """A handshake did not come about."""

    address: PeerAddress
    error: HandshakeFailed


@dataclass(frozen=True, slots=True)
class AcceptPaused:
    """The system could not give us a connection; we try again after a rest."""

    reason: str
    seconds: float


ListenerEvent = ConnectionRefused | HandshakeRefused | AcceptPaused


class Admission:
    """One place among the strangers; given back when released, or with the stream."""

    __slots__ = ("_give_back",)

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def release(self) -> None:
        """Give the place back: the peer has shown who it is.  Again: no effect."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


def _ignore(_event: ListenerEvent) -> None:
    """For an owner that reads the counts alone."""


class Listener:
    """Accepts TLS connections on one address.

    `bind`, then `serve` in a task; `stop` (or cancelling `serve`) ends it.  Streams
    already handed over are the owner's and live on.

    Attributes:
        counts: What happened so far.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        context: SSL.Context,
        on_stream: Callable[[TLSStream, Admission], None],
        on_event: Callable[[ListenerEvent], None] = _ignore,
        limits: ListenerLimits | None = None,
        transport_limits: TransportLimits | None = None,
        is_over_rate: Callable[[str], bool] = lambda _source: False,
    ) -> None:
        """Make a listener that does not listen yet.

        Args:
            host: Address or name to bind; `::` serves IPv4 as well.
            port: TCP port; 0 lets the system choose.
            context: From `icefloe.node.tls.contexts.server_context`.
            on_stream: Called in the loop with each established stream, not yet
                started, and its place among the strangers.
            on_event: Called in the loop with what is worth a log line; strangers can
                cause it at will, so log it with a limit.
            limits: Bounds of connections.
            transport_limits: Bounds of each connection.
            is_over_rate: Whether handshakes of a source come after those of others.
        """
        self.counts = ListenerCounts()
        self._host = host
        self._port = port
        self._context = context
        self._on_stream = on_stream
        self._on_event = on_event
        self._limits = limits or ListenerLimits()
        self._transport_limits = transport_limits or TransportLimits()
        self._line = HandshakeLine(
            self._limits.handshake_threads, comes_last=is_over_rate
        )
        self._pool: ThreadPoolExecutor | None = None
        self._socket: socket.socket | None = None
        self._stopped = asyncio.Event()
        self._last_news = float("-inf")
        self._strangers = 0
        self._strangers_by_source: Counter[str] = Counter()

    @property
    def address(self) -> tuple[str, int]:
        """Numeric address and port that are really bound."""
        assert self._socket is not None, "bind comes first"
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    @property
    def strangers(self) -> int:
        """Connections that have not shown who they are, at this moment."""
        return self._strangers

    def bind(self) -> None:
        """Take the address; connections wait in the kernel until `serve`.

        Raises:
            BindFailed: Naming the address and what can be done.
        """
        assert self._socket is None, "bound once"
        self._socket = listening_socket(
            self._host, self._port, backlog=self._limits.backlog
        )

    def replace_context(self, context: SSL.Context) -> None:
        """Use another context from the next connection on; running ones keep theirs."""
        self._context = context

    def reconfigure(
        self, limits: ListenerLimits, transport_limits: TransportLimits
    ) -> None:
        """Stand on other limits from the next connection on.

        The backlog and the handshakes at a time stay as they are until a restart.
        """
        self._limits = limits
        self._transport_limits = transport_limits

    def shut(self) -> None:
        """Let nobody new in; who is in is served. See `shutting`."""
        if self._socket is not None and self._socket.fileno() >= 0:
            let_nobody_in(self._socket)

    @property
    def is_quiet(self) -> bool:
        """Whether nobody has come, and no handshake has ended, for a moment."""
        listening = self._socket
        if (
            listening is not None
            and listening.fileno() >= 0
            and someone_waits(listening)
        ):
            return False
        return asyncio.get_running_loop().time() - self._last_news >= QUIET_SECONDS

    def stop(self) -> None:
        """Accept no more and give up unfinished handshakes; `serve` then returns."""
        self._stopped.set()

    async def serve(self) -> None:
        """Accept until stopped or cancelled; the address is free afterwards."""
        listening = self._socket
        assert listening is not None, "bind comes first"
        self._pool = ThreadPoolExecutor(self._limits.handshake_threads, "icefloe-tls")
        try:
            async with asyncio.TaskGroup() as group:
                accepting = group.create_task(self._accept_all(listening))
                await self._stopped.wait()
                accepting.cancel()
        finally:
            listening.close()
            self._pool.shutdown()

    # Accepting

    async def _accept_all(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        incoming = asyncio.Event()
        async with asyncio.TaskGroup() as handshakes:
            while True:
                incoming.clear()
                loop.add_reader(listening, incoming.set)
                try:
                    await incoming.wait()
                finally:
                    loop.remove_reader(listening)
                if not self._accept_some(listening, handshakes):
                    await asyncio.sleep(self._limits.accept_pause_seconds)

    def _accept_some(
        self, listening: socket.socket, handshakes: asyncio.TaskGroup
    ) -> bool:
        """Accept what waits, up to a turn's share; whether the system went along."""
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, sockaddr = listening.accept()
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno in _TRANSIENT_ERRORS:
                    continue
                self.counts.accept_pauses += 1
                pause = self._limits.accept_pause_seconds
                self._on_event(AcceptPaused(os_reason(error), pause))
                return False
            self._admit(sock, PeerAddress.from_sockaddr(sockaddr), handshakes)
        return True

    def _admit(
        self, sock: socket.socket, address: PeerAddress, handshakes: asyncio.TaskGroup
    ) -> None:
        self.counts.accepted += 1
        self._note_news()
        source = address.source
        if self._is_full(source):
            sock.close()
            self.counts.refused_total += 1
            self._on_event(ConnectionRefused(address, "strangers_max"))
        elif self._strangers_by_source[source] >= self._limits.strangers_per_source_max:
            sock.close()
            self.counts.refused_source += 1
            self._on_event(ConnectionRefused(address, "strangers_per_source_max"))
        else:
            self._strangers += 1
            self._strangers_by_source[source] += 1
            admission = Admission(lambda: self._give_back(source))
            handshakes.create_task(self._establish(sock, address, admission))

    def _is_full(self, source: str) -> bool:
        limits = self._limits
        if self._strangers < limits.strangers_max:
            return False
        if self._strangers_by_source[source] >= limits.strangers_few:
            return True
        return self._strangers >= limits.strangers_max + limits.strangers_reserve

    def _give_back(self, source: str) -> None:
        self._strangers -= 1
        self._strangers_by_source[source] -= 1
        if not self._strangers_by_source[source]:
            del self._strangers_by_source[source]

    async def _establish(
        self, sock: socket.socket, address: PeerAddress, admission: Admission
    ) -> None:
        try:
            stream = await accept(
                sock,
                address,
                context=self._context,
                limits=self._transport_limits,
                pool=self._pool,
                line=self._line,
            )
        except HandshakeFailed as error:
            admission.release()
            self._note_news()
            self.counts.handshakes_failed += 1
            self._on_event(HandshakeRefused(address, error))
            return
        except BaseException:
            admission.release()
            raise
        stream.on_closed(lambda _report: admission.release())
        self.counts.established += 1
        self._note_news()
        self._hand_over(stream, admission)

    def _note_news(self) -> None:
        self._last_news = asyncio.get_running_loop().time()

    def _hand_over(self, stream: TLSStream, admission: Admission) -> None:
        try:
            self._on_stream(stream, admission)
        except Exception as error:  # noqa: BLE001 - a bug there must not end listening
            asyncio.get_running_loop().call_exception_handler(
                {
                    "message": f"owner of {stream!r} failed; connection aborted",
                    "exception": error,
                }
            )
            stream.abort()


def listening_socket(host: str, port: int, *, backlog: int) -> socket.socket:
    """Bind and listen; `::` takes IPv4 as well, and IPv4 alone where there is no IPv6.

    Args:
        host: Address or name; of a name's addresses the first that can be bound.
        port: TCP port; 0 lets the system choose.
        backlog: Connections the kernel keeps.

    Returns:
        A non-blocking listening socket.

    Raises:
        BindFailed: No address could be bound.
    """
    try:
        try:
            return _listen_on_first(host, port, backlog)
        except OSError as error:
            if host != DUAL_STACK_HOST or error.errno not in _NO_IPV6:
                raise
            # protocol: Icinga 2 falls back where the system has no IPv6.
            return _listen_on_first("0.0.0.0", port, backlog)
    except (OSError, ValueError) as error:
        cause = error if isinstance(error, OSError) else OSError(0, str(error))
        raise BindFailed(host=host, port=port, cause=cause) from error


def _listen_on_first(host: str, port: int, backlog: int) -> socket.socket:
    found = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    for family, _, _, _, sockaddr in found[:-1]:
        with contextlib.suppress(OSError):
            return _listen(family, sockaddr, backlog)
    return _listen(found[-1][0], found[-1][4], backlog)


def _listen(family: socket.AddressFamily, sockaddr: Any, backlog: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    with owned(sock):
        sock.settimeout(0)  # non-blocking
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            only = sockaddr[0] != DUAL_STACK_HOST
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only))
        sock.bind(sockaddr)
        sock.listen(backlog)
        return sock
