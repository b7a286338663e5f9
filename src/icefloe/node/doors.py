"""The real clock and the real entropy."""

from __future__ import annotations

import random
import secrets
import time

from icefloe.doors import MonotonicTime, Now, WallTime


class RealClock:
    """The machine's clocks."""

    def now(self) -> Now:
        """Return both readings."""
        return Now(wall=WallTime(time.time()), mono=MonotonicTime(time.monotonic()))


class RealEntropy:
    """The machine's randomness, fit for serial numbers."""

    def bytes(self, count: int) -> bytes:
        """Return random bytes."""
        return secrets.token_bytes(count)

    def uniform(self, low: float, high: float) -> float:
        """Return a number between low and high, for jitter."""
        return random.SystemRandom().uniform(low, high)
