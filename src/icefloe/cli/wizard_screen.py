"""How the wizard looks: headings, checks, the parent's certificate, the summary.

Everything is plain lines, at most 100 columns wide and wrapped where the terminal is
narrower, so that 80x24, a dumb terminal, a pipe and a screen reader all get the same
text.  Colour only repeats what a word says already.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
from cryptography import x509

from icefloe.cli.problem_words import Case
from icefloe.node.commands.changes import Changes, TicketFate
from icefloe.node.commands.checks import Check
from icefloe.pki.certificates import describe

__all__ = ["Screen"]

_WIDTH_MAX: Final = 100
_WIDTH_MIN: Final = 40
_INDENT: Final = "  "

_VERDICTS: Final = {
    True: ("ok", "green"),
    None: ("note", "yellow"),
    False: ("FIX", "red"),
}

_TICKET: Final = {
    TicketFate.STAYS: "",
    TicketFate.STORED: "kept for the daemon until there is a certificate",
    TicketFate.REMOVED: "removed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Prints the wizard's words on standard output.

    Attributes:
        color: Whether with colours.
        live: Whether what goes on may be drawn over: somebody watches a terminal.
    """

    color: bool
    live: bool

    @property
    def width(self) -> int:
        """Columns to fill; one is left free, where some terminals wrap."""
        columns = shutil.get_terminal_size((80, 24)).columns - 1
        return max(_WIDTH_MIN, min(columns, _WIDTH_MAX))

    # Words.

    def heading(self, text: str) -> None:
        """Begin a part."""
        self._print("")
        self._print(self._style(text, bold=True))

    def text(self, text: str, *, indent: str = "") -> None:
        """Print a paragraph."""
        for line in self._wrapped(text, indent, indent):
            self._print(line)

    def blank(self) -> None:
        """Leave a line free."""
        self._print("")

    def why(self, text: str) -> None:
        """Say what the next question is for."""
        self._print("")
        for line in self._wrapped(text, "", ""):
            self._print(self._style(line, dim=True))

    def alarm(self, text: str) -> None:
        """Say what went wrong."""
        for line in self._wrapped(text, "", _INDENT):
            self._print(self._style(line, fg="red"))

    def item(self, label: str, text: str, *, color: str = "", pad: int = 10) -> None:
        """Print a label and what it is about, wrapped beside it."""
        room = max(pad, len(label) + 1)
        first, *rest = self._wrapped(text, " " * (room + 2), " " * (room + 2)) or [""]
        shown = self._style(label, fg=color) if color else label
        self._print(_INDENT + shown + " " * (room - len(label)) + first.strip())
        for line in rest:
            self._print(line)

    def raw(self, text: str) -> None:
        """Print lines as they are: something to copy."""
        for line in text.splitlines():
            self._print(f"{_INDENT}{line}".rstrip())

    # Parts.

    def check(self, check: Check) -> None:
        """Print one line of the preflight, and below it how to mend it."""
        word, color = _VERDICTS[check.ok]
        begin = f"{_INDENT}{word:<5}{check.name:<14}"
        first, *rest = self._wrapped(check.detail, begin, " " * len(begin))
        shown = self._style(word, fg=color)
        self._print(first.replace(word, shown, 1))
        for line in rest:
            self._print(line)
        if check.fix and check.ok is not True:
            code = f" ({check.code})" if check.ok is False and check.code else ""
            pad = " " * len(begin)
            for line in self._wrapped(f"-> {check.fix}{code}", pad, pad + "   "):
                self._print(line)

    def certificate(self, certificate: x509.Certificate) -> None:
        """Print the block that `pki save-cert` prints, long values wrapped."""
        self._print("")
        for label, value in describe(certificate):
            begin = f" {label + ':':<20} "
            for line in self._wrapped(value, begin, " " * len(begin)) or [begin]:
                self._print(line.rstrip())

    def case(self, case: Case) -> None:
        """Say what went wrong, where, and what to do."""
        self.alarm(f"{case.problem.title}: {case.detail}")
        self.item("where", case.where)
        self.item("code", case.problem.code)
        self.item("next", case.next_step)

    def summary(self, lines: Sequence[tuple[str, str]], changes: Changes) -> None:
        """Print what was answered, and every file that would change."""
        for label, value in lines:
            self.item(label, value, pad=17)
        self._print("")
        self.item("key, certificate", changes.identity.detail, pad=17)
        if _TICKET[changes.ticket]:
            self.item("ticket", _TICKET[changes.ticket], pad=17)
        for label, paths in _files(changes):
            for path in paths:
                self.item(label, str(path), pad=17)

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show that something goes on, where somebody watches."""
        if not self.live:
            yield
            return
        from rich.console import Console

        console = Console(file=sys.stdout, no_color=not self.color, highlight=False)
        with console.status(text, spinner="line", spinner_style="none"):
            yield

    # Inside.

    def _wrapped(self, text: str, first: str, rest: str) -> list[str]:
        return textwrap.wrap(
            text,
            self.width,
            initial_indent=first,
            subsequent_indent=rest,
            break_on_hyphens=False,
            break_long_words=False,  # a path is there to be copied
        )

    def _style(self, text: str, **style: object) -> str:
        return click.style(text, **style) if self.color else text  # type: ignore[arg-type]

    def _print(self, line: str) -> None:
        # Not click.echo: that goes past what is drawn while something goes on.
        print(line, flush=True)


def _files(changes: Changes) -> Iterator[tuple[str, Sequence[Path]]]:
    yield "new file", [each.path for each in changes.files if each.is_new]
    yield "changed file", [each.path for each in changes.files if not each.is_new]
    yield "new link", [each.path for each in changes.links]
    yield "removed", changes.removals
