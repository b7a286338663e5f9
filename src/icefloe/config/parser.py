"""Tokens to a syntax tree, for the part of Icinga's language that Icefloe reads.

    file        statements separated by line ends, ";" or ","
    statement   const NAME = expression | PATH = expression | PATH += expression
                | object TYPE expression { assignments }
                | include expression | include <path>
                | include_recursive expression [, expression]
    expression  sums of: string, {{{text}}}, number with unit, true, false, null, NAME,
                -expression, (expression), [ expressions ], { assignments }

A line end separates statements and assignments; inside ( ) it means nothing, in [ ] it
may stand after "[" and "," and before "]" (found by running Icinga 2.13.6).  Anything
else that Icinga knows (templates, functions, conditions, other operators) is a problem
with its position: a file that is understood in part is not understood.

A problem does not end the parsing: it goes on at the next statement, so that one look
shows everything.
"""

from __future__ import annotations

from dataclasses import dataclass

from icefloe.config.errors import ConfigProblem
from icefloe.config.lexer import (
    EscapeError,
    Kind,
    LexicalError,
    Token,
    string_value,
    tokens,
)
from icefloe.config.source import Source
from icefloe.config.syntax import (
    ArrayDisplay,
    Assignment,
    Constant,
    DictionaryDisplay,
    Expression,
    Include,
    Literal,
    Name,
    Negation,
    ObjectDeclaration,
    Statement,
    Sum,
)

NESTING_MAX = 64
"""Brackets within brackets; far above any use, far below Python's own limit."""

PROBLEMS_MAX = 50
"""Problems of one file after which it is not read further."""

_SUBSET = (
    "Icefloe reads constants, Endpoint, Zone, ApiListener and ApiUser objects with"
    " plain values, and includes. Move the rest to a file that only Icinga 2 reads."
)

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}

_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFile:
    """What one file says.

    Attributes:
        source: The text it was parsed from.
        statements: In the order of the file, those with problems left out.
        problems: In the order of the file.
    """

    source: Source
    statements: tuple[Statement, ...]
    problems: tuple[ConfigProblem, ...]


def parse(source: Source) -> ParsedFile:
    """Parse one file.  Never raises: what is wrong is in the result's `problems`."""
    try:
        stream = list(tokens(source))
    except LexicalError as error:
        return ParsedFile(source=source, statements=(), problems=(error.problem,))
    parser = _Parser(source, stream)
    statements, problems = parser.file()
    return ParsedFile(
        source=source, statements=tuple(statements), problems=tuple(problems)
    )


def parse_expression(
    source: Source, stream: list[Token], index: int
) -> tuple[Expression, int]:
    """Parse one expression in the middle of a token list.

    Args:
        source: The text the tokens come from.
        stream: All tokens of the text, `END` included.
        index: Where the expression begins.

    Returns:
        The expression, and the index of the token after it.

    Raises:
        ParseError: When no expression of the known kind stands there.
    """
    parser = _Parser(source, stream, index)
    return parser.expression(), parser.index


class ParseError(Exception):
    """A statement that could not be understood; carries the problem to its reader."""

    def __init__(self, problem: ConfigProblem) -> None:
        super().__init__(problem)
        self.problem = problem


class _Parser:
    """A recursive descent over one token list."""

    def __init__(self, source: Source, stream: list[Token], index: int = 0) -> None:
        self._source = source
        self._tokens = stream
        self.index = index
        # Innermost last; only inside ( ) are line ends skipped everywhere.
        self._brackets: list[str] = []

    # Statements

    def file(self) -> tuple[list[Statement], list[ConfigProblem]]:
        statements: list[Statement] = []
        problems: list[ConfigProblem] = []
        self._skip_newlines()
        while self._peek().kind is not Kind.END:
            try:
                statements.append(self._statement())
                self._end_of_statement()
            except ParseError as error:
                problems.append(error.problem)
                if len(problems) >= PROBLEMS_MAX:
                    break
                self._resynchronise()
        return statements, problems

    def _statement(self) -> Statement:
        token = self._peek()
        match token.text if token.kind is Kind.KEYWORD else "":
            case "const":
                return self._constant()
            case "object":
                return self._object()
            case "include":
                return self._include(recursive=False)
            case "include_recursive":
                return self._include(recursive=True)
        if token.kind is Kind.NAME:
            return self._assignment()
        raise self._unexpected(token, "a statement")

    def _constant(self) -> Constant:
        start = self._next().start
        name = self._expect(Kind.NAME, "the name of a constant")
        self._expect_symbol("=")
        return Constant(
            name=name.text.removeprefix("@"), value=self.expression(), start=start
        )

    def _object(self) -> ObjectDeclaration:
        start = self._next().start
        type_name = self._expect(Kind.NAME, "the type of the object")
        name = None if self._peek().is_symbol("{") else self.expression()
        body = self._braces(quoted_keys=False)
        return ObjectDeclaration(
            type_name=type_name.text, name=name, body=body, start=start
        )

    def _include(self, *, recursive: bool) -> Include:
        start = self._next().start
        token = self._peek()
        pattern: Expression | None = None
        system = token.kind is Kind.SYSTEM_PATH and not recursive
        path: Expression
        if system:
            self._next()
            path = Literal(value=token.text[1:-1], start=token.start)
        else:
            path = self.expression()
        if recursive and self._peek().is_symbol(","):
            self._next()
            pattern = self.expression()
        return Include(
            path=path,
            system=system,
            recursive=recursive,
            pattern=pattern,
            start=start,
        )

    def _end_of_statement(self) -> None:
        """One separator, then any number of line ends."""
        token = self._peek()
        if token.kind is Kind.END:
            return
        if token.kind is not Kind.NEWLINE and token.text not in {";", ","}:
            raise self._unexpected(token, "the end of the line")
        self._next()
        self._skip_newlines()

    def _resynchronise(self) -> None:
        """Go to the next line that begins with a statement's keyword."""
        self._brackets.clear()
        while (token := self._peek()).kind is not Kind.END:
            self.index += 1
            following = self._tokens[self.index]
            if token.kind is Kind.NEWLINE and (
                following.kind is Kind.KEYWORD
                and following.text
                in {"const", "object", "include", "include_recursive"}
            ):
                return

    # Assignments

    def _braces(self, *, quoted_keys: bool) -> tuple[Assignment, ...]:
        """`{ assignments }`: a dictionary (where keys may be quoted) or an object."""
        self._open("{")
        entries: list[Assignment] = []
        self._skip_newlines()
        while not self._peek().is_symbol("}"):
            entries.append(self._assignment(quoted_key=quoted_keys))
            token = self._peek()
            if token.is_symbol("}"):
                break
            if token.kind is not Kind.NEWLINE and token.text not in {";", ","}:
                raise self._unexpected(token, "a line end, ',', ';' or '}'")
            self._next()
            self._skip_newlines()
        self._close("{")
        return tuple(entries)

    def _assignment(self, *, quoted_key: bool = False) -> Assignment:
        token = self._peek()
        if token.kind is Kind.STRING and quoted_key:
            path = [self._text(self._next())]
        else:
            path = [self._expect(Kind.NAME, "a name").text.removeprefix("@")]
        while self._peek().text in {".", "["} and self._peek().kind is Kind.SYMBOL:
            path.append(self._key())
        operator = self._peek()
        if not (operator.is_symbol("=") or operator.is_symbol("+=")):
            raise self._unexpected(operator, "'=' or '+='")
        self._next()
        return Assignment(
            path=tuple(path),
            adds=operator.text == "+=",
            value=self.expression(),
            start=token.start,
        )

    def _key(self) -> str:
        """`.name` or `["name"]`, of an assignment's left-hand side."""
        if self._next().text == ".":
            return self._expect(Kind.NAME, "a name").text.removeprefix("@")
        key = self._text(self._expect(Kind.STRING, "a string"))
        self._expect_symbol("]")
        return key

    # Expressions

    def expression(self) -> Expression:
        first = self._operand()
        terms = [first]
        while self._peek().is_symbol("+"):
            self._next()
            terms.append(self._operand())
        if len(terms) == 1:
            return first
        return Sum(terms=tuple(terms), start=first.start)

    def _operand(self) -> Expression:
        token = self._peek()
        if token.kind is Kind.SYMBOL:
            return self._symbol_operand(token)
        self._next()
        if token.kind in {Kind.STRING, Kind.TEXT_BLOCK}:
            return Literal(value=self._text(token), start=token.start)
        if token.kind is Kind.NUMBER:
            return Literal(value=self._number(token), start=token.start)
        if token.kind is Kind.NAME:
            identifier = token.text.removeprefix("@")
            return Name(identifier=identifier, start=token.start, end=token.end)
        if token.kind is Kind.KEYWORD and token.text in _CONSTANTS:
            return Literal(value=_CONSTANTS[token.text], start=token.start)
        raise self._unexpected(token, "a value")

    def _symbol_operand(self, token: Token) -> Expression:
        match token.text:
            case "[":
                return self._array()
            case "{":
                return DictionaryDisplay(
                    entries=self._braces(quoted_keys=True), start=token.start
                )
            case "(":
                self._open("(")
                inner = self.expression()
                self._close("(")
                return inner
            case "-":
                # Counted as a bracket: a thousand minus signs nest as deep.
                self._nest(self._brackets[-1] if self._brackets else "-")
                self.index += 1
                operand = self._operand()
                self._brackets.pop()
                return Negation(operand=operand, start=token.start)
        raise self._unexpected(token, "a value")

    def _array(self) -> ArrayDisplay:
        start = self._open("[").start
        items: list[Expression] = []
        self._skip_newlines()
        while not self._peek().is_symbol("]"):
            items.append(self.expression())
            if self._peek().is_symbol(","):
                self._next()
                self._skip_newlines()
                continue
            self._skip_newlines()
            break
        self._close("[")
        return ArrayDisplay(items=tuple(items), start=start)

    def _number(self, token: Token) -> float:
        digits = token.text.rstrip("dhms")
        value = float(digits) * _UNITS[token.text[len(digits) :]]
        if value == float("inf"):
            raise ParseError(
                self._source.problem(token.start, "this number is too large")
            )
        return value

    def _text(self, token: Token) -> str:
        try:
            return string_value(token)
        except EscapeError as error:
            problem = self._source.problem(
                token.start,
                str(error),
                r"Known are \" \\ \n \t \r \b \f and octal bytes such as \033.",
            )
            raise ParseError(problem) from None

    # Tokens

    def _peek(self) -> Token:
        if self._brackets and "(" in self._brackets[-1]:
            self._skip_newlines()
        return self._tokens[self.index]

    def _next(self) -> Token:
        token = self._peek()
        if token.kind is not Kind.END:
            self.index += 1
        return token

    def _skip_newlines(self) -> None:
        while self._tokens[self.index].kind is Kind.NEWLINE:
            self.index += 1

    def _expect(self, kind: Kind, wanted: str) -> Token:
        token = self._peek()
        if token.kind is not kind:
            raise self._unexpected(token, wanted)
        return self._next()

    def _expect_symbol(self, text: str) -> Token:
        token = self._peek()
        if not token.is_symbol(text):
            raise self._unexpected(token, f"'{text}'")
        return self._next()

    def _nest(self, bracket: str) -> None:
        if len(self._brackets) >= NESTING_MAX:
            problem = self._source.problem(
                self._peek().start,
                f"more than {NESTING_MAX} brackets within brackets",
                "Take the value apart into constants.",
            )
            raise ParseError(problem)
        self._brackets.append(bracket)

    def _open(self, bracket: str) -> Token:
        token = self._expect_symbol(bracket)
        self._nest(bracket)
        return token

    def _close(self, bracket: str) -> None:
        self._expect_symbol(_CLOSING[bracket])
        self._brackets.pop()

    def _unexpected(self, token: Token, wanted: str) -> ParseError:
        if token.kind in {Kind.NEWLINE, Kind.END}:
            found = f"the {token.kind.value}"
        elif token.kind in {Kind.STRING, Kind.TEXT_BLOCK}:
            found = f"a {token.kind.value}"
        else:
            found = self._source.quoted(token.start, token.end)
        return ParseError(
            self._source.problem(
                token.start,
                f"expected {wanted}, found {found}",
                _remedy(token),
            )
        )


def _remedy(token: Token) -> str:
    """What to do about a token that does not belong where it stands."""
    if token.is_symbol("}}"):
        return "Write a blank between the two: Icinga reads '}}' as one symbol."
    if token.kind is Kind.OTHER and token.text == "\ufeff":
        return "Save the file as UTF-8 without a byte order mark."
    if token.kind is Kind.OTHER:
        return "Outside strings and comments only ASCII characters have a meaning."
    if token.kind in {Kind.NAME, Kind.NUMBER} or token.is_keyword("object"):
        return "Strings stand in quotes; statements on lines of their own."
    if token.kind is Kind.KEYWORD or (
        token.kind is Kind.SYMBOL and token.text not in {"{", "}", "[", "]", "(", ")"}
    ):
        return _SUBSET
    return ""
