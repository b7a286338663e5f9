"""What tests with real peers measure, for people to quote.

A figure is no verdict: tests assert generous deadlines, and print how long it took.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

FILE_VARIABLE = "ICEFLOE_FIGURES"
"""Name of a file that all figures of a run are appended to."""


class Figures:
    """Notes the figures of one test.

    `pytest -rP` shows them, and the file that `ICEFLOE_FIGURES` names collects them.
    """

    def __init__(self, test: str) -> None:
        """Note for the test of this name."""
        self._test = test

    def note(self, name: str, value: float | str) -> None:
        """Write the line `FIGURE <test> <name>=<value>`; a name ends with its unit."""
        text = f"{value:.3f}" if isinstance(value, float) else str(value)
        line = f"FIGURE {self._test} {name}={text}\n"
        sys.stdout.write(line)
        file = os.environ.get(FILE_VARIABLE)
        if file:
            with Path(file).open("a") as sink:
                sink.write(line)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        """Start."""
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long ago that was."""
        return time.monotonic() - self._start
