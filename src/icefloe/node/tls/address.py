"""Where a peer's TCP connection comes from."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from icefloe.cluster.sources import source_of_host


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """A numeric address and a TCP port.

    Attributes:
        host: IPv4 or IPv6 literal; an IPv4-mapped IPv6 address is written as IPv4.
        port: TCP port.
    """

    host: str
    port: int

    @classmethod
    def from_sockaddr(cls, sockaddr: Any) -> PeerAddress:
        """Take what `socket.accept` or `getpeername` says of an INET socket."""
        host, port = str(sockaddr[0]), int(sockaddr[1])
        parsed = _parse(host)
        mapped = (
            parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
        )
        return cls(str(mapped) if mapped is not None else host, port)

    @property
    def source(self) -> str:
        """What per-source limits count: the IPv4 address, or the IPv6 /64."""
        return source_of_host(self.host)


def _parse(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
