"""A page of tables and sentences, printed at once, as wide as the terminal.

Colours follow `--color`, the terminal and NO_COLOR, as for every command.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from typing import Final

from rich.console import Console, RenderableType
from rich.text import Text

from icefloe.cli.output import Output

__all__ = ["PLAIN_WIDTH", "Page"]

PLAIN_WIDTH: Final = 80
"""Columns where there is no terminal to say."""


class Page:
    """What is printed at the end, without the blanks that rich leaves behind."""

    def __init__(self, output: Output, *, plain_width: int = PLAIN_WIDTH) -> None:
        """Begin an empty page.

        Args:
            output: Where it goes.
            plain_width: Columns where there is no terminal.
        """
        stream = sys.stdout
        watched = stream.isatty()
        wanted = output.color
        colored = (
            watched and not os.environ.get("NO_COLOR") if wanted is None else wanted
        )
        width = shutil.get_terminal_size((plain_width, 24)).columns
        self._output = output
        self._text = io.StringIO()
        self._console = Console(
            file=self._text,
            width=width if watched else plain_width,
            force_terminal=colored,
            color_system="standard" if colored else None,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def print(self, what: RenderableType = "") -> None:
        """Add a line, which is not wrapped, or a table."""
        self._console.print(what, soft_wrap=isinstance(what, str | Text))

    def show(self) -> None:
        """Print all of it."""
        for line in self._text.getvalue().splitlines():
            self._output.result(line.rstrip())
