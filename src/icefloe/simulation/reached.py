"""The names of what a history may reach, and the counting of the core's share of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import get_args

from icefloe.enrollment.commands import Answer, Command
from icefloe.enrollment.events import Event
from icefloe.enrollment.model import AttemptState, DecisionKind, RequestState


def moved(*, signs: bool, old: RequestState | None, new: RequestState) -> str:
    """Name a request's step at a signer or a relay; `old` is None for a new one."""
    role = "signer" if signs else "relay"
    before = "" if old is None else f"{old.value} -> "
    return f"{role}.{before}{new.value}"


def attempted(state: AttemptState) -> str:
    """Name an attempt's state."""
    return f"attempt.{state.value}"


def decided(kind: DecisionKind) -> str:
    """Name a kind of decision."""
    return f"decision.{kind.value}"


def hopped(did: str) -> str:
    """Name what a node did with a request."""
    return f"hop.{did}"


def struck(kind: str) -> str:
    """Name a kind of fault."""
    return f"fault.{kind}"


def played(kind: str) -> str:
    """Name a kind of requester."""
    return f"requester.{kind}"


class Reached:
    """Counts what one history's cores were told and what they ordered.

    Cheap: classes and words are counted as they are and named at the end.
    """

    __slots__ = ("_classes", "_reasons")

    def __init__(self) -> None:
        """Begin with nothing."""
        self._classes: Counter[type] = Counter()
        self._reasons: Counter[str] = Counter()

    def events(self, events: Iterable[Event]) -> None:
        """A core was given events."""
        self._classes.update(map(type, events))

    def command(self, command: Command) -> None:
        """A core's command is carried out."""
        self._classes[type(command)] += 1
        if type(command) is Answer:
            facts = command.result.get("icefloe")
            if isinstance(facts, dict) and "reason" in facts:
                self._reasons[str(facts["reason"])] += 1

    def heard(self, reason: str) -> None:
        """A requester heard a reason; a shunned one hears it from no core."""
        if reason:
            self._reasons[reason] += 1

    def named(self) -> dict[str, int]:
        """Return the counts by name."""
        events = frozenset(get_args(Event))
        named = {
            f"{'event' if one in events else 'command'}.{one.__name__}": count
            for one, count in self._classes.items()
        }
        named.update((f"reason.{word}", count) for word, count in self._reasons.items())
        return named
