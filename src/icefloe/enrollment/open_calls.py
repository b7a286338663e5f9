"""The answers a node owes: askings with an id whose last word was not sent yet.

No clock and no IO: the daemon and the simulator use the same object.
"""

from __future__ import annotations

from collections import Counter

from icefloe.enrollment import commands as cmd
from icefloe.enrollment.answers import PENDING
from icefloe.enrollment.events import CertificateAsked, LinkId
from icefloe.enrollment.reasons import Reason


class OpenCalls:
    """Counts what is asked and what is answered, by connection.

    Attributes:
        told: how many calls were answered, by `kind_of`, since the beginning; and
            under "gone" those whose connection ended before their answer.
    """

    def __init__(self) -> None:
        """Begin owing nothing."""
        # By identity: a stranger may use one id for all its calls.
        self._calls: dict[LinkId, dict[int, CertificateAsked]] = {}
        self.told: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return how many answers are owed."""
        return sum(map(len, self._calls.values()))

    def is_owed(self, link: LinkId) -> bool:
        """Whether a connection still gets an answer."""
        return link in self._calls

    def is_open(self, answer: cmd.Answer) -> bool:
        """Whether an answer is to a call that has none yet."""
        return id(answer.call) in self._calls.get(answer.link, {})

    def all(self) -> list[CertificateAsked]:
        """Return the askings without an answer, oldest first for each connection."""
        return [asked for calls in self._calls.values() for asked in calls.values()]

    def asked(self, event: CertificateAsked) -> None:
        """Note an asking on its way to the core."""
        if event.call is not None:
            self._calls.setdefault(event.link, {})[id(event.call)] = event

    def answered(self, answer: cmd.Answer) -> None:
        """Note an answer on its way to the asker."""
        calls = self._calls.get(answer.link)
        if calls is None or calls.pop(id(answer.call), None) is None:
            return
        if not calls:
            del self._calls[answer.link]
        self.told[kind_of(answer)] += 1

    def gone(self, link: LinkId) -> None:
        """Note the end of a connection."""
        self.told["gone"] += len(self._calls.pop(link, ()))


def kind_of(answer: cmd.Answer) -> str:
    """Say what an answer amounts to: "answered", "parked" or "unrecorded"."""
    facts = answer.result.get("icefloe")
    reason = facts.get("reason") if isinstance(facts, dict) else None
    if reason == Reason.LEDGER_FAULT.value:
        return "unrecorded"
    pending = answer.result.get("status_code") == PENDING
    return "parked" if pending else "answered"
