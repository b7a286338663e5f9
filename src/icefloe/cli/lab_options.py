"""Options that commands of `lab` share, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import click
import typer
from click.core import ParameterSource

from icefloe.lab.asking import ParentAddress
from icefloe.lab.outcomes import Outcome
from icefloe.storage.files import read_file
from icefloe.storage.keys import KeyType

PORT_DEFAULT: Final = 5665
SALT_VARIABLE: Final = "ICEFLOE_TICKET_SALT"

ParentOption: TypeAlias = Annotated[
    str, typer.Option(metavar="HOST[,PORT]", help="Where all agents ask.")
]
AgentsOption: TypeAlias = Annotated[int, typer.Option(min=1, help="How many agents.")]
AtOnceOption: TypeAlias = Annotated[
    int, typer.Option(min=1, help="How many of them at a time.")
]
PrefixOption: TypeAlias = Annotated[
    str, typer.Option(help="What their names begin with [another one for each run].")
]
SaltFileOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help=f"Give each its ticket; the file holds the salt [env: {SALT_VARIABLE}]."
    ),
]
TicketsFileOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="Names and tickets to use: a pair on each line.")
]
WrongTicketsOption: TypeAlias = Annotated[
    bool, typer.Option("--wrong-tickets", help="Give each a wrong ticket.")
]
UntilSignedOption: TypeAlias = Annotated[
    bool,
    typer.Option("--until-signed", help="Ask again as Icefloe's client does [once]."),
]
AskAgainOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--ask-again",
        help="When all are through, let each signed one ask once more: there must be "
        "no second certificate.",
    ),
]
DeadlineOption: TypeAlias = Annotated[
    float, typer.Option(min=1, help="Seconds after which it ends in any case.")
]
PidOption: TypeAlias = Annotated[
    list[int] | None,
    typer.Option(
        help="Count the CPU seconds of this process and those below it; repeatable."
    ),
]
CAFileOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="The CA that certificates must be under [as answered]."),
]
ExpectOption: TypeAlias = Annotated[
    Outcome | None,
    typer.Option(
        metavar="OUTCOME", help=f"How first connections must end: {', '.join(Outcome)}."
    ),
]
AgentKeyTypeOption: TypeAlias = Annotated[
    KeyType, typer.Option(help="The agents' keys; RSA takes seconds to make.")
]


def expect_alone(ctx: typer.Context, option: str, *others: str) -> None:
    """Refuse options that would be ignored beside another one.

    Args:
        ctx: of the command.
        option: the one that is there, as its user writes it.
        others: parameters that mean nothing beside it, by name.

    Raises:
        UsageError: one of them was given.
    """
    for parameter in ctx.command.params:
        name = parameter.name or ""
        source = ctx.get_parameter_source(name)
        if name in others and source is ParameterSource.COMMANDLINE:
            negated = ctx.params[name] is False and parameter.secondary_opts
            other = (negated or parameter.opts)[0]
            raise click.UsageError(f"{option} and {other} do not go together")


def parent_address(text: str) -> ParentAddress:
    """Read `host` or `host,port`, as Icinga's `--parent_host` has it."""
    host, comma, port = text.rpartition(",")
    if not comma:
        return ParentAddress(host=text, port=PORT_DEFAULT)
    if not port.isdecimal():
        raise click.BadParameter("it has the form HOST or HOST,PORT")
    return ParentAddress(host=host, port=int(port))


def salt_of(file: Path | None, environment: Mapping[str, str]) -> str:
    """Return the salt: from its file, or the environment; empty for no tickets."""
    if file is None:
        return environment.get(SALT_VARIABLE, "")
    return text_of(file).strip()


def text_of(file: Path) -> str:
    """Read a text file."""
    try:
        return read_file(file).decode()
    except UnicodeDecodeError:
        raise click.UsageError(f"{file} is no text") from None
