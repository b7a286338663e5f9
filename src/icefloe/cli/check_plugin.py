"""What the monitoring plugins have in common: how they speak, and how they end."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, Final, TypeAlias

import click
import msgspec
import typer
from typer.core import TyperCommand

from icefloe.cli.app import words_once
from icefloe.cli.invocation import Given, output_of
from icefloe.cli.output import Output
from icefloe.errors import IcefloeError
from icefloe.node.checks.plugin import Outcome, PluginState

__all__ = [
    "CANNOT_CHECK",
    "PluginCommand",
    "PluginJSON",
    "VerboseOption",
    "finish",
    "run_plugin",
    "unknown_for_errors",
]

VerboseOption: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", help="More lines: what was seen, and next.")
]

PluginJSON: TypeAlias = Annotated[
    bool, typer.Option("--json", help="One JSON value instead; same exit code.")
]

_PLUGINS: Final = ("enrollment", "certificate", "requests")

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
    except (IcefloeError, OSError) as error:
        finish(_hindered(name, _problem_of(error)), output, as_json=as_json)


def run_plugin(call: Callable[[], int], arguments: Sequence[str], given: Given) -> int:
    """Run a command line of `icefloe check`; whatever hinders it is UNKNOWN.

    Icinga takes 1 and 2 for what was found, and shows standard output alone.  So a
    wrong option, also one before `check`, and a mistake of ours end with 3 and a line
    there; a mistake's traceback goes to standard error.

    Args:
        call: Runs it and returns its exit code, or raises.
        arguments: The command line without the program's name.
        given: Its global options.

    Returns:
        The exit code.
    """
    try:
        return call()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return int(PluginState.UNKNOWN)
    except click.Abort:
        problem = "interrupted"
    except BrokenPipeError:
        # The reader has seen enough.  Nothing more is to be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(PluginState.UNKNOWN)
    except Exception as error:  # noqa: BLE001 - 1, as Python ends with, is WARNING
        problem = _problem_of(error)
        if not isinstance(error, click.ClickException | IcefloeError | OSError):
            traceback.print_exception(error)
    called = (word for word in arguments if word in _PLUGINS)
    outcome = _hindered(next(called, "check").upper(), problem)
    with suppress(typer.Exit):
        finish(outcome, output_of(given), as_json="--json" in arguments)
    return int(outcome.state)


def _problem_of(error: Exception) -> str:
    match error:
        case click.UsageError():
            words = words_once(error.format_message()).rstrip(".")
            path = error.ctx.command_path if error.ctx is not None else "icefloe"
            return f"{words}; '{path} --help' shows what is possible"
        case click.ClickException():
            return error.format_message()
        case IcefloeError():
            return error.public
        case OSError():
            where = f"'{error.filename}': " if error.filename else ""
            return f"{where}{error.strerror or error}"
    return f"a fault of Icefloe's own, {type(error).__name__}: {error}"


def _hindered(name: str, problem: str) -> Outcome:
    return Outcome(
        name=name, state=PluginState.UNKNOWN, kind=CANNOT_CHECK, text=problem
    )
