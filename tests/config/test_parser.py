from __future__ import annotations

import pytest
from hypothesis import given

from icefloe.config.parser import NESTING_MAX, PROBLEMS_MAX, parse
from icefloe.config.source import Source
from icefloe.config.syntax import (
    Assignment,
    Constant,
    Include,
    Literal,
    Name,
    ObjectDeclaration,
)
from tests.config.helpers import configuration_text, messages_of, value_of

# A real icinga2 is asked about these, too (test_real_icinga).
ICINGA_TAKES = [
    "",
    "\n\n",
    "const X = 1;",
    "const X = 1,",
    "const X = 1, const Y = 2",
    "const X = 1; const Y = 2\n",
    "const X = 1 // c\nconst Y = 2",
    "const X = (1\n+ 2)",
    "const X = [\n// c\n1, /* d */\n2,\n]",
    "const X = [ ]",
    "const X = {\n\n}",
    "const X = { a = 1, b = 2; c = 3\n\nd = 4, }",
    'const X = { "a b" = 1, c.d = 2, e["f"] = 3, @object = 4 }',
    'object Zone "z" { global = true, }',
    'object Zone "z"{}',
    'object Zone "a" + NodeName + ("b") { }',
    "X = 1",
    "const @object = 1",
    'object Zone "z" {\r\n global = true\r\n}\r\n',
]

ICINGA_REFUSES = [
    'object Endpoint "e" { host = "x" port = "y" }',
    'object Endpoint "e"\n{\n}',
    'object Endpoint "e" {\n}object Zone "z" { }',
    'object Zone "z" { ; }',
    'object Zone "z" { "global" = true }',
    'object Zone "z" { parent: "x" }',
    'object "Zone" "z" { }',
    "const X = 1 +\n 2",
    "const X = [ 1 +\n 2 ]",
    "const X = [ 1\n , 2 ]",
    "const X = [ , 1 ]",
    "const X = [ 1 2 ]",
    "const X =\n 1",
    "const\nX = 1",
    'const "X" = 1',
    "const X.y = 1",
    "const a-b = 1",
    "const X = 1 const Y = 2",
    'const X = "a" "b"',
    "const X = ()",
    "const X = { a = 1,, b = 2 }",
    "const X = { a = 1 b = 2 }",
    "const X = { a\n = 2 }",
    "const X = { a = {}}",
    "const X = { object = 1 }",
    "const X = 5 m",
    "const X = 1e5",
    "const X = 'a'",
    "const X = 1 /* \n */ const Y = 2",
    ";",
    "\n;",
    "const é = 1",
    "const X = ",
    "object Zone",
    'object Zone "z" {',
    'include_recursive("sub", "*.txt")',
    'const X = include "y"',
    r'const X = "\x"',
]


def statements(text: str) -> list[object]:
    parsed = parse(Source("f", text))
    assert parsed.problems == ()
    return list(parsed.statements)


def problems(text: str) -> list[str]:
    return [problem.message for problem in parse(Source("f", text)).problems]


def test_constant_is_parsed() -> None:
    assert statements("const X = Y") == [
        Constant(name="X", value=Name(identifier="Y", start=10, end=11), start=0)
    ]


def test_object_with_a_constant_as_its_name_is_parsed() -> None:
    assert statements("object Zone ZoneName {\n\tglobal = true\n}\n") == [
        ObjectDeclaration(
            type_name="Zone",
            name=Name(identifier="ZoneName", start=12, end=20),
            body=(
                Assignment(
                    path=("global",),
                    adds=False,
                    value=Literal(value=True, start=33),
                    start=24,
                ),
            ),
            start=0,
        )
    ]


@pytest.mark.parametrize(
    "text, system, recursive, path, pattern",
    [
        ('include "a.conf"', False, False, "a.conf", None),
        ("include <itl>", True, False, "itl", None),
        ('include_recursive "conf.d"', False, True, "conf.d", None),
        ('include_recursive "d", "*.txt"', False, True, "d", "*.txt"),
    ],
)
def test_include_is_parsed(
    text: str, *, system: bool, recursive: bool, path: str, pattern: str | None
) -> None:
    (include,) = statements(text)
    assert isinstance(include, Include)
    assert (include.system, include.recursive) == (system, recursive)
    assert isinstance(include.path, Literal)
    assert include.path.value == path
    found = include.pattern.value if isinstance(include.pattern, Literal) else None
    assert found == pattern


@pytest.mark.parametrize("text", ICINGA_TAKES)
def test_text_that_icinga_takes_is_taken(text: str) -> None:
    statements(text)


@pytest.mark.parametrize("text", ICINGA_REFUSES)
def test_text_that_icinga_refuses_is_refused(text: str) -> None:
    assert len(problems(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "const X = 1 - 2",
        "const X = 2 * 3",
        "const X = !true",
        "const X = a.b",
        "const X = a[0]",
        'const X = "a" == "a"',
        "const X = {{ 1 }}",
        "const X = (a) => a",
        "if (true) { }",
        "for (a in b) { }",
        "function f() { }",
        "var x = 1",
        "globals.x = 1",
        'template Zone "z" { }',
        'object Zone "z" { import "x" }',
        'object Zone "z" { if (true) { global = true } }',
        'object Zone "z" ignore_on_error { }',
        'apply Service "x" { }',
        'library "db_ido"',
        'include_zones "etc", "zones.d"',
        "namespace N { }",
        "const X = f()",
        "log(1)",
        "X -= 1",
    ],
)
def test_rest_of_the_language_is_refused_with_its_position(text: str) -> None:
    found = parse(Source("f", text))
    assert found.problems
    assert all(problem.position for problem in found.problems)


def test_message_says_what_was_expected_and_found() -> None:
    assert messages_of('const X = "a"\nconst Y = if') == [
        "2:11: expected a value, found 'if'"
    ]
    assert messages_of('object Zone "z" {\n\tglobal = true') == [
        "2:15: expected a line end, ',', ';' or '}', found the end of file"
    ]
    assert messages_of('const X = "a" "b"') == [
        "1:15: expected the end of the line, found a string"
    ]


@pytest.mark.parametrize(
    "text, remedy",
    [
        ("const X = { a = {}}", "blank between"),
        ("\ufeffconst X = 1", "byte order mark"),
        ("const X = é", "ASCII"),
        ("const X = 1 const Y = 2", "only Icinga 2 reads"),
        ("const X = a b", "quotes"),
        ("const X = 1 * 2", "only Icinga 2 reads"),
        ("const X = )", ""),
    ],
)
def test_problem_says_what_to_do(text: str, remedy: str) -> None:
    (problem,) = parse(Source("f", text)).problems
    assert remedy in problem.remedy


def test_one_look_shows_the_problems_of_several_statements() -> None:
    text = (
        "const A = *\n"
        'object Zone "z" {\n  foo bar\n  bar foo\n}\n'
        "const B = 1\n"
        "const C = %\n"
    )
    parsed = parse(Source("f", text))
    assert [p.position.line for p in parsed.problems if p.position] == [1, 3, 7]
    assert [s.name for s in parsed.statements if isinstance(s, Constant)] == ["B"]


def test_problems_of_one_file_are_bounded() -> None:
    assert len(problems("const A = *\n" * 1000)) == PROBLEMS_MAX


@pytest.mark.parametrize("opening", ["[", "(", "-", "{ a = "])
def test_nesting_is_bounded(opening: str) -> None:
    closing = {"[": "]", "(": ")", "-": "", "{ a = ": " }"}[opening]
    inner = NESTING_MAX
    statements(f"const X = {opening * inner}1{closing * inner}")
    inner += 1
    (message,) = problems(f"const X = {opening * inner}1{closing * inner}")
    assert message == f"more than {NESTING_MAX} brackets within brackets"
    assert problems(f"const X = {opening * 100_000}")


def test_number_too_large_for_a_float_is_refused() -> None:
    assert problems(f"const X = {'9' * 400}") == ["this number is too large"]


@pytest.mark.parametrize(
    "text, value",
    [
        ("1", 1.0),
        ("007", 7.0),
        ("1.50", 1.5),
        ("5ms", 0.005),
        ("5s", 5.0),
        ("1.5m", 90.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("true", True),
        ("false", False),
        ("null", None),
        ('{{{a"\nb}}}', 'a"\nb'),
    ],
)
def test_literal_has_its_value(text: str, value: object) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


@given(configuration_text)
def test_no_text_makes_the_parser_raise(text: str) -> None:
    parsed = parse(Source("f", text))
    for problem in parsed.problems:
        assert problem.position is not None
        str(problem)
