"""Icefloe in any seat, through the commands that an operator would type."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tests.peers.node import NodeUnderTest


class IcefloeNode(NodeUnderTest):
    """A node run by the `icefloe` command of this virtual environment."""

    product: ClassVar[str] = "icefloe"

    def argv(self, *words: str) -> list[str]:
        """Return the command line; directories are global options."""
        return [
            str(Path(sys.executable).with_name("icefloe")),
            *("--config-dir", str(self.config_dir)),
            *("--data-dir", str(self.data_dir)),
            *words,
        ]

    def environment(self) -> Mapping[str, str]:
        """Return ours, without the variables that would move the directories."""
        moved = ("ICEFLOE_CONFIG_DIR", "ICEFLOE_DATA_DIR")
        kept = {name: text for name, text in os.environ.items() if name not in moved}
        # Wide and plain: an output line that a test looks for is not to be wrapped.
        return {**kept, "LC_ALL": "C.UTF-8", "COLUMNS": "200", "NO_COLOR": "1"}

    def connected_pattern(self, peer: str) -> str:
        """Return the log event after which messages flow."""
        return rf"connected\b.*peer={re.escape(peer)}\b.*standing=member"
