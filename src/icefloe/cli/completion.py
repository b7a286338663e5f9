"""`icefloe completion`: have the shell complete commands, options and their values.

The script asks the program at each Tab, by the variable `_ICEFLOE_COMPLETE`: what the
program knows the shell knows, also after an upgrade.
"""

from __future__ import annotations

import enum
from typing import Annotated, Final

import click
import typer
from click.shell_completion import (
    BashComplete,
    FishComplete,
    ShellComplete,
    ZshComplete,
)

from icefloe.cli.app import COMPLETION_VARIABLE, CONTEXT
from icefloe.cli.invocation import invocation

_PROGRAM: Final = "icefloe"

app = typer.Typer(context_settings=CONTEXT, rich_markup_mode=None)


class Shell(enum.Enum):
    """The shells whose language we speak."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


# Click's own.  Typer puts others, with another protocol, in their place as soon as one
# of its applications is made into a command.
_MAKERS: Final[dict[Shell, type[ShellComplete]]] = {
    Shell.BASH: BashComplete,
    Shell.ZSH: ZshComplete,
    Shell.FISH: FishComplete,
}


@app.command(
    epilog="""\b
For everybody on this machine, as root:
  icefloe completion bash > /etc/bash_completion.d/icefloe
  icefloe completion zsh > /usr/local/share/zsh/site-functions/_icefloe
  icefloe completion fish > /etc/fish/completions/icefloe.fish

\b
For this shell alone:
  source <(icefloe completion bash)

\b
bash needs the package bash-completion to read that directory, and version 4.4."""
)
def completion(
    ctx: typer.Context,
    shell: Annotated[Shell, typer.Argument(help="Yours.", show_default=False)],
) -> None:
    """Print the script by which a shell completes 'icefloe' at Tab."""
    invocation(ctx).output.result(script(shell), newline=False)


def script(shell: Shell) -> str:
    """Return the script for a shell, in that shell's language."""
    maker = _MAKERS[shell](click.Command(_PROGRAM), {}, _PROGRAM, COMPLETION_VARIABLE)
    # Not `source()`, which would start a bash to see how old it is.
    return (maker.source_template % maker.source_vars()).strip() + "\n"


def answer(program: click.Command, instruction: str) -> str | None:
    """Return what the script is to be answered; None for a question that is none.

    Args:
        program: The whole of it.
        instruction: What the variable holds, such as `bash_complete`; the words are in
            other variables of the environment.
    """
    shell, _, what = instruction.partition("_")
    if what != "complete" or shell not in {each.value for each in Shell}:
        return None
    maker = _MAKERS[Shell(shell)](program, {}, _PROGRAM, COMPLETION_VARIABLE)
    try:
        maker.get_completion_args()
    except (LookupError, ValueError):
        # Another than our script asks: no words, or no number of the one at the cursor.
        return None
    return maker.complete()
