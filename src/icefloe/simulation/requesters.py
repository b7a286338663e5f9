"""Those who want certificates, each with a story and an expected end."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from icefloe.enrollment.requester import (
    AskParent,
    AskResult,
    Came,
    Ended,
    Parent,
    Pause,
    Requester,
)
from icefloe.simulation.asking import Ask, Wish
from icefloe.simulation.identities import (
    Identity,
    authority,
    self_signed_identity,
    signed_identity,
)
from icefloe.simulation.world import World, wrong_ticket


class Expected(enum.Enum):
    """How a story is to end."""

    SIGNED = "signed"
    REFUSED = "refused"
    UNSIGNED = "unsigned"
    """A node on the way that is not ours swallows the refusal: nobody is ever signed,
    and whoever hears no refusal gives up."""
    ANYHOW = "anyhow"

    def allows(self, how: Expected) -> bool:
        """Whether a story that was to end like this may end that way."""
        return (
            how is self
            or self is Expected.ANYHOW
            or (self is Expected.UNSIGNED and how is Expected.REFUSED)
        )


GIVE_UP_SECONDS: Final = 60.0
"""So long after the faults whoever cannot be told of a refusal goes on asking."""

LIE_SECONDS: Final = 60.0
"""So long after a rude node was the last time rude its words may still be on the way."""

SECONDS_WITH_A_TICKET: Final = 20.0
"""Where refusals are swallowed: so long until its user tries another one."""


def is_time_to_give_up(
    world: World, expected: Expected, began_at: float | None
) -> bool:
    """Whether somebody who hears no refusal has asked long enough."""
    if expected is Expected.SIGNED or expected is Expected.REFUSED:
        return False
    last = max(world.faults.plan.until, began_at or 0.0)
    return world.timeline.seconds > last + GIVE_UP_SECONDS


class Requesting:
    """Anybody who wants something and is done at some time.

    Attributes:
        name: for the trace; also the address.
        finished: the story has ended.
        ended: how.
        asks: how often was asked.
        began_at: virtual seconds of the first ask.
        finished_at: virtual seconds of the end.
    """

    name: str
    finished: bool = False
    ended: str = "has not begun"
    asks: int = 0
    began_at: float | None = None
    finished_at: float | None = None

    def begin(self) -> None:
        """Begin the story."""
        raise NotImplementedError


@dataclass(slots=True, kw_only=True)
class CommandPlan:
    """What a node's `node setup` and `pki request` are given, one after the other.

    Attributes:
        cn: the name.
        key_number: the key, the same throughout.
        tickets: tried in turn; the next one after a refusal.
        parents: nodes to ask.
        expected: the end.
        wait: seconds a command goes on after "pending".
        remakes: the self-signed certificate is made anew for each ask.
        due: has a certificate of ours that is to be renewed.
        first_call: is to be signed on the first call where no fault is to blame.
        refusals_come: no node on the way swallows a refusal.
        lied_to: a rude node may refuse it without reason while faults last.
        name: for the trace and as an address, if it is not `cn`.
    """

    cn: str
    key_number: int
    tickets: Sequence[str] = field(repr=False)
    parents: Sequence[str]
    expected: Expected
    wait: float = 120.0
    remakes: bool = False
    due: bool = False
    first_call: bool = False
    refusals_come: bool = True
    lied_to: bool = False
    name: str = ""


class CommandAgent(Requesting):
    """Runs a command until it ends as expected, and again when it ends otherwise."""

    def __init__(self, world: World, plan: CommandPlan) -> None:
        """Stand ready."""
        self.name = plan.name or plan.cn
        self.plan = plan
        self._world = world
        self._clock = world.clock(skewed=False)
        self._tickets = list(plan.tickets)
        self._requester: Requester | None = None
        self._remade = 0
        self._same_ticket_since = 0.0

    def begin(self) -> None:
        """Run the command."""
        if self.began_at is None:
            self.began_at = self._world.timeline.seconds
            self.ended = "no answer yet"
        parents = [Parent(name, 5665) for name in self.plan.parents]
        self._requester = Requester(parents, now=self._clock.now(), wait=self.plan.wait)
        self._next()

    def _next(self) -> None:
        requester = self._requester
        if requester is None or self.finished:
            return
        step = requester.next_step(self._clock.now())
        if isinstance(step, AskParent):
            self._ask(step)
        elif isinstance(step, Pause):
            self._world.timeline.at(step.until, self._next)
        else:
            self._command_ended(step)

    def _ask(self, step: AskParent) -> None:
        self.asks += 1
        identity = self._shown()
        self._world.note(self.name, f"asks {step.parent.host}, call {self.asks}")
        Ask(
            world=self._world,
            who=self.name,
            parent=step.parent.host,
            wish=Wish(
                cn=identity.cn,
                key_id=identity.key_id,
                shown=identity.der,
                ticket=self._tickets[0],
                member=self.plan.due,
            ),
            anchor=authority().anchor,
            timeout=step.timeout,
            report=self._came,
        )

    def _shown(self) -> Identity:
        if self.plan.due:
            return signed_identity(self.plan.cn, self.plan.key_number, due=True)
        if self.plan.remakes:
            self._remade += 1
        return self_signed_identity(self.plan.cn, self.plan.key_number, self._remade)

    def _came(self, result: AskResult) -> None:
        self._world.note(self.name, f"got {result.came.value}")
        self._world.counts[f"came.{result.came.name.lower()}"] += 1
        if self._requester is not None:
            self._requester.report(result, self._clock.now(), self._world.entropy)
            self._next()

    def _command_ended(self, ended: Ended) -> None:
        came = ended.outcome.came
        temporary = ended.outcome.temporary
        self._requester = None
        self.ended = came.value
        if came is Came.SIGNED:
            self._finish(Expected.SIGNED)
        elif came is Came.REFUSED and not temporary and not self._is_a_lie():
            if len(self._tickets) > 1:
                self._tickets.pop(0)
                self._again(2.0)
            else:
                self._finish(Expected.REFUSED)
        elif is_time_to_give_up(self._world, self.plan.expected, self.began_at):
            self._finish(Expected.UNSIGNED)
        else:
            self._try_another_ticket()
            # The daemon goes on where the command stopped.
            self._again(10.0)

    def _is_a_lie(self) -> bool:
        """Whether a refusal may be a rude parent's: its user does not believe it."""
        until = self._world.faults.plan.until + LIE_SECONDS
        if not self.plan.lied_to or self._world.timeline.seconds > until:
            return False
        self._world.counts["exempt.a-refusal-near-a-rude-node-is-not-final"] += 1
        return True

    def _try_another_ticket(self) -> None:
        """Where no refusal can come, a user tries the next ticket after a while."""
        now = self._world.timeline.seconds
        since = max(self._same_ticket_since, self.began_at or 0.0)
        if self.plan.refusals_come or now - since < SECONDS_WITH_A_TICKET:
            return
        if len(self._tickets) > 1:
            self._tickets.pop(0)
            self._same_ticket_since = now
            self._world.counts["exempt.a-refusal-is-swallowed-by-a-real-relay"] += 1

    def _again(self, most: float) -> None:
        pause = self._world.chance.uniform(0.5, most)
        self._world.timeline.after(pause, self.begin)

    def _finish(self, how: Expected) -> None:
        self.finished = True
        self.finished_at = self._world.timeline.seconds
        self._world.note(self.name, f"ends {how.value}")
        if not self.plan.expected.allows(how):
            self._world.promises.it_finishes(
                self.name, f"ended {how.value}, not {self.plan.expected.value}"
            )
        if self.plan.first_call and self._world.promises.nothing_goes_wrong:
            self._world.promises.the_first_call_is_the_last(self.name, self.asks)


class Stranger(Requesting):
    """Asks for somebody else's key with tickets that are wrong, or without one."""

    def __init__(
        self,
        world: World,
        *,
        victim: CommandPlan,
        number: int,
        times: int,
        with_ticket: bool,
    ) -> None:
        """Stand ready.

        Args:
            world: where.
            victim: whose certificate is presented.
            number: tells strangers apart.
            times: how often it asks.
            with_ticket: whether it brings tickets, all wrong.
        """
        self.name = f"stranger-{number}"
        self._world = world
        self._victim = victim
        self._own = self_signed_identity(self.name, 900 + number)
        self._left = times
        self._with_ticket = with_ticket

    def begin(self) -> None:
        """Ask."""
        if not self._left:
            self.finished = True
            self.finished_at = self._world.timeline.seconds
            return
        self._left -= 1
        self.asks += 1
        victim = self_signed_identity(self._victim.cn, self._victim.key_number)
        ticket = wrong_ticket(victim.cn, self.asks) if self._with_ticket else ""
        Ask(
            world=self._world,
            who=self.name,
            parent=self._choose_parent(),
            wish=Wish(
                cn=victim.cn,
                key_id=victim.key_id,
                shown=self._own.der,
                cert_request=victim.pem,
                ticket=ticket,
            ),
            anchor=authority().anchor,
            timeout=30.0,
            report=self._came,
        )

    def _choose_parent(self) -> str:
        """Choose whom to ask.

        A request is approved where it is seen first. Where that is to be enough, it is
        where its owner asks, or the owner would wait for a second approval for ever.
        """
        parents = self._victim.parents
        if self._world.promises.one_signature_is_enough and len(parents) > 1:
            self._world.counts["exempt.a-stranger-asks-where-its-victim-does"] += 1
            return parents[0]
        return self._world.chance.choice(parents)

    def _came(self, result: AskResult) -> None:
        self._world.note(self.name, f"got {result.came.value}")
        self.ended = result.came.value
        self._world.timeline.after(self._world.chance.uniform(0.0, 1.0), self.begin)
