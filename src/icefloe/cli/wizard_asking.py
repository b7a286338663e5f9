"""How the wizard gets its answers: at a terminal, or line by line from a pipe.

Three ways, one interface (`Asker`):

* `TerminalAsker`, with line editing, completion and validation while one types
  (prompt_toolkit, imported here and nowhere else, and only when it is used);
* `LineAsker` with `patient`, for a terminal that cannot do that (`TERM=dumb`, or
  standard output is not the terminal): what is wrong is said after the line;
* `LineAsker` for a pipe or a file.  protocol: Icinga's wizard reads its answers like
  that; an answer that is not there counts as an empty one.  Icinga then asks a required
  question for ever; here that ends the wizard, and so does an answer that cannot be
  used, for what follows would answer other questions.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

from icefloe.cli.wizard_questions import Question, Validator, yes_or_no
from icefloe.errors import IcefloeError

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.document import Document

__all__ = [
    "Asker",
    "Choice",
    "LineAsker",
    "NoAnswer",
    "TerminalAsker",
    "asker_for",
]

_TRIES_MAX: Final = 100
"""Of one question; nobody types so many, and a loop of a machine ends."""


class NoAnswer(IcefloeError):
    """Standard input has no usable answer to a question that needs one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing that can be done: its letter, and what it is."""

    letter: str
    text: str


class Asker(Protocol):
    """Asks one question at a time.

    Each raises KeyboardInterrupt on Ctrl-C, EOFError on Ctrl-D at a terminal, and
    NoAnswer where no further answer can come.

    Attributes:
        interactive: Whether somebody is there who can be asked again.
    """

    interactive: bool

    def text(
        self,
        question: Question,
        *,
        default: str | None,
        validate: Validator,
        completions: Sequence[str] = (),
        hint: Validator | None = None,
        secret: bool = False,
    ) -> str:
        """Ask for a text; `default` is what an empty answer means, None: no default."""
        ...

    def yes(self, question: Question, *, strict: bool = False) -> bool:
        """Ask for yes or no; strict: only a plain yes is one."""
        ...

    def choose(self, text: str, choices: Sequence[Choice]) -> str:
        """Ask for one of several letters; the first one is the default."""
        ...


def asker_for(*, color: bool) -> Asker:
    """Return how answers are got here and now."""
    if not sys.stdin.isatty():
        return LineAsker(patient=False)
    plain = os.environ.get("TERM", "dumb") in {"", "dumb", "unknown"}
    if plain or not sys.stdout.isatty():
        return LineAsker(patient=True)
    return TerminalAsker(color=color)


# --- At a terminal --------------------------------------------------------------------


class TerminalAsker:
    """Asks with prompt_toolkit."""

    interactive = True

    def __init__(self, *, color: bool) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.output import ColorDepth

        depth = None if color else ColorDepth.DEPTH_1_BIT
        self._session: PromptSession[str] = PromptSession(color_depth=depth)

    def text(
        self,
        question: Question,
        *,
        default: str | None,
        validate: Validator,
        completions: Sequence[str] = (),
        hint: Validator | None = None,
        secret: bool = False,
    ) -> str:
        """Ask for a text; see `Asker`."""

        def problem(text: str) -> str:
            if not text:
                return "an answer is needed" if default is None else ""
            return validate(text)

        shown = f" [{default}]" if default else ""
        typed = self._prompt(
            f"{question.text}{shown}: ",
            problem,
            completions=completions,
            hint=hint,
            secret=secret,
        )
        return typed or default or ""

    def yes(self, question: Question, *, strict: bool = False) -> bool:
        """Ask for yes or no; see `Asker`."""
        del strict  # here nothing but a plain answer is taken
        default = bool(question.default)

        def problem(text: str) -> str:
            if not text or yes_or_no(text) is not None:
                return ""
            if "yes".startswith(text.lower()) or "no".startswith(text.lower()):
                return ""
            return "y or n"

        while True:
            typed = self._prompt(f"{question.text} {_yes_no(question)}: ", problem)
            answer = default if not typed else yes_or_no(typed)
            if answer is not None:
                return answer

    def choose(self, text: str, choices: Sequence[Choice]) -> str:
        """Ask for one of several letters; see `Asker`."""
        letters = [each.letter for each in choices]

        def problem(typed: str) -> str:
            return "" if not typed or typed in letters else f"one of {_or(letters)}"

        return self._prompt(f"{text} [{letters[0]}]: ", problem) or letters[0]

    def _prompt(
        self,
        message: str,
        problem: Validator,
        *,
        completions: Sequence[str] = (),
        hint: Validator | None = None,
        secret: bool = False,
    ) -> str:
        from prompt_toolkit.application import get_app
        from prompt_toolkit.completion import WordCompleter
        from prompt_toolkit.shortcuts import CompleteStyle

        def toolbar() -> str:
            text = get_app().current_buffer.text.strip()
            said = hint(text) if hint is not None else ""
            keys = "Tab completes - " if completions else ""
            return f" {said}" if said else f" {keys}Ctrl-C ends the wizard"

        completer = WordCompleter(list(completions), sentence=True)
        typed: str = self._session.prompt(
            message,
            validator=_validator(problem),
            validate_while_typing=True,
            completer=completer if completions else None,
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            bottom_toolbar=toolbar,
            is_password=secret,
            reserve_space_for_menu=0,
        )
        return typed.strip()


def _validator(problem: Validator) -> Any:
    """Make prompt_toolkit's validator of one of ours."""
    from prompt_toolkit.validation import ValidationError
    from prompt_toolkit.validation import Validator as Base

    class OfOurs(Base):
        def validate(self, document: Document) -> None:
            text = document.text.strip()
            said = problem(text)
            # While one types, nothing typed is nothing wrong: Enter tells.
            if said:
                raise ValidationError(message=said, cursor_position=len(document.text))

    return OfOurs()


# --- Line by line ---------------------------------------------------------------------


class LineAsker:
    """Prints a question and reads a line.

    Attributes:
        interactive: Somebody is there: a wrong answer is asked for again.
    """

    def __init__(self, *, patient: bool, stream: TextIO | None = None) -> None:
        self.interactive = patient
        self._stream = stream or sys.stdin

    def text(
        self,
        question: Question,
        *,
        default: str | None,
        validate: Validator,
        completions: Sequence[str] = (),
        hint: Validator | None = None,
        secret: bool = False,
    ) -> str:
        """Ask for a text; see `Asker`."""
        del completions
        shown = f" [{default}]" if default else ""
        for _ in range(_TRIES_MAX):
            line = self._line(f"{question.text}{shown}: ", secret=secret)
            if not line:  # empty, or there is none
                if default is not None:
                    return default
                if line is None:
                    raise NoAnswer(
                        f"There is no answer to '{question.text}', which needs one: "
                        "standard input has ended. Nothing was changed."
                    )
                # protocol: Icinga asks again, and reads the next line.
                continue
            problem = validate(line)
            if not problem:
                said = hint(line) if hint is not None else ""
                if said:
                    print(f"  note: {said}")
                return line
            self._refuse(question.text, problem)
        raise NoAnswer(f"No usable answer to '{question.text}'. Nothing was changed.")

    def yes(self, question: Question, *, strict: bool = False) -> bool:
        """Ask for yes or no; see `Asker`.

        protocol: Icinga takes every answer with an `n` (or `y`, where no is the
        default) for one; only the parent's certificate wants a plain `y`.
        """
        default = bool(question.default)
        for _ in range(_TRIES_MAX):
            line = self._line(f"{question.text} {_yes_no(question)}: ")
            if not line:
                return default
            answer = yes_or_no(line)
            if answer is None and not self.interactive:
                other = ("n" if default else "y") in line.lower()
                answer = False if strict else default ^ other
            if answer is not None:
                return answer
            self._refuse(question.text, "y or n")
        return False

    def choose(self, text: str, choices: Sequence[Choice]) -> str:
        """Ask for one of several letters; see `Asker`."""
        letters = [each.letter for each in choices]
        for _ in range(_TRIES_MAX):
            line = self._line(f"{text} [{letters[0]}]: ")
            if not line:
                return letters[0]
            if line.lower() in letters:
                return line.lower()
            self._refuse(text, f"one of {_or(letters)}")
        return letters[-1]

    def _refuse(self, question: str, problem: str) -> None:
        if not self.interactive:
            raise NoAnswer(
                f"The answer to '{question}' cannot be used: {problem}. "
                "Nothing was changed."
            )
        print(f"  not possible: {problem}")

    def _line(self, prompt: str, *, secret: bool = False) -> str | None:
        """Read a line; None when there is none.

        Raises:
            EOFError: Ctrl-D of somebody at a terminal.
        """
        if self.interactive and secret:
            return getpass.getpass(prompt).strip()
        print(prompt, end="", flush=True)
        line = self._stream.readline()
        if not line:
            print()
            if self.interactive:
                raise EOFError
            return None
        if not self.interactive:
            print()  # what was read does not show
        return line.strip()


def _yes_no(question: Question) -> str:
    return "[Y/n]" if question.default else "[y/N]"


def _or(letters: Sequence[str]) -> str:
    return ", ".join(letters[:-1]) + f" or {letters[-1]}"
