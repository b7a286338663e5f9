"""`icefloe service`: systemd's units for this installation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from icefloe.cli.app import CONTEXT
from icefloe.cli.invocation import Invocation, invocation
from icefloe.node.commands.service_files import (
    gateway_service,
    install_files,
    next_commands,
    node_service,
    this_program,
)
from icefloe.node.service_units import GatewayService, NodeService

NOTHING_TO_DO: Final = "Nothing to do: every file is as it is to be."

app = typer.Typer(
    context_settings=CONTEXT,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Run under systemd: units for the daemon and the gateway.",
)

_Gateway: TypeAlias = Annotated[
    bool, typer.Option("--gateway", help="The gateway's unit, not the node's.")
]
_Signer: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--signer/--no-signer",
        help="Whether the daemon may read the CA's key [whether there is a CA here].",
    ),
]
_User: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Who runs it [whose the data directory is, else 'icinga'; "
        "icefloe-gateway for a gateway].",
    ),
]
_Program: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The program [the one that runs now]."),
]


@app.command(
    epilog="""\b
Examples:
  icefloe service show
  icefloe service show --gateway
  icefloe --data-dir /srv/icinga2 service show --signer"""
)
def show(
    ctx: typer.Context,
    *,
    gateway: _Gateway = False,
    signer: _Signer = None,
    user: _User = "",
    program: _Program = None,
) -> None:
    """Print the files that 'service install' would write; changes nothing."""
    given = invocation(ctx)
    service = _service(given, gateway, signer, user, program)
    for number, (path, text) in enumerate(service.files().items()):
        given.output.result(f"{'' if number == 0 else chr(10)}# {path}")
        given.output.result(text, newline=False)


@app.command(
    epilog="""\b
Examples:
  icefloe service install              # then what it prints
  icefloe service install --gateway

\b
On a node that becomes a signer later, or ends being one, run it again: the unit
hides the CA's directory where there was none."""
)
def install(
    ctx: typer.Context,
    *,
    gateway: _Gateway = False,
    signer: _Signer = None,
    user: _User = "",
    program: _Program = None,
    root: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Write below this directory, for packagers."),
    ] = Path("/"),
) -> None:
    """Write unit, user and directories for systemd; says what to run next.

    It starts nothing. It can be run again, after an upgrade for instance: files that
    are as they are to be are left alone, and your own changes belong into drop-ins
    ('systemctl edit icefloe'), which it does not touch.
    """
    given = invocation(ctx)
    service = _service(given, gateway, signer, user, program)
    done = install_files(service, root)
    for path in done.written:
        given.output.information(f"Wrote '{path}'.")
    for path in done.removed:
        given.output.information(f"Removed '{path}': this node does not sign.")
    if not done.written and not done.removed:
        given.output.information(NOTHING_TO_DO)
        return
    given.output.information("Next, as root:")
    for command in next_commands(service):
        given.output.result(f"  {command}")


def _service(
    given: Invocation,
    gateway: bool,
    signer: bool | None,
    user: str,
    program: Path | None,
) -> NodeService | GatewayService:
    words = (str(program),) if program is not None else this_program()
    if gateway:
        return gateway_service(given.directories, program=words, user=user)
    return node_service(
        given.directories,
        program=words,
        environment=given.environment,
        user=user,
        signs=signer,
    )
