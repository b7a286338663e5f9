"""The options of `lab storm`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from icefloe.lab.outcomes import Outcome
from icefloe.storage.keys import KeyType

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
