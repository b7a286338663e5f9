"""The three seats of a cluster; the program is the same in all of them."""

from __future__ import annotations

from collections.abc import Iterable

from icefloe.doors import Now
from icefloe.habits.authority import Authority
from icefloe.habits.identity import Identity
from icefloe.habits.node import HabitualNode
from icefloe.habits.versions import Habits
from icefloe.pki import certificates


class HabitualAgent(HabitualNode):
    """A node below which there is nobody."""


class HabitualSatellite(HabitualNode):
    """A node without the CA key: stores requests and passes them on."""


class HabitualMaster(HabitualNode):
    """A node with the CA key.

    `ca sign` is `approve`; `ca remove` and `ca restore` are of its `requests`.

    Nothing that it signs for a ticket or a renewal is kept: it signs anew at each ask.
    """

    def __init__(
        self,
        name: str,
        *,
        habits: Habits,
        identity: Identity,
        authority: Authority,
        dials: Iterable[str] = (),
        has_parent: bool = False,
    ) -> None:
        """Make a signer; the arguments are those of `HabitualNode`."""
        super().__init__(
            name,
            habits=habits,
            identity=identity,
            dials=dials,
            has_parent=has_parent,
            authority=authority,
        )
        self._signer = authority

    def approve(self, fingerprint: str, *, now: Now) -> bool:
        """Sign a stored request, again if need be; nobody is told (`ca sign`).

        Returns:
            Whether there is such a request.

        Raises:
            IcefloeError: The CA cannot sign.
        """
        stored = self.requests.get(fingerprint)
        if stored is None:
            return False
        request = certificates.load_pem(stored.cert_request)
        signed = self._signer.sign(request, now.wall)
        return self.requests.answer(fingerprint, certificate=signed, at=now.wall)
