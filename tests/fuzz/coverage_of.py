"""Which steps through Icefloe an input takes, and the fewest inputs that take them all.

Independent of atheris: line to line in pure Python, so that the committed corpus can be
made small, and its worth be seen, on any machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any

from tests.source_tree import SOURCE

Step = tuple[str, int, int]
"""File, line before, line."""

_PREFIX = str(SOURCE)


def steps(check: Callable[[bytes], None], data: bytes) -> frozenset[Step]:
    """Run one input and return the steps it took; exceptions pass through."""
    taken: set[Step] = set()
    before: dict[int, int] = {}

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(_PREFIX):
            return None
        if event == "line":
            line = frame.f_lineno
            taken.add((file, before.get(id(frame), 0), line))
            before[id(frame)] = line
        elif event == "return":
            before.pop(id(frame), None)
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        check(data)
    finally:
        sys.settrace(former)
    return frozenset(taken)


def fewest(
    check: Callable[[bytes], None],
    candidates: Iterable[bytes],
    *,
    covered: Iterable[bytes] = (),
) -> tuple[list[bytes], int]:
    """Choose inputs, small ones first, that take steps which `covered` do not.

    Returns:
        The inputs, and how many steps all of them take together.
    """
    known: set[Step] = set()
    for data in covered:
        known |= steps(check, data)
    chosen: list[tuple[bytes, frozenset[Step]]] = []
    for data in sorted(set(candidates), key=lambda data: (len(data), data)):
        taken = steps(check, data)
        if not taken <= known:
            known |= taken
            chosen.append((data, taken))
    return _needed(chosen), len(known)


def _needed(chosen: list[tuple[bytes, frozenset[Step]]]) -> list[bytes]:
    """Drop what later, larger inputs cover as well."""
    counts: dict[Step, int] = {}
    for _, taken in chosen:
        for step in taken:
            counts[step] = counts.get(step, 0) + 1
    kept: list[bytes] = []
    for data, taken in chosen:
        if _is_superfluous(taken, counts):
            for step in taken:
                counts[step] -= 1
        else:
            kept.append(data)
    return kept


def _is_superfluous(taken: frozenset[Step], counts: Mapping[Step, int]) -> bool:
    return all(counts[step] > 1 for step in taken)
