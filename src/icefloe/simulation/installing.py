"""A node's own certificate on its way into the files, step by step.

The twin of `icefloe.node.installer`, `icefloe.storage.identity` and `replacing`: the
same order of writing, syncing and renaming, with a moment between any two steps in
which the process may die or the machine lose its power.  What does not work is tried
again, as there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from cryptography import x509

from icefloe.enrollment.commands import InstallIdentity
from icefloe.pki.certificates import key_id, load_pem
from icefloe.pki.errors import PKIError
from icefloe.pki.trust import verify_issued
from icefloe.simulation.files import DiskFails, SimulatedFiles
from icefloe.simulation.promises import begun
from icefloe.simulation.world import World

if TYPE_CHECKING:
    from icefloe.simulation.machine import Machine
    from icefloe.simulation.process import Process

CERTIFICATE: Final = "node.crt"
RETRY_SECONDS_FIRST: Final = 5.0
RETRY_SECONDS_MAX: Final = 600.0

STEP_WEIGHT: Final = 10.0
"""Crashes here are so much likelier: there are few such steps, and all of them count."""


class Installing:
    """What one life of a node does about its own certificate."""

    def __init__(self, process: Process, machine: Machine, world: World) -> None:
        """Have nothing to do yet."""
        self._process = process
        self._machine = machine
        self._world = world
        self._wanted: InstallIdentity | None = None
        self._steps: Iterator[None] | None = None
        self._pause = RETRY_SECONDS_FIRST
        self._cancelled = False

    def take(self, command: InstallIdentity) -> None:
        """Install this one; an older one that did not work yet is given up for it."""
        self._wanted = command
        self._pause = RETRY_SECONDS_FIRST
        if self._steps is None:
            self._begin()

    def cancel(self) -> None:
        """Begin nothing any more: the node stops; what is under way is finished."""
        self._cancelled = True

    # -- inside -------------------------------------------------------------------------

    def _begin(self) -> None:
        command = self._wanted
        if command is None or self._steps is not None or self._cancelled:
            return
        certificate = self._checked(command)
        if certificate is None:
            self._wanted = None
            return
        content = command.certificate.encode()
        self._steps = _replace(self._machine.files, CERTIFICATE, content)
        self._next(command, certificate)

    def _next(self, command: InstallIdentity, certificate: x509.Certificate) -> None:
        """Take one step; the next one comes a moment later."""
        steps = self._steps
        if steps is None:
            return
        self._process.effect_boundary(weight=STEP_WEIGHT)
        try:
            next(steps)
        except StopIteration:
            self._steps = None
            self._done(command, certificate)
            return
        except DiskFails as error:
            self._steps = None
            self._failed(error)
            return
        self._world.timeline.after(
            self._world.chance.uniform(0.0005, 0.01),
            lambda: self._process.enter(lambda: self._next(command, certificate)),
        )

    def _done(self, command: InstallIdentity, certificate: x509.Certificate) -> None:
        if self._wanted is command:
            self._wanted = None
        self._machine.installed += 1
        self._machine.show(certificate)
        self._world.note(self._machine.name, "installs its own certificate")
        self._process.reload()
        self._begin()  # another one that came meanwhile

    def _failed(self, error: DiskFails) -> None:
        self._world.faults.counts["install-failed"] += 1
        self._world.note(self._machine.name, f"cannot install: {error}")
        self._world.timeline.after(
            self._pause, lambda: self._process.enter(self._begin)
        )
        self._pause = min(2 * self._pause, RETRY_SECONDS_MAX)

    def _checked(self, command: InstallIdentity) -> x509.Certificate | None:
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
            return None
        return certificate


def _replace(files: SimulatedFiles, name: str, data: bytes) -> Iterator[None]:
    """Replace a file, and yield between any two steps.

    Raises:
        DiskFails: the old file is as it was.
    """
    if files.read(name) == data:
        return
    staged = f".{name}.staged"
    # Beside it: a file under a name of its own, synced, renamed, synced.
    files.write(f".{staged}.tmp", data)
    yield
    files.sync(f".{staged}.tmp")
    yield
    files.rename(f".{staged}.tmp", staged)
    yield
    files.sync_directory()
    yield
    files.link(name, f"{name}.before")
    yield
    files.rename(staged, name)
    yield
    files.sync_directory()
