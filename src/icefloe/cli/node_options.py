"""What the options of `node setup` mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import click
import typer

from icefloe.cli.output import Output
from icefloe.cluster.zones import Endpoint
from icefloe.config.host import fully_qualified_name
from icefloe.config.setup import (
    DEFAULT_GLOBAL_ZONES,
    DEFAULT_MASTER_ZONE,
    NodeSetup,
)
from icefloe.node.commands.enrolling import DEFAULT_PORT, load_pins, parse_parent
from icefloe.node.commands.setup import AgentSetup
from icefloe.storage.keys import KeyType

_PORT_MAX = 65535
_PORT_DIGITS_MAX = 5

MasterOption: TypeAlias = Annotated[
    bool, typer.Option("--master", help="Set up a master, with a CA.")
]
NameOption: TypeAlias = Annotated[
    str | None, typer.Option("--cn", help="The node's name [the machine's full name].")
]
ZoneOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--zone", help="Its own zone; an agent's usually bears its name [master]."
    ),
]
EndpointOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--endpoint",
        metavar="CN[,HOST[,PORT]]",
        help="A node of the parent zone, with the host to connect to if this node is "
        "to do that; repeatable.",
    ),
]
ParentHostOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        *("--parent_host", "--parent-host"),
        metavar="HOST[,PORT]",
        help="Where to ask for the certificate; repeatable, tried in turn. Without it "
        "nobody is asked, and ca.crt is copied by hand.",
    ),
]
ParentZoneOption: TypeAlias = Annotated[
    str, typer.Option("--parent_zone", "--parent-zone", help="The zone above.")
]
ListenOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--listen", metavar="HOST[,PORT]", help="Where to listen [everywhere, 5665]."
    ),
]
AcceptConfigOption: TypeAlias = Annotated[
    bool, typer.Option("--accept-config", help="Take configuration from the parent.")
]
AcceptCommandsOption: TypeAlias = Annotated[
    bool, typer.Option("--accept-commands", help="Run commands from the parent.")
]
GlobalZonesOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        *("--global_zones", "--global-zones"),
        metavar="NAME",
        help="A global zone besides the default ones; repeatable.",
    ),
]
NoDefaultZonesOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--no-default-global-zones",
        help="Leave out global-templates and director-global.",
    ),
]
DisableConfDOption: TypeAlias = Annotated[
    bool, typer.Option("--disable-confd", help="Stop including conf.d.")
]
IcefloeEndpointOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--icefloe-endpoint",
        metavar="CN",
        help="Declare an endpoint to be an Icefloe node; repeatable.",
    ),
]
MasterHostOption: TypeAlias = Annotated[
    list[str] | None, typer.Option("--master_host", hidden=True)
]
MasterZoneOption: TypeAlias = Annotated[
    str | None, typer.Option("--master_zone", hidden=True)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """The options as they were given; see the command's help."""

    master: bool
    cn: str | None
    zone: str | None
    endpoints: tuple[str, ...]
    parent_hosts: tuple[str, ...]
    parent_zone: str
    trusted: tuple[Path, ...]
    listen: str | None
    accept_config: bool
    accept_commands: bool
    global_zones: tuple[str, ...]
    default_global_zones: bool
    disable_conf_d: bool
    icefloe_endpoints: tuple[str, ...] | None


def configuration_of(options: NodeOptions) -> NodeSetup:
    """Return the configuration that the options describe.

    Raises:
        UsageError: They do not go together.
    """
    host, port = _listen(options.listen)
    parents = () if options.master else tuple(map(_endpoint, options.endpoints))
    zone = options.zone or (DEFAULT_MASTER_ZONE if options.master else None)
    if not options.master and not parents:
        raise click.UsageError(
            "a parent is needed: --endpoint CN[,HOST[,PORT]], or --master for a node "
            "without one"
        )
    if zone is None:
        raise click.UsageError("the node's own zone is needed: --zone NAME")
    return NodeSetup(
        node_name=options.cn or fully_qualified_name(),
        zone_name=zone,
        parent_zone=None if options.master else options.parent_zone,
        parents=parents,
        global_zones=_global_zones(options),
        bind_host=host,
        bind_port=port,
        accept_config=options.accept_config,
        accept_commands=options.accept_commands,
        icefloe_endpoints=options.icefloe_endpoints,
        disable_conf_d=options.disable_conf_d,
    )


def agent_of(
    options: NodeOptions, *, ticket: str, wait: float, key_type: KeyType
) -> AgentSetup:
    """Return the set-up of an agent or satellite that the options describe.

    Raises:
        UsageError: They do not go together.
        IdentityProblem: A trusted certificate is none.
        ParentInvalid: A --parent_host has another form.
    """
    return AgentSetup(
        node=configuration_of(options),
        parents=tuple(map(parse_parent, options.parent_hosts)),
        pins=load_pins(options.trusted),
        ticket=ticket,
        wait=wait,
        key_type=key_type,
    )


def reject_agent_options(
    options: NodeOptions, output: Output, *, ticket_given: bool
) -> None:
    """Warn about options that mean nothing for a master (protocol: as Icinga)."""
    for option, was_given in (
        ("--ticket", ticket_given),
        ("--endpoint", bool(options.endpoints)),
        ("--parent_host", bool(options.parent_hosts)),
        ("--trustedcert", bool(options.trusted)),
    ):
        if was_given:
            output.warning(f"{option} means nothing for a master and is ignored.")


def _endpoint(text: str) -> Endpoint:
    """Read `cn[,host[,port]]`."""
    name, *rest = (part.strip() for part in text.split(","))
    host = rest[0] if rest else ""
    port = rest[1] if len(rest) > 1 else ""
    if not name or len(rest) > 2 or (port and not _is_port(port)):
        raise click.UsageError(
            f"--endpoint '{text}' is not of the form CN[,HOST[,PORT]]"
        )
    return Endpoint(name, host or None, port or str(DEFAULT_PORT))


def _listen(text: str | None) -> tuple[str | None, int | None]:
    """Read `host[,port]`."""
    if text is None:
        return None, None
    host, _, port = (part.strip() for part in text.partition(","))
    if port and not _is_port(port):
        raise click.UsageError(f"--listen '{text}' is not of the form HOST[,PORT]")
    return host or None, int(port) if port else None


def _is_port(text: str) -> bool:
    digits = text.isascii() and text.isdigit() and len(text) <= _PORT_DIGITS_MAX
    return digits and 1 <= int(text) <= _PORT_MAX


def _global_zones(options: NodeOptions) -> tuple[str, ...]:
    defaults = DEFAULT_GLOBAL_ZONES if options.default_global_zones else ()
    for name in options.global_zones:
        if name in defaults:
            raise click.UsageError(
                f"the global zone '{name}' is there by default; leave it out of "
                "--global_zones"
            )
    if len(set(options.global_zones)) < len(options.global_zones):
        raise click.UsageError("--global_zones names a zone twice")
    return (*defaults, *options.global_zones)
