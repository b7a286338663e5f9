"""A node that does to a certificate request what one release of Icinga 2 does."""

from __future__ import annotations

from typing import ClassVar

from tests.peers.icefloe_node import IcefloeNode


class HabitualNode(IcefloeNode):
    """`icefloe lab peer`, on the files of any node; its daemon option is the release.

    It enrolls and relays, and has no other commands of its own.
    """

    product: ClassVar[str] = "habitual"

    def argv(self, *words: str) -> list[str]:
        """Return the command line; its daemon is a peer of the lab."""
        if words[:1] == ("daemon",):
            return super().argv("lab", "peer", *words[1:])
        return super().argv(*words)
