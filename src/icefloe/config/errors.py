"""What can be wrong with a configuration.

    IcefloeError
      ConfigError         files that cannot be used: every problem, with its position
      LayoutError         directories or users that cannot be used
      PlanError           a wished change that cannot be written down
      FeatureUnknown      features that are not available

A problem shows the line it is about, because that saves the reader a step.  A line may
hold a secret (the ticket salt, an API password); such a line is cut before it is kept.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from icefloe.errors import IcefloeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in a file, as editors count.

    Attributes:
        line: From 1.
        column: From 1, in characters.
        text: The line without its end, or the part of a long one around the column;
            secrets and control characters replaced.
        caret: The column's place in `text`, from 1.
    """

    line: int
    column: int
    text: str
    caret: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigProblem:
    """One thing that is wrong, where, and what to do about it.

    Attributes:
        file: The file's path as it was opened.
        position: Where in the file, or None when the whole file is meant.
        message: What is wrong, without a full stop.
        remedy: What to do, as a sentence; may be empty.
    """

    file: str
    position: Position | None
    message: str
    remedy: str

    @classmethod
    def of_file(
        cls, file: os.PathLike[str], message: str, remedy: str = ""
    ) -> ConfigProblem:
        """A problem with a file as a whole."""
        return cls(file=os.fspath(file), position=None, message=message, remedy=remedy)

    def __str__(self) -> str:
        # Paths and names in them may hold anything.
        file, message = printable(self.file), printable(self.message)
        if self.position is None:
            lines = [f"{file}: {message}"]
        else:
            place = self.position
            number = str(place.line)
            caret = _caret_under(place.text, place.caret)
            lines = [
                f"{file}:{place.line}:{place.column}: {message}",
                f"  {number} | {place.text}",
                f"  {' ' * len(number)} | {caret}",
            ]
        if self.remedy:
            lines.append(f"  {printable(self.remedy)}")
        return "\n".join(lines)


class ConfigError(IcefloeError):
    """Configuration files that cannot be used, with every reason found.

    Attributes:
        problems: At least one.
    """

    def __init__(self, problems: tuple[ConfigProblem, ...]) -> None:
        assert problems, "an error has a reason"
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class LayoutError(IcefloeError):
    """A directory, file name or user that cannot be used."""


class PlanError(IcefloeError):
    """A wished change that cannot be written as configuration.

    Nothing was written.
    """


class FeatureUnknown(IcefloeError):
    """Features that have no file in `features-available`.

    Attributes:
        names: The unknown names, in the order they were asked for.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        assert names, "an error has a reason"
        super().__init__(names)
        self.names = names

    def __str__(self) -> str:
        return f"Cannot enable feature(s): {' '.join(map(printable, self.names))}"


def printable(text: str) -> str:
    """Replace what a terminal would act on: control characters and lone surrogates."""
    return "".join(
        character
        if character.isprintable() or character == "\t"
        else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def _caret_under(text: str, column: int) -> str:
    """A caret below that column; tabs stay tabs, so that it lines up."""
    before = text[: column - 1]
    return "".join("\t" if character == "\t" else " " for character in before) + "^"
