"""`icefloe node wizard`: set this node up by answering questions.

The same engine as `node setup`; here are only questions and words.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Annotated

import typer

from icefloe.cli.app import EXIT_OK
from icefloe.cli.invocation import invocation
from icefloe.cli.key_types import KeyTypeOption
from icefloe.cli.output import LogLevel
from icefloe.cli.setting import setting_of
from icefloe.cli.wizard_asking import TerminalAsker, asker_for
from icefloe.cli.wizard_running import Wizard
from icefloe.cli.wizard_screen import Screen
from icefloe.storage.keys import KeyType

__all__ = ["EPILOG", "wizard"]

EPILOG = """\b
Example:
  icefloe node wizard

\b
Nothing is changed before you have seen a summary and said yes. Ctrl-C ends it at any
time (exit code 130) and says what is there; run again, it goes on with the same key.

\b
Where standard input is no terminal, answers are read line by line in the order of
Icinga's wizard; an empty line, or none, takes the default. No summary is confirmed.

\b
The same without questions: icefloe node setup --help. A guide with a whole run:
docs/first-node.md."""


def wizard(
    ctx: typer.Context,
    *,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Also print each file that is written.")
    ] = False,
    key_type: KeyTypeOption = KeyType.EC,
) -> None:
    """Set up this node by answering questions: agent, satellite or master."""
    given = invocation(ctx)
    # protocol: Icinga's wizard shows no log lines but critical ones, unless asked.
    level = LogLevel.INFORMATION if verbose else LogLevel.WARNING
    output = replace(given.output, level=level)
    color = given.output.color
    if color is None:
        color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    asker = asker_for(color=color)
    # Lines about files would fall into what is drawn.
    live = isinstance(asker, TerminalAsker) and not verbose
    screen = Screen(color=color, live=live)
    code = Wizard(asker, screen, setting_of(given, output), key_type).run()
    if code != EXIT_OK:
        raise typer.Exit(code)
