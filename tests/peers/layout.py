"""Zone trees, and the configuration files of a node, in Icinga's own language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Address(NamedTuple):
    """Where an endpoint listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """As Icinga's options take it: `host,port`."""
        return f"{self.host},{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneSpec:
    """One zone of a tree.

    Attributes:
        name: The zone's name.
        endpoints: Names of its endpoints, in configured order.
        parent: Name of the parent zone, or None for the root.
    """

    name: str
    endpoints: tuple[str, ...]
    parent: str | None = None


def three_levels(
    *,
    master: str = "master1",
    satellite: str = "satellite1",
    agents: Sequence[str] = (),
) -> tuple[ZoneSpec, ...]:
    """Return the tree `master` > `satellite` > one zone per agent."""
    return (
        ZoneSpec(name="master", endpoints=(master,)),
        ZoneSpec(name="satellite", endpoints=(satellite,), parent="master"),
        *(
            ZoneSpec(name=agent, endpoints=(agent,), parent="satellite")
            for agent in agents
        ),
    )


def quoted(text: str) -> str:
    """Return `text` as a string literal of Icinga's language."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def zones_conf(zones: Iterable[ZoneSpec], dials: Mapping[str, Address]) -> str:
    """Return the text of a `zones.conf`.

    Args:
        zones: The tree as this node knows it.
        dials: Address of each endpoint that this node is to connect to.  An endpoint
            without an address is waited for.
    """
    lines: list[str] = []
    for zone in zones:
        for endpoint in zone.endpoints:
            lines.append(f"object Endpoint {quoted(endpoint)} {{")
            if endpoint in dials:
                lines.append(f"\thost = {quoted(dials[endpoint].host)}")
                lines.append(f'\tport = "{dials[endpoint].port}"')
            lines += ["}", ""]
        names = ", ".join(quoted(endpoint) for endpoint in zone.endpoints)
        lines += [f"object Zone {quoted(zone.name)} {{", f"\tendpoints = [ {names} ]"]
        if zone.parent is not None:
            lines.append(f"\tparent = {quoted(zone.parent)}")
        lines += ["}", ""]
    return "\n".join(lines)


def constants_conf(
    *, node: str, zone: str, salt: str, icefloe_endpoints: Sequence[str]
) -> str:
    """Return the text of a `constants.conf` with this node's names and secret."""
    lines = [
        'const PluginDir = "/usr/lib/nagios/plugins"',
        f"const NodeName = {quoted(node)}",
        f"const ZoneName = {quoted(zone)}",
        f"const TicketSalt = {quoted(salt)}",
    ]
    if icefloe_endpoints:
        names = ", ".join(quoted(name) for name in icefloe_endpoints)
        lines.append(f"const IcefloeEndpoints = [ {names} ]")
    return "\n".join(lines) + "\n"


def api_conf(*, host: str, port: int, with_salt: bool, accept: bool) -> str:
    """Return the text of a `features-available/api.conf`."""
    boolean = "true" if accept else "false"
    lines = [
        'object ApiListener "api" {',
        f"  bind_host = {quoted(host)}",
        f"  bind_port = {port}",
        f"  accept_config = {boolean}",
        f"  accept_commands = {boolean}",
    ]
    if with_salt:
        lines.append("  ticket_salt = TicketSalt")
    return "\n".join([*lines, "}"]) + "\n"


ICINGA2_CONF = """\
include "constants.conf"
include "zones.conf"
include <itl>
include "features-enabled/*.conf"
include "local.d/*.conf"
"""
"""No `conf.d`: a test's node monitors nothing unless told to.

`<itl>` alone holds the check commands that need no plugin (`dummy`, `random`,
`sleep`, `exception`).
"""


def checked_hosts_conf(names: Iterable[str], *, interval_seconds: float) -> str:
    """Return hosts that the node's own checker checks with the `dummy` command."""
    return "".join(
        f"object Host {quoted(name)} {{\n"
        '  check_command = "dummy"\n'
        f"  check_interval = {interval_seconds:g}s\n"
        f"  retry_interval = {interval_seconds:g}s\n"
        "  enable_notifications = false\n"
        "}\n"
        for name in names
    )


def api_user_conf(name: str, password: str) -> str:
    """Return an `ApiUser` that may do everything."""
    return (
        f"object ApiUser {quoted(name)} {{\n"
        f"  password = {quoted(password)}\n"
        '  permissions = [ "*" ]\n'
        "}\n"
    )
