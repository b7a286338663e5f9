"""A node under test with the habits of a release that is not installed here."""

from __future__ import annotations

from typing import ClassVar

from tests.peers.icefloe_node import IcefloeNode


class HabitualPeer(IcefloeNode):
    """Icefloe's commands; in place of its daemon, `icefloe lab peer`.

    Subclass it with another `release`.
    """

    product: ClassVar[str] = "habitual"
    release: ClassVar[str]

    def argv(self, *words: str) -> list[str]:
        """Return the command line; `daemon` is the habitual one."""
        if words[0] == "daemon":
            return super().argv("lab", "peer", self.release, *words[1:])
        return super().argv(*words)

    def connected_pattern(self, peer: str) -> str:
        """Return the log event after which messages flow."""
        return rf"connected.*peer={peer}\b"


class Habits2143(HabitualPeer):
    """The last release before the incident."""

    product: ClassVar[str] = "habits of 2.14.3"
    release: ClassVar[str] = "2.14.3"


class Habits2144(HabitualPeer):
    """The release of the incident."""

    product: ClassVar[str] = "habits of 2.14.4"
    release: ClassVar[str] = "2.14.4"


class Habits2145(HabitualPeer):
    """The release that repaired it."""

    product: ClassVar[str] = "habits of 2.14.5"
    release: ClassVar[str] = "2.14.5"
