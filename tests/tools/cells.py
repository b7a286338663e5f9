"""How each tool ends after each kind of trouble, behind each kind of parent.

`test_matrix.py` runs every cell; `docs/tools.md` shows the same table, which
`test_document.py` holds to this one.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["CELLS", "PARENTS", "Ends", "Parent", "Trouble"]


class Trouble(enum.Enum):
    """What goes wrong in the tool's first run."""

    LOST = "lost answer"
    """The parent takes the request, and no answer to it arrives."""

    PENDING = "pending"
    """The request arrives; its way to the signer is interrupted for a while."""

    REFUSED = "refused, then corrected"
    """The ticket is wrong in the first run, and right in the second one."""


class Parent(enum.Enum):
    """Which satellite and which signer the tool's node stands below."""

    ICEFLOE = "Icefloe"
    ICINGA = "Debian's icinga2"
    DIRECT = "Debian's icinga2, its signer asked directly"
    HABITS = "habits of 2.14.4"


class Ends(enum.Enum):
    """How it ends when the tool is run twice, and nobody does anything else."""

    AT_ONCE = "signed in the first run"
    BY_RERUN = "signed in the second run"
    BY_DAEMON = "signed by the daemon"
    TOLD = "waits, and says so"


PARENTS: Final = {
    Parent.ICEFLOE: "Icefloe satellite and master",
    Parent.ICINGA: "Debian's icinga2 (2.13.6), satellite and master",
    Parent.DIRECT: "Debian's icinga2 (2.13.6), the master asked directly",
    Parent.HABITS: "satellite and master with the habits of 2.14.4",
}

_USUAL: Final = {
    Trouble.LOST: Ends.BY_RERUN,
    Trouble.PENDING: Ends.BY_DAEMON,
    Trouble.REFUSED: Ends.BY_RERUN,
}

# Its satellite tells no refusal.  It says "pending", and tools take that for success;
# `node setup` alone asks again.
_ICINGA: Final = {**_USUAL, Trouble.REFUSED: Ends.TOLD}
_ICINGA_SETUP: Final = _USUAL

# Its satellite cuts every first answer off, and everyone who is told "pending": so
# "pending" and a swallowed refusal are lost answers, after which tools ask again.
_HABITS: Final = {
    Trouble.LOST: Ends.AT_ONCE,
    Trouble.PENDING: Ends.BY_RERUN,
    Trouble.REFUSED: Ends.BY_RERUN,
}
_HABITS_SETUP: Final = {**_HABITS, Trouble.PENDING: Ends.BY_DAEMON}

# It refuses itself, and sends its CA along: `ca.crt`, which other tools take for
# success.  (There is no way to the signer that could be interrupted.)
_DIRECT: Final = {Trouble.REFUSED: Ends.BY_RERUN}

_SHELL_TOOLS: Final = ("ansible", "puppet", "director", "windows")

CELLS: Final[dict[tuple[Parent, str, Trouble], Ends]] = {
    (parent, tool, trouble): ends
    for parent, usual, setup in (
        (Parent.ICEFLOE, _USUAL, _USUAL),
        (Parent.ICINGA, _ICINGA, _ICINGA_SETUP),
        (Parent.DIRECT, _DIRECT, _DIRECT),
        (Parent.HABITS, _HABITS, _HABITS_SETUP),
    )
    for tool in (*_SHELL_TOOLS, "setup")
    for trouble, ends in (setup if tool == "setup" else usual).items()
}
