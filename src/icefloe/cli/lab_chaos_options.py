"""The options of `lab chaos`."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import typer

from icefloe.habits import HABITS
from icefloe.lab.chaos_schedule import Trouble
from icefloe.lab.chaos_stage import ICEFLOE, ICINGA2

PRODUCTS: Final = (ICEFLOE, ICINGA2, *HABITS)
"""What can stand in a seat."""

SeedOption: TypeAlias = Annotated[
    int | None, typer.Option(help="Makes the blows [another one each time].")
]
BlowsOption: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="How many [as many as fit].")
]
SecondsOption: TypeAlias = Annotated[
    float, typer.Option(min=1, help="When no new blow begins.")
]
TroubleOption: TypeAlias = Annotated[
    list[Trouble] | None,
    typer.Option(help="Only this kind; repeatable [all but clock and disk]."),
]
ClientsOption: TypeAlias = Annotated[
    int, typer.Option(min=0, help="Agents at a time: connections as of icinga2.")
]
CommandsOption: TypeAlias = Annotated[
    int, typer.Option(min=0, help="Agents at a time: 'icefloe node setup'.")
]
DaemonsOption: TypeAlias = Annotated[
    int, typer.Option(min=0, help="Agents at a time: 'icefloe daemon'.")
]
RealOption: TypeAlias = Annotated[
    int, typer.Option(min=0, help="Agents at a time: 'icinga2 pki request'.")
]
SignerOption: TypeAlias = Annotated[
    str, typer.Option(metavar="PRODUCT", help=f"One of {', '.join(PRODUCTS)}.")
]
RelayOption: TypeAlias = Annotated[
    str, typer.Option(metavar="PRODUCT", help="The same, for the relay's seat.")
]
KeepOption: TypeAlias = Annotated[
    bool, typer.Option("--keep", help="Leave files and logs in any case.")
]
