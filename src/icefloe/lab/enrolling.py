"""One agent on its way to a certificate: attempt after attempt, until it ends.

When to try again is a `Patience`: never, as somebody at a keyboard would, or as
Icefloe's requester does.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from icefloe.doors import Clock, Entropy
from icefloe.enrollment.requester import Ended, Parent, Pause, Requester
from icefloe.lab.asking import ParentAddress, ask
from icefloe.lab.crowd import Agent
from icefloe.lab.outcomes import Attempt, Outcome


class Patience(Protocol):
    """Decides after each attempt whether there is another one."""

    async def wait_to_repeat(self, attempt: Attempt) -> bool:
        """Pause if there is to be another attempt; say whether there is."""
        ...


class Once:
    """Never tries again."""

    async def wait_to_repeat(self, attempt: Attempt) -> bool:
        """Stop."""
        del attempt
        return False


class ByHand:
    """Repeats the command until it is signed or refused, as an operator does."""

    def __init__(self, *, pause_seconds: float, attempts_max: int) -> None:
        """Wait as long between any two attempts; give up after so many."""
        self._pause_seconds = pause_seconds
        self._left = attempts_max

    async def wait_to_repeat(self, attempt: Attempt) -> bool:
        """Pause, equally long each time."""
        self._left -= 1
        if attempt.outcome in {Outcome.SIGNED, Outcome.REFUSED} or not self._left:
            return False
        await asyncio.sleep(self._pause_seconds)
        return True


class AsRequester:
    """Tries again when, and only when, Icefloe's own client would."""

    def __init__(
        self,
        parent: ParentAddress,
        *,
        seconds_max: float,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        """Begin now, to be over after `seconds_max`."""
        self._clock = clock
        self._entropy = entropy
        now = clock.now()
        self._requester = Requester(
            [Parent(parent.host, parent.port)],
            now=now,
            wait=seconds_max,
            answer_deadline=seconds_max,
        )
        self._requester.next_step(now)  # the first ask, which is under way

    async def wait_to_repeat(self, attempt: Attempt) -> bool:
        """Do as the requester says."""
        result = attempt.as_ask_result()
        self._requester.report(result, self._clock.now(), self._entropy)
        while True:
            now = self._clock.now()
            step = self._requester.next_step(now)
            if not isinstance(step, Pause):
                return not isinstance(step, Ended)
            await asyncio.sleep(max(0.0, step.until - now.mono))


@dataclass(slots=True)
class Enrollment:
    """What became of one agent; grows while it goes on.

    Attributes:
        agent: Who.
        attempts: One for each connection that has ended.
        seconds: From the first dial to the end of the last attempt, pauses included.
        repeated: A later attempt with the same key, after it was signed; see `repeat`.
    """

    agent: Agent
    attempts: list[Attempt] = field(default_factory=list)
    seconds: float = 0.0
    repeated: Attempt | None = None

    @property
    def last(self) -> Attempt | None:
        """The last attempt; None before the first has ended."""
        return self.attempts[-1] if self.attempts else None

    @property
    def is_signed(self) -> bool:
        """Whether it ended with a certificate."""
        return self.last is not None and self.last.outcome is Outcome.SIGNED


async def enroll(
    enrollment: Enrollment,
    parent: ParentAddress,
    patience: Patience,
    *,
    entropy: Entropy,
    attempt_seconds_max: float,
) -> None:
    """Take an agent to the end of its patience; cancelling keeps what there is.

    Args:
        enrollment: Of an agent that has not asked yet.
        parent: Where to ask.
        patience: When to ask again.
        entropy: For ids of calls.
        attempt_seconds_max: How long one connection may take.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        attempt = await ask(
            enrollment.agent, parent, entropy=entropy, seconds_max=attempt_seconds_max
        )
        # The close that followed the outcome is not the agent's waiting time.
        enrollment.attempts.append(attempt)
        enrollment.seconds = attempt.ended - began
        if not await patience.wait_to_repeat(attempt):
            return


async def repeat(
    enrollment: Enrollment,
    parent: ParentAddress,
    *,
    entropy: Entropy,
    attempt_seconds_max: float,
) -> None:
    """Ask once more with the same key: is there one certificate, or a second one?"""
    enrollment.repeated = await ask(
        enrollment.agent, parent, entropy=entropy, seconds_max=attempt_seconds_max
    )
