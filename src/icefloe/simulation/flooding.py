"""A flood: one stranger with many wrong tickets, for its own name and for others.

It asks faster than any node lets it, on a few connections at a time, until it has been
told often enough that it is not heard. What is judged: nobody else is refused because
of it (`Promises.a_flood_refuses_only_itself`, at every asker), nobody's request is lost
(everybody else finishes), and no more of its tickets are compared than may be.
"""

from __future__ import annotations

from typing import Final

from icefloe.enrollment.reasons import Reason
from icefloe.enrollment.requester import AskResult
from icefloe.simulation.asking import Ask, Wish
from icefloe.simulation.identities import authority, self_signed_identity
from icefloe.simulation.requesters import CommandPlan, Requesting
from icefloe.simulation.world import World, wrong_ticket

AT_ONCE: Final = 4
NOT_HEARD_ENOUGH: Final = 30
"""So often refused for its rate, and it has seen that it is no use."""

ASKS_MAX: Final = 150


class Flooder(Requesting):
    """Brings wrong tickets, many a second."""

    def __init__(self, world: World, *, victim: CommandPlan, number: int) -> None:
        """Stand ready.

        Args:
            world: where.
            victim: whose certificate it presents every other time.
            number: tells strangers apart.
        """
        self.name = f"flooder-{number}"
        self._world = world
        self._victim = victim
        self._own = self_signed_identity(self.name, 700 + number)
        self._parent = world.chance.choice(victim.parents)
        self._not_heard = 0
        self._under_way = 0

    def begin(self) -> None:
        """Ask on several connections at a time."""
        for _ in range(AT_ONCE):
            self._ask()

    def _ask(self) -> None:
        if self._not_heard >= NOT_HEARD_ENOUGH or self.asks >= ASKS_MAX:
            if not self._under_way and not self.finished:
                self.finished = True
                self.ended = "not heard" if self._not_heard else "asked enough"
                self.finished_at = self._world.timeline.seconds
            return
        self.asks += 1
        self._under_way += 1
        victim = self_signed_identity(self._victim.cn, self._victim.key_number)
        shown = victim if self.asks % 2 else self._own
        Ask(
            world=self._world,
            who=self.name,
            parent=self._parent,
            wish=Wish(
                cn=shown.cn,
                key_id=shown.key_id,
                shown=self._own.der,
                cert_request=shown.pem,
                ticket=wrong_ticket(shown.cn, 1000 + self.asks),
            ),
            anchor=authority().anchor,
            timeout=30.0,
            report=self._came,
        )

    def _came(self, result: AskResult) -> None:
        self._under_way -= 1
        self.ended = result.came.value
        pause = self._world.chance.uniform(0.0, 0.05)
        if result.facts.get("reason") == Reason.TOO_MANY_WRONG_TICKETS.value:
            self._not_heard += 1
            self._world.counts["flood.not-heard"] += 1
            # It goes on for a while, or nobody else would ask beside it.
            pause = self._world.chance.uniform(0.2, 2.0)
        self._world.timeline.after(pause, self._ask)
