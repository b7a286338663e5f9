"""The requester: asks one parent after another until it has an answer it can use.

A requester never trusts one connection: after a cut, a refused connection or a
pending answer it asks again with the same key, with growing pauses and jitter,
until its deadline. Asking again is safe because a request is known by its key,
not by its connection. It works against parents of any version: one that cuts
its pending answer off (Icinga 2.14.4) is simply asked again.

The machine does no IO: `next_step` says what to do, `report` says what came.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

from icefloe.doors import Entropy, MonotonicTime, Now

PAUSE_FIRST = 0.5
PAUSE_FACTOR = 1.6
PAUSE_MAX = 10.0
# One ask may take: the connection (15 s) or a held answer (15 s, and a margin).
ASK_TIMEOUT = 30.0
# A week: whoever wants to wait longer has a daemon for it.
WAIT_MAX = 7 * 86_400.0
# Whatever `wait` says, a cut or an unreachable parent is not an answer: keep
# trying this long to get one. 2.14.4 needs a second or two.
ANSWER_DEADLINE = 30.0
# A parent that cuts so often has nothing to say; the next one may.
CUTS_BEFORE_NEXT = 3
# So many certificates that do not verify, and it is no accident.
INVALID_MAX = 3


@dataclass(frozen=True, slots=True)
class Parent:
    """Where to ask.

    Attributes:
        host: name or address.
        port: TCP port as text or number understood by the resolver.
    """

    host: str
    port: int

    def __str__(self) -> str:
        """Return ``host:port``."""
        return f"{self.host}:{self.port}"


class Came(enum.Enum):
    """What one ask brought."""

    SIGNED = "signed"
    PENDING = "pending"
    REFUSED = "refused"
    NOTHING_TO_DO = "nothing to do"
    CUT_OFF = "cut off"
    UNREACHABLE = "unreachable"
    UNTRUSTED = "untrusted"
    INVALID = "invalid certificate received"


@dataclass(frozen=True, slots=True)
class AskResult:
    """What one ask brought, with what was said.

    Attributes:
        came: the kind.
        detail: one sentence: the peer's words, or what failed.
        certificate: PEM, with SIGNED.
        ca: PEM, with SIGNED and PENDING; may be "".
        facts: what an Icefloe node added (hop, reason, retry_after, hops), or the
            reason that the words of a real Icinga node tell.
        temporary: REFUSED for a reason that passes; ask again later.
        icefloe: the parent is an Icefloe node, through which refusals pass.
        code: a code of `problems`, when we know more exactly than `came` tells what
            is wrong; never what a peer said.
    """

    came: Came
    detail: str = ""
    certificate: str = field(default="", repr=False)
    ca: str = field(default="", repr=False)
    facts: dict[str, object] = field(default_factory=dict)
    temporary: bool = False
    icefloe: bool = False
    code: str = ""


@dataclass(frozen=True, slots=True)
class AskParent:
    """Ask this parent now; give up after `timeout` seconds and report it."""

    parent: Parent
    timeout: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing until the given time."""

    until: MonotonicTime


@dataclass(frozen=True, slots=True)
class Ended:
    """It is over.

    Attributes:
        outcome: the last useful answer: SIGNED, NOTHING_TO_DO, REFUSED, PENDING,
            or the last failure.
        parent: who gave it.
        asks: how often was asked.
    """

    outcome: AskResult
    parent: Parent
    asks: int


Step = AskParent | Pause | Ended

_FINAL = frozenset({Came.SIGNED, Came.NOTHING_TO_DO})


class Requester:
    """Decides whom to ask next, when, and when to stop."""

    def __init__(
        self,
        parents: Sequence[Parent],
        *,
        now: Now,
        wait: float,
        answer_deadline: float = ANSWER_DEADLINE,
    ) -> None:
        """Ask the given parents in turn.

        Args:
            parents: at least one; the first is preferred.
            now: the start.
            wait: seconds to go on after a pending answer; 0: the first pending
                answer ends it.
            answer_deadline: seconds to go on without any answer; the longer of
                the two counts.
        """
        if not parents:
            raise ValueError("at least one parent")
        wait = min(wait, WAIT_MAX) if wait >= 0 else 0.0  # neither inf nor nan
        self._parents = list(parents)
        self._turn = 0
        self._round_failed = 0
        self._cuts = 0
        self._invalid = 0
        self._deadline = MonotonicTime(now.mono + wait)
        self._answer_deadline = MonotonicTime(now.mono + max(wait, answer_deadline))
        self._pause = PAUSE_FIRST
        self._pause_until: MonotonicTime | None = None
        self._asking: Parent | None = None
        self._best: tuple[AskResult, Parent] | None = None
        self._done = False
        self.asks = 0

    def next_step(self, now: Now) -> Step:
        """Say what to do now."""
        if self._done or self._out_of_time(now):
            return self._end()
        if self._pause_until is not None and now.mono < self._pause_until:
            # A parent may want to be asked a minute later; nobody is asked by then.
            return Pause(min(self._pause_until, self._current_deadline()))
        self._pause_until = None
        self._asking = self._parents[self._turn]
        self.asks += 1
        left = self._current_deadline() - now.mono
        return AskParent(self._asking, timeout=max(1.0, min(ASK_TIMEOUT, left)))

    def report(self, result: AskResult, now: Now, entropy: Entropy) -> None:
        """Say what the ask brought."""
        parent = self._asking
        if parent is None:
            raise AssertionError("nothing was asked")
        self._asking = None
        if self._best is None or _worth(result) >= _worth(self._best[0]):
            self._best = (result, parent)
        if result.came in _FINAL:
            self._done = True
        elif result.came is Came.REFUSED and not result.temporary:
            # Another parent could only refuse it too: the signer is the same.
            self._done = True
        elif result.came is Came.INVALID and self._count_invalid():
            # A misconfigured real signer signs anew at each ask: do not let it.
            self._done = True
        elif result.came is Came.PENDING or result.temporary:
            self._round_failed = 0
            self._rest(result, now, entropy)
        else:
            self._next_parent(result, now, entropy)

    @property
    def last(self) -> AskResult | None:
        """The best answer so far, for progress."""
        return self._best[0] if self._best is not None else None

    # -- inside -------------------------------------------------------------------

    def _count_invalid(self) -> bool:
        self._invalid += 1
        return self._invalid >= INVALID_MAX

    def _next_parent(self, result: AskResult, now: Now, entropy: Entropy) -> None:
        self._turn = (self._turn + 1) % len(self._parents)
        self._round_failed += 1
        if result.came is Came.CUT_OFF:
            self._cuts += 1
            if self._cuts % CUTS_BEFORE_NEXT:
                # The parent is there: give what it stored a moment to be answered.
                self._turn = (self._turn - 1) % len(self._parents)
            self._rest(result, now, entropy)
        elif self._round_failed >= len(self._parents):
            self._round_failed = 0
            if result.came is Came.UNTRUSTED and self._only_untrusted():
                self._done = True
                return
            self._rest(result, now, entropy)

    def _only_untrusted(self) -> bool:
        return self._best is not None and self._best[0].came is Came.UNTRUSTED

    def _rest(self, result: AskResult, now: Now, entropy: Entropy) -> None:
        asked_for = result.facts.get("retry_after")
        pause = self._pause * entropy.uniform(0.75, 1.25)
        if result.temporary and isinstance(asked_for, int | float):
            pause = max(pause, min(float(asked_for), 60.0))
        self._pause = min(self._pause * PAUSE_FACTOR, PAUSE_MAX)
        self._pause_until = MonotonicTime(now.mono + pause)

    def _current_deadline(self) -> MonotonicTime:
        answered = self._best is not None and self._best[0].came is Came.PENDING
        return self._deadline if answered else self._answer_deadline

    def _out_of_time(self, now: Now) -> bool:
        return self.asks > 0 and now.mono >= self._current_deadline()

    def _end(self) -> Ended:
        if self._best is None:
            raise AssertionError("ended without having asked")
        outcome, parent = self._best
        return Ended(outcome=outcome, parent=parent, asks=self.asks)


_WORTH = {
    Came.SIGNED: 7,
    Came.NOTHING_TO_DO: 6,
    Came.REFUSED: 5,
    Came.PENDING: 4,
    Came.INVALID: 3,
    Came.CUT_OFF: 2,
    Came.UNREACHABLE: 1,
    Came.UNTRUSTED: 0,
}


def _worth(result: AskResult) -> int:
    if result.temporary:
        return _WORTH[Came.CUT_OFF]
    return _WORTH[result.came]
