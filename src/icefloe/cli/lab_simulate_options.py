"""The options of `lab simulate`."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import typer

SEEDS_DEFAULT: Final = 100

SeedsOption: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, help=f"How many histories [{SEEDS_DEFAULT}; 1 with --trace]."),
]
FirstOption: TypeAlias = Annotated[
    int, typer.Option("--from", min=0, help="The first seed.")
]
SecondsOption: TypeAlias = Annotated[
    float | None, typer.Option("--for", min=1, help="Go on for so many seconds.")
]
JobsOption: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Worker processes [one per core].")
]
CrowdOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=10,
        help="Instead: one history of so many agents, whose master is away for ten "
        "minutes, and what each of them costs.",
    ),
]
TraceOption: TypeAlias = Annotated[
    bool, typer.Option("--trace", help="Tell one seed's history.")
]
RequireAllOption: TypeAlias = Annotated[
    bool,
    typer.Option("--require-all", help="Fail, too, if something was never reached."),
]
ShrinkOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--shrink/--no-shrink", help="Make the first failure small, as a test."
    ),
]
