"""Text to tokens, for the whole of Icinga's configuration language.

Only a part of the language is understood (see `parser`), but all of it is cut into
tokens: files that Icefloe does not evaluate are still searched for declarations, and
there a keyword inside a comment or a string must not count.

The rules were found by running Icinga 2.13.6: strings end on their line, `{{{ }}}`
does not know escapes, `{{` and `}}` are tokens of their own (so `{ a = {}}` is an
error there), block comments do not nest, and a number has no exponent.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from typing import NamedTuple

from icefloe.config.errors import ConfigProblem
from icefloe.config.source import Source


class Kind(enum.Enum):
    """What a token is."""

    NEWLINE = "end of line"
    NAME = "name"
    KEYWORD = "keyword"
    STRING = "string"
    TEXT_BLOCK = "text block"
    SYSTEM_PATH = "system path"
    NUMBER = "number"
    SYMBOL = "symbol"
    OTHER = "character"
    END = "end of file"


class Token(NamedTuple):
    """One token: its kind, its text as written, and where it stands."""

    kind: Kind
    text: str
    start: int
    end: int

    def is_symbol(self, text: str) -> bool:
        """Whether this is that symbol."""
        return self.kind is Kind.SYMBOL and self.text == text

    def is_keyword(self, text: str) -> bool:
        """Whether this is that keyword."""
        return self.kind is Kind.KEYWORD and self.text == text


class LexicalError(Exception):
    """Text that is no sequence of tokens; carries the problem to its reader."""

    def __init__(self, problem: ConfigProblem) -> None:
        super().__init__(problem)
        self.problem = problem


KEYWORDS = frozenset(
    "apply assign break const continue current_filename current_line"  # noqa: SIM905
    " debugger default else except false for function globals if ignore"
    " ignore_on_error import in include include_recursive include_zones library"
    " locals namespace null object return template this throw to true try use using"
    " var where while".split()
)
"""Words that are names only with an `@` before them (all tried on 2.13.6)."""

_PATTERN = re.compile(
    r"""
    (?P<SPACE>[ \t\r]+)
  | (?P<COMMENT>(?://|\#)[^\n]*|/\*.*?\*/)
  | (?P<NEWLINE>\n)
  | (?P<NAME>@?[A-Za-z_][A-Za-z0-9_]*)
  | (?P<TEXT_BLOCK>\{\{\{.*?\}\}\})
  | (?P<STRING>"[^"\\\n]*(?:\\[^\n][^"\\\n]*)*")
  | (?P<NUMBER>[0-9]+(?:\.[0-9]+)?(?:ms|[dhms])?)
  | (?P<SYSTEM_PATH><[^< >\n]*>)
  | (?P<UNFINISHED>"|\{\{\{|/\*)
  | (?P<SYMBOL>\{\{|\}\}|=>|[=!<>+\-*/%^|&]=|&&|\|\||<<|>>|[^\w\s\x00-\x1f\x7f-\U0010ffff])
  | (?P<OTHER>.)
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)

_KINDS = {kind.name: kind for kind in Kind}

_UNFINISHED = {
    '"': (
        "this string does not end on its line",
        'Close it with a " or, for text of several lines, write {{{ ... }}}.',
    ),
    "{{{": ("this text block does not end", "Close it with }}}."),
    "/*": ("this comment does not end", "Close it with */."),
}


def tokens(source: Source) -> Iterator[Token]:
    """Cut a text into tokens, comments and blanks left out, ending with `END`.

    Args:
        source: The text; anything.

    Raises:
        LexicalError: When a string, text block or comment does not end.  No other
            exception escapes; a character that means nothing is a token `OTHER`.
    """
    for match in _PATTERN.finditer(source.text):
        group = match.lastgroup
        assert group is not None, "every alternative is named"
        if group in {"SPACE", "COMMENT"}:
            continue
        if group == "UNFINISHED":
            message, remedy = _UNFINISHED[match[0]]
            raise LexicalError(source.problem(match.start(), message, remedy))
        text = match[0]
        kind = Kind.KEYWORD if group == "NAME" and text in KEYWORDS else _KINDS[group]
        yield Token(kind, text, match.start(), match.end())
    end = len(source.text)
    yield Token(Kind.END, "", end, end)


_ESCAPE = re.compile(rb"\\([0-9]+|.)", re.DOTALL)
_PLAIN_ESCAPES = {
    b'"': b'"',
    b"\\": b"\\",
    b"n": b"\n",
    b"t": b"\t",
    b"r": b"\r",
    b"b": b"\b",
    b"f": b"\f",
}


class EscapeError(ValueError):
    """An escape sequence that means nothing; says which."""


def string_value(token: Token) -> str:
    r"""The text that a `STRING` or `TEXT_BLOCK` token stands for.

    Args:
        token: A token of one of these two kinds.

    Returns:
        The text.  Octal escapes stand for bytes, which must make UTF-8 together.

    Raises:
        EscapeError: For an escape other than `\" \\ \n \t \r \b \f` and octal ones
            of at most three digits and `\377`.
    """
    if token.kind is Kind.TEXT_BLOCK:
        return token.text[3:-3]
    raw = token.text[1:-1].encode("utf-8", "surrogatepass")

    def replaced(match: re.Match[bytes]) -> bytes:
        code = match[1]
        if code in _PLAIN_ESCAPES:
            return _PLAIN_ESCAPES[code]
        if re.fullmatch(rb"[0-7]{1,3}", code) and int(code, 8) <= 0xFF:
            return bytes([int(code, 8)])
        raise EscapeError("this string holds an escape sequence that does not exist")

    try:
        return _ESCAPE.sub(replaced, raw).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise EscapeError("the escape sequences of this string are not UTF-8") from None
