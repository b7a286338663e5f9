"""When to dial the endpoints we have no connection to.

A lost parent is usually being restarted, so the first retry comes soon; the following
ones come ever more rarely, and with jitter, so that those who lost it together do not
come back together.  (Icinga dials every 10 s, all nodes in step with their own start.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from icefloe.cluster.liveness import later
from icefloe.doors import Entropy, MonotonicTime

FIRST_RETRY_SECONDS: Final = 0.5
"""The first retry comes soon: most lost parents are being restarted."""

RETRY_SECONDS_MAX: Final = 12.0
"""Before jitter.  Icinga's own timer dials every 10 s."""

RETRY_FACTOR: Final = 2.0
JITTER: Final = 0.25
"""Each delay is drawn from this far below to this far above: a hundred agents that lost
their satellite in one moment shall not come back in one."""

STABLE_SECONDS: Final = 30.0
"""A connection that lasted this long was good, and the next retry is a first one.  A
shorter one (refused as a duplicate, say) counts as another failure."""


@dataclass(slots=True)
class _Dial:
    failures: int
    due_at: MonotonicTime | None  # None: being dialled, or connected
    connected_at: MonotonicTime | None = None


class DialPacer:
    """When to dial each endpoint: soon, then ever more rarely, never in step.

    The dialer asks `due`, and tells what happened.  An endpoint whose connection was
    made from its own side is `connected` too, and not dialled meanwhile.
    """

    def __init__(self, *, entropy: Entropy) -> None:
        """Begin with nothing to dial.

        Args:
            entropy: for the jitter.
        """
        self._entropy = entropy
        self._dials: dict[str, _Dial] = {}

    def set_targets(self, endpoints: Iterable[str], now: MonotonicTime) -> None:
        """Say which endpoints to keep connected.

        New ones are due at once, in the given order; those no longer named are
        forgotten.  Names that stay keep their pace.
        """
        before = self._dials
        self._dials = {
            name: before.get(name) or _Dial(failures=0, due_at=now)
            for name in endpoints
        }

    def due(self, now: MonotonicTime) -> tuple[str, ...]:
        """Name the endpoints to dial now; each is to be answered with `dialling`."""
        return tuple(
            name
            for name, dial in self._dials.items()
            if dial.due_at is not None and dial.due_at <= now
        )

    @property
    def next_deadline(self) -> MonotonicTime | None:
        """When to ask `due` again; None while nothing will be due by itself."""
        return min(
            (dial.due_at for dial in self._dials.values() if dial.due_at is not None),
            default=None,
        )

    def dialling(self, endpoint: str) -> None:
        """A dial was begun; it is not due again before it fails or its link ends."""
        dial = self._dials.get(endpoint)
        if dial is not None:
            dial.due_at = None

    def connected(self, endpoint: str, now: MonotonicTime) -> None:
        """The endpoint is connected, whoever dialled."""
        dial = self._dials.get(endpoint)
        if dial is not None:
            dial.due_at = None
            dial.connected_at = now

    def failed(self, endpoint: str, now: MonotonicTime) -> None:
        """A dial failed, at whatever step.

        Of an endpoint that is connected by now (it dialled us meanwhile) this says
        nothing.
        """
        dial = self._dials.get(endpoint)
        if dial is not None and dial.connected_at is None:
            self._retry(dial, now)

    def disconnected(self, endpoint: str, now: MonotonicTime) -> None:
        """The endpoint's connection ended, and no other one has taken its place.

        (`Connections.forget` names the endpoint only in that case.)
        """
        dial = self._dials.get(endpoint)
        if dial is None:
            return
        connected_at, dial.connected_at = dial.connected_at, None
        if connected_at is not None and now - connected_at >= STABLE_SECONDS:
            dial.failures = 0
        self._retry(dial, now)

    def _retry(self, dial: _Dial, now: MonotonicTime) -> None:
        delay = backoff(dial.failures, self._entropy)
        dial.failures += 1
        dial.due_at = later(now, delay)


def backoff(failures: int, entropy: Entropy) -> float:
    """Draw how many seconds to wait before trying again.

    Args:
        failures: how many times it was tried again already.
        entropy: for the jitter.
    """
    # Beyond the exponent below the cap rules anyway, and a float overflows at 1024.
    exponent = min(failures, 16)
    delay = min(FIRST_RETRY_SECONDS * RETRY_FACTOR**exponent, RETRY_SECONDS_MAX)
    return delay * entropy.uniform(1 - JITTER, 1 + JITTER)
