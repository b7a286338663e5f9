"""How the lab looks on a screen: progress on standard error, results on standard output.

Progress is for somebody who watches: only on a terminal, and not where NO_COLOR asks
for a plain one.  Results are the same everywhere, without colours in a pipe.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Final, TextIO

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

PLAIN_WIDTH: Final = 110
"""Columns where there is no terminal to say: nothing of ours is wrapped in a file."""


def console(stream: TextIO) -> Console:
    """Return a console for results on `stream`."""
    width = None if stream.isatty() else PLAIN_WIDTH
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def is_watched(stream: TextIO) -> bool:
    """Say whether progress may be drawn on `stream`."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def fields_table(rows: Iterable[tuple[str, str]], *, title: str) -> Table:
    """Return names and values, one below the other."""
    table = Table(box=None, show_header=False)
    _entitle(table, title)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def columns_table(*headers: str, title: str) -> Table:
    """Return an empty table with these columns."""
    table = Table(box=SIMPLE, pad_edge=False)
    _entitle(table, title)
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def _entitle(table: Table, title: str) -> None:
    table.title, table.title_style, table.title_justify = title, "bold", "left"


class Bar:
    """A bar that advances by one; draws nothing where nobody watches."""

    def __init__(self, progress: Progress | None, total: int, what: str) -> None:
        self._progress = progress
        self._task = None if progress is None else progress.add_task(what, total=total)

    def advance(self) -> None:
        """Count one more."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task)


@contextlib.contextmanager
def bar(stream: TextIO, *, what: str, total: int) -> Iterator[Bar]:
    """Show how much of something is done."""
    if not is_watched(stream):
        yield Bar(None, total, what)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(file=stream),
        transient=True,
    ) as progress:
        yield Bar(progress, total, what)


@contextlib.contextmanager
def status(stream: TextIO, what: str) -> Iterator[None]:
    """Show what is going on, where somebody watches."""
    if not is_watched(stream):
        yield
        return
    with Console(file=stream).status(what):
        yield
