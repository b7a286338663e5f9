"""How long a session may go on, and when the next heartbeat is due.

Members, and strangers whose certificate verifies, stay as long as they are alive: any
byte counts, and a silence of `silence_seconds` ends the session.  Other strangers get
`anonymous_seconds`, whatever they send, unless somebody holds their session because
they wait for an answer; then they too stay as long as they are alive.
"""

from __future__ import annotations

from icefloe.cluster.settings import SessionSettings
from icefloe.doors import MonotonicTime


def later(moment: MonotonicTime, seconds: float) -> MonotonicTime:
    """Return the moment `seconds` after another one."""
    return MonotonicTime(moment + seconds)


class Liveness:
    """The clockwork of one session.

    Attributes:
        last_seen: when the peer was last heard, or the session began.
        opened_at: when our Hello was sent; the beginning until then.
    """

    def __init__(
        self, *, settings: SessionSettings, may_stay: bool, now: MonotonicTime
    ) -> None:
        """Begin.

        Args:
            settings: the times.
            may_stay: the peer has no limited lifetime.
            now: when the connection was accepted or dialled.
        """
        self._settings = settings
        self._may_stay = may_stay
        self._held = False
        self._extended_to = now
        self._beat_at = now
        self.began_at = now
        self.opened_at = now
        self.last_seen = now

    # -- what happens ----------------------------------------------------------

    def opened(self, now: MonotonicTime) -> None:
        """Note that the session proper begins."""
        self.opened_at = now
        self.last_seen = now
        self.beaten(now)

    def seen(self, now: MonotonicTime) -> None:
        """Note that bytes came."""
        self.last_seen = now

    def beaten(self, now: MonotonicTime) -> None:
        """Note that a heartbeat was sent."""
        self._beat_at = later(now, self._settings.heartbeat_seconds)

    def hold(self, until: MonotonicTime | None) -> None:
        """Extend a stranger's lifetime: to a moment, or (None) while it is alive.

        The last call counts; holds are not added up.
        """
        self._held = until is None
        if until is not None:
            self._extended_to = until

    def release(self, now: MonotonicTime) -> None:
        """End the hold.  The stranger has one more lifetime, to ask something else."""
        self._held = False
        self._extended_to = later(now, self._settings.anonymous_seconds)

    # -- what is due -----------------------------------------------------------

    @property
    def setup_deadline(self) -> MonotonicTime:
        """When a listener has waited long enough for the first byte."""
        return later(self.began_at, self._settings.setup_seconds)

    @property
    def heartbeat_deadline(self) -> MonotonicTime:
        """When to send the next heartbeat."""
        return self._beat_at

    @property
    def silence_deadline(self) -> MonotonicTime:
        """When the peer counts as gone, should it stay silent."""
        return later(self.last_seen, self._settings.silence_seconds)

    @property
    def lifetime_deadline(self) -> MonotonicTime | None:
        """When a stranger has been here long enough; None if it may stay."""
        if self._may_stay or self._held:
            return None
        lifetime = later(self.opened_at, self._settings.anonymous_seconds)
        return max(lifetime, self._extended_to)
