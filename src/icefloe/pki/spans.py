"""Lengths of time in words: ages, what is left, how far clocks are apart."""

from __future__ import annotations

from typing import Final

__all__ = ["span_text"]

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400


def span_text(seconds: float) -> str:
    """Return a length of time in words that fit its size, whatever its sign.

    Two of a unit are the least that is told in it: `119 s`, `2 min`, `2 h 5 min`,
    `3 days`.
    """
    whole = round(abs(seconds))
    if whole < 2 * _MINUTE:
        return f"{whole} s"
    if whole < 2 * _HOUR:
        return f"{whole // _MINUTE} min"
    if whole >= 2 * _DAY:
        return f"{whole // _DAY} days"
    hours, minutes = whole // _HOUR, whole % _HOUR // _MINUTE
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
