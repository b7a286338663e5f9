"""What stands in the configuration that Icefloe does not evaluate.

A real Icinga node reads much more than three files.  Three things in the rest matter
here, and are looked for without understanding the rest:

* Host and Service objects: whoever runs this node without checking them stops their
  monitoring unnoticed, so the daemon refuses to start.
* The names in `client_cn` of API users: a certificate for such a name is an API login,
  so the signer reserves them.
* Endpoint and Zone objects: they would be missing in our zone tree.

The search is lexical and cautious: a declaration counts wherever Icinga might read it,
also in a branch that it never takes; comments and strings do not count.  Searched are
`icinga2.conf` with all it includes (so `conf.d` counts only when it is included),
`zones.d`, what a parent synced to `api/zones`, and the active stages of
`api/packages`.  Icinga's own library is not: it declares commands and templates.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from icefloe.config.errors import ConfigProblem, printable
from icefloe.config.evaluator import (
    INCLUDE_DEPTH_MAX,
    UNDEFINED,
    Undefined,
    ValueProblem,
    evaluate_expression,
)
from icefloe.config.layout import NodeDirectories
from icefloe.config.lexer import Kind, LexicalError, Token, tokens
from icefloe.config.parser import ParseError, parse_expression
from icefloe.config.source import Source
from icefloe.config.sources import (
    SourceUnreadable,
    files_below,
    is_directory,
    list_directory,
    named_files,
    read_source,
)
from icefloe.config.syntax import Value

MONITORING_TYPES = frozenset({"Host", "Service"})
"""Types of which a node that checks nothing must have no objects."""

CLUSTER_TYPES = frozenset({"Endpoint", "Zone"})
"""Types that belong into `zones.conf`, where Icefloe reads them."""

DECLARATIONS_MAX = 100
"""Declarations kept of each group; one is reason enough, a hundred are a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """An object declared somewhere.

    Attributes:
        keyword: "object" or "apply".
        type_name: Such as "Host".
        name: The name as far as it can be told from the text, else "".
        file: The file's path.
        line: From 1.
    """

    keyword: str
    type_name: str
    name: str
    file: str
    line: int

    def __str__(self) -> str:
        name = f' "{printable(self.name)}"' if self.name else ""
        return f"{self.file}:{self.line}: {self.keyword} {self.type_name}{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declarations:
    """What a search found.

    Attributes:
        monitoring: Declarations of Host and Service objects, at most
            `DECLARATIONS_MAX`.
        cluster: Declarations of Endpoint and Zone objects, at most as many.
        client_names: Every name that a `client_cn` reserves.
        problems: Files that could not be searched, and `client_cn` values that could
            not be read.  As long as there is one, the rest may be incomplete.
    """

    monitoring: tuple[Declaration, ...]
    cluster: tuple[Declaration, ...]
    client_names: frozenset[str]
    problems: tuple[ConfigProblem, ...]


def search(
    directories: NodeDirectories, constants: Callable[[str], Value]
) -> Declarations:
    """Search everything that Icinga would read.

    Args:
        directories: The node's directories; what does not exist is left out.
        constants: The value of a constant known beforehand, or None; constants of
            the searched files are found on the way.
    """
    run = _Search(constants)
    # Not `exists()`: a link to nowhere is a problem, not a missing file.
    if os.path.lexists(directories.icinga2_conf):
        run.file(directories.icinga2_conf, depth=0)
    run.directory(directories.zones_d, depth=0)
    run.directory(directories.api_zones, depth=0)
    run.packages(directories.api_packages)
    return run.result()


def _active_stage(package: Path) -> Path:
    """The directory of a package that Icinga reads.

    A package keeps its old stages beside the active one, whose name stands in
    `active-stage`.  Where that cannot be told, the whole package counts.
    """
    try:
        name = (package / "active-stage").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return package
    if not name or "/" in name or "\0" in name or name in {".", ".."}:
        return package
    stage = package / name
    return stage if is_directory(stage) else package


class _Unshown(Source):
    """A text of which no problem is shown: what is not understood here need not be.

    To find a problem's place, and what may be shown of it, costs more than to read the
    text; a file of another program's may have a hundred thousand of them.
    """

    __slots__ = ()

    def problem(self, offset: int, message: str, remedy: str = "") -> ConfigProblem:
        del offset
        return ConfigProblem(
            file=self.name, position=None, message=message, remedy=remedy
        )

    def quoted(self, start: int, end: int) -> str:
        del start, end
        return "this"


@dataclass(slots=True)
class _Search:
    """One search under way."""

    known: Callable[[str], Value]
    monitoring: list[Declaration] = field(default_factory=list)
    cluster: list[Declaration] = field(default_factory=list)
    client_names: set[str] = field(default_factory=set)
    problems: list[ConfigProblem] = field(default_factory=list)
    constants: dict[str, Value] = field(default_factory=dict)
    searched: set[str] = field(default_factory=set)
    unshown: _Unshown | None = None

    def result(self) -> Declarations:
        return Declarations(
            monitoring=tuple(self.monitoring),
            cluster=tuple(self.cluster),
            client_names=frozenset(self.client_names),
            problems=tuple(self.problems),
        )

    def packages(self, packages: Path) -> None:
        """Search the active stages of all packages."""
        with self._noting(packages):
            for package in list_directory(packages):
                self.directory(_active_stage(package), depth=0)

    def directory(self, path: Path, *, depth: int, pattern: str = "*.conf") -> None:
        """Search a directory and everything below it; a missing one holds nothing."""
        with self._noting(path):
            if is_directory(path):
                for file in files_below(path, pattern):
                    self.file(file, depth=depth)

    def file(self, path: Path, *, depth: int) -> None:
        """Search a file and what it includes, once."""
        real = os.path.realpath(path)
        if real in self.searched:
            return
        self.searched.add(real)
        with self._noting(path):
            if depth > INCLUDE_DEPTH_MAX:
                raise SourceUnreadable("too many files include one another", "")
            self._text(read_source(path, strict=False), depth)

    @contextmanager
    def _noting(self, path: Path) -> Iterator[None]:
        """Note what keeps a path from being searched."""
        try:
            yield
        except LexicalError as error:
            self.problems.append(error.problem)
        except SourceUnreadable as failure:
            self.problems.append(failure.problem(path))

    def _text(self, source: Source, depth: int) -> None:
        full = len(self.monitoring) >= DECLARATIONS_MAX
        if full and "client_cn" not in source.text and "include" not in source.text:
            return
        stream = list(tokens(source))
        for index, token in enumerate(stream):
            if token.kind is Kind.KEYWORD:
                match token.text:
                    case "object" | "apply":
                        self._declaration(source, stream, index)
                    case "include" | "include_recursive" | "include_zones":
                        self._include(source, stream, index, depth)
                    case "const":
                        self._constant(source, stream, index + 1)
            elif token.text == "client_cn" and token.kind is Kind.NAME:
                self._client_name(source, stream, index)

    def _declaration(self, source: Source, stream: list[Token], index: int) -> None:
        keyword, type_token = stream[index], stream[index + 1]
        type_name = type_token.text.removeprefix("@")
        if type_name in MONITORING_TYPES:
            group = self.monitoring
        elif type_name in CLUSTER_TYPES and keyword.text == "object":
            group = self.cluster
        else:
            return
        if len(group) < DECLARATIONS_MAX:
            group.append(
                Declaration(
                    keyword=keyword.text,
                    type_name=type_name,
                    name=self._name(source, stream, index + 2),
                    file=source.name,
                    line=source.line_of(keyword.start),
                )
            )

    def _name(self, source: Source, stream: list[Token], index: int) -> str:
        """The name in a declaration: its value, or the expression's first word."""
        if stream[index].kind not in {Kind.STRING, Kind.TEXT_BLOCK, Kind.NAME}:
            return ""
        value = self._value(source, stream, index)
        return value if isinstance(value, str) else stream[index].text

    def _client_name(self, source: Source, stream: list[Token], index: int) -> None:
        """`client_cn = value`, wherever it stands (but not `x.client_cn`)."""
        operator = stream[index + 1].text
        if operator not in {"=", "+="} or stream[index - 1].text == ".":
            return
        value = self._value(source, stream, index + 2) if operator == "=" else None
        if isinstance(value, str):
            self.client_names.add(value)
            return
        if len(self.problems) >= DECLARATIONS_MAX:
            return  # one is reason enough
        self.problems.append(
            source.problem(
                stream[index].start,
                "cannot tell which certificate name this API user has",
                "Write client_cn as a string, so that the name can be reserved.",
            )
        )

    def _constant(self, source: Source, stream: list[Token], index: int) -> None:
        if stream[index].kind is Kind.NAME and stream[index + 1].is_symbol("="):
            value = self._value(source, stream, index + 2)
            if not isinstance(value, Undefined):
                self.constants.setdefault(stream[index].text, value)

    def _include(
        self, source: Source, stream: list[Token], index: int, depth: int
    ) -> None:
        """Any include statement: search the files that it means."""
        keyword = stream[index].text
        if stream[index + 1].kind is Kind.SYSTEM_PATH:
            return
        words = self._words(source, stream, index + 1)
        if keyword == "include_zones":
            # Its first word names the zones' origin and is no path.
            words = words[1:]
        if not words:
            if len(self.problems) >= DECLARATIONS_MAX:
                return
            self.problems.append(
                source.problem(
                    stream[index].start,
                    "cannot tell which files are included here",
                    "Write the path as a string, so that the files can be searched.",
                )
            )
            return
        if keyword == "include":
            with self._noting(Path(source.name)):
                for file in named_files(source.name, words[0]):
                    self.file(file, depth=depth + 1)
            return
        self.directory(
            Path(source.name).parent / words[0],
            depth=depth + 1,
            pattern=words[1] if len(words) > 1 else "*.conf",
        )

    def _words(self, source: Source, stream: list[Token], index: int) -> list[str]:
        """The strings of `word, word, word`; ends before the first that is none."""
        words: list[str] = []
        unshown = self._unshown(source)
        while True:
            try:
                expression, index = parse_expression(unshown, stream, index)
                value = evaluate_expression(unshown, expression, self._lookup)
            except (ParseError, ValueProblem):
                return words
            if not isinstance(value, str) or not value or "\0" in value:
                return words
            words.append(value)
            if not stream[index].is_symbol(","):
                return words
            index += 1

    def _value(
        self, source: Source, stream: list[Token], index: int
    ) -> Value | Undefined:
        """The value of the expression that begins there, if that can be told."""
        unshown = self._unshown(source)
        try:
            expression, _ = parse_expression(unshown, stream, index)
            return evaluate_expression(unshown, expression, self._lookup)
        except (ParseError, ValueProblem):
            return UNDEFINED

    def _unshown(self, source: Source) -> _Unshown:
        if self.unshown is None or self.unshown.text is not source.text:
            self.unshown = _Unshown(source.name, source.text)
        return self.unshown

    def _lookup(self, name: str) -> Value | Undefined:
        value = self.constants.get(name)
        if value is None:
            value = self.known(name)
        return UNDEFINED if value is None else value
