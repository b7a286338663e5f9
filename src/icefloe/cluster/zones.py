"""The zone tree: which nodes there are, and how each one stands to us.

A zone is a group of endpoints (nodes); zones form a tree.  The node that runs this
code is one of the endpoints, and sees every other one through a `Relation`: a parent
may tell us what to do, a child may ask us, everybody else is a stranger.  Everything
here is a pure value computed once from the configuration.

Source: Icinga 2's model of zones and endpoints, as its nodes enforce it at start.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType

from icefloe.errors import IcefloeError

ZONE_ANCESTORS_MAX = 32
"""How many zones may lie above a zone.  Icinga 2 refuses a deeper tree, and so do we:
a tree that we accept must be one that every node of the cluster accepts."""

DEFAULT_PORT = "5665"
"""The port of an Endpoint that names none (Icinga 2)."""


class ZoneError(IcefloeError):
    """The zones and endpoints of the configuration do not make a tree we can use.

    Attributes:
        reasons: every fault found, each a sentence that names zone or endpoint.
    """

    def __init__(self, reasons: Iterable[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(self.reasons))


class Relation(enum.Enum):
    """How another endpoint stands to us, from our own zone's place in the tree.

    `ANCESTOR` is above the parent, `DESCENDANT` below a direct child.
    """

    PARENT = "parent"
    CHILD = "child"
    SAME_ZONE = "same-zone"
    ANCESTOR = "ancestor"
    DESCENDANT = "descendant"
    UNRELATED = "unrelated"

    @property
    def is_upward(self) -> bool:
        """Whether such a peer stands at or above our own zone."""
        return self in _UPWARD

    @property
    def is_downward(self) -> bool:
        """Whether such a peer stands below our own zone."""
        return self in _DOWNWARD


_UPWARD = frozenset({Relation.PARENT, Relation.SAME_ZONE, Relation.ANCESTOR})
_DOWNWARD = frozenset({Relation.CHILD, Relation.DESCENDANT})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A node of the cluster.

    Attributes:
        name: the common name of its certificate, compared byte for byte.
        host: where to dial it (name or IP literal); None or "" when we never dial it.
        port: TCP port or service name, as text.
    """

    name: str
    host: str | None = None
    port: str = DEFAULT_PORT

    @property
    def is_dialable(self) -> bool:
        """Whether the configuration says where to dial it."""
        return bool(self.host and self.port)


@dataclass(frozen=True, slots=True)
class Zone:
    """A group of endpoints and its place in the tree.

    Attributes:
        name: unique among the zones.
        endpoints: names, in the configured order (which is the order of trying).
        parent: name of the zone above, None at the top.
        is_global: a zone that only carries configuration and takes no part in the
            tree; no zone may have it as its parent.
    """

    name: str
    endpoints: tuple[str, ...] = ()
    parent: str | None = None
    is_global: bool = False


@dataclass(frozen=True, slots=True)
class MonitoringConflict:
    """An endpoint of our own zone that may be a monitoring node.

    Attributes:
        zone: our own zone.
        endpoint: the other endpoint, not declared to be Icefloe.
    """

    zone: str
    endpoint: str


@dataclass(frozen=True, slots=True, init=False, eq=False)
class ZoneTree:
    """The zones and endpoints of a cluster, seen from one of its nodes.

    Validated when it is made; immutable afterwards.

    Attributes:
        node_name: our own endpoint.
        zones: by name.
        endpoints: by name.
        icefloe_endpoints: names that the configuration declares to be Icefloe nodes;
            may name endpoints that do not exist.
        local_zone: the zone of our own endpoint.
        parent_zone: the zone above it, None at the top.
    """

    node_name: str
    zones: Mapping[str, Zone]
    endpoints: Mapping[str, Endpoint]
    icefloe_endpoints: frozenset[str]
    local_zone: Zone
    parent_zone: Zone | None
    _zone_by_endpoint: Mapping[str, str] = field(repr=False)
    _reserved: frozenset[str] = field(repr=False)

    def __init__(
        self,
        *,
        zones: Iterable[Zone],
        endpoints: Iterable[Endpoint],
        node_name: str,
        icefloe_endpoints: Collection[str] = (),
    ) -> None:
        """Build the tree.

        Raises:
            ZoneError: with every reason, when Icinga 2 would refuse it too: a name
                given twice, an endpoint in no zone or in two, an unknown endpoint or
                parent, a loop, a tree too deep, a global zone as parent, or no
                endpoint and zone of our own.
        """
        zone_list, endpoint_list = tuple(zones), tuple(endpoints)
        reasons = [
            *_doubled("Zone", (zone.name for zone in zone_list)),
            *_doubled("Endpoint", (endpoint.name for endpoint in endpoint_list)),
        ]
        zone_map = {zone.name: zone for zone in zone_list}
        endpoint_map = {endpoint.name: endpoint for endpoint in endpoint_list}
        reasons += _membership_faults(zone_map, endpoint_map)
        reasons += _parent_faults(zone_map)
        reasons += _own_faults(zone_map, endpoint_map, node_name)
        if reasons:
            raise ZoneError(reasons)
        by_endpoint = {name: zone.name for zone in zone_list for name in zone.endpoints}
        local_zone = zone_map[by_endpoint[node_name]]
        parent = local_zone.parent
        # The documented way past the frozen dataclass's own guard.
        assign = object.__setattr__
        assign(self, "node_name", node_name)
        assign(self, "zones", MappingProxyType(zone_map))
        assign(self, "endpoints", MappingProxyType(endpoint_map))
        assign(self, "icefloe_endpoints", frozenset(icefloe_endpoints))
        assign(self, "local_zone", local_zone)
        assign(self, "parent_zone", None if parent is None else zone_map[parent])
        assign(self, "_zone_by_endpoint", MappingProxyType(by_endpoint))
        # Asked at every request, and walking some thousand zones takes milliseconds.
        assign(self, "_reserved", self._find_reserved_names())

    # -- single endpoints and zones --------------------------------------------

    def is_known(self, endpoint: str) -> bool:
        """Whether an Endpoint object of exactly that name exists."""
        return endpoint in self.endpoints

    def is_declared_icefloe(self, endpoint: str) -> bool:
        """Whether the configuration declares that endpoint to be an Icefloe node."""
        return endpoint in self.icefloe_endpoints

    def zone_of(self, endpoint: str) -> str | None:
        """Return the name of the endpoint's zone, None for an unknown endpoint."""
        return self._zone_by_endpoint.get(endpoint)

    def relation(self, endpoint: str) -> Relation:
        """Say how an endpoint stands to us.

        Our own endpoint is of the same zone.  An unknown endpoint, and one of a
        global zone, is unrelated.
        """
        name = self.zone_of(endpoint)
        if name is None or self.zones[name].is_global:
            return Relation.UNRELATED
        return self._relation_of_zone(self.zones[name])

    def _relation_of_zone(self, zone: Zone) -> Relation:
        local = self.local_zone
        if zone.name == local.name:
            return Relation.SAME_ZONE
        if zone.name == local.parent:
            return Relation.PARENT
        if zone.parent == local.name:
            return Relation.CHILD
        if self.is_at_or_below(local.name, zone.name):
            return Relation.ANCESTOR
        if self.is_at_or_below(zone.name, local.name):
            return Relation.DESCENDANT
        return Relation.UNRELATED

    def is_at_or_below(self, zone: str, top: str) -> bool:
        """Whether `zone` is `top` or lies below it; False for an unknown zone."""
        return zone in self.zones and any(
            above.name == top for above in _upwards(self.zones, zone)
        )

    def is_in_subtree(self, endpoint: str, top: str) -> bool:
        """Whether an endpoint's zone is `top` or below it; False for an unknown one.

        A relay may speak for these endpoints and for no other known one.
        """
        zone = self.zone_of(endpoint)
        return zone is not None and self.is_at_or_below(zone, top)

    # -- groups of endpoints ---------------------------------------------------

    def reserved_names(self) -> frozenset[str]:
        """Name the endpoints whose certificates would give power over others.

        These are the endpoints of our own zone and of those above it, and those of
        every zone that is the parent of another one (satellites).
        """
        return self._reserved

    def _find_reserved_names(self) -> frozenset[str]:
        parents = {zone.parent for zone in self.zones.values()}
        return frozenset(
            chain.from_iterable(
                zone.endpoints
                for zone in self.zones.values()
                if zone.name in parents
                or self.is_at_or_below(self.local_zone.name, zone.name)
            )
        )

    def upstreams(self) -> tuple[Endpoint, ...]:
        """List the endpoints a request for a certificate goes to, in configured order.

        They are the parent zone's; at the top of the tree, our peers of the same
        zone (protocol: Icinga 2, session start with a parent).
        """
        return self._others(self.parent_zone or self.local_zone)

    def dial_targets(self) -> tuple[Endpoint, ...]:
        """List the endpoints we are to keep a connection to, parents first.

        They are the endpoints of our own, our parent and our direct child zones
        whose configuration says where to dial them (protocol: Icinga 2, reconnect).
        """
        children = (
            zone
            for zone in self.zones.values()
            if zone.parent == self.local_zone.name and not zone.is_global
        )
        parent = () if self.parent_zone is None else (self.parent_zone,)
        return tuple(
            endpoint
            for zone in (*parent, self.local_zone, *children)
            for endpoint in self._others(zone)
            if endpoint.is_dialable
        )

    def _others(self, zone: Zone) -> tuple[Endpoint, ...]:
        return tuple(
            self.endpoints[name]
            for name in dict.fromkeys(zone.endpoints)
            if name != self.node_name
        )


def monitoring_conflicts(tree: ZoneTree) -> tuple[MonitoringConflict, ...]:
    """Find the endpoints beside which this node must not stand.

    A real Icinga 2 node shares the checks of its zone among the zone's connected
    endpoints.  A node that runs no checks would take its share and drop it: hosts
    would look healthy and go stale.  So every other endpoint of our own zone has to
    be declared as Icefloe's.

    Returns:
        One conflict for each endpoint that is not; empty when it is safe to start.
    """
    zone = tree.local_zone
    return tuple(
        MonitoringConflict(zone=zone.name, endpoint=name)
        for name in dict.fromkeys(zone.endpoints)
        if name != tree.node_name and not tree.is_declared_icefloe(name)
    )


def _doubled(kind: str, names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    doubled: dict[str, None] = {}
    for name in names:
        if name in seen:
            doubled[name] = None
        seen.add(name)
    return [f"{kind} '{name}' is defined more than once" for name in doubled]


def _membership_faults(
    zones: Mapping[str, Zone], endpoints: Mapping[str, Endpoint]
) -> list[str]:
    faults: list[str] = []
    home: dict[str, str] = {}
    for zone in zones.values():
        # A name given twice in one zone is the same membership said twice.
        for name in dict.fromkeys(zone.endpoints):
            if name not in endpoints:
                faults.append(
                    f"Zone '{zone.name}' names the Endpoint '{name}',"
                    " which does not exist"
                )
            if name in home:
                faults.append(
                    f"Endpoint '{name}' is in more than one zone:"
                    f" '{home[name]}' and '{zone.name}'"
                )
            home.setdefault(name, zone.name)
    faults += [
        f"Endpoint '{name}' is in no zone" for name in endpoints if name not in home
    ]
    return faults


def _parent_faults(zones: Mapping[str, Zone]) -> list[str]:
    faults: list[str] = []
    for zone in zones.values():
        if zone.parent is None:
            continue
        parent = zones.get(zone.parent)
        if parent is None:
            faults.append(
                f"Zone '{zone.name}' has the parent '{zone.parent}',"
                " which does not exist"
            )
        elif parent.is_global:
            faults.append(
                f"Zone '{zone.name}' has the global zone '{zone.parent}' as its parent"
            )
        else:
            faults += _height_faults(zones, zone)
    return faults


def _height_faults(zones: Mapping[str, Zone], zone: Zone) -> list[str]:
    above = 0
    for each in _upwards(zones, zone.name):
        if each.parent == zone.name:
            return [f"Zone '{zone.name}' is its own ancestor"]
        above += 1
        if above > len(zones):
            # A loop further up, which the zones in it report themselves.
            return []
    if above - 1 > ZONE_ANCESTORS_MAX:
        too_high = f"Zone '{zone.name}' has {above - 1} zones above it"
        return [f"{too_high}; at most {ZONE_ANCESTORS_MAX} are allowed"]
    return []


def _own_faults(
    zones: Mapping[str, Zone], endpoints: Mapping[str, Endpoint], node_name: str
) -> list[str]:
    if node_name not in endpoints:
        return [f"there is no Endpoint of this node's own name '{node_name}'"]
    # Icinga 2 does not forbid this one, but nothing works in it: a global zone is
    # nobody's parent, child or peer.
    return [
        f"this node's own Endpoint '{node_name}' is in the global zone '{zone.name}'"
        for zone in zones.values()
        if zone.is_global and node_name in zone.endpoints
    ]


def _upwards(zones: Mapping[str, Zone], zone: str) -> Iterable[Zone]:
    """Yield a known zone and all above it; endless when the tree has a loop."""
    name: str | None = zone
    while name is not None and name in zones:
        yield zones[name]
        name = zones[name].parent
