"""How many files and connections the system lets this process have open.

Many systems start a daemon with 1,024, and the kernel counts connections among them.
Out of descriptors, a node could accept nobody, a member as little as a stranger; so the
soft limit is raised to the hard one, and strangers get what is left beside members.
"""

from __future__ import annotations

import contextlib
import resource
from dataclasses import replace
from typing import Final

from icefloe.enrollment.commands import Level
from icefloe.node.logs import Logger
from icefloe.node.tls.listener import ListenerLimits

OTHER_FILES: Final = 256
"""Kept for the ledger, files, pipes, connections to parents and handshakes' ends."""

STRANGERS_LEAST: Final = 64


def raise_to_hard_limit() -> int:
    """Take as many descriptors as we may have; return how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # What the kernel itself allows may be less than the limit says.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return available()


def available() -> int:
    """Return how many descriptors this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft


def fitted(limits: ListenerLimits, *, descriptors: int, members: int) -> ListenerLimits:
    """Lower the number of strangers to what leaves a descriptor for each member.

    Args:
        limits: as they are wished for.
        descriptors: of this process.
        members: endpoints in the configuration; not all of them connect here, so half
            of the descriptors at most are kept for them.
    """
    kept = OTHER_FILES + min(members, descriptors // 2)
    # Some in any case: a member comes as a stranger.
    room = max(STRANGERS_LEAST, descriptors - kept)
    reserve = min(limits.strangers_reserve, room // 4)
    return replace(
        limits,
        strangers_max=min(limits.strangers_max, room - reserve),
        strangers_reserve=reserve,
    )


def fitted_aloud(
    limits: ListenerLimits, *, members: int, log: Logger
) -> ListenerLimits:
    """Do the same by this process's descriptors, and say so if there are too few."""
    have = available()
    fit = fitted(limits, descriptors=have, members=members)
    if fit.strangers_max < limits.strangers_max:
        log.log(
            Level.WARNING,
            "too few file descriptors for the configured anonymous connections",
            descriptors=have,
            configured=limits.strangers_max,
            used=fit.strangers_max,
            remedy="raise LimitNOFILE= of the service, or ulimit -n",
        )
    return fit
