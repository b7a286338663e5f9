"""What the monitoring plugins have in common: how they speak, and how they end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final, TypeAlias

import msgspec
import typer
from typer.core import TyperCommand

from icefloe.cli.output import Output
from icefloe.errors import IcefloeError
from icefloe.node.checks.plugin import Outcome, PluginState

__all__ = [
    "CANNOT_CHECK",
    "PluginCommand",
    "PluginJSON",
    "VerboseOption",
    "finish",
    "unknown_for_errors",
]

VerboseOption: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", help="More lines: what was seen, and next.")
]

PluginJSON: TypeAlias = Annotated[
    bool, typer.Option("--json", help="One JSON value instead; same exit code.")
]


CANNOT_CHECK: Final = "cannot-check"
"""The kind of outcome when a plugin could not look."""


class PluginCommand(TyperCommand):
    """A command whose exit code is a plugin's state; a wrong option is UNKNOWN."""

    usage_exit_code = int(PluginState.UNKNOWN)


def finish(
    outcome: Outcome, output: Output, *, verbose: bool = False, as_json: bool = False
) -> None:
    """Print an outcome and end with its state.

    Raises:
        typer.Exit: Always.
    """
    if as_json:
        output.result(msgspec.json.encode(outcome.as_json()).decode())
    else:
        for line in outcome.lines(verbose=verbose):
            output.result(line)
    raise typer.Exit(int(outcome.state))


@contextmanager
def unknown_for_errors(
    name: str, output: Output, *, as_json: bool = False
) -> Iterator[None]:
    """Turn what hinders a plugin into its UNKNOWN, on standard output.

    Icinga shows no other stream.

    Args:
        name: The plugin's, in capitals.
        output: Where to.
        as_json: As JSON.
    """
    try:
        yield
    except IcefloeError as error:
        problem = error.public
    except OSError as error:
        where = f"'{error.filename}': " if error.filename else ""
        problem = f"{where}{error.strerror or error}"
    else:
        return
    outcome = Outcome(
        name=name, state=PluginState.UNKNOWN, kind=CANNOT_CHECK, text=problem
    )
    finish(outcome, output, as_json=as_json)
