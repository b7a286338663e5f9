"""What commands print.

protocol: Icinga's commands print log lines, `severity/facility: text`, on standard
output among their results, and tools look for some of these lines.  So information
lines of ours have the same form and go there too.  Warnings and failures go to
standard error: a tool that takes standard output for a ticket or a table gets nothing
else there.  (Icinga prints them on standard output as well; see docs/differences.md.)
"""

from __future__ import annotations

import enum
import os
import sys
from dataclasses import dataclass, replace
from typing import Final, TextIO

import click


class LogLevel(enum.Enum):
    """What `--log-level` takes; Icinga's words."""

    DEBUG = "debug"
    NOTICE = "notice"
    INFORMATION = "information"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def number(self) -> int:
        """The daemon's number for it."""
        return _NUMBERS[self]


_NUMBERS: Final = {
    LogLevel.DEBUG: 10,
    LogLevel.NOTICE: 15,
    LogLevel.INFORMATION: 20,
    LogLevel.WARNING: 30,
    LogLevel.CRITICAL: 50,
}
"""Those of the `logging` module, which the daemon's logger filters by."""

_COLORS: Final = {
    LogLevel.DEBUG: "cyan",
    LogLevel.NOTICE: "blue",
    LogLevel.INFORMATION: "green",
    LogLevel.WARNING: "yellow",
    LogLevel.CRITICAL: "red",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where a command's words go.

    Attributes:
        level: Lines below it are not printed.
        color: True and False say so; None asks the terminal and `NO_COLOR`.
        quiet_stdout: Standard output is for one result alone (`--json`): every line
            goes to standard error.
    """

    level: LogLevel = LogLevel.INFORMATION
    color: bool | None = None
    quiet_stdout: bool = False

    def for_one_result(self, *, alone: bool = True) -> Output:
        """Return an output that keeps standard output for the result."""
        return replace(self, quiet_stdout=alone)

    # Lines.

    def debug(self, text: str, *, facility: str = "cli") -> None:
        """Print a line for who looks for a fault."""
        self._line(LogLevel.DEBUG, facility, text)

    def information(self, text: str, *, facility: str = "cli") -> None:
        """Print a line that tells what was done."""
        self._line(LogLevel.INFORMATION, facility, text)

    def warning(self, text: str, *, facility: str = "cli") -> None:
        """Print a line that asks for attention."""
        self._line(LogLevel.WARNING, facility, text)

    def critical(self, text: str, *, facility: str = "cli") -> None:
        """Print a line that tells why it did not work."""
        self._line(LogLevel.CRITICAL, facility, text)

    # Results.

    def result(self, text: str, *, newline: bool = True) -> None:
        """Print what the command was called for, at any log level."""
        click.echo(text, nl=newline, color=self._colored(sys.stdout))

    def _line(self, level: LogLevel, facility: str, text: str) -> None:
        if level.number < self.level.number:
            return
        loud = level.number >= LogLevel.WARNING.number
        stream = sys.stderr if loud or self.quiet_stdout else sys.stdout
        severity = click.style(level.value, fg=_COLORS[level], bold=loud)
        line = f"{severity}/{facility}: {text}"
        click.echo(line, file=stream, color=self._colored(stream))

    def _colored(self, stream: TextIO) -> bool:
        if self.color is not None:
            return self.color
        return stream.isatty() and not os.environ.get("NO_COLOR")
