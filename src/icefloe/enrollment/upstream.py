"""The relay: takes attempts to a parent and asks again until answered.

An *errand* is one attempt on its way up. It is asked of one connected parent;
of the next one only after "pending", an error, a disconnect or silence; when
all parents have been asked it rests and starts over. A real Icinga parent
answers only when it is asked, so the rests are short at first and the repeated
asks have their turns (`lanes.py`): at most `polls_per_second` to one parent.

Errands are not persistent state: the attempt is (in the ledger), and from it
the errand is made again when a parent connects.
"""

from __future__ import annotations

import enum
import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from icefloe.doors import MonotonicTime, Now
from icefloe.enrollment.commands import Ask
from icefloe.enrollment.events import LinkId
from icefloe.enrollment.failures import Asker
from icefloe.enrollment.lanes import Lane, Place
from icefloe.enrollment.links import Links, LinkState
from icefloe.enrollment.model import AttemptRecord
from icefloe.enrollment.renewal import wish_to_renew
from icefloe.enrollment.settings import EnrollmentLimits
from icefloe.enrollment.turn import Turn
from icefloe.pki.certificates import load_der, to_pem
from icefloe.wire.catalogue import RequestCertificate

# Unanswered calls kept for one errand; a late answer to these is still taken.
CALLS_MAX = 3
# The rest after a first unusable answer, in seconds, is twice this.
PAUSE_UNUSABLE = 2.5
# Fewer moments to act at than this are not worth tidying: each ask leaves one behind.
REMINDERS_MIN = 64
# Whoever asks without a ticket for what was asked within so many seconds waits its
# turn: another certificate of the same key is another attempt, and nothing new.
LATELY_SECONDS = 10.0
LATELY_MAX = 10_000


@dataclass(slots=True, eq=False)
class Errand:
    """One attempt on its way up.

    Attributes:
        asker: who asks, for the turns.
        asked: parents asked in this round.
        waiting_on: calls without an answer yet, and the parents they went to.
        rounds: how many rounds ended without a decision.
        due: when to act next (ask, or give up on silence); None: at rest until
            a parent connects, or it waits for its turn.
        place: where it waits for its turn among the repeated asks to a parent.
        may_ask: that turn has come.
        unusable: how many answers were of no use.
    """

    attempt_id: str
    request_id: str
    asker: Asker
    ticketed: bool
    asked: set[LinkId] = field(default_factory=set)
    waiting_on: dict[str, LinkId] = field(default_factory=dict)
    rounds: int = 0
    pending_since: MonotonicTime | None = None
    due: MonotonicTime | None = None
    place: Place | None = None
    may_ask: bool = False
    unusable: int = 0


class Begun(enum.Enum):
    """What became of an attempt that was to be taken up."""

    ASKED = enum.auto()
    IN_LANE = enum.auto()
    NO_PARENT = enum.auto()


class Upstream:
    """All errands of a relay."""

    def __init__(
        self,
        *,
        links: Links,
        limits: EnrollmentLimits,
        is_waited_for: Callable[[Errand], bool],
    ) -> None:
        """Begin with none.

        Args:
            links: the connections, parents among them.
            limits: intervals and rates.
            is_waited_for: whether somebody waits for an errand's outcome.
        """
        self._is_waited_for = is_waited_for
        self.limits = limits
        self._links = links
        self._errands: dict[str, Errand] = {}
        self._calls: dict[str, Errand] = {}
        self._due: list[tuple[float, int, Errand]] = []
        self._lanes: dict[tuple[LinkId, bool], Lane] = {}
        # Requests that were asked about without a ticket, and when last.
        self._lately: OrderedDict[str, MonotonicTime] = OrderedDict()
        self._order = itertools.count()
        self._call_numbers = itertools.count(1)

    # -- from the core ----------------------------------------------------------

    def knows(self, attempt_id: str) -> bool:
        """Whether an attempt is on its way: asked, or to be asked at a set time."""
        errand = self._errands.get(attempt_id)
        return errand is not None and bool(
            errand.waiting_on or errand.due is not None or errand.place is not None
        )

    def __len__(self) -> int:
        """Return how many attempts are on their way."""
        return len(self._errands)

    @property
    def asks(self) -> int:
        """How many calls to parents have no answer yet."""
        return len(self._calls)

    @property
    def reminders(self) -> int:
        """How many moments to act at are kept, outdated ones included."""
        return len(self._due) + sum(map(len, self._lanes.values()))

    def begin(self, turn: Turn, attempt: AttemptRecord) -> Begun:
        """Take an attempt up, now if a parent is connected.

        One that has been answered "pending" is asked in its turn: whoever asks us again
        and again does not pass that on to the parent. So is what differs from it only
        by another certificate of the same key.
        """
        errand = self._errands.get(attempt.attempt_id)
        again = False
        if errand is None:
            errand = self._take_up(attempt)
            again = not errand.ticketed and self._was_asked_lately(errand, turn.now)
        elif errand.waiting_on:
            return Begun.ASKED  # the answer under way serves this asker too
        errand.asker = Asker.of_attempt(attempt)
        if again or errand.pending_since is not None:
            return self._ask_in_lane(turn, errand, attempt)
        asked = self._ask_next(turn, errand, attempt)
        return Begun.ASKED if asked else Begun.NO_PARENT

    def resume(self, attempt: AttemptRecord, now: Now) -> None:
        """Take up an attempt of an earlier life, at the spread rate."""
        errand = self._errands.get(attempt.attempt_id)
        if errand is None:
            errand = self._take_up(attempt)
            errand.rounds = 1
        if not errand.waiting_on:
            errand.asked.clear()
            self._schedule(errand, now.mono)

    def _take_up(self, attempt: AttemptRecord) -> Errand:
        errand = Errand(
            attempt.attempt_id,
            attempt.request_id,
            asker=Asker.of_attempt(attempt),
            ticketed=bool(attempt.ticket),
        )
        self._errands[attempt.attempt_id] = errand
        return errand

    def end(self, attempt_id: str) -> None:
        """Forget an errand: it is answered, or nobody needs it."""
        errand = self._errands.pop(attempt_id, None)
        if errand is not None:
            errand.due = None
            self._leave_place(errand)
            for call in errand.waiting_on:
                self._calls.pop(call, None)
            errand.waiting_on.clear()

    def end_all(self) -> None:
        """Forget every errand: they are to be made again from the ledger."""
        for attempt_id in list(self._errands):
            self.end(attempt_id)

    def link_down(self, link: LinkId, now: Now) -> list[str]:
        """A connection ended: what was asked on it is asked again.

        Returns:
            The attempts that were under way on it.
        """
        for waited in (False, True):
            lane = self._lanes.pop((link, waited), None)
            for attempt_id in lane.waiting() if lane is not None else ():
                self._schedule(self._errands[attempt_id], now.mono)
        lost = []
        for errand in self._errands.values():
            errand.asked.discard(link)
            calls = [c for c, on in errand.waiting_on.items() if on == link]
            for call in calls:
                del errand.waiting_on[call]
                self._calls.pop(call, None)
            if calls:
                lost.append(errand.attempt_id)
                if not errand.waiting_on:
                    self._schedule(errand, now.mono)
        return lost

    def attempt_of(self, call: str, link: LinkId) -> str | None:
        """Return the attempt that a call belongs to; None for a strange call."""
        errand = self._calls.get(call)
        if errand is None or errand.waiting_on.get(call) != link:
            return None
        return errand.attempt_id

    def asks_only(self, attempt_id: str, link: LinkId) -> bool:
        """Whether an attempt is under way at this parent and no other is left to ask."""
        errand = self._errands.get(attempt_id)
        if errand is None or self._choose(errand) is not None:
            return False
        return all(on == link for on in errand.waiting_on.values())

    def undecided(
        self,
        turn: Turn,
        call: str,
        attempt: AttemptRecord,
        *,
        pause: float = 0.0,
        at_least: float = 0.0,
    ) -> bool:
        """A parent said "pending" or failed: the next parent, or a rest.

        Args:
            turn: to ask the next parent in.
            call: what the parent answered.
            attempt: what was asked about.
            pause: what it answered is unusable; rest ever longer, up to this.
            at_least: it wants to be left alone so long.

        Returns:
            Whether another parent was asked at once.
        """
        errand = self._calls.pop(call)
        link = errand.waiting_on.pop(call)
        if errand.waiting_on:
            return True
        if errand.pending_since is None:
            errand.pending_since = turn.now.mono
        if self._choose(errand) is not None:
            return self._ask_next(turn, errand, attempt)
        if pause:
            errand.unusable += 1
            pause = min(pause, PAUSE_UNUSABLE * 2.0**errand.unusable)
        self._rest(
            errand, turn.now, self._links.get(link), at_least=max(pause, at_least)
        )
        return False

    def take_due(self, now: Now) -> list[Errand]:
        """Return the errands whose time or turn has come, each once, in order."""
        ready = []
        for lane in self._lanes.values():
            for attempt_id in lane.take(now.mono):
                errand = self._errands[attempt_id]
                errand.place = None
                errand.may_ask = True
                ready.append(errand)
        while self._due and self._due[0][0] <= now.mono:
            reminder = heapq.heappop(self._due)
            if self._is_due_at(reminder):
                errand = reminder[2]
                errand.due = None
                ready.append(errand)
        return ready

    def ask_again(self, turn: Turn, errand: Errand, attempt: AttemptRecord) -> None:
        """Act on a due errand: silence is passed over, a rest is over."""
        if errand.waiting_on and self._choose(errand) is None:
            # Silence of the only parents. Their calls stay valid: a late answer
            # is as good as a new one.
            errand.asked.clear()
        elif not errand.waiting_on:
            errand.asked.clear()
        link = self._choose(errand)
        if link is None:
            return
        if errand.may_ask or self._passes_by(errand, link.link, turn.now.mono):
            self._ask_next(turn, errand, attempt)

    @property
    def next_deadline(self) -> MonotonicTime | None:
        """When `take_due` will have something."""
        while self._due and not self._is_due_at(self._due[0]):
            heapq.heappop(self._due)
        moments = [lane.free_at for lane in self._lanes.values() if len(lane)]
        if self._due:
            moments.append(MonotonicTime(self._due[0][0]))
        return min(moments, default=None)

    # -- inside -------------------------------------------------------------------

    def _choose(self, errand: Errand) -> LinkState | None:
        for state in self._links.upwards():
            if state.link not in errand.asked:
                return state
        return None

    def _ask_in_lane(self, turn: Turn, errand: Errand, attempt: AttemptRecord) -> Begun:
        """Ask sooner than planned, since somebody asked us, but not out of turn."""
        errand.asked.clear()
        link = self._choose(errand)
        if link is None:
            return Begun.NO_PARENT
        if not self._passes_by(errand, link.link, turn.now.mono):
            return Begun.IN_LANE
        self._ask_next(turn, errand, attempt)
        return Begun.ASKED

    def _passes_by(self, errand: Errand, link: LinkId, now: MonotonicTime) -> bool:
        """Whether nobody is before it at a parent; else it waits for its turn there.

        Those that somebody waits for have turns of their own.
        """
        lane = self._lane(link, now, waited=self._is_waited_for(errand))
        if errand.place is not None and errand.place.lane is lane:
            return False
        self._leave_place(errand)
        if lane.pass_by(now):
            return True
        errand.due = None
        errand.place = lane.join(
            errand.attempt_id, errand.asker, ticketed=errand.ticketed
        )
        return False

    def _lane(self, link: LinkId, now: MonotonicTime, *, waited: bool) -> Lane:
        limits = self.limits
        rate = limits.polls_unwaited_per_second
        if waited:
            rate = limits.polls_per_second - limits.polls_unwaited_per_second
        lane = self._lanes.setdefault((link, waited), Lane(rate, free_at=now))
        lane.rate = rate
        return lane

    def _leave_place(self, errand: Errand) -> None:
        if errand.place is not None:
            errand.place.leave()
            errand.place = None

    def _was_asked_lately(self, errand: Errand, now: Now) -> bool:
        """Note an asking without a ticket; true when there was one a moment ago."""
        at = self._lately.pop(errand.request_id, None)
        self._lately[errand.request_id] = now.mono
        while len(self._lately) > LATELY_MAX:
            self._lately.popitem(last=False)
        return at is not None and now.mono - at < LATELY_SECONDS

    def _ask_next(self, turn: Turn, errand: Errand, attempt: AttemptRecord) -> bool:
        state = self._choose(errand)
        if state is None and not errand.waiting_on:
            errand.asked.clear()
            state = self._choose(errand)
        if state is None:
            return False
        now = turn.now.mono
        errand.may_ask = False
        self._leave_place(errand)
        self._forget_oldest_call(errand)
        call = f"{attempt.attempt_id}.{next(self._call_numbers)}"
        errand.asked.add(state.link)
        state.asked.add(errand.request_id)
        errand.waiting_on[call] = state.link
        self._calls[call] = errand
        turn.order(Ask(state.link, call, _params(attempt), errand.asker.key))
        silence = (
            self.limits.parent_silence
            if self._choose(errand) is not None
            else self.limits.parent_silence_alone
        )
        self._schedule(errand, MonotonicTime(now + silence))
        return True

    def _forget_oldest_call(self, errand: Errand) -> None:
        """A parent that never answers does not make the list of calls grow."""
        while len(errand.waiting_on) >= CALLS_MAX:
            oldest = next(iter(errand.waiting_on))
            del errand.waiting_on[oldest]
            self._calls.pop(oldest, None)

    def _rest(
        self, errand: Errand, now: Now, last: LinkState | None, *, at_least: float
    ) -> None:
        errand.rounds += 1
        errand.asked.clear()
        limits = self.limits
        if last is not None and last.icefloe:
            pause = limits.poll_icefloe
        elif errand.rounds <= len(limits.poll_first):
            pause = limits.poll_first[errand.rounds - 1]
        elif now.mono - (errand.pending_since or now.mono) < limits.poll_steady_for:
            pause = limits.poll_steady
        else:
            pause = limits.poll_slow
        self._schedule(errand, MonotonicTime(now.mono + max(pause, at_least)))

    def _schedule(self, errand: Errand, at: MonotonicTime) -> None:
        errand.due = at
        errand.may_ask = False
        self._leave_place(errand)
        heapq.heappush(self._due, (at, next(self._order), errand))
        if len(self._due) > max(REMINDERS_MIN, 2 * len(self._errands)):
            self._due = [each for each in self._due if self._is_due_at(each)]
            heapq.heapify(self._due)

    def _is_due_at(self, reminder: tuple[float, int, Errand]) -> bool:
        """Whether a moment is still the one an errand waits for."""
        at, _, errand = reminder
        return errand.due == at and errand.attempt_id in self._errands


def _params(attempt: AttemptRecord) -> RequestCertificate:
    certificate = load_der(attempt.certificate)
    return RequestCertificate(
        ticket=attempt.ticket,
        cert_request=to_pem(certificate),
        requestor_ca=attempt.requestor_ca,
        icefloe=wish_to_renew(certificate),
    )
