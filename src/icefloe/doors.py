"""The doors through which time and chance come in.

The core (wire, pki, cluster, enrollment, habits) reads no clock and draws no random
number.  Whoever calls it passes a `Now`, or an `Entropy`; the shell passes real ones,
the simulator passes ones that follow from a seed.

Two clocks are two types because they answer two questions.  `WallTime` says what date
a certificate or a message bears: it can jump when an operator sets the clock.
`MonotonicTime` says how long something has lasted: it means nothing outside the
process that read it.  A deadline is always monotonic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType, Protocol

WallTime = NewType("WallTime", float)
"""Seconds since 1970-01-01T00:00:00Z, as a certificate or a message bears them."""

MonotonicTime = NewType("MonotonicTime", float)
"""Seconds since an arbitrary moment; only differences mean something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """One reading of both clocks, taken at the same moment.

    Attributes:
        wall: What the calendar says; may jump in both directions between readings.
        mono: What the stopwatch says; never runs backwards.
    """

    wall: WallTime
    mono: MonotonicTime


class Clock(Protocol):
    """Tells the time.

    An implementer returns readings whose `mono` never decreases, and takes both
    values of one reading together.
    """

    def now(self) -> Now:
        """Read both clocks."""
        ...


class Entropy(Protocol):
    """Draws random numbers.

    The real one draws from the operating system and is fit for serial numbers.  A
    simulated one draws from a seed, so that a run can be repeated bit for bit.
    """

    def bytes(self, count: int) -> bytes:
        """Return `count` random bytes (`count` >= 0)."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """Return a random number `low <= x <= high`, as for jitter."""
        ...
