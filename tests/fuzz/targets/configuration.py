"""Icinga's language: any text ends in values or in problems with their places."""

from __future__ import annotations

from collections.abc import Sequence

from icefloe.config.errors import PlanError
from icefloe.config.evaluator import (
    Evaluation,
    IncludeFailure,
    evaluate,
)
from icefloe.config.lexer import LexicalError, tokens
from icefloe.config.parser import parse
from icefloe.config.printer import print_value
from icefloe.config.source import Source
from icefloe.config.syntax import Value
from tests.config.helpers import API, CONSTANTS, HOSTS, ICINGA2, NODE, SERVICES, ZONES

BYTES_MAX = 4096

SECRET = "hush9f3e"
SECRET_LOOKED_FOR_IN = 1000
"""Characters; the same text is evaluated twice more for it."""

VALUE_PRINTED_MAX = 10_000
"""Characters; sums can be a hundred times as large."""

SEEDS = {
    name: text.encode()
    for name, text in {
        "empty": "",
        "constants": CONSTANTS,
        "zones": ZONES,
        "api": API,
        "icinga2": ICINGA2,
        "hosts": HOSTS,
        "services": SERVICES,
        "values": 'const A = [ "a", 1.5, 2m, true, null, { b = -1, "c d" = [ ] } ]',
        "sums": 'const A = "a" + 1 + 2.5\nconst B = A + A + A\nconst C = 1h + 30m',
        "doubling": "\n".join(
            ['const A0 = "xxxxxxxxxxxxxxxx"']
            + [f"const A{n + 1} = A{n} + A{n}" for n in range(24)]
        ),
        "deep": "const A = " + "[" * 70 + "]" * 70,
        "deep-braces": "const A = " + "{ a = " * 70 + "1" + " }" * 70,
        "minuses": "const A = " + "-" * 1000 + "1",
        "parentheses": "const A = " + "(" * 63 + "1" + ")" * 63,
        "twice": 'object Zone "a" { }\nobject Zone "a" { }',
        "paths": 'object Zone "a" { vars.b["c"].d += 1, vars.b = 2 }',
        "through-text": 'object Zone "a" { vars = "x"\n vars.b = 1 }',
        "shared": 'const D = { a = 1 }\nobject Zone "a" { v = D\n v.b = 2 }\nconst E = D',
        "itself": "const A = A",
        "later": "const A = B\nconst B = 1",
        "include": 'include "other"\ninclude <itl>\ninclude_recursive "x", "*.conf"',
        "include-itself": 'include "test.conf"',
        "escapes": r'const A = "\"\\\n\t\r\b\f\101\303\274\0"',
        "bad-escapes": r'const A = "\x41"' + "\n" + r'const B = "\377"',
        "octal-400": r'const A = "\400"',
        "text-block": "const A = {{{ a\n \\ }} }}}",
        "unfinished-text": 'const A = "a\n',
        "unfinished-block": "const A = {{{ a",
        "unfinished-comment": "/* a",
        "comments": "# a\n// b\n/* c */ const A = 1 /* d\n */",
        "number": "const A = 1" + "0" * 400,
        "numbers": "const A = 1.5ms + 1d\nconst B = 1e5\nconst C = .5",
        "byte-order-mark": "\ufeffconst A = 1",
        "not-ascii": 'const \u00e4 = "\u00e4"\u2028',
        "nul": 'const A = "\0"\0',
        "bell": "const A = \x07",
        "keywords": "const if = 1\nconst @if = 1",
        "function": "function f(x) { return x }",
        "apply": "apply Service for (x => y in z) { assign where a && b }",
        "many-problems": "const = 1\n" * 60,
        "one-line": "const A=B;" * 200,
        "salt": f'const TicketSalt = "{SECRET}"',
        "salt-without-quotes": f"const TicketSalt = {SECRET}",
    }.items()
} | {"not-utf-8": b'const A = "\xff\xfe"', "windows": b"const A = 1\r\nconst B = 2\r\n"}


class _NoIncludes:
    """What is included: one small file, itself, or nothing."""

    def named(self, including: str, path: str) -> Sequence[Source]:
        if path == "other":
            return [Source("other", "const Other = 1\n")]
        if path == "test.conf":
            return [Source(including, 'include "test.conf"\n')]
        raise IncludeFailure("not here", "")

    def below(self, including: str, path: str, pattern: str) -> Sequence[Source]:
        del including, path, pattern
        return []


def check(data: bytes) -> None:
    """Cut, parse and evaluate a text; print its values and read them again."""
    text = data.decode(errors="replace")
    source = Source("test.conf", text)
    _check_tokens(source)
    parse(source)
    found = _evaluated(source)
    _check_problems(found, text)
    for value in found.constants.values():
        _check_printed(value)
    if len(text) < SECRET_LOOKED_FOR_IN:
        _check_secret(text)


def _evaluated(source: Source) -> Evaluation:
    predefined: dict[str, Value] = {"NodeName": NODE}
    return evaluate([source], includes=_NoIncludes(), predefined=predefined.get)


def _check_tokens(source: Source) -> None:
    position = 0
    try:
        for token in tokens(source):
            between = source.text[position : token.start]
            assert not between.strip(" \t\r") or between.lstrip()[:1] in {"/", "#"}
            assert source.text[token.start : token.end] == token.text
            position = token.end
    except LexicalError as error:
        assert error.problem.position is not None


def _check_problems(found: Evaluation, text: str) -> None:
    lines = text.count("\n") + 1
    assert len(found.problems) <= 2000
    for problem in found.problems:
        assert problem.message
        assert all(
            line.replace("\t", "").isprintable() for line in str(problem).split("\n")
        )
        if problem.position is not None and problem.file == "test.conf":
            assert 1 <= problem.position.line <= lines
            assert 1 <= problem.position.caret <= len(problem.position.text) + 1


def _is_small(value: Value) -> bool:
    """Whether its text is short: `[ A, A ]` doubles in a line as `A + A` does."""
    size = 0
    rest = [value]
    while rest and size <= VALUE_PRINTED_MAX:
        item = rest.pop()
        size += len(item) if isinstance(item, str) else 1
        if isinstance(item, list):
            rest += item
        if isinstance(item, dict):
            rest += [*item.values(), *item]
    return size <= VALUE_PRINTED_MAX


def _check_printed(value: Value) -> None:
    if not _is_small(value):
        return
    try:
        printed = print_value(value)
    except PlanError:
        return
    again = _evaluated(Source("again.conf", f"const X = {printed}\n"))
    if not again.problems:
        assert again.constants["X"] == value
    else:
        assert all("brackets within" in problem.message for problem in again.problems)


def _check_secret(text: str) -> None:
    """Nothing that surrounds a secret brings it into a message."""
    half = len(text) // 2
    before, after = text[:half], text[half:]
    for value in (f'"{SECRET}"', SECRET):
        source = Source("s.conf", f"{before}\nconst TicketSalt = {value}{after}")
        for problem in _evaluated(source).problems:
            assert SECRET not in str(problem) or SECRET in text
