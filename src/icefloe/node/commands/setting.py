"""What the commands that change a node's files work with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from icefloe.config.layout import NodeDirectories
from icefloe.doors import Clock, Entropy
from icefloe.storage.files import Owner
from icefloe.storage.narrator import Narrator


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The node, the doors, and who is told.

    Attributes:
        directories: The node's.
        clock: The real one.
        entropy: The real one.
        owner: Who gets the files when we are root.
        narrator: Is told what is done.
    """

    directories: NodeDirectories
    clock: Clock
    entropy: Entropy
    owner: Owner | None
    narrator: Narrator

    def note(self, command: str) -> str:
        """Return the comment for files that a command writes."""
        now = datetime.fromtimestamp(self.clock.now().wall, tz=UTC)
        return f"Written by 'icefloe {command}' on {now:%Y-%m-%d %H:%M:%S} UTC."
