"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from icefloe.node.commands.enrolling import TICKET_VARIABLE

TicketOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--ticket", help="The ticket. Other users can see it: use --ticket-file."
    ),
]

TicketFileOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--ticket-file",
        help=f"A file with the ticket, - for standard input [else: {TICKET_VARIABLE}].",
    ),
]

JSONOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print the outcome as JSON.")
]

TrustedOption: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--trustedcert",
        help="What the parent has to show ('pki save-cert'); repeatable. Not needed "
        "when the CA's certificate is there and the parent bears the expected name.",
    ),
]
