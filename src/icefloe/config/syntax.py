"""The syntax tree of what Icefloe reads of Icinga's configuration language.

Offsets count characters from the start of the text; `start` is where a node begins.
"""

from __future__ import annotations

from dataclasses import dataclass

Value = str | float | bool | None | list["Value"] | dict[str, "Value"]
"""What an expression can come to.

Every number is a float (never an int, so that no number is mistaken for a boolean);
a time is a number of seconds.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal:
    """A string, number, boolean or null."""

    value: str | float | bool | None
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A constant or variable, by name; `end` is the offset after it."""

    identifier: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayDisplay:
    """`[ a, b ]`."""

    items: tuple[Expression, ...]
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DictionaryDisplay:
    """`{ a = 1, b = 2 }`."""

    entries: tuple[Assignment, ...]
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Negation:
    """`-a`."""

    operand: Expression
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """`a + b + c`: at least two terms, added from left to right."""

    terms: tuple[Expression, ...]
    start: int


Expression = Literal | Name | ArrayDisplay | DictionaryDisplay | Negation | Sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """`path = value` or `path += value`, in an object, a dictionary or a file.

    Attributes:
        path: The name, and the keys below it: `a.b` and `a["b"]` are ("a", "b").
        adds: Whether it is `+=`.
        value: The right-hand side.
        start: Where the path begins.
    """

    path: tuple[str, ...]
    adds: bool
    value: Expression
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """`const NAME = value`."""

    name: str
    value: Expression
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectDeclaration:
    """`object Type name { ... }`; `name` is None when it was left out."""

    type_name: str
    name: Expression | None
    body: tuple[Assignment, ...]
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Include:
    """`include "path"`, `include <path>`, `include_recursive "path", "pattern"`.

    Attributes:
        path: The file, files (with wildcards) or directory.
        system: Whether it was written `<path>`: a part of Icinga's own library.
        recursive: Whether it is `include_recursive`.
        pattern: The wildcard of names taken by `include_recursive`, if given.
        start: Where the statement begins.
    """

    path: Expression
    system: bool
    recursive: bool
    pattern: Expression | None
    start: int


Statement = Constant | Assignment | ObjectDeclaration | Include
