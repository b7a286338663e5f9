from __future__ import annotations

import pytest
from hypothesis import given

from icefloe.config.evaluator import (
    PROBLEMS_MAX,
    VALUE_CHARACTERS_MAX,
    VALUE_ITEMS_MAX,
)
from tests.config.helpers import (
    NODE,
    configuration_text,
    evaluated,
    messages_of,
    value_of,
)


@pytest.mark.parametrize(
    "expression, value",
    [
        ('"a" + "b"', "ab"),
        ('"a" + 1', "a1"),
        ('1 + "a"', "1a"),
        ('"a" + 1.5', "a1.500000"),
        ('"a" + 0.1ms', "a0.000100"),
        ('"a" + 12345678901234567890', "a12345678901234567168"),
        ('"a" + 1 + 2', "a12"),
        ('1 + 2 + "a"', "3a"),
        ("1 + 2s", 3.0),
        ("null + 1", 1.0),
        ('"a" + null', "a"),
        ("null + null", None),
        ("null + [ 1 ]", [1.0]),
        ("[ 1 ] + [ 2 ]", [1.0, 2.0]),
        ("{ a = 1 } + { a = 2, b = 3 }", {"a": 2.0, "b": 3.0}),
        ("{ a = 1, a += 2 }", {"a": 3.0}),
        ('{ a.b.c = 1, a["x"] = 3 }', {"a": {"b": {"c": 1.0}, "x": 3.0}}),
        ("-5 + 3", -2.0),
        ("-(5 + 3)", -8.0),
        ("--3", 3.0),
        ('"p" + -2', "p-2"),
        ("NodeName", NODE),
        ("@NodeName", NODE),
        ("[ NodeName, [ ], { } ]", [NODE, [], {}]),
    ],
)
def test_expression_has_the_value_that_icinga_gives_it(
    expression: str, value: object
) -> None:
    assert value_of(expression) == value


@pytest.mark.parametrize(
    "expression, message",
    [
        ('"a" + true', "cannot add a boolean to a string"),
        ("1 + true", "cannot add a boolean to a number"),
        ("[ 1 ] + 2", "cannot add a number to an array"),
        ('"a" + [ "x" ]', "cannot add an array to a string"),
        ("{ } + [ ]", "cannot add an array to a dictionary"),
        ('-"a"', "cannot negate a string"),
        ("-null", "cannot negate null"),
        ("{ a = 1, a.b = 2 }", "'a' is a number, not a dictionary"),
        ("Nope", "'Nope' is not defined here"),
    ],
)
def test_expression_without_a_value_is_a_problem(expression: str, message: str) -> None:
    (found,) = messages_of(f"const X = {expression}")
    assert found.partition(": ")[2] == message


def test_constant_is_used_by_later_ones() -> None:
    found = evaluated('const A = "x"\nconst B = A + "y"\n')
    assert found.constants == {"A": "x", "B": "xy"}


def test_predefined_name_may_be_defined_anew() -> None:
    found = evaluated('const NodeName = "other"\nconst X = NodeName')
    assert found.problems == ()
    assert found.constants["X"] == "other"


def test_constant_used_before_its_definition_is_a_problem_that_says_where() -> None:
    (problem,) = evaluated("const A = B\nconst B = 1\n").problems
    assert problem.message == "'B' is not defined here"
    assert problem.remedy == "Move its definition at test.conf:2 up, before its use."


def test_use_of_a_constant_with_a_problem_says_so() -> None:
    first, second = evaluated("const A = Nope\nconst B = A\n").problems
    assert first.message == "'Nope' is not defined here"
    assert second.remedy == "Its definition at test.conf:1 has a problem itself."


def test_constant_defined_twice_is_a_problem_that_names_the_first_place() -> None:
    assert messages_of("const A = 1\nconst A = 2\n") == [
        "2:1: the constant 'A' is already defined at test.conf:1"
    ]


def test_variable_may_change_and_a_constant_may_not() -> None:
    found = evaluated('X = "a"\nX = "b"\nX += "c"\n')
    assert found.problems == ()
    assert found.constants == {"X": "bc"}
    assert messages_of("const X = 1\nX = 2\n") == [
        "2:1: the constant 'X' is already defined at test.conf:1"
    ]


def test_part_of_a_global_value_cannot_be_changed() -> None:
    assert messages_of("const X = { a = 1 }\nX.a = 2\n") == [
        "2:1: a part of a global value cannot be changed"
    ]


def test_object_has_its_name_and_attributes() -> None:
    (obj,) = evaluated(
        'object Zone "a" + NodeName {\n\tendpoints = [ "x" ]\n\tendpoints += [ "y" ]\n}'
    ).objects
    assert (obj.type_name, obj.name) == ("Zone", f"a{NODE}")
    assert obj.attributes["endpoints"].value == ["x", "y"]


def test_body_may_use_a_constant_that_is_defined_later() -> None:
    found = evaluated('object Zone "z" { parent = P }\nconst P = "top"\n')
    assert found.problems == ()
    assert found.objects[0].attributes["parent"].value == "top"


def test_every_wrong_attribute_of_an_object_is_reported() -> None:
    assert messages_of('object Zone "z" {\n\ta = P\n\tb = Q\n\tc = 1\n}') == [
        "2:6: 'P' is not defined here",
        "3:6: 'Q' is not defined here",
    ]


@pytest.mark.parametrize("name", ['""', '"a!b"', "5", "true", "null", "[ ]"])
def test_object_needs_a_usable_name(name: str) -> None:
    assert messages_of(f"object Zone {name} {{ }}") == [
        "1:1: the name of this Zone is not a usable string"
    ]


def test_object_without_a_name_is_a_problem() -> None:
    assert messages_of("object Zone { }") == ["1:1: this Zone has no name"]


def test_object_declared_twice_is_a_problem_that_names_the_first_place() -> None:
    text = 'object Zone "z" { }\nobject Endpoint "z" { }\nobject Zone "z" { }\n'
    assert messages_of(text) == ["3:1: the Zone 'z' is already declared at test.conf:1"]


def test_included_file_is_read_where_it_is_included() -> None:
    files = {"a.conf": "const A = 1\n", "d/b.conf": "const B = A\n", "d/c.txt": "?"}
    text = 'include "a.conf"\ninclude_recursive "d"\ninclude <itl>\nconst C = B\n'
    found = evaluated(text, **files)
    assert found.problems == ()
    assert found.constants["C"] == 1.0


def test_include_recursive_takes_a_pattern() -> None:
    found = evaluated('include_recursive "d", "*.txt"', **{"d/c.txt": "const C = 1"})
    assert found.constants == {"C": 1.0}


def test_problem_of_an_included_file_names_that_file() -> None:
    (problem,) = evaluated('include "a.conf"\n', **{"a.conf": "\n?"}).problems
    assert problem.file == "a.conf"


def test_missing_include_is_a_problem_at_the_statement() -> None:
    assert messages_of('\ninclude "nope.conf"\n') == ["2:1: nope.conf does not exist"]


@pytest.mark.parametrize("path", ["5", "null", '""', r'"a\000"'])
def test_include_needs_a_path(path: str) -> None:
    assert messages_of(f"include {path}") == ["1:9: a path is a string, not empty"]


def test_file_that_includes_itself_is_a_problem_and_ends() -> None:
    found = messages_of('include "a.conf"', **{"a.conf": 'include "a.conf"'})
    assert found == ["1:1: too many files include one another"]


def test_sums_that_double_at_each_line_are_bounded() -> None:
    lines = ['const A0 = "0123456789"'] + [
        f"const A{n + 1} = A{n} + A{n}" for n in range(60)
    ]
    found = evaluated("\n".join(lines))
    assert found.problems[0].message == "this sum is too large"
    assert all(len(str(v)) <= VALUE_CHARACTERS_MAX for v in found.constants.values())
    lines[0] = "const A0 = [ 1 ]"
    found = evaluated("\n".join(lines))
    assert found.problems[0].message == "this sum is too large"
    lists = [v for v in found.constants.values() if isinstance(v, list)]
    assert max(map(len, lists)) <= VALUE_ITEMS_MAX


def test_sum_of_numbers_stays_finite() -> None:
    big = "9" * 308
    assert messages_of(f"const X = {big} + {big}") == ["1:322: this sum is too large"]


def test_values_are_not_in_the_repr_of_an_evaluation() -> None:
    found = evaluated('const A = "hidden"\nobject Zone "z" { parent = "hidden" }')
    assert "hidden" not in repr(found)


@given(configuration_text)
def test_no_text_makes_the_evaluation_raise(text: str) -> None:
    for problem in evaluated(text, a=text).problems:
        str(problem)


def test_after_many_problems_nothing_more_is_evaluated() -> None:
    """A file of megabytes that is wrong in every statement ends in the same time."""
    assert len(messages_of("const A = B\n" * (PROBLEMS_MAX * 3))) == PROBLEMS_MAX
    wrong = "\n".join(f"a{n} = B" for n in range(PROBLEMS_MAX * 3))
    assert len(messages_of(f'object Zone "z" {{ {wrong} }}')) == PROBLEMS_MAX


def test_a_long_line_full_of_problems_is_read_in_linear_time() -> None:
    """Looking at the whole line for each of them took minutes (found by fuzzing)."""
    text = "const A = B;" * 100_000
    assert len(messages_of(text)) == PROBLEMS_MAX
