"""What one ask for a certificate comes to, in an operator's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique

from icefloe.enrollment.requester import AskResult, Came
from icefloe.habits import Saw


@unique
class Outcome(StrEnum):
    """How one connection of a client ended."""

    SIGNED = "signed"
    PENDING = "pending"
    REFUSED = "refused"
    CUT_OFF = "cut-off"
    """The connection was closed in order, without an answer."""

    RESET = "reset"
    """The connection broke, without an answer."""

    UNREACHABLE = "unreachable"
    """No TCP connection."""

    TLS_FAILED = "tls-failed"
    TIMED_OUT = "timed-out"
    """No answer in the time the client had; a real one would wait on."""

    FAILED = "failed"
    """An answer that says no more than that something is wrong."""

    CRASHED = "crashed"
    """An answer at which a real `icinga2 pki request` crashes."""

    @property
    def words(self) -> str:
        """As a sentence has it: `cut off`."""
        return self.value.replace("-", " ")


OUTCOME_OF = {
    Saw.SIGNED: Outcome.SIGNED,
    Saw.PENDING: Outcome.PENDING,
    Saw.REFUSED: Outcome.REFUSED,
    Saw.CUT: Outcome.CUT_OFF,
    Saw.FAILED: Outcome.FAILED,
    Saw.CRASHED: Outcome.CRASHED,
}
"""What the habits of Icinga's client call it, and what the lab does."""

_CAME = {
    Outcome.SIGNED: Came.SIGNED,
    Outcome.PENDING: Came.PENDING,
    Outcome.REFUSED: Came.REFUSED,
    Outcome.UNREACHABLE: Came.UNREACHABLE,
    Outcome.TLS_FAILED: Came.UNREACHABLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One connection of one client, from the dial to the outcome.

    Attributes:
        outcome: What it came to.
        began: Loop time of the dial, seconds.
        ended: Loop time of the outcome; closing the connection comes after it.
        detail: The peer's words, or what went wrong.
        certificate: PEM, with `SIGNED`.
        ca: PEM of what the answer called the CA, or empty.
        facts: What Icefloe nodes added to the answer.
        heard: What came over the connection, in order: `Hello 21404`, `answer`,
            `close_notify` and the like.
    """

    outcome: Outcome
    began: float
    ended: float
    detail: str = ""
    certificate: str = field(default="", repr=False)
    ca: str = field(default="", repr=False)
    facts: Mapping[str, object] = field(default_factory=dict)
    heard: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """From the dial to the outcome."""
        return self.ended - self.began

    def as_ask_result(self) -> AskResult:
        """Say it to Icefloe's requester, which decides whether to ask again."""
        return AskResult(
            came=_CAME.get(self.outcome, Came.CUT_OFF),
            detail=self.detail,
            certificate=self.certificate,
            ca=self.ca,
            facts=dict(self.facts),
            temporary=(self.outcome is Outcome.REFUSED and "retry_after" in self.facts),
        )
