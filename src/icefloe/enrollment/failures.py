"""Wrong tickets: who brought how many lately, and who is heard again when.

Wrong tickets, and askings of which nothing can be made, are failures. Failures are
counted, not successes: many agents behind one address are normal, and
whose tickets are right is never slowed down. A ticket is compared only while its peer
(a stranger's source, or the member that forwards it) has failures left; over its rate
it is refused before anything is compared, forwarded or stored, and told to the second
when it is heard again.

**A name over its rate must not shut its owner out**, or strangers could (promise 5).
So the rate of a name refuses nobody by itself: while it is exceeded, each peer has a
few failures of its own *for this name*, and only who used these up waits. The owner,
who has not failed, is heard at once; an owner that mistyped waits for its own
failures alone. What many peers can take together is bounded elsewhere: each by its own
rate, all by the comparisons under way (`checks.py`), which are shared out in turn.
A member is not refused for a name: it carries the owner as well as the stranger, and
knows them apart itself.

**Between the admission and the verdict** lie milliseconds, or a parent. A peer that
used half of its failures has every ticket under way counted as one in advance, and
gets it back if it was right; so what a flood may have compared is exact from there on.
A peer with few failures is trusted until the verdict, or a site that starts a thousand
agents at once would wait for itself.

**Who shares an address with a flood** is refused with it while the flood goes on: by
its address nobody can tell them apart. It is told when to come again, is heard without
a ticket, and its connection is a stranger's like any other.

A restart forgets all of this; so does a full table, beginning with who has the least
to wait for (`rates.py`).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from icefloe.cluster.peer import Peer
from icefloe.cluster.sources import source_of
from icefloe.doors import MonotonicTime
from icefloe.enrollment.commands import Shun
from icefloe.enrollment.model import AttemptRecord, Origin, Refusal
from icefloe.enrollment.rates import Meter, Rate
from icefloe.enrollment.reasons import Reason
from icefloe.enrollment.settings import EnrollmentLimits
from icefloe.enrollment.turn import Turn


@dataclass(frozen=True, slots=True)
class Asker:
    """Whom a failure is counted for.

    Attributes:
        key: a stranger's source, or a member's name; the two cannot be alike.
        label: the same for people.
        member: a member of the cluster, which carries many.
    """

    key: str
    label: str
    member: bool

    @classmethod
    def of_peer(cls, peer: Peer) -> Asker:
        """Return who asks on a connection."""
        if peer.is_member and peer.common_name:
            return cls._of_member(peer.common_name)
        return cls._of_stranger(peer.address)

    @classmethod
    def of_attempt(cls, attempt: AttemptRecord) -> Asker:
        """Return who asked, as the ledger tells it."""
        if attempt.origin is Origin.RELAYED:
            return cls._of_member(attempt.via)
        return cls._of_stranger(attempt.via)

    @classmethod
    def _of_member(cls, name: str) -> Asker:
        return cls(f"member {name}", name, member=True)

    @classmethod
    def _of_stranger(cls, address: str) -> Asker:
        source = source_of(address)
        return cls(stranger_key(source), source, member=False)


@dataclass(frozen=True, slots=True)
class _UnderWay:
    asker: Asker
    in_advance: bool


class Failures:
    """Counts wrong tickets of a node's peers."""

    def __init__(self, limits: EnrollmentLimits) -> None:
        """Begin with none."""
        most = limits.rate_keys_max
        self._strangers = Meter(Rate(limits.wrong_tickets_per_minute), keys_max=most)
        self._relays = Meter(Rate(limits.wrong_tickets_per_relay), keys_max=most)
        self._names = Meter(Rate(limits.wrong_tickets_per_name), keys_max=most)
        self._pairs = Meter(
            Rate(limits.wrong_tickets_per_name_and_source), keys_max=most
        )
        # By attempt: who brought it last, until the verdict. The oldest goes first.
        self._under_way: OrderedDict[str, _UnderWay] = OrderedDict()
        self._under_way_max = most

    def reconfigure(self, limits: EnrollmentLimits) -> None:
        """Go by other limits."""
        most = limits.rate_keys_max
        for meter, number in (
            (self._strangers, limits.wrong_tickets_per_minute),
            (self._relays, limits.wrong_tickets_per_relay),
            (self._names, limits.wrong_tickets_per_name),
            (self._pairs, limits.wrong_tickets_per_name_and_source),
        ):
            meter.reconfigure(Rate(number), keys_max=most)
        self._under_way_max = most

    @property
    def remembered(self) -> int:
        """How much is remembered, for status and for bounds."""
        meters = (self._strangers, self._relays, self._names, self._pairs)
        return sum(map(len, meters)) + len(self._under_way)

    # -- before a ticket is looked at ---------------------------------------------

    def peer_heard_at(self, asker: Asker, now: MonotonicTime) -> MonotonicTime:
        """Return when a ticket from this peer is looked at; `now`: at once."""
        return MonotonicTime(self._meter_of(asker).admits_at(asker.key, now))

    def name_heard_at(self, asker: Asker, cn: str, now: MonotonicTime) -> MonotonicTime:
        """Return when a ticket for this name from this peer is looked at.

        While the name is over its rate that is when this peer's own failures for it
        allow, whatever others do meanwhile.
        """
        if asker.member or self._names.admits_at(cn, now) <= now:
            return now
        return MonotonicTime(self._pairs.admits_at(_pair(asker, cn), now))

    def compared_at(self, attempt: AttemptRecord, now: MonotonicTime) -> MonotonicTime:
        """Return when an admitted ticket may be compared; `now`: at once.

        Its peer may have come over its rate since; not by this ticket, if that was
        counted in advance.
        """
        under_way = self._under_way.get(attempt.attempt_id)
        if under_way is not None and under_way.in_advance:
            return now
        return self.peer_heard_at(self.asker_of(attempt), now)

    def admitted(
        self, attempt_id: str, asker: Asker, cn: str, now: MonotonicTime
    ) -> None:
        """Note that a ticket is going to be compared, here or above."""
        before = self._under_way.pop(attempt_id, None)
        if before is not None and before.in_advance:
            # Asked again before the verdict: one comparison.
            self._under_way[attempt_id] = before
            return
        meter = self._meter_of(asker)
        in_advance = 2 * meter.has_taken(asker.key, now) >= meter.rate.count
        if in_advance:
            self._take(asker, cn, now)
        self._under_way[attempt_id] = _UnderWay(asker, in_advance)
        while len(self._under_way) > self._under_way_max:
            self._under_way.popitem(last=False)

    # -- the verdict --------------------------------------------------------------

    def was_wrong(self, attempt: AttemptRecord, cn: str, now: MonotonicTime) -> Asker:
        """Count a wrong ticket; returns for whom."""
        under_way = self._under_way.pop(attempt.attempt_id, None)
        if under_way is None:
            # Of an earlier life of this node, or of long ago.
            under_way = _UnderWay(Asker.of_attempt(attempt), in_advance=False)
        if not under_way.in_advance:
            self._take(under_way.asker, cn, now)
        return under_way.asker

    def was_unusable(self, turn: Turn, asker: Asker) -> None:
        """Count an asking of which nothing could be made."""
        self._meter_of(asker).take(asker.key, turn.now.mono)
        self.shun(turn, asker)

    def was_right(self, turn: Turn, attempt_id: str, cn: str) -> None:
        """A ticket was right, or was not compared: it does not count."""
        under_way = self._under_way.pop(attempt_id, None)
        if under_way is None or not under_way.in_advance:
            return
        asker = under_way.asker
        self._meter_of(asker).give_back(asker.key)
        if not asker.member:
            self._names.give_back(cn)
            self._pairs.give_back(_pair(asker, cn))
        self.shun(turn, asker)  # sooner than it was told, perhaps

    def asker_of(self, attempt: AttemptRecord) -> Asker:
        """Return who brought an attempt last."""
        under_way = self._under_way.get(attempt.attempt_id)
        return under_way.asker if under_way is not None else Asker.of_attempt(attempt)

    def shun(self, turn: Turn, asker: Asker) -> None:
        """Tell the shell until when a peer that failed lately is refused.

        That time may have come, or be now: `Shunned` waits for a word about such a
        peer in any case.
        """
        now = turn.now.mono
        if self._meter_of(asker).has_taken(asker.key, now) > 0:
            until = self.peer_heard_at(asker, now)
            turn.order(Shun(asker.key, asker.label, until))

    # -- inside -------------------------------------------------------------------

    def _meter_of(self, asker: Asker) -> Meter:
        return self._relays if asker.member else self._strangers

    def _take(self, asker: Asker, cn: str, now: MonotonicTime) -> None:
        self._meter_of(asker).take(asker.key, now)
        if not asker.member:
            self._names.take(cn, now)
            self._pairs.take(_pair(asker, cn), now)


def stranger_key(source: str) -> str:
    """Return the key of a source of strangers (`cluster.sources`)."""
    return f"from {source}"


def over_rate(node_name: str, asker: str, seconds: float, *, cn: str = "") -> Refusal:
    """Word the refusal of a ticket that is not looked at.

    Args:
        node_name: who refuses.
        asker: who is over its rate, for people.
        seconds: until it is heard again.
        cn: the name that too many wrong tickets came for; "": for whatever name.
    """
    # Rounded up, so that whoever comes then is not too early.
    seconds = math.ceil(seconds * 1000) / 1000
    about = f" for '{cn}'" if cn else ""
    return Refusal(
        reason=Reason.TOO_MANY_WRONG_TICKETS.value,
        text=(
            f"{node_name} has had too many wrong tickets{about} from {asker} and looks "
            f"at no further one now; try again in {math.ceil(seconds * 10) / 10:g} s."
        ),
        hop=node_name,
        retry_after=seconds,
    )


def _pair(asker: Asker, cn: str) -> str:
    return f"{asker.key} {cn}"
