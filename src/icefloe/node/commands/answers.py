"""The answers of `node setup`: from options, the environment and a file, in that order.

An option goes before the environment, the environment before a file, and each answer
keeps where it came from.  Variables are `ICEFLOE_<NAME>`, and those of the official
Icinga container, `ICINGA_<NAME>`, in which certificates are PEM text; several values
of one variable stand on lines of their own.  An empty variable counts as not set.

Everything is looked at before anything is refused: all problems are told at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from icefloe.errors import IcefloeError
from icefloe.node.commands.answer_file import AnswerFile
from icefloe.node.commands.questions import QUESTIONS, Kind, Question

__all__ = ["Answer", "Answers", "AnswersInvalid", "gather"]

_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"0", "false", "no", "off"})
_HIDDEN: Final = "(hidden)"


class AnswersInvalid(IcefloeError):
    """Answers that cannot be used; nothing was changed, and nobody was asked.

    Attributes:
        problems: Every one, a sentence each that says where the answer came from.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        assert problems, "an error has a reason"
        self.problems = problems
        text = problems[0]
        if len(problems) > 1:
            lines = "".join(f"\n  {each}" for each in problems)
            text = f"{len(problems)} things have to be corrected:{lines}"
        super().__init__(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, and where it came from.

    Attributes:
        value: `str`, `tuple[str, ...]`, `bool` or `float`, by the question's kind.
        source: `--cn`, `ICINGA_CN` or `setup.toml:3`.
        rank: 0 for an option, 1 for the environment, 2 for a file.
    """

    value: object = field(repr=False)
    source: str
    rank: int


@dataclass(frozen=True, slots=True)
class Answers:
    """Every answer that was given, by the names of `questions`."""

    given: Mapping[str, Answer]

    def text(self, name: str) -> str | None:
        """Return the answer to a question of texts; None when there is none."""
        value = self._value(name)
        assert value is None or isinstance(value, str)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the answers to a question that takes several."""
        value = self._value(name)
        assert value is None or isinstance(value, tuple)
        return value or ()

    def flag(self, name: str) -> bool:
        """Return the answer to a yes-or-no question; no answer is a no."""
        return bool(self._value(name))

    def number(self, name: str) -> float | None:
        """Return the answer to a question of numbers; None when there is none."""
        value = self._value(name)
        assert value is None or isinstance(value, int | float)
        return None if value is None else float(value)

    def source(self, name: str) -> str:
        """Return where an answer came from; the option where there is none."""
        answer = self.given.get(name)
        return QUESTIONS[name].spelled if answer is None else answer.source

    def lines(self) -> Iterator[tuple[str, str, str]]:
        """Yield name, value and source of each answer; no secret is among them."""
        for name, question in QUESTIONS.items():
            answer = self.given.get(name)
            if answer is not None:
                yield (
                    name,
                    _HIDDEN if question.secret else _shown(answer),
                    answer.source,
                )

    def _value(self, name: str) -> object:
        answer = self.given.get(name)
        return None if answer is None else answer.value


def gather(
    options: Mapping[str, object],
    environment: Mapping[str, str],
    file: AnswerFile | None,
) -> tuple[Answers, tuple[str, ...]]:
    """Put the answers together.

    Args:
        options: By the names of `questions`; None, or an empty sequence, for one that
            was not given.
        environment: The process's.
        file: What `--file` holds.

    Returns:
        The answers, and what is wrong with those that could not be understood.
    """
    problems: list[str] = [] if file is None else [*file.problems]
    given: dict[str, Answer] = {}
    for name, question in QUESTIONS.items():
        answer = _of_option(question, options.get(name))
        if answer is None:
            answer, problem = _of_environment(question, environment)
            if problem:
                problems.append(problem)
                continue
        if answer is None and file is not None and name in file.answers:
            value, source = file.answers[name], file.place(name)
            answer = Answer(value=value, source=source, rank=2)
        if answer is not None:
            given[name] = answer
    problems += _settle_ticket(given)
    return Answers(MappingProxyType(given)), tuple(problems)


# --- Parts ----------------------------------------------------------------------------


def _of_option(question: Question, value: object) -> Answer | None:
    if value is None:
        return None
    if isinstance(value, list | tuple):
        if not value:
            return None
        value = tuple(map(str, value))
    elif not isinstance(value, bool | int | float):
        value = str(value)
    return Answer(value=value, source=question.spelled, rank=0)


def _of_environment(
    question: Question, environment: Mapping[str, str]
) -> tuple[Answer | None, str]:
    """Return an answer of the environment, or what is wrong with it."""
    names = [question.variable]
    if question.container:
        names.append(f"ICINGA_{question.container}")
    for name in names:
        text = environment.get(name, "").strip()
        if not text:
            continue
        value, problem = _understood(question, text)
        if problem:
            return None, f"{name}: {problem}"
        return Answer(value=value, source=name, rank=1), ""
    return None, ""


def _understood(question: Question, text: str) -> tuple[object, str]:
    match question.kind:
        case Kind.FLAG:
            word = text.lower()
            known = word in _YES or word in _NO
            return (
                word in _YES,
                "" if known else "it has to be 1 or 0, or true or false",
            )
        case Kind.NUMBER:
            try:
                return float(text), ""
            except ValueError:
                return 0.0, "it has to be a number of seconds"
        case Kind.TEXTS:
            lines = (line.strip() for line in text.splitlines())
            return tuple(line for line in lines if line), ""
        case Kind.CERTIFICATES:
            if "-----BEGIN" in text:
                return (text + "\n",), ""
            lines = (line.strip() for line in text.splitlines())
            return tuple(line for line in lines if line), ""
        case Kind.TEXT:
            return text, ""


def _settle_ticket(given: dict[str, Answer]) -> Iterator[str]:
    """Let `ticket` and `ticket_file` be one question, answered once."""
    ticket, file = given.get("ticket"), given.get("ticket_file")
    if ticket is None or file is None:
        return
    if ticket.rank == file.rank:
        yield f"{ticket.source} and {file.source} exclude each other"
    del given["ticket_file" if ticket.rank <= file.rank else "ticket"]


def _shown(answer: Answer) -> str:
    value = answer.value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(
            "(PEM text)" if "-----BEGIN" in each else each for each in value
        )
    return str(value)
