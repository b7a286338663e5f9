"""What a node does about its own certificate, step by step.

The twin of `icefloe.node.installer` and `own_identity`: orders are carried out one after
the other, with a moment between any two steps in which the process may die or the
machine lose its power (`switch_journal`).  What does not work is tried again, as there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from icefloe.enrollment.commands import (
    ConfirmIdentity,
    InstallIdentity,
    RollBackIdentity,
)
from icefloe.pki.certificates import key_id, load_pem
from icefloe.pki.errors import PKIError
from icefloe.pki.trust import verify_issued
from icefloe.simulation.files import DiskFails
from icefloe.simulation.promises import begun
from icefloe.simulation.world import World

if TYPE_CHECKING:
    from icefloe.simulation.machine import Machine
    from icefloe.simulation.process import Process

RETRY_SECONDS_FIRST: Final = 5.0
RETRY_SECONDS_MAX: Final = 600.0

STEP_WEIGHT: Final = 10.0
"""Crashes here are so much likelier: there are few such steps, and all of them count."""

Order = InstallIdentity | ConfirmIdentity | RollBackIdentity


class Installing:
    """What one life of a node does about its own certificate."""

    def __init__(self, process: Process, machine: Machine, world: World) -> None:
        """Have nothing to do yet."""
        self._process = process
        self._machine = machine
        self._world = world
        self._wanted: list[Order] = []
        # Did not work since the last pause: none of them keeps the others from it.
        self._tried: list[Order] = []
        self._steps: Iterator[None] | None = None
        self._pause = RETRY_SECONDS_FIRST
        self._pausing = False
        self._cancelled = False

    def take(self, order: Order) -> None:
        """Carry this one out; an older one of its kind is given up for it."""
        self._wanted = [each for each in self._wanted if type(each) is not type(order)]
        self._wanted.append(order)
        self._pause = RETRY_SECONDS_FIRST
        # As there: what is new is the occasion to try all again.
        self._tried.clear()
        if self._steps is None:
            self._begin()

    def cancel(self) -> None:
        """Begin nothing any more: the node stops; what is under way is finished."""
        self._cancelled = True

    # -- inside -------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._steps is not None or self._cancelled:
            return
        tried = {id(each) for each in self._tried}
        order = next((each for each in self._wanted if id(each) not in tried), None)
        if order is None:
            self._pause_perhaps()
            return
        if isinstance(order, InstallIdentity) and not self._fits(order):
            self._wanted.remove(order)
            return
        self._steps = self._steps_of(order)
        self._next(order)

    def _steps_of(self, order: Order) -> Iterator[None]:
        journal, at = self._machine.journal, self._machine.clock.now().wall
        match order:
            case InstallIdentity():
                return journal.switch(order.certificate.encode(), at)
            case ConfirmIdentity():
                new = self._machine.digest_of(order.fingerprint)
                return journal.confirm(at, new=new)
            case RollBackIdentity():
                new = self._machine.digest_of(order.fingerprint)
                return journal.roll_back(order.reason, at, new=new)

    def _next(self, order: Order) -> None:
        """Take one step; the next one comes a moment later."""
        steps = self._steps
        if steps is None:
            return
        self._process.effect_boundary(weight=STEP_WEIGHT)
        try:
            next(steps)
        except StopIteration:
            self._steps = None
            self._done(order)
            return
        except DiskFails as error:
            self._steps = None
            self._failed(order, error)
            return
        self._world.timeline.after(
            self._world.chance.uniform(0.0005, 0.01),
            lambda: self._process.enter(lambda: self._next(order)),
        )

    def _done(self, order: Order) -> None:
        self._wanted = [each for each in self._wanted if each is not order]
        match order:
            case InstallIdentity():
                self._machine.installed += 1
                self._machine.read_certificate()
                self._refuse_it_perhaps()
                self._world.note(self._machine.name, "installs its own certificate")
            case ConfirmIdentity():
                self._world.note(self._machine.name, "confirms its own certificate")
            case RollBackIdentity():
                self._machine.read_certificate()
                self._world.note(self._machine.name, "is back on its old certificate")
        if not isinstance(order, ConfirmIdentity):
            self._process.reload()
        self._begin()  # another one that came meanwhile

    def _refuse_it_perhaps(self) -> None:
        """Perhaps no parent is going to accept it as long as there are faults."""
        faults = self._world.faults
        if faults.strikes("certificate-refused", faults.plan.refuse_new):
            faults.refused.add(self._machine.own_identity().der)

    def _failed(self, order: Order, error: DiskFails) -> None:
        self._world.faults.counts["install-failed"] += 1
        self._world.note(self._machine.name, f"cannot install: {error}")
        self._tried.append(order)
        self._begin()

    def _pause_perhaps(self) -> None:
        """Try later what did not work."""
        if not self._tried or self._pausing:
            return
        self._pausing = True

        def again() -> None:
            self._pausing = False
            self._tried.clear()
            self._begin()

        self._world.timeline.after(self._pause, lambda: self._process.enter(again))
        self._pause = min(2 * self._pause, RETRY_SECONDS_MAX)

    def _fits(self, command: InstallIdentity) -> bool:
        machine = self._machine
        own = machine.own_identity()
        try:
            certificate = load_pem(command.certificate)
            verify_issued(
                certificate,
                cn=own.cn,
                key_id=key_id(own.certificate),
                anchor=machine.anchor,
                # By the true date: its clock may have been set since the core looked.
                at=begun(certificate, self._world.now()),
            )
        except PKIError as error:
            self._world.promises.a_certificate_fits(machine.name, f"installs: {error}")
            return False
        return True
