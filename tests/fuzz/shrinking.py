"""A failing input made small, while it fails in the same way at the same place."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator

ATTEMPTS_MAX = 5000

Failure = tuple[str, str, int]
"""Kind of exception, file, line."""


def failure_of(check: Callable[[bytes], None], data: bytes) -> Failure | None:
    """How an input fails, or None."""
    try:
        check(data)
    except Exception as error:  # noqa: BLE001 - whatever it is
        place = traceback.extract_tb(error.__traceback__)[-1]
        return type(error).__name__, place.filename, place.lineno or 0
    return None


def shrunk(check: Callable[[bytes], None], data: bytes) -> bytes:
    """Leave out runs of bytes, long ones first, as long as the failure stays."""
    wanted = failure_of(check, data)
    if wanted is None:
        return data
    attempts = 0
    size = len(data) // 2
    while size and attempts < ATTEMPTS_MAX:
        for shorter in _without_runs(data, size):
            attempts += 1
            if failure_of(check, shorter) == wanted:
                data = shorter
                break
        else:
            size //= 2
    return data


def _without_runs(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[:start] + data[start + size :]
