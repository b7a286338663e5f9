"""`icefloe demo`: watch an agent enroll, here and now."""

from __future__ import annotations

import sys
from typing import Annotated

import click
import typer

from icefloe.cli.app import CONTEXT, EXIT_FAILED, EXIT_OK
from icefloe.cli.options import JSONOption
from icefloe.lab.demo import Demo
from icefloe.lab.narrator import Narrator
from icefloe.node.doors import RealClock, RealEntropy

app = typer.Typer(context_settings=CONTEXT, rich_markup_mode=None)


@app.command(
    epilog="""\b
Examples:
  icefloe demo             # some ten seconds; nothing is left behind
  icefloe demo --keep      # leaves the cluster running, and says how to use it"""
)
def demo(
    *,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Leave the cluster running; says how to end it."),
    ] = False,
    as_json: JSONOption = False,
) -> None:
    """Enroll an agent through a satellite, and see what others make of it.

    Runs a master, a satellite and an agent on loopback, in a temporary directory, and
    shows the way of the agent's request. Then agents ask through satellites with the
    habits of Icinga 2.14.3, 2.14.4 and 2.14.5, and through Icefloe's. Exits with 1 if
    it did not go as it should, and says what differed.
    """
    if keep and as_json:
        raise click.UsageError("--keep tells how to go on, in words: leave out --json")
    story = Demo(
        narrator=Narrator(out=sys.stdout, err=sys.stderr, silent=as_json),
        clock=RealClock(),
        entropy=RealEntropy(),
        keep=keep,
    ).run()
    if as_json:
        print(story.to_json())
    raise typer.Exit(EXIT_FAILED if story.differences() else EXIT_OK)
