"""The person at a node: approves and removes with the commands' own functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from icefloe.enrollment import administration
from icefloe.enrollment.ledger import (
    LedgerUnavailableError,
    LedgerWriter,
    StoreRequest,
    Write,
)
from icefloe.enrollment.model import RequestRecord, RequestState
from icefloe.simulation.machine import Machine
from icefloe.simulation.world import World

SECONDS_TO_DECIDE = 40.0
SECONDS_TO_SNATCH = 0.5
SECONDS_TO_TRY_AGAIN = 3.0

_WAITING = frozenset({RequestState.AWAITING_APPROVAL, RequestState.FORWARDED})

Decide = Callable[[LedgerWriter, RequestRecord], Iterable[Write]]


class Operator:
    """Decides some time after a request begins to wait, in a process of its own.

    Attributes:
        decided_at: virtual seconds of the last decision about a name.
    """

    def __init__(
        self,
        world: World,
        node: Machine,
        *,
        approves: Iterable[str] = (),
        removes: Iterable[str] = (),
        snatches: Iterable[str] = (),
        seconds_to_decide: float = SECONDS_TO_DECIDE,
    ) -> None:
        """Watch a node's list.

        Args:
            world: where.
            node: whose ledger.
            approves: names to approve when they wait for it.
            removes: names to decline when they wait.
            snatches: names to decline as soon as they are seen, whatever happens to
                them at that moment.
            seconds_to_decide: how long a decision takes at most.
        """
        removes, snatches = tuple(removes), tuple(snatches)
        self.decided_at: dict[str, float] = {}
        self._world = world
        self._node = node
        self._decisions: dict[str, Decide] = {
            **dict.fromkeys(approves, self._approve),
            **dict.fromkeys((*removes, *snatches), self._remove),
        }
        self._snatched = frozenset(snatches)
        self._seconds_to_decide = seconds_to_decide
        self._taken: set[str] = set()
        world.on_commit.append(self._committed)

    def _committed(self, node: str, writes: tuple[Write, ...]) -> None:
        if node != self._node.name:
            return
        for write in writes:
            if not isinstance(write, StoreRequest):
                continue
            request = write.record
            if self._is_to_decide(request):
                self._taken.add(request.request_id)
                snatches = request.cn in self._snatched
                longest = SECONDS_TO_SNATCH if snatches else self._seconds_to_decide
                pause = self._world.chance.uniform(0.0, longest)
                self._world.timeline.after(
                    pause, partial(self._decide, request.request_id)
                )

    def _is_to_decide(self, request: RequestRecord) -> bool:
        if request.cn not in self._decisions or request.request_id in self._taken:
            return False
        waits = request.state in _WAITING
        return waits or request.cn in self._snatched

    def _decide(self, request_id: str) -> None:
        ledger = self._node.ledger.for_operator()
        try:
            ledger.begin()
            request = ledger.request(request_id)
            if request is None:
                ledger.rollback()
                return
            ledger.apply(self._decisions[request.cn](ledger, request))
            ledger.commit()
        except LedgerUnavailableError:
            ledger.rollback()
            self._world.timeline.after(
                SECONDS_TO_TRY_AGAIN, lambda: self._decide(request_id)
            )
            return
        except administration.DecisionError:
            ledger.rollback()  # too late: it is signed, or about to be
            return
        self.decided_at[request.cn] = self._world.timeline.seconds
        self._world.note("operator", f"decides about {request.cn}")
        self._node.tell_ledger_changed()

    def _approve(self, ledger: LedgerWriter, request: RequestRecord) -> Iterable[Write]:
        reserved_names = self._node.tree.reserved_names()
        return administration.approve(
            ledger,
            request,
            actor="operator",
            at=self._node.clock.now().wall,
            reserved=request.cn in reserved_names,
            reserved_names=reserved_names,
            node_name=self._node.name,
        )

    def _remove(self, ledger: LedgerWriter, request: RequestRecord) -> Iterable[Write]:
        del ledger
        return administration.remove(
            request, actor="operator", at=self._node.clock.now().wall
        )
