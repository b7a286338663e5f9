r"""Values to text in Icinga's configuration language: the way back from `evaluator`.

Everything that goes into a generated file goes through here, so that a name cannot
become configuration (GHSA-jgqj-x5j9-vgcm).  What is printed is read back as the same
value by `evaluator` and by Icinga.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from icefloe.config.errors import PlanError
from icefloe.config.lexer import KEYWORDS
from icefloe.config.syntax import Value

_ESCAPES = {
    '"': r"\"",
    "\\": r"\\",
    "\n": r"\n",
    "\t": r"\t",
    "\r": r"\r",
    "\b": r"\b",
    "\f": r"\f",
}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def print_string(text: str) -> str:
    r"""A string literal, quotes included; always on one line.

    A control character becomes an octal escape.  Icinga takes every digit after a
    backslash for part of the escape, so digits that follow one are escaped too.

    Raises:
        PlanError: When the text cannot be encoded as UTF-8.
    """
    check_encodable(text)
    parts: list[str] = []
    after_octal = False
    for character in text:
        plain = _ESCAPES.get(character)
        is_control = character < " " or character == "\x7f"
        is_digit = "0" <= character <= "9"
        after_octal = plain is None and (is_control or (is_digit and after_octal))
        parts.append(f"\\{ord(character):03o}" if after_octal else plain or character)
    return f'"{"".join(parts)}"'


def print_value(value: Value) -> str:
    """An expression that comes to this value; always on one line.

    Raises:
        PlanError: For text that is not UTF-8 and for numbers that are not finite.
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return print_string(value)
        case float():
            return _print_number(value)
        case list():
            return print_array(value)
    if not value:
        return "{ }"
    entries = (f"{print_string(k)} = {print_value(v)}" for k, v in value.items())
    return "{ " + ", ".join(entries) + " }"


def print_array(items: Sequence[Value]) -> str:
    """An array in Icinga's own form: `[ "a", "b" ]`."""
    if not items:
        return "[ ]"
    return "[ " + ", ".join(print_value(item) for item in items) + " ]"


def print_object(type_name: str, name: str, attributes: Mapping[str, Value]) -> str:
    """An object declaration in Icinga's own form, indented by tabs, with a line end.

    Args:
        type_name: Such as "Zone"; a plain name.
        name: Any text.
        attributes: By plain name, in the order to print.

    Raises:
        PlanError: When a value cannot be printed.
    """
    assert _NAME.fullmatch(type_name), "types are named by our own code"
    lines = [f"object {type_name} {print_string(name)} {{"]
    for key, value in attributes.items():
        assert _NAME.fullmatch(key), "attributes are named by our own code"
        assert key not in KEYWORDS, "attributes are named by our own code"
        lines.append(f"\t{key} = {print_value(value)}")
    lines.append("}")
    return "\n".join(lines) + "\n"


def print_constant(name: str, value: Value) -> str:
    """`const NAME = value`, without a line end.

    Raises:
        PlanError: When the value cannot be printed.
    """
    assert _NAME.fullmatch(name), "constants are named by our own code"
    assert name not in KEYWORDS, "constants are named by our own code"
    return f"const {name} = {print_value(value)}"


def print_comment(text: str) -> str:
    """Line comments, one for each line of the text, each with a line end."""
    lines = re.split(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", text)
    return "".join(f"// {line}".rstrip() + "\n" for line in lines)


def check_encodable(text: str) -> None:
    """Refuse text that cannot be written to a file.

    Raises:
        PlanError: When it holds a lone surrogate, as an argument of a command does
            that was not UTF-8.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise PlanError("a name or value is not valid UTF-8") from None


def _print_number(value: float) -> str:
    """Digits without an exponent, which Icinga does not know."""
    if value != value or abs(value) == float("inf"):  # noqa: PLR0124 (NaN)
        raise PlanError("a number is not finite")
    if value.is_integer():
        return str(int(value))
    return format(Decimal(repr(value)), "f")
