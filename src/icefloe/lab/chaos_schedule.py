"""Which trouble comes when, and to whom: made of a seed, the same each time.

The seed makes the blows and the pauses between them.  What a process does just then is
up to the machine: a seed repeats the kind of weather, not each drop.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from random import Random
from typing import Final


@unique
class Trouble(StrEnum):
    """What can be done."""

    KILL = "kill"
    """Signal 9; started again as a service manager does, commands as an operator."""

    PAUSE = "pause"
    """SIGSTOP, and SIGCONT after a while."""

    TERM = "term"
    """SIGTERM; started again."""

    HUP = "hup"
    """SIGHUP: read the files again."""

    SILENCE = "silence"
    """The network holds everything back for a while."""

    REFUSE = "refuse"
    """The network ends every connection and refuses new ones for a while."""

    BREAK = "break"
    """Every connection is broken at once."""

    NOISE = "noise"
    """For a while, connections are cut, stalled, throttled and so on by chance."""

    CLOCK = "clock"
    """The wall clock steps, forth or back, and is put right after a while."""

    DISK = "disk"
    """The file system is full for a while."""


@unique
class Target(StrEnum):
    """To whom."""

    SIGNER = "signer"
    RELAY = "relay"
    COMMAND = "command"
    """One of the `node setup` that run just now."""

    AGENT = "agent"
    """One of the agents' daemons."""

    UPLINK = "uplink"
    """The network between relay and signer."""

    DOWNLINK = "downlink"
    """The network between agents and relay."""


_DAEMONS: Final = (Target.SIGNER, Target.RELAY)
_EVERYBODY: Final = (*_DAEMONS, *_DAEMONS, Target.COMMAND, Target.AGENT)
"""The daemons twice: with them is what must not be lost."""

_NETWORKS: Final = (Target.UPLINK, Target.DOWNLINK)

TARGETS: Final[dict[Trouble, Sequence[Target]]] = {
    Trouble.KILL: _EVERYBODY,
    Trouble.PAUSE: (*_EVERYBODY,),
    Trouble.TERM: (*_DAEMONS, Target.AGENT),
    Trouble.HUP: (*_DAEMONS, Target.AGENT),
    Trouble.SILENCE: _NETWORKS,
    Trouble.REFUSE: _NETWORKS,
    Trouble.BREAK: _NETWORKS,
    Trouble.NOISE: _NETWORKS,
    Trouble.CLOCK: _DAEMONS,
    Trouble.DISK: _DAEMONS,
}

_SECONDS: Final[dict[Trouble, tuple[float, float]]] = {
    # Beyond the 10 s after which peers let a silent stranger go.
    Trouble.PAUSE: (0.5, 14.0),
    Trouble.SILENCE: (0.5, 14.0),
    Trouble.REFUSE: (0.2, 8.0),
    Trouble.NOISE: (2.0, 10.0),
    Trouble.CLOCK: (1.0, 8.0),
    Trouble.DISK: (1.0, 6.0),
}
_STEPS: Final = (-7200.0, -600.0, -30.0, 30.0, 200.0)
"""Seconds.  Ahead of its agents by more than the 5 minutes that certificates are
backdated, a signer makes certificates that are not valid yet: that is an operator's
trouble, and no enrollment's."""

_PAUSE_SECONDS: Final = (0.02, 3.0)

UNPRIVILEGED: Final = (
    Trouble.KILL,
    Trouble.PAUSE,
    Trouble.TERM,
    Trouble.HUP,
    Trouble.SILENCE,
    Trouble.REFUSE,
    Trouble.BREAK,
    Trouble.NOISE,
)
"""Needs neither root nor libfaketime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """One piece of trouble.

    Attributes:
        number: Counted from 1.
        pause: Seconds after the blow before it.
        trouble: What.
        target: To whom.
        seconds: How long; 0 where it is over at once.
        step: Seconds by which a clock is wrong.
    """

    number: int
    pause: float
    trouble: Trouble
    target: Target
    seconds: float = 0.0
    step: float = 0.0


def schedule(seed: int, troubles: Sequence[Trouble]) -> Iterator[Blow]:
    """Yield blows without end.

    Args:
        seed: Makes them.
        troubles: The kinds that may come, at least one.
    """
    chance = Random(f"{seed}/blows")  # noqa: S311 - an experiment, no secret
    for number in itertools.count(1):
        trouble = chance.choice(troubles)
        yield Blow(
            number=number,
            pause=round(chance.uniform(*_PAUSE_SECONDS), 3),
            trouble=trouble,
            target=chance.choice(TARGETS[trouble]),
            seconds=round(chance.uniform(*_SECONDS.get(trouble, (0.0, 0.0))), 2),
            step=chance.choice(_STEPS) if trouble is Trouble.CLOCK else 0.0,
        )
