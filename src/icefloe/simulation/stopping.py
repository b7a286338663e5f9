"""How a node ends in order (SIGTERM): the twin of `icefloe.node.stopping`.

Nobody new comes in; who waits gets the answer that comes in time, the others are told
"pending" by the core, or, where that hangs, by the shell; every connection is closed in
order once nothing is owed on it; the core hears of that.  Each step has its time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from icefloe.enrollment import events as ev
from icefloe.simulation.world import World

if TYPE_CHECKING:
    from icefloe.simulation.machine import Machine
    from icefloe.simulation.process import Process

QUIET_SECONDS: Final = 0.25
ANSWER_SECONDS: Final = 3.0
PARK_SECONDS: Final = 2.0
DRAIN_SECONDS: Final = 5.0
LAST_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.02
"""All as in the daemon."""


class Stopping:
    """The end of one life."""

    def __init__(self, process: Process, machine: Machine, world: World) -> None:
        """Plan it."""
        self._process = process
        self._machine = machine
        self._world = world

    def begin(self) -> None:
        """Let nobody new in; who is on the way comes in."""
        self._world.note(self._machine.name, "is told to stop")
        self._world.network.let_nobody_in(self._machine.name)
        self._process.stop_dialling()
        self._world.timeline.after(
            QUIET_SECONDS, lambda: self._process.enter(self._wait_for_answers)
        )

    def _wait_for_answers(self) -> None:
        hub = self._process.hub
        self._until(
            lambda: not hub.owed and not hub.expects_askers and self._process.is_idle,
            ANSWER_SECONDS,
            self._park,
        )

    def _park(self) -> None:
        stopping = ev.Stopping()
        self._process.submit(stopping)

        def said() -> bool:
            return all(event is not stopping for event in self._process.unconcluded)

        def close() -> None:
            if not said():
                self._process.hub.answer_all(self._process.unconcluded)
            self._until(self._all_closed, DRAIN_SECONDS, self._closed)

        self._until(said, PARK_SECONDS, close)

    def _all_closed(self) -> bool:
        hub = self._process.hub
        hub.leave_all("node-stops")
        return not hub.links

    def _closed(self) -> None:
        hub = self._process.hub
        if hub.owed:  # of a core that hung only now
            hub.answer_all(self._process.unconcluded)
            self._until(self._all_closed, LAST_SECONDS, self._abort)
        else:
            self._abort()

    def _abort(self) -> None:
        self._process.hub.abort_all()
        self._until(self._is_idle, LAST_SECONDS, self._machine.stopped)

    def _is_idle(self) -> bool:
        return self._process.is_idle

    def _until(
        self, so: Callable[[], bool], seconds_max: float, then: Callable[[], None]
    ) -> None:
        """Go on when it is so, or when its time is over."""
        ends = self._world.timeline.seconds + seconds_max

        def look() -> None:
            if so() or self._world.timeline.seconds >= ends:
                then()
            else:
                self._world.timeline.after(
                    _LOOK_SECONDS, lambda: self._process.enter(look)
                )

        look()
