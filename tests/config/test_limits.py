"""The limits an operator can change, and that the table of them is true."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from icefloe.config.errors import ConfigError
from icefloe.config.limits import LIMITS, LimitProblem, Limits, parse_limit, with_limits
from icefloe.config.loading import load
from tests.config.helpers import CONSTANTS, debian_node

DOCS = Path(__file__).parents[2] / "docs" / "limits.md"


def test_what_is_not_given_is_the_default() -> None:
    limits, problems = with_limits({"open_requests": 500.0})
    assert problems == []
    assert limits == Limits(open_requests=500)


@pytest.mark.parametrize(
    "values, message, remedy",
    [
        ({"open_request": 5.0}, "there is no limit 'open_request'", "'open_requests'"),
        ({"nonsense": 5.0}, "there is no limit 'nonsense'", "docs/limits.md"),
        ({"open_requests": "5"}, "'open_requests' must be a whole number", ""),
        ({"open_requests": 1.5}, "'open_requests' must be a whole number", ""),
        ({"open_requests": True}, "'open_requests' must be a whole number", ""),
        ({"open_requests": 0.0}, "'open_requests' must be from 1 to 1000000", ""),
        ({"message_nesting": 65.0}, "'message_nesting' must be from 8 to 64", ""),
    ],
)
def test_what_cannot_be_taken_is_a_problem_and_leaves_the_default(
    values: dict[str, object], message: str, remedy: str
) -> None:
    limits, (problem,) = with_limits(values)  # type: ignore[arg-type]
    assert problem.message == message
    assert remedy in problem.remedy
    assert limits == Limits()


def test_an_option_names_a_limit_and_a_number() -> None:
    assert parse_limit("open_requests=500") == {"open_requests": 500.0}


@pytest.mark.parametrize(
    "text", ["", "open_requests", "open_requests=", "a=1.5", "a=-1"]
)
def test_an_option_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(LimitProblem, match="NAME=NUMBER"):
        parse_limit(text)


# -- in constants.conf --------------------------------------------------------------------


def test_limits_stand_in_constants_conf(tmp_path: Path) -> None:
    directories = debian_node(
        tmp_path,
        constants=CONSTANTS + "const IcefloeLimits = {\n  open_requests = 500\n"
        "  wrong_tickets_per_minute = 5\n}\n",
    )
    configuration = load(directories.config_dir, directories.data_dir)
    assert configuration.limits == Limits(open_requests=500, wrong_tickets_per_minute=5)


def test_without_the_constant_the_defaults_hold(tmp_path: Path) -> None:
    directories = debian_node(tmp_path)
    assert load(directories.config_dir, directories.data_dir).limits == Limits()


@pytest.mark.parametrize(
    "entry, message",
    [
        ("wrong_ticket = 5", "there is no limit 'wrong_ticket'"),
        ('open_requests = "many"', "'open_requests' must be a whole number"),
        ("held_connections = -1", "'held_connections' must be from 0"),
    ],
)
def test_a_wrong_entry_is_named_with_file_and_line(
    tmp_path: Path, entry: str, message: str
) -> None:
    directories = debian_node(
        tmp_path,
        constants=CONSTANTS
        + f"const IcefloeLimits = {{\n  attempts_per_request = 9\n  {entry}\n}}\n",
    )
    with pytest.raises(ConfigError) as caught:
        load(directories.config_dir, directories.data_dir)
    (problem,) = caught.value.problems
    assert problem.message.startswith(message)
    assert problem.file == str(directories.constants_conf)
    assert problem.position is not None
    assert problem.position.line == CONSTANTS.count("\n") + 3


def test_limits_that_are_no_dictionary_are_a_problem(tmp_path: Path) -> None:
    directories = debian_node(
        tmp_path, constants=CONSTANTS + "const IcefloeLimits = 5\n"
    )
    with pytest.raises(ConfigError, match="IcefloeLimits must be a dictionary"):
        load(directories.config_dir, directories.data_dir)


# -- the table -------------------------------------------------------------------------


def test_every_limit_is_in_the_table_of_the_documentation_as_it_is() -> None:
    rows = re.findall(
        r"^\| `([a-z_]+)` \| ([\d,]+) \| ([^|]+) \| ([\d,]+) - ([\d,]+) \| (.*) \|$",
        DOCS.read_text(),
        re.MULTILINE,
    )
    assert [tuple(row) for row in rows] == [
        (
            entry.name,
            f"{entry.default:,}",
            entry.unit,
            f"{entry.least:,}",
            f"{entry.most:,}",
            entry.reason,
        )
        for entry in LIMITS
    ]


def test_every_default_is_within_its_range_and_has_a_reason() -> None:
    assert len(LIMITS) == len(fields(Limits))
    for entry in LIMITS:
        assert entry.least <= entry.default <= entry.most
        assert entry.reason.endswith(".")
