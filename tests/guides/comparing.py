"""Compares what a guide shows with what a command printed."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ANY = "..."
_WORD = re.compile(r"<([a-z][a-z0-9-]*)>")

# What may differ from run to run.  Where a guide shows one, another of its kind will do.
_DIFFERS = (
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z| UTC| \+0000)?",
    r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4} GMT",
    r"\d{8}T\d{6}Z-\d+",
    r"(?:[0-9A-F]{2} ){7,}[0-9A-F]{2}\b",
    r"\b(?:[0-9a-f]{2}:){9,}[0-9a-f]{2}\b",
    r"\b(?:[0-9a-f]{16,64}|[0-9A-F]{36,42})\b",
    r"\+?\b\d+(?:\.\d+)? ?(?:ms|s|seconds?|minutes?|hours?|days?)\b",
)
_SAME = _DIFFERS[3]
"""A fingerprint: what a guide shows twice has to be the same twice."""

_TOKEN = re.compile("|".join([re.escape(_ANY), _WORD.pattern, *_DIFFERS]))


def put_back(text: str, values: Mapping[str, str]) -> str:
    """Replace what the suite uses (keys) by what the guide says; the longest first."""
    for ours in sorted(values, key=len, reverse=True):
        text = text.replace(ours, values[ours])
    return text


def fill_in(text: str, words: Mapping[str, str]) -> str:
    """Put remembered words where `<word>` stands."""
    return _WORD.sub(lambda found: words.get(found[1], found[0]), text)


def difference(shown: str, printed: str, words: dict[str, str]) -> str:
    """Return what is wrong, in words; empty when what is shown is what one sees.

    Args:
        shown: As the guide has it.
        printed: What came, with the guide's own hosts and ports put back.
        words: What stood in the place of each `<word>`, and of each fingerprint that
            was shown; new ones are added.
    """
    lines = [line.rstrip() for line in printed.strip("\n").splitlines()]
    came = "".join(f"{line}\n" for line in lines)
    pattern = _Pattern(words)
    found = re.fullmatch(pattern.of(fill_in(shown, words)), came)
    if found is None:
        return f"the guide shows\n\n{shown}\nand one sees\n\n{came}"
    words |= {key: found[group] for key, group in pattern.groups.items()}
    return ""


class _Pattern:
    """Makes the expression for one output; `groups` is where each new word stands."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = words
        self.groups: dict[str, str] = {}

    def of(self, shown: str) -> str:
        """Return the expression for the whole output; each of its lines ends."""
        parts = []
        for line in shown.strip("\n").splitlines():
            any_lines = line.strip() == _ANY
            parts.append(r"(?:.*\n)*?" if any_lines else self._line(line) + r"\n")
        return "".join(parts)

    def _line(self, line: str) -> str:
        line = line.rstrip()
        parts = []
        at = 0
        for token in _TOKEN.finditer(line):
            parts += [re.escape(line[at : token.start()]), self._any_like(token[0])]
            at = token.end()
        return "".join([*parts, re.escape(line[at:])])

    def _any_like(self, token: str) -> str:
        if token == _ANY:
            return ".*"
        word = _WORD.fullmatch(token)
        if word is not None:
            return self._same(word[1], r"\S+")
        if re.fullmatch(_SAME, token):
            return self._same(token, _SAME)
        kind = next(each for each in _DIFFERS if re.fullmatch(each, token))
        return f"(?:{kind})"

    def _same(self, key: str, kind: str) -> str:
        if key in self._words:
            return re.escape(self._words[key])
        if key in self.groups:
            return f"(?P={self.groups[key]})"
        self.groups[key] = f"w{len(self.groups)}"
        return f"(?P<{self.groups[key]}>{kind})"
