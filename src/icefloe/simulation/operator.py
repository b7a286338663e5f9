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
SECONDS_TO_RESTORE = 10.0

_WAITING = frozenset({RequestState.AWAITING_APPROVAL, RequestState.FORWARDED})

Decide = Callable[[LedgerWriter, RequestRecord], Iterable[Write]]


class Approvals:
    """Who was approved where, so that one yes is enough where nothing goes wrong.

    Signers share no ledger: a request that no parent could decide waits at each of them.
    A person approves it at the one where they see it first.  Where links break the
    requester may later be asking at another one, and it has to be approved there too.
    """

    def __init__(self, *, once: bool) -> None:
        """Begin with none.

        Args:
            once: a name is approved at one signer only.
        """
        self._once = once
        self._where: dict[str, str] = {}

    def is_due(self, cn: str, node: str) -> bool:
        """Say whether a name that waits at a node is to be approved there."""
        return not self._once or self._where.setdefault(cn, node) == node


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
        approvals: Approvals | None = None,
        removes: Iterable[str] = (),
        snatches: Iterable[str] = (),
        wavers: Iterable[str] = (),
        seconds_to_decide: float = SECONDS_TO_DECIDE,
    ) -> None:
        """Watch a node's list.

        Args:
            world: where.
            node: whose ledger.
            approves: names to approve when they wait for it.
            approvals: what was approved elsewhere.
            removes: names to decline when they wait.
            snatches: names to decline as soon as they are seen, whatever happens to
                them at that moment.
            wavers: names about which they think again: an approved one is declined in
                the next moment, a declined one is restored, once.
            seconds_to_decide: how long a decision takes at most.
        """
        approves, removes, snatches = tuple(approves), tuple(removes), tuple(snatches)
        self.decided_at: dict[str, float] = {}
        self._world = world
        self._node = node
        self._decisions: dict[str, Decide] = {
            **dict.fromkeys(approves, self._approve),
            **dict.fromkeys((*removes, *snatches), self._remove),
        }
        self._approved_here = frozenset(approves)
        self._approvals = approvals
        self._snatched = frozenset(snatches)
        self._wavers = frozenset(wavers)
        self._seconds_to_decide = seconds_to_decide
        self._taken: set[str] = set()
        world.on_commit.append(self._committed)
        node.on_restore.append(self.forget)

    def forget(self) -> None:
        """The ledger went back in time: decide again where it has to be."""
        self._taken.clear()
        for request in self._node.ledger.for_operator().requests():
            self._look_at(request)

    def _committed(self, node: str, writes: tuple[Write, ...]) -> None:
        if node != self._node.name:
            return
        for write in writes:
            if isinstance(write, StoreRequest):
                self._look_at(write.record)

    def _look_at(self, request: RequestRecord) -> None:
        if self._is_to_decide(request):
            self._taken.add(request.request_id)
            snatches = request.cn in self._snatched
            longest = SECONDS_TO_SNATCH if snatches else self._seconds_to_decide
            pause = self._world.chance.uniform(0.0, longest)
            self._world.timeline.after(pause, partial(self._decide, request.request_id))

    def _is_to_decide(self, request: RequestRecord) -> bool:
        if request.cn not in self._decisions or request.request_id in self._taken:
            return False
        waits = request.state in _WAITING
        if not waits and request.cn not in self._snatched:
            return False
        if request.cn not in self._approved_here or self._approvals is None:
            return True
        return self._approvals.is_due(request.cn, self._node.name)

    def _decide(self, request_id: str, *, again: Decide | None = None) -> None:
        ledger = self._node.ledger.for_operator()
        try:
            ledger.begin()
            request = ledger.request(request_id)
            if request is None:
                ledger.rollback()
                return
            decide = again or self._decisions[request.cn]
            ledger.apply(decide(ledger, request))
            ledger.commit()
        except LedgerUnavailableError:
            ledger.rollback()
            self._world.timeline.after(
                SECONDS_TO_TRY_AGAIN, lambda: self._decide(request_id, again=again)
            )
            return
        except administration.DecisionError:
            ledger.rollback()  # too late: it is signed, or about to be
            return
        self.decided_at[request.cn] = self._world.timeline.seconds
        self._world.note("operator", f"decides about {request.cn}")
        self._node.tell_ledger_changed()
        if request.cn in self._wavers and not again:
            self._waver(request_id, request.cn)

    def _waver(self, request_id: str, cn: str) -> None:
        """Think better of it: decline what was approved, restore what was declined."""
        approved = self._decisions[cn] == self._approve
        longest = SECONDS_TO_SNATCH / 5 if approved else SECONDS_TO_RESTORE
        self._world.timeline.after(
            self._world.chance.uniform(0.0, longest),
            partial(
                self._decide,
                request_id,
                again=self._remove if approved else self._restore,
            ),
        )

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

    def _restore(self, ledger: LedgerWriter, request: RequestRecord) -> Iterable[Write]:
        del ledger
        return administration.restore(request, at=self._node.clock.now().wall)
