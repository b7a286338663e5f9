"""Numbers of an experiment: how they are summed up, and how they are said."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile: a value that was really measured.

    Args:
        values: At least one, in any order.
        percent: Above 0, at most 100.
    """
    ordered = sorted(values)
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[max(rank, 1) - 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How measured seconds are spread.

    Attributes:
        count: How many there are.
        p50: Half took no longer than this.
        p90: Nine of ten took no longer.
        p99: 99 of 100 took no longer.
        longest: The slowest.
    """

    count: int
    p50: float
    p90: float
    p99: float
    longest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Sum up; None of no values."""
        if not values:
            return None
        return cls(
            count=len(values),
            p50=round(percentile(values, 50), 4),
            p90=round(percentile(values, 90), 4),
            p99=round(percentile(values, 99), 4),
            longest=round(max(values), 4),
        )


def counted(words: Iterable[str]) -> dict[str, int]:
    """Count words, the most frequent first."""
    return dict(Counter(words).most_common())


def counts_text(counts: Mapping[str, int], *, none: str = "none") -> str:
    """Say counts: `197 signed, 3 cut off`."""
    return ", ".join(f"{count} {word}" for word, count in counts.items()) or none


def seconds_text(seconds: float | None) -> str:
    """Say a duration as short as it is useful: `3 ms`, `0.43 s`, `12.1 s`."""
    if seconds is None:
        return "-"
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
