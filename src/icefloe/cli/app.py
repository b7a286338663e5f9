"""The program: its command groups, and the one place where errors become words.

A group is a module with a Typer application `app`, named in `GROUPS`.  It is imported
when it is called, so that `icefloe --version` and the help stay quick: TLS and
certificates alone take a quarter of a second to import.

Every command also takes the global options (see `invocation`).  Exit codes are
Icinga's: 0 for success, 1 for any failure, a wrong option included; 130 for what was
interrupted.  Others come only from commands whose code is an answer: `pki verify` and
`check` have those of a check plugin, where 3 is whatever hinders it; `enrollment status` tells how the node stands; for
`lab simulate` and `fleet` 1 means that a promise was broken, or that something is to be
mended, and 2 that nothing can be said, as after a wrong option.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click
import typer
from typer.core import TyperGroup

from icefloe.cli.invocation import PROGRAM, Given, global_options, output_of
from icefloe.errors import IcefloeError

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130

COMPLETION_VARIABLE: Final = "_ICEFLOE_COMPLETE"
"""By which a shell asks what can follow; see `completion`."""

CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 88}
"""For every Typer application here."""


@dataclass(frozen=True, slots=True)
class Group:
    """A command group, or a single command.

    Attributes:
        module: Where its `app` is.
        help: What it is for, in the program's help.
    """

    module: str
    help: str


GROUPS: Final = {
    "api": Group("icefloe.cli.api", "Set up the listener on a master."),
    "ca": Group("icefloe.cli.ca", "See and decide certificate requests."),
    "check": Group(
        "icefloe.cli.check", "Monitoring plugins: enrollment, certificates, requests."
    ),
    "completion": Group("icefloe.cli.completion", "Let Tab complete, in your shell."),
    "daemon": Group("icefloe.cli.daemon", "Run this node."),
    "demo": Group("icefloe.cli.demo", "Watch an agent enroll, here and now."),
    "enrollment": Group(
        "icefloe.cli.enrollment", "How this node stands; what requests wait for."
    ),
    "feature": Group("icefloe.cli.feature", "Switch features on and off."),
    "fleet": Group(
        "icefloe.cli.fleet", "See what a fleet looks like, and what to upgrade."
    ),
    "gateway": Group("icefloe.cli.gateway", "Enroll clients beside an Icinga node."),
    "lab": Group(
        "icefloe.cli.lab", "Try things out: load, faults, simulated clusters."
    ),
    "ledger": Group("icefloe.cli.ledger", "Look at the ledger, copy and restore it."),
    "node": Group("icefloe.cli.node", "Set this node up: agent, satellite or master."),
    "pki": Group("icefloe.cli.pki", "Keys, certificates, tickets and the CA."),
    "service": Group("icefloe.cli.service", "Run under systemd: its units."),
}
"""Another group is one more line."""


class LazyGroups(TyperGroup):
    """Imports a group when it is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.params.extend(global_options(hidden=False))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the groups' names."""
        del ctx
        return list(GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a group, with the global options on all of its commands."""
        del ctx
        group = GROUPS.get(cmd_name)
        if group is None:
            return None
        if cmd_name not in self.commands:
            module = importlib.import_module(group.module)
            command = typer.main.get_command(module.app)
            command.name = cmd_name
            _add_global_options(command)
            self.commands[cmd_name] = command
        return self.commands[cmd_name]

    def _main_shell_completion(
        self,
        ctx_args: MutableMapping[str, Any],
        prog_name: str,
        complete_var: str | None = None,
    ) -> None:
        del ctx_args, prog_name, complete_var
        instruction = os.environ.get(COMPLETION_VARIABLE)
        if instruction:
            from icefloe.cli.completion import answer

            said = answer(self, instruction)
            click.echo(said or "", nl=bool(said))
            sys.exit(EXIT_OK if said is not None else EXIT_FAILED)

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the list of groups, without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, group.help) for name, group in GROUPS.items()])


app = typer.Typer(
    cls=LazyGroups,
    add_completion=False,
    context_settings=CONTEXT,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback(
    epilog="Each command tells more, with examples: icefloe pki request --help"
)
def icefloe() -> None:
    """A node of an Icinga 2 cluster: enrollment that works on the first connection.

    The commands have the names, options, printed lines and exit codes of icinga2.
    """


def run(arguments: Sequence[str], *, program: str = PROGRAM) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name.
        program: The name that it was called by: tools call `icinga2`.

    Returns:
        The exit code.
    """
    given = Given()
    if not calls_a_plugin(arguments):
        return _call_or_complain(arguments, program, given)
    from icefloe.cli.check_plugin import run_plugin

    return run_plugin(lambda: _call(arguments, program, given), arguments, given)


def _call_or_complain(arguments: Sequence[str], program: str, given: Given) -> int:
    try:
        return _call(arguments, program, given)
    except click.exceptions.NoArgsIsHelpError as error:
        # protocol: Icinga prints its help and exits with 0.
        click.echo(error.format_message())
        return EXIT_OK
    except click.UsageError as error:
        _complain_of_usage(given, error)
        command_called = error.ctx.command if error.ctx is not None else None
        return int(getattr(command_called, "usage_exit_code", EXIT_FAILED))
    except click.ClickException as error:
        output_of(given).critical(error.format_message())
        return EXIT_FAILED
    except IcefloeError as error:
        output_of(given).critical(error.public)
        return EXIT_FAILED
    except click.Abort:
        output_of(given).critical("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough.  Nothing more is to be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        # A directory that may not be looked into, most of the time.
        where = f"'{error.filename}': " if error.filename else ""
        output_of(given).critical(f"{where}{error.strerror or error}")
        return EXIT_FAILED


_CHECKS: Final = ("certificate", "definitions", "enrollment", "requests")


def calls_a_plugin(arguments: Sequence[str]) -> bool:
    """Say whether a command line calls a monitoring plugin, or wants to.

    It is told without parsing, which may be what fails. `check definitions` is none:
    what it prints goes to a file.
    """
    words = iter(arguments)
    if next((word for word in words if word in GROUPS), "") != "check":
        return False
    return next((word for word in words if word in _CHECKS), "") != "definitions"


def _call(arguments: Sequence[str], program: str, given: Given) -> int:
    command = typer.main.get_command(app)
    code = command.main(
        args=list(arguments),
        prog_name=program,
        obj=given,
        standalone_mode=False,
    )
    sys.stdout.flush()
    return code if isinstance(code, int) else EXIT_OK


def _complain_of_usage(given: Given, error: click.UsageError) -> None:
    output = output_of(given)
    output.critical(words_once(error.format_message()))
    if error.ctx is not None:
        output.critical(f"'{error.ctx.command_path} --help' shows what is possible.")


def words_once(message: str) -> str:
    """Typer and click each add the same "Did you mean"."""
    said, hint, again = message.partition(" Did you mean ")
    return said + hint + again.split(hint, 1)[0] if hint else message


_TYPERS_OWN: Final = frozenset({"install_completion", "show_completion"})


def _add_global_options(command: click.Command) -> None:
    # Typer gives every application of its own two options for shell completion.
    command.params = [each for each in command.params if each.name not in _TYPERS_OWN]
    if isinstance(command, click.Group):
        for sub_command in command.commands.values():
            _add_global_options(sub_command)
    # A command may have its own option of the name, with another meaning.
    taken = {name for parameter in command.params for name in parameter.opts}
    command.params.extend(
        option
        for option in global_options(hidden=True)
        if taken.isdisjoint(option.opts)
    )
