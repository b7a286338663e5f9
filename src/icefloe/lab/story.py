"""What the demo finds out, and whether it is the story that was to be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from icefloe.enrollment.requester import Came
from icefloe.lab.enrolling import Enrollment
from icefloe.lab.outcomes import Outcome

EXPECTED_FIRST: Final[Mapping[str | None, Outcome]] = {
    "2.14.3": Outcome.PENDING,
    "2.14.4": Outcome.CUT_OFF,
    "2.14.5": Outcome.PENDING,
    None: Outcome.SIGNED,
}
"""What an agent's first connection comes to, by the satellite's habits; None is
Icefloe.  Seen on real ones of these releases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One thing that a node did with a request.

    Attributes:
        node: Its name.
        did: What, in a word.
        seconds: After the first thing that any node did with it.
    """

    node: str
    did: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What one `icefloe node setup` brought.

    Attributes:
        outcome: `signed`, `pending` and so on.
        asks: Connections it made.
        seconds: How long the whole command took.
        hops: The way of the request, as far as its nodes told.
    """

    outcome: str
    asks: int
    seconds: float
    hops: tuple[Hop, ...]

    @classmethod
    def of(cls, told: Mapping[str, Any], *, seconds: float) -> Command:
        """Read the `--json` of the command."""
        return cls(
            outcome=str(told.get("outcome", "")),
            asks=int(told.get("asks", 0)),
            seconds=round(seconds, 3),
            hops=_hops(told.get("hops")),
        )

    @property
    def is_signed(self) -> bool:
        """Whether it ended with a certificate."""
        return self.outcome == Came.SIGNED.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHandTold:
    """An unmodified client, repeated by hand.

    Attributes:
        first: How its first connection ended.
        heard: What came over that connection, in order.
        attempts: How often the command was run.
        seconds: From the first command to the certificate; None without one.
    """

    first: Outcome
    heard: tuple[str, ...]
    attempts: int
    seconds: float | None

    @classmethod
    def of(cls, enrollment: Enrollment) -> ByHandTold:
        """Sum up what became of an agent."""
        first = enrollment.attempts[0]
        return cls(
            first=first.outcome,
            heard=first.heard,
            attempts=len(enrollment.attempts),
            seconds=round(enrollment.seconds, 3) if enrollment.is_signed else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """What agents met at one satellite.

    Attributes:
        satellite: Its name.
        habits: The release; None for Icefloe.
        by_hand: The unmodified client.
        one_command: Icefloe's own client.
    """

    satellite: str
    habits: str | None
    by_hand: ByHandTold
    one_command: Command

    @property
    def title(self) -> str:
        """Name the satellite by what it is."""
        return "Icefloe" if self.habits is None else f"habits of {self.habits}"

    def differences(self) -> list[str]:
        """Name what is not as it was to be, in sentences."""
        found = []
        expected = EXPECTED_FIRST.get(self.habits)
        if expected is not None and self.by_hand.first is not expected:
            found.append(
                f"{self.satellite} ({self.title}): the first connection ended"
                f" {self.by_hand.first}, not {expected}"
            )
        if self.by_hand.seconds is None:
            found.append(
                f"{self.satellite} ({self.title}): not signed in"
                f" {self.by_hand.attempts} attempts by hand"
            )
        if not self.one_command.is_signed:
            found.append(
                f"{self.satellite} ({self.title}): one command of Icefloe's client"
                f" ended {self.one_command.outcome}, not signed"
            )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """All of it.

    Attributes:
        agent: How `icefloe node setup` went on the agent.
        nodes_on_the_way: The nodes its request had to pass.
        chapters: One for each satellite, Icefloe's last.
        pause_seconds: Between two commands of an operator.
        seconds: How long the demo took.
    """

    agent: Command
    nodes_on_the_way: tuple[str, ...]
    chapters: Sequence[Chapter]
    pause_seconds: float
    seconds: float

    def differences(self) -> list[str]:
        """Name what is not as it was to be; empty when the story came true."""
        found = []
        if not self.agent.is_signed:
            found.append(f"the agent's set-up ended {self.agent.outcome}, not signed")
        elif self.agent.asks != 1:
            found.append(f"the agent had to ask {self.agent.asks} times")
        told = {hop.node for hop in self.agent.hops}
        found += [
            f"the way of the agent's request does not name {node}"
            for node in self.nodes_on_the_way
            if node not in told
        ]
        return found + [text for each in self.chapters for text in each.differences()]

    def to_json(self) -> str:
        """Return everything as a JSON object, on several lines."""
        told = {"story": self, "differences": self.differences()}
        return msgspec.json.format(msgspec.json.encode(told)).decode()


def _hops(told: object) -> tuple[Hop, ...]:
    entries = (
        [entry for entry in told if _is_hop(entry)] if isinstance(told, list) else []
    )
    if not entries:
        return ()
    began = min(float(entry["at"]) for entry in entries)
    return tuple(
        Hop(
            node=str(entry["node"]),
            did=str(entry["did"]),
            seconds=round(float(entry["at"]) - began, 4),
        )
        for entry in entries
    )


def _is_hop(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("node"), str)
        and isinstance(entry.get("did"), str)
        and isinstance(entry.get("at"), int | float)
    )
