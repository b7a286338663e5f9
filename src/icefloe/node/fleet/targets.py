"""Whom to look at: from a word on the command line to a name, a host and a port.

web1.example.org                  port 5665; the certificate is to bear this name
web1.example.org:5666             another port; also web1.example.org,5666
10.0.0.7                          an address says nothing about the name
[2001:db8::7]:5666                IPv6 with a port; without one, no brackets needed
web1.example.org=10.0.0.7:5666    this name is to be found at that address
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from icefloe.errors import IcefloeError

__all__ = [
    "DEFAULT_PORT",
    "TARGETS_MAX",
    "Target",
    "TargetInvalid",
    "distinct",
    "has_template",
    "is_address",
    "parse_list",
    "parse_port",
    "parse_target",
]

DEFAULT_PORT: Final = 5665
"""protocol: Icinga's."""

TARGETS_MAX: Final = 100_000
"""More than any cluster has; a range in an inventory can name millions."""

_TEMPLATES: Final = ("{{", "{%", "{#")
"""What Ansible would run as a template, once `--repair` has written it down: lists of
hosts often come from where the hosts themselves have entered their names."""

_PORT_MAX: Final = 65535
_HOST_CHARACTERS_MAX: Final = 253


class TargetInvalid(IcefloeError):
    """A host, or a list of hosts, cannot be understood; the text says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A node to look at.

    Attributes:
        label: What the operator calls it: for tables and inventories.
        host: Name or address to connect to, IPv6 without brackets.
        port: TCP port.
        name: The common name that its certificate is to bear; None when nobody said
            and the host is an address.
        variables: What an inventory says of it.  May hold secrets: never shown whole.
        groups: Inventory groups that it is in, the outer ones first.
    """

    label: str
    host: str
    port: int = DEFAULT_PORT
    name: str | None = None
    variables: Mapping[str, object] = field(default_factory=dict, repr=False)
    groups: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """Where it is, as people write it: `host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_target(text: str, *, port: int = DEFAULT_PORT) -> Target:
    """Read one target.

    Args:
        text: `[NAME=]HOST`, with `:PORT` or `,PORT` behind it or not.
        port: For a target without one.

    Raises:
        TargetInvalid: It has no host, or no usable port.
    """
    given = text.strip()
    name, equals, place = given.rpartition("=")
    name = name.strip()
    if equals and not name:
        raise TargetInvalid(f"'{given}': there is no name in front of '='")
    if has_template(given) or not given.isprintable():
        raise TargetInvalid(f"{given[:80]!r}: no node has such a name")
    host, number = _host_and_port(place.strip(), given, port)
    if not name:
        return Target(
            label=host if number == port else f"{host},{number}",
            host=host,
            port=number,
            name=None if is_address(host) else host,
        )
    return Target(label=name, host=host, port=number, name=name)


def parse_list(text: str, *, port: int = DEFAULT_PORT, source: str) -> list[Target]:
    """Read a file of targets: one a line; `#` begins a comment.

    Raises:
        TargetInvalid: Naming the file and the line.
    """
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].strip()
        if not words:
            continue
        try:
            found.append(parse_target(words, port=port))
        except TargetInvalid as error:
            raise TargetInvalid(f"{source}:{number}: {error}") from error
    return found


def parse_port(value: object) -> int | None:
    """Return a port from 1 to 65535, or None when `value` is none."""
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()):
        return None
    number = int(text) if len(text) <= len(str(_PORT_MAX)) else 0
    return number if 1 <= number <= _PORT_MAX else None


def distinct(targets: Iterable[Target]) -> list[Target]:
    """Return each place once, the first mention of it, in order.

    Raises:
        TargetInvalid: There are too many.
    """
    found: dict[tuple[str, int, str | None], Target] = {}
    for target in targets:
        found.setdefault((target.host, target.port, target.name), target)
        if len(found) > TARGETS_MAX:
            raise TargetInvalid(f"more than {TARGETS_MAX} hosts; take them in parts")
    return list(found.values())


def has_template(text: str) -> bool:
    """Say whether Ansible would run something in a text."""
    return any(mark in text for mark in _TEMPLATES)


def is_address(host: str) -> bool:
    """Say whether a host is an IP address and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _host_and_port(place: str, given: str, port: int) -> tuple[str, int]:
    """Split `HOST`, `HOST:PORT`, `HOST,PORT`; an IPv6 address may be in brackets."""
    number: str | None = None
    if place.startswith("["):
        host, closed, rest = place[1:].partition("]")
        if not closed or not is_address(host):
            raise TargetInvalid(f"'{given}': there is no IPv6 address in the brackets")
        if rest and rest[0] not in ":,":
            raise TargetInvalid(
                f"'{given}': behind the brackets only ':PORT' may stand"
            )
        number = rest[1:] if rest else None
    elif "," in place:
        host, _, number = place.partition(",")
    elif place.count(":") == 1:
        host, _, number = place.partition(":")
    else:
        host = place
    host = host.strip()
    if not host or any(each.isspace() or not each.isprintable() for each in host):
        raise TargetInvalid(f"{given[:80]!r}: there is no host in it")
    if len(host) > _HOST_CHARACTERS_MAX or (":" in host and not is_address(host)):
        raise TargetInvalid(f"'{given[:80]}': that is neither a name nor an address")
    if number is None:
        return host, port
    parsed = parse_port(number.strip())
    if parsed is None:
        raise TargetInvalid(f"'{given}': a port is a number from 1 to {_PORT_MAX}")
    return host, parsed
