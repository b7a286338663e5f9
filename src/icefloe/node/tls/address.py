"""Where a peer's TCP connection comes from."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Final

SOURCE_PREFIX_IPV6: Final = 64
"""One customer of an IPv6 network has at least a /64 and can speak from any address
in it; counted per address, such a source would have no limit at all."""


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
        parsed = _parse(self.host)
        if isinstance(parsed, ipaddress.IPv6Address):
            bare = ipaddress.IPv6Address(int(parsed))
            network = ipaddress.IPv6Network((bare, SOURCE_PREFIX_IPV6), strict=False)
            return str(network)
        return self.host


def _parse(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
