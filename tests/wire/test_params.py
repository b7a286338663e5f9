"""Reading one parameter: absent, of the wrong type, out of range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.wire import params as read
from icefloe.wire.errors import MessageError, Reason

WRONG = "wrong type"
RANGE = "out of range"
MISSING = "missing"
REASONS = {
    WRONG: Reason.FIELD_WRONG_TYPE,
    RANGE: Reason.FIELD_OUT_OF_RANGE,
    MISSING: Reason.FIELD_MISSING,
}
ABSENT = object()

TABLE: list[tuple[Any, ...]] = [
    # value, text, required_text, number, required_number, natural
    (ABSENT, "", MISSING, None, MISSING, None),
    (None, "", MISSING, None, MISSING, None),
    ("", "", MISSING, WRONG, WRONG, WRONG),
    ("a", "a", "a", WRONG, WRONG, WRONG),
    ("5", "5", "5", WRONG, WRONG, WRONG),
    (True, WRONG, WRONG, WRONG, WRONG, WRONG),
    ([], WRONG, WRONG, WRONG, WRONG, WRONG),
    ({}, WRONG, WRONG, WRONG, WRONG, WRONG),
    (0, WRONG, WRONG, 0.0, 0.0, 0),
    (-0.0, WRONG, WRONG, 0.0, 0.0, 0),
    (21306, WRONG, WRONG, 21306.0, 21306.0, 21306),
    (21306.0, WRONG, WRONG, 21306.0, 21306.0, 21306),
    (1.5, WRONG, WRONG, 1.5, 1.5, RANGE),
    (-1, WRONG, WRONG, -1.0, -1.0, RANGE),
    (read.INTEGER_MAX, WRONG, WRONG, 2.0**53 - 1, 2.0**53 - 1, read.INTEGER_MAX),
    (2**53, WRONG, WRONG, 2.0**53, 2.0**53, RANGE),
    (1e300, WRONG, WRONG, 1e300, 1e300, RANGE),
    (10**400, WRONG, WRONG, RANGE, RANGE, RANGE),
    (-(10**400), WRONG, WRONG, RANGE, RANGE, RANGE),
    (float("inf"), WRONG, WRONG, RANGE, RANGE, RANGE),
    (float("nan"), WRONG, WRONG, RANGE, RANGE, RANGE),
]
READERS: list[Callable[[dict[str, object], str], object]] = [
    read.text,
    read.required_text,
    read.number,
    read.required_number,
    read.natural,
]


@pytest.mark.parametrize("column", range(5), ids=lambda i: READERS[i].__name__)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row[0])[:20])
def test_each_reader_meets_each_kind_of_value(
    row: tuple[Any, ...], column: int
) -> None:
    value, expected = row[0], row[column + 1]
    given_params: dict[str, object] = {} if value is ABSENT else {"key": value}
    if expected in REASONS:
        with pytest.raises(MessageError) as caught:
            READERS[column](given_params, "key")
        assert caught.value.reason is REASONS[expected]
        assert caught.value.field == "key"
        assert "key" in str(caught.value)
    else:
        outcome = READERS[column](given_params, "key")
        assert outcome == expected
        assert type(outcome) is type(expected)


def test_params_are_an_object_or_an_error() -> None:
    assert read.as_object({"a": 1}) == {"a": 1}
    assert read.as_object({}) == {}
    with pytest.raises(MessageError) as caught:
        read.as_object(None)
    assert caught.value.reason is Reason.PARAMS_MISSING
    others: list[object] = [[], "text", 5, True, 0.0]
    for value in others:
        with pytest.raises(MessageError) as caught:
            read.as_object(value)
        assert caught.value.reason is Reason.PARAMS_NOT_AN_OBJECT


@pytest.mark.parametrize("value", [None, [], "text", 5, True])
def test_facts_of_the_wrong_type_are_no_facts(value: Any) -> None:
    assert read.facts({"icefloe": value}) is None


def test_facts_are_read_leniently() -> None:
    assert read.facts({}) is None
    assert read.facts({"icefloe": {}}) == {}
    known = {"text": "a", "empty": "", "number": 2, "list": [1, "a"], "bad": 10**400}
    assert read.facts({"icefloe": known}) == known
    assert [read.fact_text(known, key) for key in (*known, "absent")] == (
        ["a", None, None, None, None, None]
    )
    assert [read.fact_seconds(known, key) for key in (*known, "absent")] == (
        [None, None, 2.0, None, None, None]
    )
    assert [read.fact_list(known, key) for key in (*known, "absent")] == (
        [(), (), (), (1, "a"), (), ()]
    )
    assert read.fact_seconds({"a": -1}, "a") is None
    for absent in (read.fact_text, read.fact_seconds):
        assert absent(None, "a") is None
    assert read.fact_list(None, "a") == ()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(value=anything)
def test_no_reader_raises_anything_but_its_error(value: Any) -> None:
    for reader in READERS:
        try:
            reader({"key": value}, "key")
        except MessageError as error:
            assert error.field == "key"  # noqa: PT017 (may not be raised)
    read.facts({"icefloe": value})
    read.fact_text({"a": value}, "a")
    read.fact_seconds({"a": value}, "a")
    read.fact_list({"a": value}, "a")
