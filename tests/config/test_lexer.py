from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.config.lexer import (
    KEYWORDS,
    EscapeError,
    Kind,
    LexicalError,
    Token,
    string_value,
    tokens,
)
from icefloe.config.source import Source
from tests.config.helpers import configuration_text


def kinds(text: str) -> list[tuple[str, str]]:
    found = [(token.kind.name, token.text) for token in tokens(Source("f", text))]
    assert found.pop() == ("END", "")
    return found


def test_every_kind_of_token_is_told_apart() -> None:
    assert kinds('object Zone "a" {\n\tx = 1.5m\n}') == [
        ("KEYWORD", "object"),
        ("NAME", "Zone"),
        ("STRING", '"a"'),
        ("SYMBOL", "{"),
        ("NEWLINE", "\n"),
        ("NAME", "x"),
        ("SYMBOL", "="),
        ("NUMBER", "1.5m"),
        ("NEWLINE", "\n"),
        ("SYMBOL", "}"),
    ]


@pytest.mark.parametrize(
    "comment",
    ["// x", "# x", "/* x */", "/* x\n y */", "/**/", '// "', '/* " { */', "//\\"],
)
def test_comments_are_left_out(comment: str) -> None:
    assert kinds(f"a {comment}") == [("NAME", "a")]


def test_block_comment_ends_at_its_first_end() -> None:
    assert kinds("/* a /* b */ c") == [("NAME", "c")]


def test_comment_marks_inside_strings_are_text() -> None:
    assert kinds('"// # /*" {{{ // "# }}}') == [
        ("STRING", '"// # /*"'),
        ("TEXT_BLOCK", '{{{ // "# }}}'),
    ]


def test_double_braces_are_one_symbol_as_in_icinga() -> None:
    assert [text for _, text in kinds("{ a = {}}")][-2:] == ["{", "}}"]


def test_units_belong_to_the_number_and_other_letters_do_not() -> None:
    assert kinds("5ms 5m 5x 1e5") == [
        ("NUMBER", "5ms"),
        ("NUMBER", "5m"),
        ("NUMBER", "5"),
        ("NAME", "x"),
        ("NUMBER", "1"),
        ("NAME", "e5"),
    ]


def test_keyword_with_an_at_sign_is_a_name() -> None:
    assert kinds("@object object objects") == [
        ("NAME", "@object"),
        ("KEYWORD", "object"),
        ("NAME", "objects"),
    ]
    assert "object" in KEYWORDS


def test_system_path_is_one_token() -> None:
    assert kinds("include <itl>")[1] == ("SYSTEM_PATH", "<itl>")


def test_comparison_is_not_a_system_path() -> None:
    assert ("SYMBOL", "<") in kinds("a < b && c > d")


@pytest.mark.parametrize("text", ["é", "\ufeff", "\x00", "\x0c", "\u00a0"])
def test_character_without_a_meaning_is_a_token_of_its_own(text: str) -> None:
    assert kinds(text) == [("OTHER", text)]


@pytest.mark.parametrize(
    "text, message",
    [
        ('x = "abc', "this string does not end on its line"),
        ('x = "a\nb"', "this string does not end on its line"),
        ('x = "a\\\nb"', "this string does not end on its line"),
        ('x = "a\\"', "this string does not end on its line"),
        ("x = {{{ a }} ", "this text block does not end"),
        ("x = /* a * / ", "this comment does not end"),
    ],
)
def test_unfinished_text_is_a_problem_where_it_begins(text: str, message: str) -> None:
    with pytest.raises(LexicalError) as caught:
        list(tokens(Source("f", text)))
    problem = caught.value.problem
    assert problem.message == message
    assert problem.position is not None
    assert (problem.position.line, problem.position.column) == (1, 5)
    assert problem.remedy


def strings(text: str) -> list[str]:
    wanted = {Kind.STRING, Kind.TEXT_BLOCK}
    return [string_value(t) for t in tokens(Source("f", text)) if t.kind in wanted]


@pytest.mark.parametrize(
    "literal, value",
    [
        (r'"\" \\ \n\t\r\b\f"', '" \\ \n\t\r\b\f'),
        (r'"\101\1\12x\0"', "A\x01\nx\x00"),
        (r'"\303\251"', "é"),
        ('"zürich"', "zürich"),
        ('"a\tb"', "a\tb"),
        ('""', ""),
        ('{{{a\n\\n " }}}', 'a\n\\n " '),
        ("{{{}}}", ""),
    ],
)
def test_string_stands_for_its_text(literal: str, value: str) -> None:
    assert strings(literal) == [value]


@pytest.mark.parametrize(
    "literal", [r'"\x"', r'"\8"', r'"\400"', r'"\0001"', r'"\377"', r'"\u0041"']
)
def test_escape_that_icinga_refuses_is_refused(literal: str) -> None:
    """The last but one is a byte that makes no UTF-8; Icinga takes that one."""
    with pytest.raises(EscapeError):
        strings(literal)


@given(configuration_text)
def test_any_text_is_cut_into_tokens_or_refused(text: str) -> None:
    """What is between the tokens is blank or comment; nothing is lost."""
    found: list[Token] = []
    with contextlib.suppress(LexicalError):
        found.extend(tokens(Source("f", text)))
    if not found or found[-1].kind is not Kind.END:
        return
    end = 0
    for token in found:
        assert token.start >= end
        between = text[end : token.start].strip(" \t\r")
        assert between == "" or between.startswith(("//", "#", "/*"))
        assert text[token.start : token.end] == token.text
        end = token.end


@given(st.text())
def test_only_an_escape_error_escapes_from_a_string(text: str) -> None:
    with contextlib.suppress(EscapeError, LexicalError):
        strings(f'"{text}"')


@pytest.mark.parametrize("piece", ['"', "{{{", "/*", "\\", '"\\', "<", "@", "{", "#"])
def test_long_hostile_text_takes_no_more_than_linear_time(piece: str) -> None:
    begin = time.process_time()
    with contextlib.suppress(LexicalError):
        list(tokens(Source("f", piece * 200_000)))
    assert time.process_time() - begin < 10
