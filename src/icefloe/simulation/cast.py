"""Who wants what in a world: drawn from the seed, or given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from icefloe.enrollment.renewal import DAY_SECONDS
from icefloe.habits import habits_of
from icefloe.pki.trust import LEAF_RENEWAL_WINDOW
from icefloe.simulation.cluster import VERSIONS, Cluster
from icefloe.simulation.daemons import (
    REDIAL_SECONDS,
    Forger,
    IcefloeAgent,
    WaitingDaemon,
)
from icefloe.simulation.flooding import Flooder
from icefloe.simulation.gateway import GATEWAY, GatewayMachine
from icefloe.simulation.habitual import HabitualMachine, HabitualOperator
from icefloe.simulation.identities import (
    Identity,
    authority,
    self_signed_identity,
    signed_identity,
)
from icefloe.simulation.machine import Machine, Seat
from icefloe.simulation.odd import ODD_KINDS, OddRequester, neighbour, oddity
from icefloe.simulation.operator import SECONDS_TO_DECIDE, Approvals, Operator
from icefloe.simulation.real_requesters import RealAgent, RealCommand, RealCommandPlan
from icefloe.simulation.requesters import (
    CommandAgent,
    CommandPlan,
    Expected,
    Requesting,
    Stranger,
)
from icefloe.simulation.rude import RudeMachine
from icefloe.simulation.rude_child import RudeChild
from icefloe.simulation.world import World, right_ticket, wrong_ticket

KINDS = (
    *("valid",) * 5,
    *("wrong", "corrected") * 2,
    *("approval",) * 2,
    "declined",
    "snatched",
    "renewal",
    "reserved",
    "daemon-ticket",
    *("daemon-approval",) * 3,
    "agent-ticket",
    "agent-approval",
    *("agent-renewal", "agent-early", "agent-expired"),
    "real-command-valid",
    "real-command-wrong",
    "real-command-approval",
    "real-agent-ticket",
    "real-agent-approval",
    *("restored", "wavering"),
    *ODD_KINDS,
)
"""Kinds of requesters, as often as they are drawn."""

_APPROVED = frozenset(
    {
        *("approval", "daemon-approval", "agent-approval", "reserved", "wavering"),
        *("real-command-approval", "real-agent-approval"),
        # Where a signer has no such policy, or does not know the key.
        "agent-expired",
    }
)
_AGENTS = ("agent-", "real-agent-", "odd-member")
_NOWHERE = "nowhere"

# A gateway renews nothing: a renewal has to show its certificate to who decides.
_THROUGH_A_GATEWAY = frozenset(
    {"valid", "wrong", "corrected", "approval", "declined", "snatched"}
)

CLOCK_STEP_SECONDS_MAX: Final = 240.0
"""Less than `trust.CLOCKS_APART_SECONDS_MAX`, with the clocks' skew."""

PATIENCE_SECONDS_OF_A_GATEWAY: Final = 60.0
"""As `gateway.LIMITS.poll_slow`: an upstream pushes nothing to a gateway."""

PATIENCE_SECONDS_AFTER_LIES: Final = 300.0
"""As `EnrollmentLimits.poll_unusable`: a parent whose certificates are of no use is
asked again that rarely, unless somebody asks anew."""

PATIENCE_SECONDS_A_ZONE: Final = 60.0
"""Three times what the slowest of those who ask again lets pass."""


@dataclass(slots=True)
class Stage:
    """Everybody in a world.

    Attributes:
        machines: our nodes, the signers first; agents of ours last.
        others: nodes that are not ours, in the same order.
        requesting: those who want something.
        operators: decide, one at each node where there is something to decide.
        patience_seconds: how much longer than among our own nodes it takes until
            everybody has finished: a certificate passes a real relay when somebody
            asks again, which an agent daemon does every 10 to 20 s.
    """

    machines: list[Machine] = field(default_factory=list)
    others: list[HabitualMachine] = field(default_factory=list)
    requesting: list[Requesting] = field(default_factory=list)
    operators: list[Operator | HabitualOperator] = field(default_factory=list)
    patience_seconds: float = 0.0


def drawn_kinds(chance: Random) -> tuple[str, ...]:
    """Draw who is there."""
    count = chance.choice((1, 2, 3, 4, 6, 10))
    return tuple(chance.choice(KINDS) for _ in range(count))


def set_up(
    world: World, cluster: Cluster, kinds: Sequence[str], *, varied: bool
) -> Stage:
    """Put everybody into a world and plan their beginnings.

    Args:
        world: empty so far.
        cluster: the nodes.
        kinds: of requesters, of `KINDS`.
        varied: draw the details too.
    """
    return _Casting(world, cluster, kinds, varied=varied).stage


class _Casting:
    def __init__(
        self, world: World, cluster: Cluster, kinds: Sequence[str], *, varied: bool
    ) -> None:
        self.stage = Stage()
        self._world = world
        self._chance = world.chance
        self._cluster = cluster
        self._drawn = varied
        self._machines: dict[str, Machine | HabitualMachine] = {}
        self._count_cluster()
        kinds = [self._affordable(kind) for kind in kinds]
        cast = [
            (self._name(kind, number), kind)
            for number, kind in enumerate(kinds)
            if kind != "reserved" or kind not in kinds[:number]
        ]
        self._judge_by(cast)
        # Where each request that is to be declined is: the number of a zone.
        self._declined = {
            cn: self._zone_that_declines() for cn, kind in cast if kind == "declined"
        }
        self._switch_on(cast)
        for number, (cn, kind) in enumerate(cast):
            self._add(cn, kind, 200 + number)
        self._add_rude_children(cast)
        self._add_operators(cast)

    def _affordable(self, kind: str) -> str:
        """Replace a flood where refusals are swallowed: it would be asked for ever.

        Real relays keep what nobody refuses, and ours ask them again every second.
        """
        floods = kind in {"odd-flood", "odd-guesser"}
        return "valid" if floods and not self._cluster.refusals_come_from(0) else kind

    def _add_rude_children(self, cast: Sequence[tuple[str, str]]) -> None:
        victims = [(cn, 200 + number) for number, (cn, _) in enumerate(cast)]
        for name in self._cluster.rude_children:
            child = RudeChild(
                self._world, name=name, parents=self._cluster.bottom, victims=victims
            )
            self._world.counts["seat.rude-child"] += 1
            self._begin(child)

    def _count_cluster(self) -> None:
        """Count what the cluster is made of."""
        counts, cluster = self._world.counts, self._cluster
        counts[f"cluster.signers-{len(cluster.signers)}"] += 1
        counts[f"cluster.relays-{len(cluster.zones) - 1}"] += 1
        for name, version in cluster.habits.items():
            seat = "signer" if name in cluster.signers else "relay"
            seat = f"rude-{seat}" if name in cluster.rude else f"{seat}.{version}"
            counts[f"seat.{seat}"] += 1

    def _judge_by(self, cast: Sequence[tuple[str, str]]) -> None:
        """Tell the judge what these nodes promise together, and what they do not."""
        promises, cluster = self._world.promises, self._cluster
        promises.not_ours = frozenset(cluster.habits)
        self._keep_clocks_together()
        plan = self._world.faults.plan
        is_rude = plan.until > 0 and bool(cluster.rude)
        promises.nothing_goes_wrong = plan.is_harmless and not is_rude
        once = promises.nothing_goes_wrong and not cluster.habits
        several = len(cluster.signers) > 1 and len(cluster.bottom) > 1
        if once and several and any(k.startswith("real-agent-") for _, k in cast):
            # It asks each parent, and they may ask another signer each.
            self._world.counts["exempt.a-real-agent-asks-every-parent"] += 1
            once = False
        promises.one_signature_is_enough = once
        self.stage.patience_seconds = PATIENCE_SECONDS_A_ZONE * cluster.zones_not_ours
        if cluster.gateway:
            self.stage.patience_seconds += PATIENCE_SECONDS_OF_A_GATEWAY
        if cluster.rude:
            self.stage.patience_seconds += PATIENCE_SECONDS_AFTER_LIES

    def _keep_clocks_together(self) -> None:
        """Let no clock go far wrong where a relay is not ours.

        A signer whose clock is ahead dates a certificate into the future.  A real relay
        keeps it for a week and hands it out to everybody who asks, whatever the signer
        would say by then; nobody is served before it has begun.
        """
        faults, cluster = self._world.faults, self._cluster
        relays = {name for zone in cluster.zones[1:] for name in zone.endpoints}
        is_far = faults.plan.clock_step_seconds > CLOCK_STEP_SECONDS_MAX
        if relays & cluster.habits.keys() and faults.plan.clock_step_every and is_far:
            name = "exempt.a-real-relay-keeps-what-has-not-begun"
            self._world.counts[name] += 1
            faults.plan = replace(
                faults.plan, clock_step_seconds=CLOCK_STEP_SECONDS_MAX
            )

    def _zone_that_declines(self) -> int:
        """Choose a zone whose refusal reaches the requester; the last one's does."""
        levels = range(len(self._cluster.zones))
        return self._chance.choice(
            [level for level in levels if self._cluster.refusals_come_from(level)]
        )

    def _add_operators(self, cast: Sequence[tuple[str, str]]) -> None:
        """Approvals come at the signer, refusals there or at any relay on the way."""
        everywhere = [cn for cn, kind in cast if kind in {"snatched", "restored"}]
        wavers = [cn for cn, kind in cast if kind in {"restored", "wavering"}]
        approvals = Approvals(once=self._world.promises.one_signature_is_enough)
        for level, zone in enumerate(self._cluster.zones):
            approved = [cn for cn, kind in cast if not level and kind in _APPROVED]
            # At every node of a zone: no request can get round it.
            removes = [cn for cn, where in self._declined.items() if where == level]
            for name in zone.endpoints:
                snatches = everywhere if self._chance.random() < 0.5 else []
                self._add_operator(
                    name,
                    approved=approved,
                    approvals=approvals,
                    removes=removes,
                    snatches=snatches,
                    wavers=wavers,
                )

    def _add_operator(
        self,
        name: str,
        *,
        approved: Sequence[str],
        approvals: Approvals,
        removes: Sequence[str],
        snatches: Sequence[str],
        wavers: Sequence[str],
    ) -> None:
        operator: Operator | HabitualOperator
        seconds = SECONDS_TO_DECIDE if self._drawn else 1.0
        machine = self._machines[name]
        if isinstance(machine, HabitualMachine):
            operator = HabitualOperator(
                self._world,
                machine,
                approves=lambda cn: cn in approved and approvals.is_due(cn, name),
                removes=removes,
                seconds_to_decide=seconds,
            )
        else:
            operator = Operator(
                self._world,
                machine,
                approves=approved,
                approvals=approvals,
                removes=removes,
                snatches=snatches,
                wavers=wavers,
                seconds_to_decide=seconds,
            )
        self.stage.operators.append(operator)

    def _name(self, kind: str, number: int) -> str:
        """Name a requester; a reserved name is that of a node that has a key already."""
        if kind == "reserved":
            return self._cluster.zones[min(1, len(self._cluster.zones) - 1)].endpoints[
                0
            ]
        return f"{kind}-{number}.example"

    def _switch_on(self, cast: Sequence[tuple[str, str]]) -> None:
        """Make the nodes; some agents are endpoints of the zone tree, some are not."""
        endpoints = [
            cn
            for cn, kind in cast
            if kind != "reserved"
            and (
                kind.startswith(_AGENTS)
                or (kind == "renewal" and self._strangers_are_closed_on())
                or self._chance.random() < 0.3
            )
        ]
        endpoints += [neighbour(cn) for cn, kind in cast if kind == "odd-member"]
        skewed = self._drawn and self._chance.random() < 0.5
        for name, seat in self._cluster.seats(endpoints).items():
            machine = self._machine(name, seat, skewed=skewed)
            self._machines[name] = machine
            delay = self._chance.uniform(0.0, 1.0) if self._drawn else 0.0
            self._world.timeline.after(delay, machine.start)
        if self._cluster.gateway:
            gateway = GatewayMachine(self._world, self._cluster.bottom, skewed=skewed)
            self._world.counts["seat.gateway"] += 1
            self.stage.machines.append(gateway)
            self._world.timeline.after(0.0, gateway.start)

    def _strangers_are_closed_on(self) -> bool:
        """Whether a node that agents ask closes on a good certificate without Endpoint.

        2.16 does: whoever is to renew a certificate there has to be an endpoint.
        """
        closes = any(
            not habits_of(self._cluster.habits[name]).keeps_verified_strangers
            for name in self._cluster.bottom
            if name in self._cluster.habits
        )
        if closes:
            self._world.counts["exempt.a-real-node-closes-on-a-good-stranger"] += 1
        return closes

    def _machine(
        self, name: str, seat: Seat, *, skewed: bool
    ) -> Machine | HabitualMachine:
        version = self._cluster.habits.get(name)
        if version is None:
            machine = Machine(name, seat, self._world, skewed=skewed)
            self.stage.machines.append(machine)
            return machine
        kind = RudeMachine if name in self._cluster.rude else HabitualMachine
        other = kind(name, seat, self._world, version=version, skewed=skewed)
        self.stage.others.append(other)
        return other

    def _add(self, cn: str, kind: str, key_number: int) -> None:
        requesting: Requesting
        if kind.startswith("real-agent-") and self._cluster.rude & {
            *self._cluster.bottom
        }:
            # It installs what any parent sends, and a lie is the end of it.
            self._world.counts["exempt.a-real-agent-believes-a-liar"] += 1
            kind = kind.removeprefix("real-")
        if kind.startswith("real-command-"):
            requesting = self._real_command(cn, kind, key_number)
        elif kind in ODD_KINDS:
            requesting = self._odd(cn, kind, key_number)
        elif kind.startswith("real-agent-"):
            requesting = self._real_agent(cn, kind, key_number)
        elif kind.startswith("daemon-"):
            requesting = WaitingDaemon(
                self._world,
                cn=cn,
                key_number=key_number,
                ticket=right_ticket(cn) if kind == "daemon-ticket" else "",
                parents=list(self._cluster.bottom),
            )
        elif kind.startswith("agent-"):
            requesting = self._agent(cn, kind, key_number)
        else:
            plan = self._plan(cn, kind, key_number)
            requesting = CommandAgent(self._world, plan)
            if self._drawn and kind == "valid" and self._chance.random() < 0.15:
                # Another machine of the same name, as after a new installation.
                namesake = replace(plan, key_number=key_number + 300)
                self._begin(CommandAgent(self._world, namesake))
            if self._drawn and kind in {"valid", "approval", "corrected"}:
                self._add_enemies(plan)
        self._begin(requesting)

    def _odd(self, cn: str, kind: str, key_number: int) -> OddRequester:
        odd = oddity(kind, cn, key_number)
        cluster = self._cluster
        parents = [name for name in cluster.bottom if cluster.is_ours(name)]
        # A real signer says why in words that are nobody's reason.
        known = odd.everywhere or len(cluster.names) == 1
        told = known and not cluster.habits
        # A relay speaks for whoever is below it: no signer can tell what it was sent.
        ours = not cluster.habits and (known or kind != "odd-member")
        return OddRequester(
            self._world, name=cn, oddity=odd, parents=parents, told=told, ours=ours
        )

    def _agent(self, cn: str, kind: str, key_number: int) -> IcefloeAgent:
        identity = self._agent_identity(cn, kind, key_number)
        seat = Seat(
            tree=self._cluster.agent_tree(cn),
            identity=identity,
            ca=authority(),
            listens=False,
            ticket=right_ticket(cn) if kind == "agent-ticket" else "",
        )
        if kind == "agent-expired":
            for name in self._cluster.signers:
                signer = self._machines[name]
                if isinstance(signer, Machine):
                    signer.know_key(cn, identity.key_id)
        machine = Machine(cn, seat, self._world, skewed=False)
        self.stage.machines.append(machine)
        return IcefloeAgent(self._world, machine)

    def _agent_identity(self, cn: str, kind: str, key_number: int) -> Identity:
        """Return what an agent of ours begins with."""
        if kind == "agent-renewal":
            return signed_identity(cn, key_number, due=True)
        if kind == "agent-early":
            # Its window ends in an hour, and with it the time before real signers
            # renew it.
            left = LEAF_RENEWAL_WINDOW + 3600.0
            return signed_identity(cn, key_number, seconds_left=left)
        if kind == "agent-expired":
            return signed_identity(cn, key_number, seconds_left=-5 * DAY_SECONDS)
        return self_signed_identity(cn, key_number)

    def _real_command(self, cn: str, kind: str, key_number: int) -> RealCommand:
        tickets = {"valid": right_ticket(cn), "wrong": wrong_ticket(cn)}
        kind = kind.rpartition("-")[2]
        plan = RealCommandPlan(
            cn=cn,
            key_number=key_number,
            ticket=tickets.get(kind, ""),
            parents=self._parents(kind),
            expected=self._expected(cn, kind),
            first_call=kind == "valid" and self._signs_on_first_call(kind),
        )
        return RealCommand(self._world, plan)

    def _real_agent(self, cn: str, kind: str, key_number: int) -> RealAgent:
        identity = self_signed_identity(cn, key_number)
        seat = Seat(
            tree=self._cluster.agent_tree(cn),
            identity=identity,
            ca=authority(),
            listens=False,
            ticket=right_ticket(cn) if kind == "real-agent-ticket" else "",
        )
        version = self._chance.choice(VERSIONS)
        self._world.counts[f"seat.agent.{version}"] += 1
        machine = HabitualMachine(cn, seat, self._world, version=version, skewed=False)
        self.stage.others.append(machine)
        held = kind == "real-agent-ticket" and self._cluster.bottom_is_ours
        return RealAgent(self._world, machine, identity, held=held)

    def _expected(self, cn: str, kind: str) -> Expected:
        """Say how a story ends here; a swallowed refusal is an exemption."""
        if kind in {"snatched", "restored", "wavering"}:
            return Expected.ANYHOW
        if kind not in {"wrong", "declined"}:
            return Expected.SIGNED
        if self._cluster.refusals_come_from(self._declined.get(cn, 0)):
            return Expected.REFUSED
        self._world.counts["exempt.a-refusal-is-swallowed-by-a-real-relay"] += 1
        return Expected.UNSIGNED

    def _signs_on_first_call(self, kind: str) -> bool:
        """Whether the mix allows that the first call is the last.

        A real relay never signs on it.  One of ours holds a ticketed asker while it asks
        its parents again; an asker without a ticket, a renewal say, hears "pending" when
        a real relay above says so.
        """
        cluster = self._cluster
        if len(cluster.zones) == 1:
            return True
        if kind == "renewal":
            return not any(
                name in cluster.habits
                for zone in cluster.zones[1:]
                for name in zone.endpoints
            )
        return cluster.bottom_is_ours

    def _plan(self, cn: str, kind: str, key_number: int) -> CommandPlan:
        right, wrong = right_ticket(cn), wrong_ticket(cn)
        tickets = {
            "valid": [right],
            "snatched": [right],
            "restored": [right, right],
            "reserved": [right],
            "wrong": [wrong],
            "corrected": [wrong, right],
        }.get(kind, [""])
        # To a node that is not ours another certificate is another request.
        remakes = self._cluster.bottom_is_ours and kind not in {"renewal", "declined"}
        return CommandPlan(
            cn=cn,
            key_number=key_number,
            tickets=tickets,
            parents=self._parents(kind),
            expected=self._expected(cn, kind),
            wait=self._chance.choice((0.0, 30.0, 120.0)) if self._drawn else 120.0,
            remakes=remakes and self._drawn and self._chance.random() < 0.2,
            due=kind == "renewal",
            first_call=kind in {"valid", "renewal"} and self._signs_on_first_call(kind),
            refusals_come=self._cluster.refusals_come_from(0),
            lied_to=bool(self._cluster.rude),
            name=f"another-{cn}" if kind == "reserved" else "",
        )

    def _parents(self, kind: str) -> list[str]:
        parents = list(self._cluster.bottom)
        may = self._cluster.gateway and kind in _THROUGH_A_GATEWAY
        if may and (not self._drawn or self._chance.random() < 0.6):
            return [GATEWAY]
        if self._drawn:
            self._chance.shuffle(parents)
            parents = parents[: self._chance.randrange(len(parents)) + 1]
            if not self._world.faults.plan.is_harmless and self._chance.random() < 0.2:
                parents.insert(0, _NOWHERE)
        return parents

    def _add_enemies(self, plan: CommandPlan) -> None:
        if self._chance.random() < 0.3:
            stranger = Stranger(
                self._world,
                victim=plan,
                number=len(self.stage.requesting),
                times=self._chance.randrange(1, 4),
                with_ticket=self._chance.random() < 0.7,
            )
            self._begin(stranger)
        if self._chance.random() < 0.1:
            forger = Forger(
                self._world,
                victim=plan,
                number=len(self.stage.requesting),
                times=self._chance.randrange(1, 6),
            )
            self._begin(forger)
        # Where refusals are swallowed nobody learns that a ticket is wrong.
        heard = self._cluster.refusals_come_from(0) and GATEWAY not in plan.parents
        if heard and self._chance.random() < 0.05:
            self._begin(
                Flooder(self._world, victim=plan, number=len(self.stage.requesting))
            )

    def _begin(self, requesting: Requesting) -> None:
        self.stage.requesting.append(requesting)
        at = self._chance.uniform(5.0, 20.0) if self._drawn else 5.0
        if self._drawn and not self._world.faults.plan.is_harmless:
            at -= 5.0
        elif self._cluster.habits:
            # A real node whose first dial came too early dials again after 10 s.
            at += REDIAL_SECONDS
        self._world.timeline.after(at, requesting.begin)
