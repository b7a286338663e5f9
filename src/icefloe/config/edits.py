"""Edits of configuration files that somebody else wrote.

Icinga edits line by line, and takes a line inside a block comment for the real thing.
These edits look at tokens: what is in a comment or a string does not count, comments
beside the changed statement stay, and the result defines what was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from posixpath import dirname, join, normpath

from icefloe.config.errors import ConfigError
from icefloe.config.lexer import (
    EscapeError,
    Kind,
    LexicalError,
    Token,
    string_value,
    tokens,
)
from icefloe.config.printer import print_comment, print_constant, print_string
from icefloe.config.source import Source
from icefloe.config.syntax import Value

API_USERS_PATH = "conf.d/api-users.conf"


def set_constant(text: str, name: str, value: Value, *, file: str) -> str:
    """Let a file define a constant with this value.

    The first definition is replaced and further ones are removed; without one, a line
    with a definition in a comment (`//const NodeName = "localhost"`, as Debian ships
    it) makes room for it; without that, it is added at the end.

    Args:
        text: The file as it is; "" for a new one.
        name: A plain name.
        value: What it is to be.
        file: The file's path, for messages.

    Returns:
        The new text; equal to `text` when that said the same already.

    Raises:
        ConfigError: When the file makes no sense: a string or a bracket is not closed.
        PlanError: When the value cannot be printed.
    """
    definition = print_constant(name, value)
    source = Source(file, text)
    found = list(_constants(source, name))
    if found:
        first, *others = found
        for start, _, end in reversed(others):
            text = text[:start] + text[end:]
        return text[: first[0]] + definition + text[first[1] :]
    pattern = rf"^[^\S\n]*(?://|\#)[/#\t ]*const[^\S\n]+{name}[^\S\n]*=.*$"
    return _uncommented(
        source,
        pattern=pattern,
        statement=definition,
        is_there=lambda candidate: any(_constants(candidate, name)),
    )


def disable_conf_d(text: str, *, note: str, file: str) -> str:
    """Turn the inclusion of the directory `conf.d` into a comment.

    Args:
        text: `icinga2.conf` as it is.
        note: A line to put above the comment: who did this and when.
        file: The file's path, for messages.

    Returns:
        The new text; the same when `conf.d` was not included as a whole.

    Raises:
        ConfigError: When the file makes no sense: a string is not closed.
    """
    for start, end in reversed(list(_inclusions_of_conf_d(Source(file, text)))):
        before, after = text[:start], text[end:]
        comment = print_comment(f"{note}\n{text[start:end]}").removesuffix("\n")
        line_before = before.rpartition("\n")[2]
        if line_before.strip():
            before = before.rstrip(" \t") + "\n"
        rest = after.partition("\n")[0].strip()
        if rest and not rest.startswith(("//", "#")):
            after = "\n" + after.lstrip(" \t")
        text = before + comment + after
    return text


def include_api_users(text: str, *, note: str, file: str) -> str:
    """Let `icinga2.conf` include `conf.d/api-users.conf`, if it does not yet.

    Args:
        text: `icinga2.conf` as it is.
        note: A line to put above the statement: who did this and when.
        file: The file's path, for messages.

    Returns:
        The new text; the same when the file was included already, by itself or with
        the whole of `conf.d`.

    Raises:
        ConfigError: When the file makes no sense: a string or a bracket is not closed.
    """
    source = Source(file, text)
    if _includes_api_users(source) or any(_inclusions_of_conf_d(source)):
        return text
    path = re.escape(API_USERS_PATH)
    return _uncommented(
        source,
        pattern=rf'^[^\S\n]*(?://|\#)[/#\t ]*include[^\S\n]+"{path}"[^\S\n]*$',
        statement=f"{print_comment(note)}include {print_string(API_USERS_PATH)}",
        is_there=_includes_api_users,
    )


def _uncommented(
    source: Source,
    *,
    pattern: str,
    statement: str,
    is_there: Callable[[Source], bool],
) -> str:
    """Put a statement in place of the comment that holds it, or at the end."""
    text = source.text
    for match in re.finditer(pattern, text, re.MULTILINE):
        candidate = text[: match.start()] + statement + text[match.end() :]
        # Not so inside a block comment, where the line stays a comment.
        if is_there(Source(source.name, candidate)):
            return candidate
    if text and not text.endswith("\n"):
        text += "\n"
    appended = Source(source.name, f"{text}{statement}\n")
    if not is_there(appended):
        problem = source.problem(
            len(source.text),
            "nothing can be added to this file: its brackets do not match",
            "Correct the file first.",
        )
        raise ConfigError((problem,))
    return appended.text


def _constants(source: Source, name: str) -> Iterator[tuple[int, int, int]]:
    """Each definition of a constant: begin, end, and end with its separator."""
    stream = _stream(source)
    depth = last = 0
    for index, token in enumerate(stream):
        depth += _depth_change(token)
        if depth or index < last or not token.is_keyword("const"):
            continue
        defined = stream[index + 1]
        if defined.kind is Kind.NAME and defined.text.removeprefix("@") == name:
            last = _end(stream, index, {";", ","})
            separator = stream[last]
            end = stream[last - 1].end
            is_line_end = separator.kind in {Kind.NEWLINE, Kind.END}
            yield token.start, end, end if is_line_end else separator.end


def _inclusions(source: Source) -> Iterator[tuple[str, str, int, int]]:
    """Each inclusion of a plain string: keyword, path, begin and end with its `;`."""
    stream = _stream(source)
    last = 0
    for index, token in enumerate(stream):
        following = stream[min(index + 1, len(stream) - 1)]
        if (
            index < last  # A second one in the same statement makes no sense.
            or token.kind is not Kind.KEYWORD
            or token.text not in {"include", "include_recursive"}
            or following.kind is not Kind.STRING
        ):
            continue
        try:
            path = string_value(following)
        except EscapeError:
            continue
        last = _end(stream, index, {";"})
        has_separator = stream[last].is_symbol(";")
        end = stream[last].end if has_separator else stream[last - 1].end
        absolute = normpath(join(dirname(source.name), path))
        yield token.text, absolute, token.start, end


def _inclusions_of_conf_d(source: Source) -> Iterator[tuple[int, int]]:
    directory = normpath(join(dirname(source.name), "conf.d"))
    for keyword, path, start, end in _inclusions(source):
        if keyword == "include_recursive":
            is_whole = path == directory
        else:
            is_whole = path.startswith(f"{directory}/") and "*" in path
        if is_whole:
            yield start, end


def _includes_api_users(source: Source) -> bool:
    wanted = normpath(join(dirname(source.name), API_USERS_PATH))
    return any(
        keyword == "include" and path == wanted
        for keyword, path, _, _ in _inclusions(source)
    )


def _end(stream: list[Token], index: int, separators: set[str]) -> int:
    """The index of the token that ends the statement which begins at `index`."""
    depth = 0
    while (token := stream[index]).kind is not Kind.END:
        depth += _depth_change(token)
        if depth < 0:
            return index
        is_separator = token.kind is Kind.SYMBOL and token.text in separators
        if depth == 0 and (token.kind is Kind.NEWLINE or is_separator):
            return index
        index += 1
    return index


def _depth_change(token: Token) -> int:
    if token.kind is not Kind.SYMBOL:
        return 0
    # "{{" and "}}" are one bracket of a function, "}}" may also be two ends in a row;
    # counting them as two keeps the sum right in both cases.
    return sum((character in "([{") - (character in ")]}") for character in token.text)


def _stream(source: Source) -> list[Token]:
    try:
        return list(tokens(source))
    except LexicalError as error:
        raise ConfigError((error.problem,)) from None
