"""Who is told what is being done, while it is done.

Work that changes a machine says so step by step: when it fails in the middle, the
lines so far are what an operator goes by.  The command line prints them; a test
collects them.
"""

from __future__ import annotations

from typing import Protocol


class Narrator(Protocol):
    """Takes lines for an operator; none of them holds a secret."""

    def information(self, text: str, *, facility: str = "cli") -> None:
        """Tell what is being done."""
        ...

    def warning(self, text: str, *, facility: str = "cli") -> None:
        """Tell what asks for attention."""
        ...
