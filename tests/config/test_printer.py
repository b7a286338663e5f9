from __future__ import annotations

import pytest
from hypothesis import given

from icefloe.config.errors import PlanError
from icefloe.config.printer import (
    print_array,
    print_comment,
    print_constant,
    print_object,
    print_string,
    print_value,
)
from icefloe.config.syntax import Value
from tests.config.helpers import evaluated, hostile_text, value_of, values


def test_object_has_icingas_form() -> None:
    printed = print_object(
        "Zone", "z", {"endpoints": ["a", "b"], "parent": "m", "global": True}
    )
    assert printed == (
        'object Zone "z" {\n'
        '\tendpoints = [ "a", "b" ]\n'
        '\tparent = "m"\n'
        "\tglobal = true\n"
        "}\n"
    )


@pytest.mark.parametrize(
    "value, printed",
    [
        (None, "null"),
        (True, "true"),
        (5665.0, "5665"),
        (-1.5, "-1.5"),
        (1e-7, "0.0000001"),
        (1e22, "10000000000000000000000"),
        ([], "[ ]"),
        ({}, "{ }"),
        ({"a": [1.0]}, '{ "a" = [ 1 ] }'),
        ([{}, {"a": {}}], '[ { }, { "a" = { } } ]'),
    ],
)
def test_value_is_printed_without_surprises(value: Value, printed: str) -> None:
    assert print_value(value) == printed


def test_string_is_escaped() -> None:
    assert print_string('a"\\\n\t') == r'"a\"\\\n\t"'


def test_digits_behind_an_octal_escape_are_escaped_too() -> None:
    assert print_string("\x01" + "23x4") == r'"\001\062\063x4"'


@pytest.mark.parametrize("value", [float("inf"), float("nan"), float("-inf")])
def test_number_that_icinga_cannot_write_is_refused(value: float) -> None:
    with pytest.raises(PlanError):
        print_value(value)


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(PlanError, match="UTF-8"):
        print_string("a\udcff")


@given(values)
def test_printed_value_is_read_back(value: Value) -> None:
    printed = print_value(value)
    assert "\n" not in printed
    assert value_of(printed) == value


@given(hostile_text)
def test_hostile_name_stays_one_name(name: str) -> None:
    """GHSA-jgqj-x5j9-vgcm: a name must not become configuration."""
    text = print_object("Zone", f"z{name}".replace("!", ""), {"parent": name})
    text += print_constant("X", [name]) + "\n"
    found = evaluated(text)
    assert found.problems == ()
    (obj,) = found.objects
    assert obj.name == f"z{name}".replace("!", "")
    assert {key: a.value for key, a in obj.attributes.items()} == {"parent": name}
    assert found.constants == {"X": [name]}


@given(hostile_text)
def test_hostile_comment_stays_a_comment(text: str) -> None:
    found = evaluated(f'{print_comment(text)}const X = "x"\n')
    assert found.problems == ()
    assert found.objects == ()
    assert found.constants == {"X": "x"}


def test_comment_has_a_mark_on_each_line() -> None:
    assert print_comment("a\nb\n") == "// a\n// b\n//\n"


@given(hostile_text, hostile_text)
def test_array_keeps_its_items(first: str, second: str) -> None:
    assert value_of(print_array([first, second])) == [first, second]
