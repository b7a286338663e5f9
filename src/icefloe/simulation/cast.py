"""Who wants what in a world: drawn from the seed, or given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from icefloe.simulation.cluster import SIGNER, Cluster
from icefloe.simulation.daemons import Forger, IcefloeAgent, WaitingDaemon
from icefloe.simulation.identities import authority, self_signed_identity
from icefloe.simulation.machine import Machine, Seat
from icefloe.simulation.operator import SECONDS_TO_DECIDE, Operator
from icefloe.simulation.requesters import (
    CommandAgent,
    CommandPlan,
    Expected,
    Requesting,
    Stranger,
)
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
    *("daemon-approval",) * 2,
    "agent-ticket",
    "agent-approval",
)
"""Kinds of requesters, as often as they are drawn."""

_APPROVED = frozenset({"approval", "daemon-approval", "agent-approval", "reserved"})
_NOWHERE = "nowhere"


@dataclass(slots=True)
class Stage:
    """Everybody in a world.

    Attributes:
        machines: the nodes, the signer first; agents of ours last.
        requesting: those who want something.
        operators: decide, one at each node where there is something to decide.
    """

    machines: list[Machine] = field(default_factory=list)
    requesting: list[Requesting] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)


def set_up(world: World, cluster: Cluster, kinds: Sequence[str] | None) -> Stage:
    """Put everybody into a world and plan their beginnings.

    Args:
        world: empty so far.
        cluster: the nodes.
        kinds: of requesters, of `KINDS`; None draws them.
    """
    return _Casting(world, cluster, kinds).stage


class _Casting:
    def __init__(
        self, world: World, cluster: Cluster, kinds: Sequence[str] | None
    ) -> None:
        self.stage = Stage()
        self._world = world
        self._chance = world.chance
        self._cluster = cluster
        self._drawn = kinds is None
        if kinds is None:
            count = self._chance.choice((1, 2, 3, 4, 6, 10))
            kinds = [self._chance.choice(KINDS) for _ in range(count)]
        cast = [
            (self._name(kind, number), kind)
            for number, kind in enumerate(kinds)
            if kind != "reserved" or kind not in kinds[:number]
        ]
        self._switch_on(cast)
        for number, (cn, kind) in enumerate(cast):
            self._add(cn, kind, 200 + number)
        self._add_operators(cast)

    def _add_operators(self, cast: Sequence[tuple[str, str]]) -> None:
        """Approvals come at the signer, refusals there or at any relay on the way."""
        declined: dict[str, list[str]] = {}
        for cn, kind in cast:
            if kind == "declined":
                where = self._chance.choice(self._bottlenecks())
                declined.setdefault(where, []).append(cn)
        everywhere = [cn for cn, kind in cast if kind == "snatched"]
        for name in self._cluster.names:
            machine = next(m for m in self.stage.machines if m.name == name)
            signs = name == SIGNER
            operator = Operator(
                self._world,
                machine,
                approves=[cn for cn, kind in cast if signs and kind in _APPROVED],
                removes=declined.get(name, ()),
                snatches=everywhere if self._chance.random() < 0.5 else (),
                seconds_to_decide=SECONDS_TO_DECIDE if self._drawn else 1.0,
            )
            self.stage.operators.append(operator)

    def _bottlenecks(self) -> list[str]:
        """Nodes that no request can get round."""
        zones = self._cluster.zones
        return [zone.endpoints[0] for zone in zones if len(zone.endpoints) == 1]

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
            and (kind.startswith("agent-") or self._chance.random() < 0.3)
        ]
        skewed = self._drawn and self._chance.random() < 0.5
        for name, seat in self._cluster.seats(endpoints).items():
            machine = Machine(name, seat, self._world, skewed=skewed)
            self.stage.machines.append(machine)
            delay = self._chance.uniform(0.0, 1.0) if self._drawn else 0.0
            self._world.timeline.after(delay, machine.start)
        assert self.stage.machines[0].name == SIGNER

    def _add(self, cn: str, kind: str, key_number: int) -> None:
        requesting: Requesting
        if kind.startswith("daemon-"):
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

    def _agent(self, cn: str, kind: str, key_number: int) -> IcefloeAgent:
        seat = Seat(
            tree=self._cluster.agent_tree(cn),
            identity=self_signed_identity(cn, key_number),
            ca=authority(),
            listens=False,
            ticket=right_ticket(cn) if kind == "agent-ticket" else "",
        )
        machine = Machine(cn, seat, self._world, skewed=False)
        self.stage.machines.append(machine)
        return IcefloeAgent(self._world, machine)

    def _plan(self, cn: str, kind: str, key_number: int) -> CommandPlan:
        right, wrong = right_ticket(cn), wrong_ticket(cn)
        tickets = {
            "valid": [right],
            "snatched": [right],
            "reserved": [right],
            "wrong": [wrong],
            "corrected": [wrong, right],
        }.get(kind, [""])
        expected = {
            "wrong": Expected.REFUSED,
            "declined": Expected.REFUSED,
            "snatched": Expected.ANYHOW,
        }.get(kind, Expected.SIGNED)
        return CommandPlan(
            cn=cn,
            key_number=key_number,
            tickets=tickets,
            parents=self._parents(),
            expected=expected,
            wait=self._chance.choice((0.0, 30.0, 120.0)) if self._drawn else 120.0,
            remakes=self._drawn and kind != "renewal" and self._chance.random() < 0.2,
            due=kind == "renewal",
            first_call=kind in {"valid", "renewal"},
            name=f"another-{cn}" if kind == "reserved" else "",
        )

    def _parents(self) -> list[str]:
        parents = list(self._cluster.bottom)
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

    def _begin(self, requesting: Requesting) -> None:
        self.stage.requesting.append(requesting)
        at = self._chance.uniform(5.0, 20.0) if self._drawn else 5.0
        if self._drawn and not self._world.faults.plan.is_harmless:
            at -= 5.0
        self._world.timeline.after(at, requesting.begin)
