from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.config.edits import (
    disable_conf_d,
    include_api_users,
    set_constant,
)
from icefloe.config.errors import ConfigError
from icefloe.config.syntax import Value
from tests.config.helpers import (
    CONSTANTS,
    ICINGA2,
    configuration_text,
    evaluated,
    hostile_text,
)

FILE = "/etc/icinga2/icinga2.conf"


def with_name(text: str, value: Value = "new") -> str:
    return set_constant(text, "NodeName", value, file=FILE)


@pytest.mark.parametrize(
    "before, after",
    [
        ("", 'const NodeName = "new"\n'),
        ("const A = 1", 'const A = 1\nconst NodeName = "new"\n'),
        ('const NodeName = "old"\n', 'const NodeName = "new"\n'),
        ("const NodeName=ZoneName // c\n", 'const NodeName = "new" // c\n'),
        ("  const NodeName = 1;\n", '  const NodeName = "new";\n'),
        (
            'const NodeName = ("a"\n + "b")\nconst B = 1\n',
            'const NodeName = "new"\nconst B = 1\n',
        ),
        ("const NodeName = 1, const B = 2\n", 'const NodeName = "new", const B = 2\n'),
        (
            "const NodeName = { a = [ 1, 2 ], b = 2 }, const B = 2\n",
            'const NodeName = "new", const B = 2\n',
        ),
        ('//const NodeName = "localhost"\n', 'const NodeName = "new"\n'),
        ('# const NodeName="localhost"\nX=1\n', 'const NodeName = "new"\nX=1\n'),
        (
            '// const NodeName = "a"\nconst NodeName = "b"\n',
            '// const NodeName = "a"\nconst NodeName = "new"\n',
        ),
        (
            'const NodeName = "a"\nconst NodeName = "b"; const C = 1\n',
            'const NodeName = "new"\n const C = 1\n',
        ),
        (
            '/*\n// const NodeName = "a"\n*/\n',
            '/*\n// const NodeName = "a"\n*/\nconst NodeName = "new"\n',
        ),
        (
            "/* const NodeName = 1 */\n",
            '/* const NodeName = 1 */\nconst NodeName = "new"\n',
        ),
        ("const NodeNameX = 1\n", 'const NodeNameX = 1\nconst NodeName = "new"\n'),
        ('const @NodeName = "a"\n', 'const NodeName = "new"\n'),
        ("const NodeName = 1\r\n", 'const NodeName = "new"\r\n'),
        ("const NodeName = {{ 1 }}\n", 'const NodeName = "new"\n'),
    ],
)
def test_constant_is_set_where_it_belongs(before: str, after: str) -> None:
    assert with_name(before) == after
    assert with_name(after) == after


def test_constants_of_debian_are_edited_in_place() -> None:
    text = set_constant(CONSTANTS, "NodeName", "n", file=FILE)
    text = set_constant(text, "TicketSalt", "s", file=FILE)
    found = evaluated(text)
    assert found.problems == ()
    assert found.constants["NodeName"] == found.constants["ZoneName"] == "n"
    assert found.constants["TicketSalt"] == "s"
    assert len(text.splitlines()) == len(CONSTANTS.splitlines())


@pytest.mark.parametrize(
    "text, reason",
    [('const A = "x\n', "does not end"), ("if (a) {\n", "brackets"), ("}", "brackets")],
)
def test_file_that_makes_no_sense_is_not_edited(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        with_name(text)


@given(hostile_text, st.lists(hostile_text, max_size=3))
def test_hostile_value_stays_one_value(name: str, names: list[str]) -> None:
    text = with_name(CONSTANTS, name)
    text = set_constant(text, "IcefloeEndpoints", list(names), file=FILE)
    found = evaluated(text)
    assert found.problems == ()
    assert found.constants["NodeName"] == name
    assert found.constants["IcefloeEndpoints"] == names
    assert with_name(text, name) == text


@given(configuration_text)
def test_constant_is_defined_once_whatever_the_file_says(text: str) -> None:
    try:
        edited = with_name(text.replace("X", "const NodeName ="))
    except ConfigError:
        return
    assert with_name(edited) == edited
    if not evaluated(text).problems:
        assert evaluated(edited).constants["NodeName"] == "new"


NOTE = "note"


def disabled(text: str) -> str:
    return disable_conf_d(text, note=NOTE, file=FILE)


@pytest.mark.parametrize(
    "before, after",
    [
        ('include_recursive "conf.d"\n', '// note\n// include_recursive "conf.d"\n'),
        ('include_recursive "conf.d"', '// note\n// include_recursive "conf.d"'),
        (
            'include_recursive "./conf.d/" // c\n',
            '// note\n// include_recursive "./conf.d/" // c\n',
        ),
        (
            'include_recursive "/etc/icinga2/conf.d", "*.conf"\nX = 1\n',
            '// note\n// include_recursive "/etc/icinga2/conf.d", "*.conf"\nX = 1\n',
        ),
        (
            'A = 1; include_recursive "conf.d"; B = 1\n',
            'A = 1;\n// note\n// include_recursive "conf.d";\nB = 1\n',
        ),
        ('include "conf.d/*.conf"\n', '// note\n// include "conf.d/*.conf"\n'),
        ('include "conf.d/users.conf"\n', 'include "conf.d/users.conf"\n'),
        ('include_recursive "other"\n', 'include_recursive "other"\n'),
        ('// include_recursive "conf.d"\n', '// include_recursive "conf.d"\n'),
        ('/*\ninclude_recursive "conf.d"\n*/', '/*\ninclude_recursive "conf.d"\n*/'),
        (
            'if (x) { include_recursive "conf.d" }\n',
            'if (x) {\n// note\n// include_recursive "conf.d"\n}\n',
        ),
        (
            'include_recursive "conf.d"include_recursive "conf.d"0\n',
            '// note\n// include_recursive "conf.d"include_recursive "conf.d"0\n',
        ),
        (r'include_recursive "\x"' + "\n", r'include_recursive "\x"' + "\n"),
        ("include_recursive", "include_recursive"),
    ],
)
def test_inclusion_of_conf_d_becomes_a_comment(before: str, after: str) -> None:
    assert disabled(before) == after
    assert disabled(after) == after


def test_debians_file_includes_conf_d_and_then_no_more() -> None:
    text = disabled(ICINGA2)
    assert text != ICINGA2
    assert disabled(text) == text
    assert text.startswith(ICINGA2.partition("include_recursive")[0])


@given(configuration_text)
def test_conf_d_is_never_included_afterwards(text: str) -> None:
    try:
        edited = disabled(text.replace("X", 'include_recursive "conf.d"'))
    except ConfigError:
        return
    assert disabled(edited) == edited


def with_users(text: str) -> str:
    return include_api_users(text, note=NOTE, file=FILE)


@pytest.mark.parametrize(
    "before, after",
    [
        ("", '// note\ninclude "conf.d/api-users.conf"\n'),
        ("X = 1", 'X = 1\n// note\ninclude "conf.d/api-users.conf"\n'),
        (
            'A = 1\n//include "conf.d/api-users.conf"\nB = 1\n',
            'A = 1\n// note\ninclude "conf.d/api-users.conf"\nB = 1\n',
        ),
        ('include "conf.d/api-users.conf"\n', 'include "conf.d/api-users.conf"\n'),
        ('include_recursive "conf.d"\n', 'include_recursive "conf.d"\n'),
    ],
)
def test_api_users_are_included_once(before: str, after: str) -> None:
    assert with_users(before) == after
    assert with_users(after) == after
