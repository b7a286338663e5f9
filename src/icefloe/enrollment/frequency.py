"""How many certificates tickets have had signed for one name lately.

Each is for another key. A machine that is installed again and again needs a few a day;
who found a ticket gets no more, and from then on a person decides. A canary has a new
key at each run, so its names have a bound of their own. A restart forgets all of it.
"""

from __future__ import annotations

from icefloe.doors import MonotonicTime
from icefloe.enrollment.policy import Gate
from icefloe.enrollment.rates import Meter, Rate
from icefloe.enrollment.reasons import Reason
from icefloe.pki.canaries import is_canary

DAY_SECONDS = 86_400.0
# One in five minutes, all day long.
CANARIES_PER_NAME_AND_DAY = 288


class SignedByTicket:
    """Counts, for each name, the certificates that tickets had signed in a day."""

    def __init__(self) -> None:
        """Begin with none."""
        self._names = Meter(Rate(1, DAY_SECONDS))
        self._canaries = Meter(Rate(CANARIES_PER_NAME_AND_DAY, DAY_SECONDS))

    def count(self, cn: str, now: MonotonicTime) -> None:
        """Count one."""
        self._meter_of(cn).take(cn, now)

    def gate(self, cn: str, now: MonotonicTime, *, most: int) -> Gate | None:
        """Say whether tickets had enough for a name; None when one more is well.

        Args:
            cn: the name.
            now: the time.
            most: how many a day, unless it is a canary.
        """
        self._names.reconfigure(Rate(most, DAY_SECONDS))
        meter = self._meter_of(cn)
        if meter.admits_at(cn, now) <= now:
            return None
        text = (
            f"tickets have had {meter.rate.count} keys signed for '{cn}' within a day"
        )
        return Gate(Reason.TOO_MANY_CERTIFICATES, text, needs_reserved=False)

    def _meter_of(self, cn: str) -> Meter:
        return self._canaries if is_canary(cn) else self._names
