"""What can go wrong in the lab.

LabError
├── CrowdInvalid       the agents cannot be made of what was given
├── FloodFailed        the flood beside a measurement did not come about
└── ProcessFailed      a process that the lab started did not do its part
"""

from __future__ import annotations

from icefloe.errors import IcefloeError


class LabError(IcefloeError):
    """An experiment could not be carried out; nothing is said about its outcome."""


class CrowdInvalid(LabError):
    """The agents of a storm cannot be made: a bad name, salt or tickets file."""


class FloodFailed(LabError):
    """The process that makes a flood ended, or did not answer in time."""


class ProcessFailed(LabError):
    """A process ended, or was not ready in time.

    Attributes:
        what: Which process, in words.
        tail: The end of what it printed; it names no secret, for daemons log none.
    """

    def __init__(self, what: str, *, problem: str, tail: str) -> None:
        said = f"; it said:\n{tail}" if tail else ""
        super().__init__(f"{what}: {problem}{said}")
        self.what = what
        self.tail = tail
