from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.config.errors import ConfigProblem
from icefloe.config.evaluator import evaluate
from icefloe.config.source import LINE_LOOKED_AT_MAX, LINE_SHOWN_MAX, Source
from tests.config.helpers import MemoryIncludes, configuration_text

SECRET = "c0ffee5a17"


def test_problem_shows_file_line_column_caret_and_remedy() -> None:
    source = Source("/etc/zones.conf", "a\n  b = 1\n")
    problem = source.problem(4, "b is wrong", "Write c.")
    assert str(problem) == (
        "/etc/zones.conf:2:3: b is wrong\n  2 |   b = 1\n    |   ^\n  Write c."
    )


def test_caret_stands_below_its_character_behind_tabs() -> None:
    lines = str(Source("f", "\t\tx").problem(2, "m")).splitlines()
    assert lines[1:] == ["  1 | \t\tx", "    | \t\t^"]


def test_problem_with_a_whole_file_shows_no_line() -> None:
    problem = ConfigProblem(file="f", position=None, message="is gone", remedy="")
    assert str(problem) == "f: is gone"


def test_control_characters_are_not_passed_to_a_terminal() -> None:
    lines = str(Source("f", "a\x1b[31m\x07\u202e = ?\r\n").problem(0, "m")).splitlines()
    assert lines[1] == "  1 | a\ufffd[31m\ufffd\ufffd = ?"


def test_paths_and_messages_are_not_passed_to_a_terminal_either() -> None:
    problem = ConfigProblem(
        file="a\x1b[2J", position=None, message="b\b", remedy="c\u202e"
    )
    assert str(problem) == "a\ufffd[2J: b\ufffd\n  c\ufffd"


def test_nothing_is_shown_of_a_line_that_nobody_wrote_by_hand() -> None:
    """Each of its problems would cost a look through all of it."""
    text = "const A = 1;" * (LINE_LOOKED_AT_MAX // 12 + 1)
    source = Source("f", f"a\n{text}\nb = ?\n")
    assert source.position(10).text == "***"
    assert source.position(10).line == 2
    assert source.quoted(2, 7) == "this"
    assert source.position(len(source.text) - 2).text == "b = ?"


def test_the_end_of_a_line_is_found_on_every_line() -> None:
    source = Source("f", "ab\n\ncd")
    ends = [source.line_end(offset) for offset in range(7)]
    assert ends == [2, 2, 2, 3, 6, 6, 6]


def test_long_line_is_shown_around_the_place() -> None:
    source = Source("f", "a" * 1000 + "b" + "c" * 1000)
    place = source.position(1000)
    assert len(place.text) <= LINE_SHOWN_MAX
    assert place.column == 1001
    assert place.text[place.caret - 1] == "b"


def test_position_at_the_end_of_the_text_exists() -> None:
    assert Source("f", "").position(0).line == 1
    assert Source("f", "a\n").position(2).line == 2


@pytest.mark.parametrize(
    "text",
    [
        f'const TicketSalt = "{SECRET}',
        f"const TicketSalt = {SECRET}",
        f"const TicketSalt = 1{SECRET}",
        f'const TicketSalt = "{SECRET}" "x"',
        f'const TicketSalt = "{SECRET}" + 1 + true',
        f'const TicketSalt = (\n "{SECRET}"\n x)',
        f'const TicketSalt = "a"\nconst TicketSalt = "{SECRET}"',
        f"const TicketSalt = {{{{{{\n{SECRET}\n}}}}}} ?",
        f'const TicketSalt "{SECRET}"',
        f'object ApiListener "api" {{ ticket_salt = "{SECRET}" ? }}',
        f'object ApiListener "api" {{\n\tticket_salt = "{SECRET}" ?\n}}',
        f'object ApiUser "root" {{\n  password = "{SECRET}\n}}',
        f'object ApiUser "root" {{ password = {SECRET} }}',
        f'const MySecret = "\\q{SECRET}"',
        f'//const TicketSalt = "x"\nconst TicketSalt = "{SECRET}" ?',
        f'const TicketSalt = [ "{SECRET}",\n"{SECRET}" ? ]',
    ],
)
def test_no_secret_is_in_a_message_about_it(text: str) -> None:
    found = evaluate(
        [Source("f", text)], includes=MemoryIncludes({}), predefined=lambda _: None
    )
    shown = "\n".join(str(problem) for problem in found.problems)
    assert shown
    assert SECRET not in shown
    assert SECRET not in repr(found)


def test_name_of_the_salt_is_no_secret() -> None:
    found = Source("f", "\tticket_salt = TicketSalt\n").position(15)
    assert found.text == "\tticket_salt = TicketSalt"


def test_text_of_a_source_is_not_in_its_repr() -> None:
    assert SECRET not in repr(Source("f", SECRET))


@given(configuration_text, st.data())
def test_every_offset_has_a_position_whose_caret_is_in_its_line(
    text: str, data: st.DataObject
) -> None:
    source = Source("f", text)
    place = source.position(data.draw(st.integers(0, len(text))))
    assert 1 <= place.line <= text.count("\n") + 1
    assert 1 <= place.caret <= len(place.text) + 1
    assert place.caret <= place.column


def test_every_line_can_be_shown_without_its_secrets() -> None:
    text = (
        'const A = "a"\nconst TicketSalt = "hush"\n\x1b' + "x" * 300 + "\nconst Z = 1"
    )
    lines = Source("x.conf", text).safe_lines()
    assert lines[0] == 'const A = "a"'
    assert lines[1] == "const TicketSalt =***"
    assert lines[3] == "const Z = 1"
    assert len(lines) == 4
    assert "hush" not in "".join(lines)
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("text, count", [("a\nb\n", 2), ("a\nb", 2), ("\n", 1)])
def test_lines_that_can_be_shown_are_as_many_as_there_are(
    text: str, count: int
) -> None:
    assert len(Source("x.conf", text).safe_lines()) == count
