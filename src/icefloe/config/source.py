"""A configuration file's text, and positions in it that are safe to show."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field

from icefloe.config.errors import ConfigProblem, Position, printable

LINE_SHOWN_MAX = 160
"""Characters of a line that an error shows; more does not help a reader."""

LINE_LOOKED_AT_MAX = 4096
"""Characters of a line beyond which none of it is shown.  People write no such lines."""

_SECRET_NAME = re.compile(r"salt|pass|secret|token|ticket|key", re.IGNORECASE)

# A secret's value begins after the assignment, or with a quote where there is none.
_VALUE_BEGIN = re.compile(r"=|(?=\"|\{\{\{)")

# The name of another constant that is itself called a secret gives nothing away; any
# other bare word may be a salt whose quotes were forgotten.
_HARMLESS_VALUE = re.compile(r"[^\S\n]*TicketSalt\b[\s;,}]*|\s*")

_LOOK_BACK = 4096
"""Characters before a line among which the start of its statement is looked for."""

# Where a statement or an attribute starts, as far as that can be told from a line
# alone.  Used to find out what a value belongs to, also where nothing could be parsed.
_STATEMENT_START = re.compile(
    r"^[^\S\n]*(?:(?://|\#)[^\S\n]*)?"
    r"(?:const\b|object\b|@?[A-Za-z_][\w.]*[^\S\n]*\+?=)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one configuration file.

    Attributes:
        name: The file's path as it was opened; for messages and relative includes.
        text: The whole text, decoded.  Kept out of `repr`: it may hold secrets.
    """

    name: str
    text: str = field(repr=False)
    _line_starts: list[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        starts = [0]
        starts.extend(match.end() for match in re.finditer("\n", self.text))
        object.__setattr__(self, "_line_starts", starts)

    def line_of(self, offset: int) -> int:
        """The number, from 1, of the line that holds this offset."""
        return bisect_right(self._line_starts, offset)

    def line_start(self, offset: int) -> int:
        """The offset at which the line that holds this offset begins."""
        return self._line_starts[self.line_of(offset) - 1]

    def line_end(self, offset: int) -> int:
        """The offset of the newline (or of the end) after this offset."""
        line = self.line_of(offset)
        if line < len(self._line_starts):
            return self._line_starts[line] - 1
        return len(self.text)

    def find_assignment(self, name: str, start: int) -> int:
        """The offset of `name =` behind an offset; of that itself when there is none.

        For a message about a part of a value, whose own position is not kept.
        """
        pattern = (
            rf"(?<![\w.\"]){re.escape(name)}(?=\s*=)|\"{re.escape(name)}\"(?=\s*=)"
        )
        found = re.compile(pattern).search(self.text, start)
        return found.start() if found is not None else start

    def position(self, offset: int) -> Position:
        """The position of an offset, with its line as it may be shown.

        A line that belongs to a secret's value is cut where the value begins, and of
        a very long line nothing is shown.
        """
        line_start = self.line_start(offset)
        line_end = self.line_end(offset)
        column = offset - line_start + 1
        shown_to = self._secret_from(offset)
        if shown_to is None:
            text = self.text[line_start:line_end]
        else:
            text = self.text[line_start : line_start + shown_to] + "***"
            column = min(column, shown_to + 1)
        text = printable(text.removesuffix("\r"))
        column = min(column, len(text) + 1)
        start = max(0, column - LINE_SHOWN_MAX // 2)
        if len(text) <= LINE_SHOWN_MAX:
            start = 0
        return Position(
            line=self.line_of(offset),
            column=column,
            text=text[start : start + LINE_SHOWN_MAX],
            caret=column - start,
        )

    def safe_lines(self) -> tuple[str, ...]:
        """Every line as it may be shown: secrets and control characters replaced.

        A long line is cut, and of a very long one nothing is shown.
        """
        ends = (self.line_end(start) for start in self._line_starts)
        shown = [
            self.position(start).text + ("..." if end - start > LINE_SHOWN_MAX else "")
            for start, end in zip(self._line_starts, ends, strict=True)
        ]
        # What stands behind the last newline is no line when there is nothing.
        return tuple(shown if not self.text.endswith("\n") else shown[:-1])

    def problem(self, offset: int, message: str, remedy: str = "") -> ConfigProblem:
        """A problem at an offset of this text."""
        return ConfigProblem(
            file=self.name,
            position=self.position(offset),
            message=message,
            remedy=remedy,
        )

    def quoted(self, start: int, end: int) -> str:
        """A piece of the text in quotes for a message, or "this" for a secret one."""
        secret_from = self._secret_from(start)
        if secret_from is not None and start >= self.line_start(start) + secret_from:
            return "this"
        return f"'{printable(self.text[start:end])}'"

    def _secret_from(self, offset: int) -> int | None:
        """The column (from 0) from which that line may not be shown, if any.

        A value may stand on a later line than its name, so the search begins at the
        last line that looks like the start of a statement.
        """
        line_start = self.line_start(offset)
        line_end = self.line_end(offset)
        if line_end - line_start > LINE_LOOKED_AT_MAX:
            # Looking through it for each of its problems would take for ever.
            return 0
        statement = line_start
        window = max(0, line_start - _LOOK_BACK)
        for match in _STATEMENT_START.finditer(self.text, window, line_end):
            if match.start() <= line_start:
                statement = match.start()
        segment = self.text[statement:line_end]
        named = _SECRET_NAME.search(segment)
        if named is None:
            return None
        begin = _VALUE_BEGIN.search(segment, named.end())
        if begin is None or _HARMLESS_VALUE.fullmatch(segment, begin.end()):
            return None
        return max(0, statement + begin.end() - line_start)
