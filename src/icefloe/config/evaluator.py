"""A syntax tree to constants and objects.

Constants and object names are evaluated in the order of the files; an object's body is
evaluated after everything else, as Icinga does it (found by running 2.13.6), so that a
body may use a constant that a later file defines.

Sums follow Icinga: text and numbers join to text, numbers add, arrays and dictionaries
join, null is neutral, anything else is a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from icefloe.config.errors import ConfigProblem, printable
from icefloe.config.parser import ParsedFile, parse
from icefloe.config.source import Source
from icefloe.config.syntax import (
    ArrayDisplay,
    Assignment,
    Constant,
    DictionaryDisplay,
    Expression,
    Include,
    Literal,
    Name,
    Negation,
    ObjectDeclaration,
    Statement,
    Value,
)

INCLUDE_DEPTH_MAX = 16
"""Files that include files; Icinga itself overflows its stack on a loop."""

PROBLEMS_MAX = 200
"""Problems of all files together after which nothing more is evaluated."""

FILES_MAX = 1000
"""Files that one evaluation reads, so that a loop of wildcards ends."""

VALUE_CHARACTERS_MAX = 1_000_000
"""Size of a text that a sum may make: `const A = A0 + A0` doubles at each line."""

VALUE_ITEMS_MAX = 100_000
"""Size of an array or dictionary that a sum may make."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One attribute of an object: its value and where it was set last."""

    value: Value = field(repr=False)
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigObject:
    """One object as declared, its attributes not yet checked.

    Attributes:
        type_name: Such as "Endpoint".
        name: The object's name.
        attributes: By name.
        source: The file that declares it.
        start: The offset of the declaration in that file.
    """

    type_name: str
    name: str
    attributes: dict[str, Attribute]
    source: Source
    start: int

    def problem(self, message: str, remedy: str = "") -> ConfigProblem:
        """A problem with this object as a whole."""
        return self.source.problem(self.start, message, remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What some files say together.

    Attributes:
        constants: Constants and variables that the files define, by name.  Kept out
            of `repr`: the ticket salt is one.
        defined_at: Where each constant is defined; variables are left out.
        objects: In the order of their declarations, no two of one type and name.
        problems: Everything that is wrong; if there is any, the rest is incomplete.
    """

    constants: dict[str, Value] = field(repr=False)
    defined_at: dict[str, tuple[Source, int]] = field(repr=False)
    objects: tuple[ConfigObject, ...]
    problems: tuple[ConfigProblem, ...]


class IncludeFailure(Exception):
    """A file that cannot be included: what is wrong and what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class Includes(Protocol):
    """Finds and reads the files that a statement includes."""

    def named(self, including: str, path: str) -> Sequence[Source]:
        """The files of `include "path"` in the file `including`, sorted by name.

        Raises:
            IncludeFailure: When there is none and the path has no wildcard, or one
                cannot be read.
        """
        ...

    def below(self, including: str, path: str, pattern: str) -> Sequence[Source]:
        """The files of `include_recursive "path", "pattern"`, sorted.

        Raises:
            IncludeFailure: When the directory or one of its files cannot be read.
        """
        ...


def evaluate(
    files: Iterable[Source],
    *,
    includes: Includes,
    predefined: Callable[[str], Value],
) -> Evaluation:
    """Evaluate files one after the other, as Icinga reads them.

    Args:
        files: The files to begin with.
        includes: Finds what they include.
        predefined: The value of a name that Icinga knows by itself (`NodeName`,
            `ZonesDir`), or None; the files may define these names anew.

    Returns:
        Everything that the files say and everything that is wrong with them.
    """
    run = _Evaluation(includes, predefined)
    for source in files:
        run.file(parse(source), depth=0)
    return run.finish()


class ValueProblem(Exception):
    """An expression without a value; carries the problem to its reader."""

    def __init__(self, problem: ConfigProblem) -> None:
        super().__init__(problem)
        self.problem = problem


def evaluate_expression(
    source: Source, expression: Expression, lookup: Callable[[str], Value | Undefined]
) -> Value:
    """The value of one expression.

    Args:
        source: The text that the expression comes from.
        expression: What to evaluate.
        lookup: The value of a name, or `UNDEFINED`.

    Raises:
        ValueProblem: When a name is undefined or values cannot be added.
    """
    match expression:
        case Literal(value=value):
            return value
        case Name(identifier=identifier, start=start, end=end):
            found = lookup(identifier)
            if isinstance(found, Undefined):
                raise ValueProblem(
                    source.problem(
                        start,
                        f"{source.quoted(start, end)} is not defined here",
                        found.hint or _UNDEFINED_REMEDY,
                    )
                )
            return found
        case ArrayDisplay(items=items):
            return [evaluate_expression(source, item, lookup) for item in items]
        case DictionaryDisplay(entries=entries):
            dictionary: dict[str, Value] = {}
            for entry in entries:
                assign(source, dictionary, entry, lookup)
            return dictionary
        case Negation(operand=operand, start=start):
            number = evaluate_expression(source, operand, lookup)
            if type(number) is not float:
                raise ValueProblem(
                    source.problem(start, f"cannot negate {_kind(number)}")
                )
            return -number
    total = evaluate_expression(source, expression.terms[0], lookup)
    for term in expression.terms[1:]:
        total = _add(
            source, term.start, total, evaluate_expression(source, term, lookup)
        )
    return total


@dataclass(frozen=True, slots=True)
class Undefined:
    """No value of that name; `hint` says what may have been meant."""

    hint: str = ""


UNDEFINED = Undefined()

_UNDEFINED_REMEDY = (
    "Define it before with 'const NAME = value', or put it in quotes if it is a string."
)


def assign(
    source: Source,
    target: dict[str, Value],
    assignment: Assignment,
    lookup: Callable[[str], Value | Undefined],
) -> None:
    """Carry out one assignment on a dictionary.

    Raises:
        ValueProblem: When the value has none, or the path goes through something that
            is not a dictionary.
    """
    value = evaluate_expression(source, assignment.value, lookup)
    *outer, last = assignment.path
    for key in outer:
        inner = target.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ValueProblem(
                source.problem(
                    assignment.start,
                    f"'{printable(key)}' is {_kind(inner)}, not a dictionary",
                )
            )
        target = inner
    if assignment.adds:
        value = _add(source, assignment.start, target.get(last), value)
    target[last] = value


class _Evaluation:
    """One evaluation under way."""

    def __init__(self, includes: Includes, predefined: Callable[[str], Value]) -> None:
        self._includes = includes
        self._predefined = predefined
        self._constants: dict[str, Value] = {}
        self._defined_at: dict[str, tuple[Source, int]] = {}
        self._announced: dict[str, tuple[Source, int]] = {}
        self._declared: dict[tuple[str, str], tuple[Source, ObjectDeclaration]] = {}
        self._problems: list[ConfigProblem] = []
        self._files = 0

    def file(self, parsed: ParsedFile, *, depth: int) -> None:
        self._problems.extend(parsed.problems)
        for statement in parsed.statements:
            if isinstance(statement, Constant):
                place = (parsed.source, statement.start)
                self._announced.setdefault(statement.name, place)
        for statement in parsed.statements:
            if self._is_enough():
                return
            try:
                self._statement(parsed.source, statement, depth)
            except ValueProblem as error:
                self._problems.append(error.problem)

    def finish(self) -> Evaluation:
        objects = tuple(
            self._object(source, declaration, name)
            for (_, name), (source, declaration) in self._declared.items()
            if not self._is_enough()
        )
        return Evaluation(
            constants=self._constants,
            defined_at=self._defined_at,
            objects=objects,
            problems=tuple(self._problems),
        )

    def _is_enough(self) -> bool:
        return len(self._problems) >= PROBLEMS_MAX

    def _statement(self, source: Source, statement: Statement, depth: int) -> None:
        match statement:
            case Constant():
                self._define(source, statement)
            case Assignment():
                self._set_variable(source, statement)
            case ObjectDeclaration():
                self._declare(source, statement)
            case Include():
                self._include(source, statement, depth)

    def _lookup(self, name: str) -> Value | Undefined:
        if name in self._constants:
            return self._constants[name]
        value = self._predefined(name)
        if value is not None:
            return value
        if name in self._announced:
            source, start = self._announced[name]
            place = f"{source.name}:{source.line_of(start)}"
            if name in self._defined_at:
                return Undefined(f"Its definition at {place} has a problem itself.")
            return Undefined(f"Move its definition at {place} up, before its use.")
        return UNDEFINED

    def _define(self, source: Source, constant: Constant) -> None:
        if constant.name in self._defined_at:
            self._problems.append(self._twice(source, constant.start, constant.name))
            return
        try:
            self._constants[constant.name] = evaluate_expression(
                source, constant.value, self._lookup
            )
        finally:
            # Also after a problem, which must not be taken for a missing definition.
            self._defined_at[constant.name] = (source, constant.start)

    def _set_variable(self, source: Source, assignment: Assignment) -> None:
        """`NAME = value` in a file: Icinga makes a global variable of it."""
        name = assignment.path[0]
        if len(assignment.path) > 1:
            raise ValueProblem(
                source.problem(
                    assignment.start,
                    "a part of a global value cannot be changed",
                    f"Write the whole value where '{printable(name)}' is defined.",
                )
            )
        if name in self._defined_at:
            self._problems.append(self._twice(source, assignment.start, name))
            return
        assign(source, self._constants, assignment, self._lookup)

    def _twice(self, source: Source, start: int, name: str) -> ConfigProblem:
        first_source, first_start = self._defined_at[name]
        return source.problem(
            start,
            f"the constant '{printable(name)}' is already defined at"
            f" {first_source.name}:{first_source.line_of(first_start)}",
            "Keep one of the two definitions.",
        )

    def _declare(self, source: Source, declaration: ObjectDeclaration) -> None:
        kind = declaration.type_name
        if declaration.name is None:
            raise ValueProblem(
                source.problem(
                    declaration.start,
                    f"this {kind} has no name",
                    f'Write: object {kind} "name" {{ ... }}',
                )
            )
        name = evaluate_expression(source, declaration.name, self._lookup)
        if not isinstance(name, str) or not name or "!" in name:
            raise ValueProblem(
                source.problem(
                    declaration.start,
                    f"the name of this {kind} is not a usable string",
                    "A name is a string, not empty, without '!'.",
                )
            )
        first = self._declared.setdefault((kind, name), (source, declaration))
        if first[1] is not declaration:
            place = f"{first[0].name}:{first[0].line_of(first[1].start)}"
            raise ValueProblem(
                source.problem(
                    declaration.start,
                    f"the {kind} '{printable(name)}' is already declared at {place}",
                    "Keep one of the two declarations.",
                )
            )

    def _object(
        self, source: Source, declaration: ObjectDeclaration, name: str
    ) -> ConfigObject:
        values: dict[str, Value] = {}
        starts: dict[str, int] = {}
        for assignment in declaration.body:
            if self._is_enough():
                break
            starts[assignment.path[0]] = assignment.start
            try:
                assign(source, values, assignment, self._lookup)
            except ValueProblem as error:
                self._problems.append(error.problem)
        return ConfigObject(
            type_name=declaration.type_name,
            name=name,
            attributes={
                key: Attribute(value=value, start=starts[key])
                for key, value in values.items()
            },
            source=source,
            start=declaration.start,
        )

    def _include(self, source: Source, include: Include, depth: int) -> None:
        if include.system:
            # Icinga's own library declares commands and templates, nothing for us.
            return
        path = self._path(source, include.path)
        pattern = "*.conf"
        if include.pattern is not None:
            pattern = self._path(source, include.pattern)
        try:
            if include.recursive:
                found = self._includes.below(source.name, path, pattern)
            else:
                found = self._includes.named(source.name, path)
        except IncludeFailure as failure:
            raise ValueProblem(
                source.problem(include.start, failure.message, failure.remedy)
            ) from None
        self._files += len(found)
        if depth >= INCLUDE_DEPTH_MAX or self._files > FILES_MAX:
            raise ValueProblem(
                source.problem(
                    include.start,
                    "too many files include one another",
                    "Look for a file that includes itself.",
                )
            )
        for file in found:
            self.file(parse(file), depth=depth + 1)

    def _path(self, source: Source, expression: Expression) -> str:
        value = evaluate_expression(source, expression, self._lookup)
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValueProblem(
                source.problem(expression.start, "a path is a string, not empty")
            )
        return value


def _add(source: Source, start: int, left: Value, right: Value) -> Value:
    if left is None:
        return right
    if right is None:
        return left
    result: Value
    if type(left) is float and type(right) is float:
        result = left + right
        if abs(result) == float("inf"):
            raise ValueProblem(source.problem(start, "this sum is too large"))
        return result
    if isinstance(left, str | float) and isinstance(right, str | float):
        result = _text(left) + _text(right)
        size, size_max = len(result), VALUE_CHARACTERS_MAX
    elif isinstance(left, list) and isinstance(right, list):
        result = left + right
        size, size_max = len(result), VALUE_ITEMS_MAX
    elif isinstance(left, dict) and isinstance(right, dict):
        result = left | right
        size, size_max = len(result), VALUE_ITEMS_MAX
    else:
        raise ValueProblem(
            source.problem(start, f"cannot add {_kind(right)} to {_kind(left)}")
        )
    if size > size_max:
        raise ValueProblem(source.problem(start, "this sum is too large"))
    return result


def _text(value: str | float) -> str:
    """A number as Icinga writes it into text: whole ones plain, others with 6 digits."""
    if isinstance(value, str):
        return value
    return str(int(value)) if value.is_integer() else f"{value:f}"


def _kind(value: Value) -> str:
    """What a value is, for messages; never the value itself, it may be a secret."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
    return "a dictionary"
