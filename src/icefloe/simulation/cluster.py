"""The cluster of a world: zones, nodes, who dials whom, and which nodes are not ours."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from types import MappingProxyType
from typing import Final

from icefloe.cluster.zones import Endpoint, Zone, ZoneTree
from icefloe.habits import HABITS
from icefloe.simulation.identities import authority, signed_identity
from icefloe.simulation.machine import Seat

SIGNER = "signer"

VERSIONS: Final = tuple(HABITS)
"""Releases of Icinga 2 whose habits a seat may have."""

RUDE_SHARE: Final = 0.12
"""How often one node of a drawn cluster is rude."""

RUDE_CHILD_SHARE: Final = 0.08
"""How often there is a rude child below a drawn cluster."""

GATEWAY_SHARE: Final = 0.12
"""How often a memberless gateway stands beside a drawn cluster."""

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Cluster:
    """Zones from the top down.

    Attributes:
        zones: the signers' first; each the parent of the next.
        dials: who dials whom: pairs of names.
        habits: nodes that have the habits of a release of Icinga 2, and which.
        rude: nodes that are rude while faults last; they have habits, too.
        gateway: a memberless gateway stands beside it, and asks the last zone.
        rude_children: endpoints in zones below the last one that are rude; with the
            node each one connects to.
    """

    zones: tuple[Zone, ...]
    dials: frozenset[tuple[str, str]]
    habits: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    rude: frozenset[str] = frozenset()
    rude_children: tuple[str, ...] = ()
    gateway: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Every node, from the top down."""
        return tuple(name for zone in self.zones for name in zone.endpoints)

    @property
    def signers(self) -> tuple[str, ...]:
        """The nodes that hold the CA key, each with a ledger of its own."""
        return self.zones[0].endpoints

    @property
    def bottom(self) -> tuple[str, ...]:
        """The nodes that agents ask."""
        return self.zones[-1].endpoints

    def is_ours(self, name: str) -> bool:
        """Whether a node is an Icefloe node."""
        return name not in self.habits

    @property
    def bottom_is_ours(self) -> bool:
        """Whether every node that agents ask is an Icefloe node."""
        return all(map(self.is_ours, self.bottom))

    @property
    def zones_not_ours(self) -> int:
        """How many zones have a node that is not ours."""
        return sum(not all(map(self.is_ours, zone.endpoints)) for zone in self.zones)

    def refusals_come_from(self, level: int) -> bool:
        """Whether a refusal in the zone of that number reaches who asked below.

        A real Icinga relay forwards without an id and never hears one.
        """
        below = self.zones[level + 1 :]
        return all(self.is_ours(name) for zone in below for name in zone.endpoints)

    def seats(self, agents: Iterable[str] = ()) -> Mapping[str, Seat]:
        """Return every node's place.

        Args:
            agents: names that are endpoints too, each in a zone below the last one.
        """
        below = [
            Zone(cn, (cn,), self.zones[-1].name)
            for cn in (*agents, *self.rude_children)
        ]
        zones = (*self.zones, *below)
        everybody = [name for zone in zones for name in zone.endpoints]
        return {
            name: Seat(
                tree=self._tree(name, zones, everybody),
                identity=signed_identity(name, 100 + number),
                ca=authority(),
                signs=name in self.signers,
            )
            for number, name in enumerate(self.names)
        }

    def agent_tree(self, cn: str) -> ZoneTree:
        """Return the zones as an agent below the last one sees them."""
        parents = self.zones[-1]
        return ZoneTree(
            zones=(
                Zone(parents.name, parents.endpoints),
                Zone(cn, (cn,), parents.name),
            ),
            endpoints=(*(Endpoint(n, n) for n in parents.endpoints), Endpoint(cn)),
            node_name=cn,
        )

    def _tree(
        self, name: str, zones: Sequence[Zone], everybody: Sequence[str]
    ) -> ZoneTree:
        return ZoneTree(
            zones=zones,
            endpoints=[
                Endpoint(each, each if (name, each) in self.dials else None)
                for each in everybody
            ],
            node_name=name,
            icefloe_endpoints=[each for each in everybody if self.is_ours(each)],
        )


def chain(
    relays: int,
    *,
    signers: int = 1,
    habits: Mapping[str, str] = _NOTHING,
    rude: Iterable[str] = (),
    rude_children: Iterable[str] = (),
    gateway: bool = False,
) -> Cluster:
    """Return signers and relays in a row below them, each dialling its parents.

    Args:
        relays: how many: `relay-1` and so on.
        signers: how many: `signer`, `signer-2` and so on.
        habits: nodes with the habits of a release, and which.
        rude: nodes that are rude while faults last; of 2.14.5 unless `habits` says.
        rude_children: names of rude nodes below the last one.
        gateway: a memberless gateway asks the last one.
    """
    zones = [
        Zone("zone-0", _signers(signers)),
        *(
            Zone(f"zone-{level}", (f"relay-{level}",), f"zone-{level - 1}")
            for level in range(1, relays + 1)
        ),
    ]
    dials = {
        (child, parent)
        for above, below in itertools.pairwise(zones)
        for parent in above.endpoints
        for child in below.endpoints
    }
    rude = frozenset(rude)
    return Cluster(
        tuple(zones),
        frozenset(dials),
        MappingProxyType({**dict.fromkeys(sorted(rude), "2.14.5"), **habits}),
        rude,
        tuple(rude_children),
        gateway,
    )


def drawn(chance: Random) -> Cluster:
    """Draw a cluster.

    Up to three signers, up to three relays in a row, two abreast, dialling both ways; in
    half of them every node is ours.
    """
    depth = chance.choice((0, 1, 1, 1, 2, 2, 3))
    zones = [Zone("zone-0", _signers(chance.choice((1, 1, 1, 1, 1, 2, 2, 3))))]
    for level in range(1, depth + 1):
        abreast = chance.choice((1, 1, 2))
        names = tuple(f"relay-{level}{'ab'[number]}" for number in range(abreast))
        zones.append(Zone(f"zone-{level}", names, f"zone-{level - 1}"))
    cluster = Cluster(tuple(zones), frozenset(_drawn_dials(chance, zones)))
    return _with_others(chance, cluster)


def _signers(count: int) -> tuple[str, ...]:
    return (SIGNER, *(f"{SIGNER}-{number}" for number in range(2, count + 1)))


def _drawn_dials(chance: Random, zones: Sequence[Zone]) -> set[tuple[str, str]]:
    dials: set[tuple[str, str]] = set()
    for above, below in itertools.pairwise(zones):
        for parent in above.endpoints:
            for child in below.endpoints:
                way = chance.choice(("up", "up", "down", "both"))
                if way != "down":
                    dials.add((child, parent))
                if way != "up":
                    dials.add((parent, child))
    for zone in zones:
        for one, other in itertools.combinations(zone.endpoints, 2):
            if chance.random() < 0.5:
                dials.add((one, other))
    return dials


def _with_others(chance: Random, cluster: Cluster) -> Cluster:
    """Give some seats to nodes that are not ours: to one, to some, or to all."""
    share = chance.choice((0.0, 0.0, 0.0, 0.25, 0.5, 1.0))
    habits = {
        name: chance.choice(VERSIONS)
        for name in cluster.names
        if chance.random() < share
    }
    rude: frozenset[str] = frozenset()
    may_be_rude = [
        name for name in cluster.names if _is_among_ours(cluster, habits, name)
    ]
    if may_be_rude and chance.random() < RUDE_SHARE:
        rude = frozenset((chance.choice(may_be_rude),))
        habits.update(dict.fromkeys(sorted(rude), "2.14.5"))
    children = ("rude-child",) if chance.random() < RUDE_CHILD_SHARE else ()
    return replace(
        cluster,
        habits=MappingProxyType(habits),
        rude=rude,
        rude_children=children,
        gateway=chance.random() < GATEWAY_SHARE,
    )


def _is_among_ours(cluster: Cluster, habits: Mapping[str, str], name: str) -> bool:
    """Whether those who might believe a node, in its zone and below, are ours.

    A real relay stores whatever certificate its parent sends, and hands it out for a
    week: a liar above it leaves nothing that could be promised.
    """
    for number, zone in enumerate(cluster.zones):
        if name in zone.endpoints:
            below = cluster.zones[number + 1 : number + 2]
            near = {each for one in (zone, *below) for each in one.endpoints}
            return not (near - {name}) & habits.keys()
    return False
