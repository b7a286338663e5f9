"""The names that Icinga defines itself before it reads a file.

Values are those of a private instance with these directories, on Linux (found by
asking 2.13.6).  A file may define such a name anew.
"""

from __future__ import annotations

from collections.abc import Callable

from icefloe.config.layout import NodeDirectories
from icefloe.config.syntax import Value

NODE_NAME = "NodeName"
ZONE_NAME = "ZoneName"
TICKET_SALT = "TicketSalt"
ICEFLOE_ENDPOINTS = "IcefloeEndpoints"
"""Our own: the endpoints that are Icefloe nodes.  Valid for Icinga, which ignores it."""
ICEFLOE_LIMITS = "IcefloeLimits"
"""Our own: limits by name (`config.limits`).  Valid for Icinga, which ignores it."""

API_BIND_HOST = "ApiBindHost"
API_BIND_PORT = "ApiBindPort"
TLS_HANDSHAKE_TIMEOUT = "TlsHandshakeTimeout"


def predefined_names(
    directories: NodeDirectories, default_node_name: Callable[[], str]
) -> Callable[[str], Value]:
    """A function that knows Icinga's own names and returns None for all others.

    Args:
        directories: Those of the node.
        default_node_name: Called at most once, when `NodeName` is asked for and no
            file has defined it; it may take a while, as a resolver does.
    """
    values: dict[str, Value] = {
        API_BIND_HOST: "::",
        API_BIND_PORT: "5665",
        TLS_HANDSHAKE_TIMEOUT: 10.0,
        "MaxConcurrentChecks": 512.0,
        "ReloadTimeout": 300.0,
        "PrefixDir": "/usr",
        "SysconfDir": "/etc",
        "LocalStateDir": "/var",
        "RunDir": "/run",
        "PkgDataDir": "/usr/share/icinga2",
        "IncludeConfDir": "/usr/share/icinga2/include",
        "ZonesDir": str(directories.zones_d),
    }

    def value_of(name: str) -> Value:
        if name == NODE_NAME and name not in values:
            values[name] = default_node_name()
        return values.get(name)

    return value_of
