"""`icefloe check`: monitoring plugins, and their definitions for Icinga."""

from __future__ import annotations

import importlib.resources
from typing import Annotated, Final

import typer

from icefloe.cli.app import CONTEXT
from icefloe.cli.check_certificate import certificate
from icefloe.cli.check_enrollment import enrollment
from icefloe.cli.check_plugin import PluginCommand
from icefloe.cli.check_requests import requests
from icefloe.cli.invocation import invocation

EXIT_CODES: Final = "Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."

COMMANDS_FILE: Final = "icefloe-commands.conf"
SERVICES_FILE: Final = "icefloe-services.conf"

app = typer.Typer(
    context_settings=CONTEXT,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Monitoring plugins: does signing work, do certificates serve, do requests "
    f"lie about. {EXIT_CODES}",
)

app.command(
    cls=PluginCommand,
    epilog="""\b
Examples:
  icefloe check enrollment --via sat1 --show-name    # the canary's name, for a ticket
  icefloe check enrollment --via sat1,5665 --ticket-file /etc/icefloe/canary.ticket
  icefloe check enrollment --via sat1 --salt-file salt --interval 0 -v  # on the master

\b
Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. docs/checks.md lists each line.""",
)(enrollment)

app.command(
    cls=PluginCommand,
    epilog="""\b
Examples:
  icefloe check certificate                       # this node's
  icefloe check certificate --file web.crt --key web.key --ca ca.crt
  icefloe check certificate --connect sat1,5665 --name sat1 -w 25 -c 7

\b
Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. docs/checks.md lists each line.""",
)(certificate)

app.command(
    cls=PluginCommand,
    epilog="""\b
Examples:
  icefloe check requests                                  # /var/lib/icinga2
  icefloe check requests --data-dir /var/lib/icinga2 -w 900 -c 3600 -v

\b
Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. docs/checks.md lists each line.""",
)(requests)


@app.command(
    epilog="""\b
Examples:
  icefloe check definitions > /etc/icinga2/conf.d/icefloe-commands.conf
  icefloe check definitions --services > /etc/icinga2/conf.d/icefloe-services.conf"""
)
def definitions(
    ctx: typer.Context,
    *,
    services: Annotated[
        bool, typer.Option("--services", help="Examples of services instead.")
    ] = False,
) -> None:
    """Print CheckCommand objects for Icinga 2, or examples of services with them."""
    name = SERVICES_FILE if services else COMMANDS_FILE
    source = importlib.resources.files("icefloe") / "data" / name
    text = source.read_text(encoding="utf-8")
    invocation(ctx).output.result(text, newline=False)
