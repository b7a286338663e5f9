"""`icefloe daemon`: run this node."""

from __future__ import annotations

import enum
from typing import Annotated

import click
import typer

from icefloe.cli.app import CONTEXT
from icefloe.cli.invocation import invocation
from icefloe.node import daemon as node_daemon


class LogFormat(enum.Enum):
    """How log events are written."""

    TEXT = "text"
    JSON = "json"


app = typer.Typer(context_settings=CONTEXT, rich_markup_mode=None)


@app.command(
    epilog="""\b
Examples:
  icefloe daemon --validate        # exit code 0: it would start
  icefloe daemon                   # in the foreground, logs on standard error
  icefloe daemon --log-format json

\b
SIGTERM (or SIGINT) ends it in order: who waits gets an answer, the certificate if it
comes in time, else "pending" (the request is kept and goes on after the restart). It
takes a moment, 21 s at most; a second signal hurries it. Exit code 0.

\b
SIGHUP reads configuration, certificates, CA file, CRL, ticket salt and CA key again.
Members that still stand stay connected. What is wrong with the files is logged with
file and line and leaves everything as it was. bind_host, bind_port and NodeName need
a restart.

\b
What strangers may take: const IcefloeLimits in constants.conf (docs/limits.md).

\b
Under systemd: Type=notify-reload; TimeoutStopSec=30 or more."""
)
def daemon(
    ctx: typer.Context,
    *,
    validate: Annotated[
        bool, typer.Option("-C", "--validate", help="Check the configuration only.")
    ] = False,
    without_monitoring: Annotated[
        bool,
        typer.Option(
            "--without-monitoring",
            help="Run also where a node is expected to monitor: for tests, labs and "
            "planned moves. Nothing is monitored.",
        ),
    ] = False,
    log_format: Annotated[
        LogFormat, typer.Option(help="How log events are written.")
    ] = LogFormat.TEXT,
    config: Annotated[
        list[str] | None, typer.Option("-c", "--config", hidden=True)
    ] = None,
    close_stdio: Annotated[bool, typer.Option("--close-stdio", hidden=True)] = False,
    errorlog: Annotated[
        str | None, typer.Option("-e", "--errorlog", hidden=True)
    ] = None,
    daemonize: Annotated[bool, typer.Option("-d", "--daemonize", hidden=True)] = False,
    no_config: Annotated[bool, typer.Option("-z", "--no-config", hidden=True)] = False,
) -> None:
    """Run this node in the foreground, until SIGTERM.

    It refuses to stand where a node is expected to monitor: Icefloe runs no checks.
    """
    given = invocation(ctx)
    if daemonize or no_config:
        option = "--daemonize" if daemonize else "--no-config"
        raise click.UsageError(
            f"{option} is not supported; run the daemon under a service manager, with "
            "its configuration",
            ctx=ctx,
        )
    # protocol: service files of Icinga's packages pass these.
    for option, value in (
        ("--config", config),
        ("--close-stdio", close_stdio),
        ("--errorlog", errorlog),
    ):
        if value:
            given.output.warning(f"{option} is accepted and has no effect.")
    if validate:
        code = node_daemon.validate(
            directories=given.directories, without_monitoring=without_monitoring
        )
    else:
        code = node_daemon.run(
            directories=given.directories,
            without_monitoring=without_monitoring,
            log_level=given.log_level.number,
            log_json=log_format is LogFormat.JSON,
        )
    raise typer.Exit(code)
