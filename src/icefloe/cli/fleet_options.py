"""Options of `icefloe fleet`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer
from typer.core import TyperCommand

from icefloe.node.fleet.states import Names, State
from icefloe.node.fleet.survey import AT_ONCE_MAX

EXIT_OK: Final = 0
EXIT_FOUND: Final = 1
"""Something is to be mended, or upgraded."""
EXIT_UNKNOWN: Final = 2
"""Wrong options, an unreadable file, or no host was reached: nothing can be said."""


class FleetCommand(TyperCommand):
    """A command whose 1 is an answer; a wrong option is another code."""

    usage_exit_code = EXIT_UNKNOWN


def _finite(value: float) -> float:
    """Refuse what is a number for a computer alone."""
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number of anything")
    return value


HostsArgument: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[HOST]...",
        help="HOST, HOST:PORT, HOST,PORT or NAME=HOST; @FILE for a file of them.",
        show_default=False,
    ),
]

FileOption: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--file",
        metavar="FILE",
        help="A file with a host a line, - for standard input; repeatable.",
    ),
]

InventoryOption: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        *("-i", "--inventory"),
        metavar="FILE",
        help="An Ansible inventory: INI, YAML, or what 'ansible-inventory --list' "
        "prints; repeatable.",
    ),
]

PortOption: TypeAlias = Annotated[
    int,
    typer.Option("--port", min=1, max=65535, help="The port of hosts without one."),
]

AtOnceOption: TypeAlias = Annotated[
    int,
    typer.Option("--at-once", min=1, max=AT_ONCE_MAX, help="Hosts at the same time."),
]

TimeoutOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--timeout",
        min=0.1,
        max=600,
        callback=_finite,
        help="Seconds for one host.",
    ),
]

CAOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        metavar="FILE",
        help="The cluster's CA certificate [this node's certs/ca.crt, if it has one].",
    ),
]

CRLOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--crl", metavar="FILE", help="Its revocation list."),
]

DaysOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--days",
        min=0,
        callback=_finite,
        help="A certificate that ends in fewer days is expiring.",
    ),
]

NamesOption: TypeAlias = Annotated[
    Names,
    typer.Option(
        "--names",
        help="Compare names byte for byte as Icinga does, up to the first dot, or "
        "not at all.",
    ),
]

OnlyOption: TypeAlias = Annotated[
    list[State] | None,
    typer.Option(
        "--only", help="Show hosts in this state alone; repeatable. Counts stay whole."
    ),
]

CSVOption: TypeAlias = Annotated[
    bool, typer.Option("--csv", help="Print a table for a spreadsheet.")
]

RepairOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--repair",
        metavar="FILE",
        help="Write an Ansible inventory of the hosts to mend: YAML if it ends in "
        ".yaml or .yml, else INI.",
    ),
]

ForceOption: TypeAlias = Annotated[
    bool, typer.Option("--force", help="Let --repair replace a file.")
]

RoleOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--role",
        metavar="ROLE=HOSTS",
        help="master, satellite or agent, and whose role it is: names with commas "
        "between them, * and ? allowed, or group:NAME of an inventory; with --release "
        "the releases; repeatable.",
    ),
]

ReleaseOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--release",
        metavar="VERSION",
        help="Tell about a release, such as 2.14.4 or r2.13.6-1, without asking "
        "anybody; repeatable.",
    ),
]

ListOption: TypeAlias = Annotated[
    bool, typer.Option("--list", help="Show the advisories that are known here.")
]
