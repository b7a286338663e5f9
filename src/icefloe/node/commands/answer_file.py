"""The file of answers for `node setup`: TOML, or YAML where a reader for it is installed.

    cn = "web1.example.org"
    zone = "web1.example.org"
    parent_zone = "dmz"
    parent_host = ["sat1.example.org", "sat2.example.org,5666"]
    trustedcert = "sat1.crt"
    ticket_file = "/run/secrets/ticket"
    accept_commands = true

    [[endpoint]]
    name = "sat1"
    host = "sat1.example.org"

Every problem of a file is found, not only the first, and each names its line.
"""

from __future__ import annotations

import difflib
import importlib
import re
import stat
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from icefloe.node.commands.questions import QUESTIONS, Kind, Question, canonical_key

__all__ = [
    "ANSWER_FILE_BYTES_MAX",
    "STANDARD_INPUT",
    "AnswerFile",
    "is_open_to_all",
    "read_answer_file",
]

ANSWER_FILE_BYTES_MAX: Final = 1024 * 1024
"""Answers and some certificates are a few kilobytes."""

STANDARD_INPUT: Final = Path("-")

_YAML: Final = frozenset({".yaml", ".yml"})

_ACTIONS: Final = frozenset(
    {"dry_run", "rotate_key", "verify", "json", "file", "config_dir", "data_dir"}
)
"""What is said on the command line alone: it is about one run, not about the node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFile:
    """What a file answers.

    Attributes:
        name: As it was given, for messages.
        answers: By the names of `questions`: `str`, `tuple[str, ...]`, `bool` or
            `float`, by the question's kind.  Kept out of `repr`: may hold a ticket.
        lines: The line of each answer, where it was found.
        problems: What cannot be used, each with its place.
        warnings: What somebody should know.
    """

    name: str
    answers: Mapping[str, object] = field(default_factory=dict, repr=False)
    lines: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def place(self, name: str) -> str:
        """Return where an answer stands: `setup.toml:3`."""
        line = self.lines.get(name)
        return self.name if line is None else f"{self.name}:{line}"


def read_answer_file(path: Path) -> AnswerFile:
    """Read a file of answers; `-` is standard input, which holds TOML.

    Paths of certificates and of the ticket in it are seen from its directory.

    Returns:
        What it answers, and what is wrong with it; never an error.
    """
    name = "standard input" if path == STANDARD_INPUT else str(path)
    try:
        content, open_to_all = _content(path)
    except OSError as error:
        reason = error.strerror or str(error)
        return AnswerFile(name=name, problems=(f"{name}: cannot be read: {reason}",))
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return AnswerFile(name=name, problems=(f"{name}:{line}: it is not UTF-8",))
    if len(content) > ANSWER_FILE_BYTES_MAX:
        problem = f"{name}: it is longer than {ANSWER_FILE_BYTES_MAX} bytes"
        return AnswerFile(name=name, problems=(problem,))
    is_yaml = path.suffix.lower() in _YAML
    parsed, problem = (_yaml if is_yaml else _toml)(text)
    if problem:
        return AnswerFile(name=name, problems=(f"{name}: {problem}",))
    found = _Reader(name, text, path.parent, ":" if is_yaml else "=").read(parsed)
    if open_to_all and "ticket" in found.answers:
        warning = (
            f"{found.place('ticket')}: this file holds a ticket and everybody can read "
            f"it: chmod 0600 '{name}', or use ticket_file"
        )
        return AnswerFile(
            name=name,
            answers=found.answers,
            lines=found.lines,
            problems=found.problems,
            warnings=(warning,),
        )
    return found


def _content(path: Path) -> tuple[bytes, bool]:
    """Return what a file holds, and whether everybody may read it."""
    if path == STANDARD_INPUT:
        return sys.stdin.buffer.read(ANSWER_FILE_BYTES_MAX + 1), False
    with path.open("rb") as source:
        content = source.read(ANSWER_FILE_BYTES_MAX + 1)
    return content, is_open_to_all(path)


def is_open_to_all(path: Path) -> bool:
    """Say whether everybody may read a file; a pipe of a shell is nobody else's.

    Raises:
        OSError: The operating system objects.
    """
    mode = path.stat().st_mode
    return stat.S_ISREG(mode) and bool(mode & stat.S_IROTH)


def _toml(text: str) -> tuple[Mapping[str, Any], str]:
    try:
        return tomllib.loads(text), ""
    except tomllib.TOMLDecodeError as error:
        # Its message quotes at most a character, or a key, of the file.
        return {}, f"it is not TOML: {error}"
    except (ValueError, RecursionError):  # a number without end, brackets in brackets
        return {}, "it is not TOML that can be read"


def _yaml(text: str) -> tuple[Mapping[str, Any], str]:
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:
        return {}, (
            "reading YAML needs PyYAML, which is not installed: install icefloe[yaml], "
            "or write the same answers as TOML"
        )
    try:
        parsed = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (at line {mark.line + 1})" if mark is not None else ""
        # The whole message would quote the line, which may hold a ticket.
        return {}, f"it is not YAML: {getattr(error, 'problem', '') or 'broken'}{line}"
    except (ValueError, TypeError, RecursionError):  # a date that is none, and worse
        return {}, "it is not YAML that can be read"
    if parsed is None:
        return {}, ""
    if not isinstance(parsed, dict):
        return {}, "it holds no keys with answers"
    return {str(key): value for key, value in parsed.items()}, ""


@dataclass(slots=True)
class _Reader:
    """Makes answers of what a file holds."""

    name: str
    text: str
    directory: Path
    assigns: str
    answers: dict[str, object] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def read(self, parsed: Mapping[str, Any]) -> AnswerFile:
        for key, value in parsed.items():
            self._read(key, value)
        return AnswerFile(
            name=self.name,
            answers=self.answers,
            lines=self.lines,
            problems=tuple(self.problems),
        )

    def _read(self, key: str, value: object) -> None:
        line = self._line_of(key)
        place = self.name if line is None else f"{self.name}:{line}"
        name = canonical_key(key)
        question = QUESTIONS.get(name)
        if question is None:
            self.problems.append(f"{place}: {_unknown(key, name)}")
            return
        if name in self.answers:
            self.problems.append(f"{place}: '{key}' answers '{name}' a second time")
            return
        answer, problem = _answer(question, value)
        if problem:
            self.problems.append(f"{place}: {key} {problem}")
            return
        if question.kind is Kind.CERTIFICATES or name == "ticket_file":
            answer = self._seen_from_here(answer)
        self.answers[name] = answer
        if line is not None:
            self.lines[name] = line

    def _line_of(self, key: str) -> int | None:
        quoted = re.escape(key)
        pattern = rf"^\s*(?:\[\[?\s*)?[\"']?{quoted}[\"']?\s*(?:{self.assigns}|\.|\]|$)"
        found = re.search(pattern, self.text, re.MULTILINE)
        if found is None:
            return None
        start = found.start() + len(found[0]) - len(found[0].lstrip())
        return self.text.count("\n", 0, start) + 1

    def _seen_from_here(self, answer: object) -> object:
        """Let relative paths begin at the file's directory."""
        if isinstance(answer, tuple):
            return tuple(map(self._seen_from_here, answer))
        if not isinstance(answer, str) or "-----BEGIN" in answer or answer == "-":
            return answer
        return str(self.directory / answer)


def _unknown(key: str, name: str) -> str:
    if name in _ACTIONS:
        option = f"--{name.replace('_', '-')}"
        return f"'{key}' is about one run: it is given as the option {option}"
    near = difflib.get_close_matches(name, QUESTIONS, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    known = "" if near else f"; known are {', '.join(QUESTIONS)}"
    return f"there is no answer '{key}'{hint}{known}"


def _answer(question: Question, value: object) -> tuple[object, str]:
    """Return an answer, or what is wrong with it.  No value is quoted: see `secret`."""
    wrong = f"has to be {question.kind.value}"
    match question.kind:
        case Kind.FLAG:
            return value, "" if isinstance(value, bool) else wrong
        case Kind.NUMBER:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            return value, "" if number else wrong
        case Kind.TEXT:
            return _text(question, value, wrong)
        case Kind.TEXTS | Kind.CERTIFICATES:
            each = value if isinstance(value, list) else [value]
            answers = [_text(question, one, wrong) for one in each]
            problem = next((text for _, text in answers if text), "")
            return tuple(text for text, _ in answers), problem


def _text(question: Question, value: object, wrong: str) -> tuple[str, str]:
    if isinstance(value, str):
        return value, ""
    if isinstance(value, dict) and question.parts:
        return _joined(question, value)
    if isinstance(value, dict):
        return "", f"{wrong}, not a table"
    return "", wrong


def _joined(question: Question, table: Mapping[Any, object]) -> tuple[str, str]:
    """Make `sat1,192.0.2.1,5665` of a table."""
    parts = question.parts
    shape = f"has to be a table with {', '.join(parts)}"
    if not {str(key) for key in table} <= set(parts):
        return "", shape
    values = [table.get(part, "") for part in parts]
    if any(
        isinstance(each, bool) or not isinstance(each, str | int) for each in values
    ):
        return "", f"{shape}, of texts and numbers"
    texts = [str(each) for each in values]
    if any("," in each for each in texts):
        return "", f"{shape}, without commas"
    if not texts[0]:
        return "", f"{shape}, of which '{parts[0]}' is needed"
    return ",".join(texts).rstrip(","), ""
