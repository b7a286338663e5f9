"""Dialling: from a host and a port to a `TLSStream`."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Any, Final

from OpenSSL import SSL

from icefloe.node.errors import (
    ConnectAttempt,
    ConnectFailed,
    HandshakeFailed,
    PeerNotPinned,
    TransportError,
    os_reason,
)
from icefloe.node.tls.address import PeerAddress
from icefloe.node.tls.channel import TLSChannel
from icefloe.node.tls.handshake import (
    make_stream,
    owned,
    prepare,
    shake_hands_as_client,
)
from icefloe.node.tls.stream_interface import TransportLimits
from icefloe.node.tls.transport import TLSStream
from icefloe.node.tls.verdict import (
    CertificatePinned,
    EndpointExpected,
    Expectation,
    judge,
)

ADDRESSES_TRIED_MAX: Final = 16
"""Addresses of one name that are tried; more than any cluster node has."""

PORT_MAX: Final = 65535

_Resolved = tuple[socket.AddressFamily, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """What an attempt needs to know beside the address."""

    server_name: str
    context: SSL.Context
    expectation: Expectation
    limits: TransportLimits
    source: str


@dataclass(slots=True)
class _Tried:
    """What became of the addresses so far."""

    host: str
    port: int | str
    attempts: list[ConnectAttempt] = field(default_factory=list)
    answered: HandshakeFailed | None = None
    resolved: bool = False

    def add(self, address: str, error: OSError | HandshakeFailed) -> None:
        if isinstance(error, HandshakeFailed):
            self.answered = self.answered or error
            reason = str(error)
        else:
            reason = "no answer" if type(error) is TimeoutError else os_reason(error)
        self.attempts.append(ConnectAttempt(address, reason))

    def error(self) -> TransportError:
        # That somebody answered says more than the silence of other addresses.
        return self.answered or ConnectFailed(
            host=self.host,
            port=self.port,
            attempts=tuple(self.attempts),
            resolved=self.resolved,
        )


async def connect(
    host: str,
    port: int | str,
    *,
    context: SSL.Context,
    expectation: Expectation = None,
    limits: TransportLimits | None = None,
    source: str = "",
) -> TLSStream:
    """Connect to the first address of a host that completes a TLS handshake.

    Args:
        host: Name or IP literal.
        port: 1 to 65535, as a number or as configuration spells it.
        context: From `icefloe.node.tls.contexts.client_context`.
        expectation: Whom to find there.  The SNI sent is the expected endpoint's
            name, else the host as given (protocol: Icinga 2's daemon and commands).
        limits: Times and sizes; default Icinga's.  The time for TCP is shared among
            the addresses, so that a dead first one leaves time for the second.
        source: Address to connect from; "" lets the system choose.

    Returns:
        The stream, not yet started.  A peer that is not the expected *endpoint* is
        returned too, with `peer.verified` false and `peer.objections`: dropping it or
        going on as strangers is the session's decision.

    Raises:
        ConnectFailed: No address took the TCP connection in time.
        PeerNotPinned: Somebody answered who is not the pinned one.
        HandshakeFailed: Somebody answered, but TLS did not come about.
    """
    limits = limits or TransportLimits()
    target = _Target(
        server_name=(
            expectation.name if isinstance(expectation, EndpointExpected) else host
        ),
        context=context,
        expectation=expectation,
        limits=limits,
        source=source,
    )
    tried = _Tried(host, port)
    try:
        async with asyncio.timeout(limits.connect_seconds_max) as whole:
            addresses = await _resolve(host, port)
            tried.resolved = True
            for index, (family, sockaddr) in enumerate(addresses):
                share = _share(whole, len(addresses) - index)
                try:
                    return await _dial(family, sockaddr, target, tcp_seconds_max=share)
                except (OSError, HandshakeFailed) as error:
                    tried.add(str(sockaddr[0]), error)
    except TimeoutError:
        reason = f"given up after {limits.connect_seconds_max:g} s"
        tried.attempts.append(ConnectAttempt(host, reason))
    raise tried.error()


def _share(whole: asyncio.Timeout, addresses_left: int) -> float:
    ends = whole.when()
    assert ends is not None, "the whole has a limit"
    return (ends - asyncio.get_running_loop().time()) / addresses_left


async def _resolve(host: str, port: int | str) -> list[_Resolved]:
    """Addresses to try, in the system's order; literals need no other thread."""
    number = _port_number(port)
    if number is None or not host:
        reason = "no port from 1 to 65535" if host else "no host"
        attempt = ConnectAttempt(host, reason)
        raise ConnectFailed(host=host, port=port, attempts=(attempt,))
    try:
        try:
            found = socket.getaddrinfo(
                host, number, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
        except socket.gaierror:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(host, number, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        attempt = ConnectAttempt(host, reason)
        raise ConnectFailed(
            host=host, port=port, attempts=(attempt,), resolved=False
        ) from error
    return [(entry[0], entry[4]) for entry in found[:ADDRESSES_TRIED_MAX]]


def _port_number(port: int | str) -> int | None:
    try:
        number = int(port)
    except ValueError:
        return None
    return number if 1 <= number <= PORT_MAX else None


async def _dial(
    family: socket.AddressFamily,
    sockaddr: Any,
    target: _Target,
    *,
    tcp_seconds_max: float,
) -> TLSStream:
    loop = asyncio.get_running_loop()
    address = PeerAddress.from_sockaddr(sockaddr)
    sock = socket.socket(family, socket.SOCK_STREAM)
    with owned(sock):
        prepare(sock)
        if target.source:
            sock.bind((target.source, 0))
        async with asyncio.timeout(tcp_seconds_max):
            await loop.sock_connect(sock, sockaddr)
        opened = loop.time()
        channel = TLSChannel.client(
            context=target.context,
            sock=sock,
            address=address.host,
            server_name=target.server_name,
        )
        try:
            await shake_hands_as_client(channel, address, limits=target.limits)
        except HandshakeFailed as error:
            error.peer_verified, _ = judge(
                channel.verdict, channel.peer_certificate(), target.expectation
            )
            raise
        if isinstance(target.expectation, CertificatePinned) and (
            channel.peer_certificate() != target.expectation.certificate
        ):
            raise PeerNotPinned(address=address.host)
        return make_stream(
            channel,
            address,
            limits=target.limits,
            opened=opened,
            expectation=target.expectation,
        )
