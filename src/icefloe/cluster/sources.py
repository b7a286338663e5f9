"""Where a peer comes from, as limits count it.

One customer of an IPv6 network has at least a /64 and can speak from any address in
it; counted by address, such a source would have no limit at all.
"""

from __future__ import annotations

import ipaddress
from typing import Final

SOURCE_PREFIX_IPV6: Final = 64


def source_of_host(host: str) -> str:
    """Return what limits count for an address: the IPv4 address, or the IPv6 /64.

    Args:
        host: a numeric address; a text that is none counts as it is.
    """
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    bare = ipaddress.IPv6Address(int(parsed))
    network = ipaddress.IPv6Network((bare, SOURCE_PREFIX_IPV6), strict=False)
    return str(network)


def source_of(address: str) -> str:
    """Return what limits count for a peer's ``address:port`` (`Peer.address`)."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        return source_of_host(address)
    return source_of_host(host)
