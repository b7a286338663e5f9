"""The cluster of a world: zones, nodes, and who dials whom."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from icefloe.cluster.zones import Endpoint, Zone, ZoneTree
from icefloe.simulation.identities import authority, signed_identity
from icefloe.simulation.machine import Seat

SIGNER = "signer"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Zones from the top down.

    Attributes:
        zones: the signer's first; each the parent of the next.
        dials: who dials whom: pairs of names.
    """

    zones: tuple[Zone, ...]
    dials: frozenset[tuple[str, str]]

    @property
    def names(self) -> tuple[str, ...]:
        """Every node, from the top down."""
        return tuple(name for zone in self.zones for name in zone.endpoints)

    @property
    def bottom(self) -> tuple[str, ...]:
        """The nodes that agents ask."""
        return self.zones[-1].endpoints

    def seats(self, agents: Iterable[str] = ()) -> Mapping[str, Seat]:
        """Return every node's place.

        Args:
            agents: names that are endpoints too, each in a zone below the last one.
        """
        below = [Zone(cn, (cn,), self.zones[-1].name) for cn in agents]
        zones = (*self.zones, *below)
        everybody = [name for zone in zones for name in zone.endpoints]
        return {
            name: Seat(
                tree=self._tree(name, zones, everybody),
                identity=signed_identity(name, 100 + number),
                ca=authority(),
                signs=name == SIGNER,
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
            icefloe_endpoints=everybody,
        )


def chain(relays: int) -> Cluster:
    """Return a signer and relays in a row below it, each dialling its parent."""
    names = [SIGNER, *(f"relay-{number}" for number in range(1, relays + 1))]
    zones = [
        Zone(f"zone-{level}", (name,), f"zone-{level - 1}" if level else None)
        for level, name in enumerate(names)
    ]
    dials = {(child, parent) for parent, child in itertools.pairwise(names)}
    return Cluster(tuple(zones), frozenset(dials))


def drawn(chance: Random) -> Cluster:
    """Draw a cluster: up to two relays in a row, two abreast, dialling both ways."""
    depth = chance.choice((0, 1, 1, 2, 2))
    zones = [Zone("zone-0", (SIGNER,))]
    for level in range(1, depth + 1):
        abreast = chance.choice((1, 1, 2))
        names = tuple(f"relay-{level}{'ab'[number]}" for number in range(abreast))
        zones.append(Zone(f"zone-{level}", names, f"zone-{level - 1}"))
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
        if len(zone.endpoints) == 2 and chance.random() < 0.5:
            dials.add((zone.endpoints[0], zone.endpoints[1]))
    return Cluster(tuple(zones), frozenset(dials))
