"""The zone tree."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.cluster.zones import (
    ZONE_ANCESTORS_MAX,
    Endpoint,
    MonitoringConflict,
    Relation,
    Zone,
    ZoneError,
    ZoneTree,
    monitoring_conflicts,
)

ZONES = (
    Zone("pki", ("ca",)),
    Zone("master", ("m1", "m2"), parent="pki"),
    Zone("eu", ("sat1", "sat2"), parent="master"),
    Zone("us", ("sat3",), parent="master"),
    Zone("rack", ("hub",), parent="eu"),
    Zone("a1", ("agent1",), parent="eu"),
    Zone("deep", ("leaf",), parent="rack"),
    Zone("empty", (), parent="eu"),
    Zone("everywhere", ("odd",), is_global=True),
    Zone("global-below", ("odder",), parent="eu", is_global=True),
)
ENDPOINTS = tuple(
    Endpoint(name, host=f"{name}.example")
    for name in sorted(name for zone in ZONES for name in zone.endpoints)
)


def tree(node_name: str = "sat1", **changes: Any) -> ZoneTree:
    given: dict[str, Any] = {"zones": ZONES, "endpoints": ENDPOINTS}
    return ZoneTree(node_name=node_name, **{**given, **changes})


def reasons(**changes: Any) -> tuple[str, ...]:
    with pytest.raises(ZoneError) as caught:
        tree(**changes)
    assert caught.value.public == "; ".join(caught.value.reasons)
    return caught.value.reasons


@pytest.mark.parametrize(
    "endpoint,relation",
    [
        ("ca", Relation.ANCESTOR),
        ("m1", Relation.PARENT),
        ("m2", Relation.PARENT),
        ("sat1", Relation.SAME_ZONE),
        ("sat2", Relation.SAME_ZONE),
        ("sat3", Relation.UNRELATED),
        ("hub", Relation.CHILD),
        ("agent1", Relation.CHILD),
        ("leaf", Relation.DESCENDANT),
        ("odd", Relation.UNRELATED),
        ("odder", Relation.UNRELATED),
        ("nobody", Relation.UNRELATED),
        ("SAT1", Relation.UNRELATED),
    ],
)
def test_relation_of_an_endpoint_follows_from_our_own_zone(
    endpoint: str, relation: Relation
) -> None:
    assert tree().relation(endpoint) is relation


def test_each_relation_is_upward_or_downward_or_neither() -> None:
    upward = {relation for relation in Relation if relation.is_upward}
    downward = {relation for relation in Relation if relation.is_downward}
    assert upward == {Relation.PARENT, Relation.SAME_ZONE, Relation.ANCESTOR}
    assert downward == {Relation.CHILD, Relation.DESCENDANT}


def test_tree_knows_its_zones_and_endpoints() -> None:
    here = tree()
    assert here.local_zone.name == "eu"
    assert here.parent_zone == ZONES[1]
    assert tree("ca").parent_zone is None
    assert here.zone_of("leaf") == "deep"
    assert here.zone_of("nobody") is None
    assert here.is_known("leaf")
    assert not here.is_known("Leaf")
    assert here.endpoints["m1"].host == "m1.example"


def test_tree_cannot_be_changed() -> None:
    here = tree()
    with pytest.raises(FrozenInstanceError):
        here.node_name = "m1"  # type: ignore[misc]
    with pytest.raises(TypeError):
        here.zones["new"] = Zone("new")  # type: ignore[index]


@pytest.mark.parametrize(
    "zone,top,expected",
    [
        ("eu", "eu", True),
        ("deep", "eu", True),
        ("deep", "pki", True),
        ("eu", "deep", False),
        ("us", "eu", False),
        ("nowhere", "eu", False),
        ("nowhere", "nowhere", False),
        ("eu", "nowhere", False),
    ],
)
def test_zone_is_at_or_below_itself_and_all_above_it(
    zone: str, top: str, *, expected: bool
) -> None:
    assert tree().is_at_or_below(zone, top) is expected


def test_subtree_holds_the_endpoints_of_a_zone_and_of_all_below() -> None:
    here = tree()
    inside = {name for name in here.endpoints if here.is_in_subtree(name, "rack")}
    assert inside == {"hub", "leaf"}
    assert not here.is_in_subtree("hub", "nowhere")
    assert not here.is_in_subtree("nobody", "pki")


@pytest.mark.parametrize(
    "node_name,expected",
    [
        # Own zone and above, and every zone with a zone below it.
        ("m1", {"ca", "m1", "m2", "sat1", "sat2", "hub"}),
        ("agent1", {"ca", "m1", "m2", "sat1", "sat2", "hub", "agent1"}),
        ("sat3", {"ca", "m1", "m2", "sat1", "sat2", "hub", "sat3"}),
    ],
)
def test_reserved_names_are_those_with_power_over_others(
    node_name: str, expected: set[str]
) -> None:
    assert tree(node_name).reserved_names() == expected


def test_upstreams_are_the_parents_in_configured_order() -> None:
    assert [each.name for each in tree("sat1").upstreams()] == ["m1", "m2"]
    swapped = [*ZONES[:1], replace(ZONES[1], endpoints=("m2", "m1")), *ZONES[2:]]
    assert [e.name for e in tree("sat1", zones=swapped).upstreams()] == ["m2", "m1"]


def test_upstreams_without_parent_are_the_peers_of_the_own_zone() -> None:
    top = [replace(ZONES[1], parent=None), *ZONES[2:]]
    without_ca = [each for each in ENDPOINTS if each.name != "ca"]
    here = tree("m1", zones=top, endpoints=without_ca)
    assert [each.name for each in here.upstreams()] == ["m2"]
    assert tree("ca").upstreams() == ()


def test_dial_targets_are_own_parent_and_child_zones_parents_first() -> None:
    names = [each.name for each in tree("sat1").dial_targets()]
    assert names == ["m1", "m2", "sat2", "hub", "agent1"]
    assert [each.name for each in tree("ca").dial_targets()] == ["m1", "m2"]


@pytest.mark.parametrize(
    "endpoint", [Endpoint("m1"), Endpoint("m1", host=""), Endpoint("m1", "h", port="")]
)
def test_endpoint_without_host_or_port_is_not_dialled(endpoint: Endpoint) -> None:
    others = [each for each in ENDPOINTS if each.name != "m1"]
    here = tree("sat1", endpoints=[*others, endpoint])
    assert "m1" not in [each.name for each in here.dial_targets()]
    assert "m1" in [each.name for each in here.upstreams()]


def test_endpoint_named_twice_in_its_zone_is_one_endpoint() -> None:
    doubled = replace(ZONES[1], endpoints=("m1", "m2", "m1"))
    here = tree("sat1", zones=[ZONES[0], doubled, *ZONES[2:]])
    assert [each.name for each in here.upstreams()] == ["m1", "m2"]


# -- what Icinga refuses -------------------------------------------------------------


def test_every_fault_is_named_at_once() -> None:
    found = reasons(
        zones=[
            *ZONES,
            Zone("eu", ("sat1", "sat2"), parent="master"),
            Zone("second-home", ("m1", "ghost")),
            Zone("orphan", (), parent="missing"),
            Zone("under-global", (), parent="everywhere"),
        ],
        endpoints=[*ENDPOINTS, Endpoint("homeless"), Endpoint("m2")],
    )
    assert found == (
        "Zone 'eu' is defined more than once",
        "Endpoint 'm2' is defined more than once",
        "Endpoint 'm1' is in more than one zone: 'master' and 'second-home'",
        "Zone 'second-home' names the Endpoint 'ghost', which does not exist",
        "Endpoint 'homeless' is in no zone",
        "Zone 'orphan' has the parent 'missing', which does not exist",
        "Zone 'under-global' has the global zone 'everywhere' as its parent",
    )


def test_node_without_an_endpoint_of_its_own_is_refused() -> None:
    assert reasons(node_name="stray") == (
        "there is no Endpoint of this node's own name 'stray'",
    )


def test_node_whose_endpoint_is_in_no_zone_is_refused() -> None:
    endpoints = [*ENDPOINTS, Endpoint("new")]
    assert reasons(node_name="new", endpoints=endpoints) == (
        "Endpoint 'new' is in no zone",
    )


def test_node_in_a_global_zone_is_refused() -> None:
    assert reasons(node_name="odd") == (
        "this node's own Endpoint 'odd' is in the global zone 'everywhere'",
    )


@pytest.mark.parametrize("length", [1, 2, 3])
def test_loop_of_zones_is_refused(length: int) -> None:
    loop = [Zone(f"l{i}", (), parent=f"l{(i + 1) % length}") for i in range(length)]
    hanging = Zone("hanging", (), parent="l0")
    assert reasons(zones=[*ZONES, *loop, hanging]) == tuple(
        f"Zone 'l{i}' is its own ancestor" for i in range(length)
    )


def chain_of_zones(ancestors: int) -> list[Zone]:
    return [
        Zone(
            f"z{i}",
            ("bottom",) if i == ancestors else (),
            parent=f"z{i - 1}" if i else None,
        )
        for i in range(ancestors + 1)
    ]


def test_tree_may_be_as_deep_as_icinga_allows_and_no_deeper() -> None:
    def build(ancestors: int) -> ZoneTree:
        return ZoneTree(
            zones=chain_of_zones(ancestors),
            endpoints=[Endpoint("bottom")],
            node_name="bottom",
        )

    assert build(ZONE_ANCESTORS_MAX).local_zone.name == "z32"
    with pytest.raises(ZoneError, match="'z33' has 33 zones above it; at most 32"):
        build(ZONE_ANCESTORS_MAX + 1)


NAMES = st.sampled_from("abcdef")


@given(
    zones=st.lists(
        st.builds(
            Zone,
            NAMES,
            st.lists(NAMES, max_size=3).map(tuple),
            st.none() | NAMES,
            st.booleans(),
        ),
        max_size=6,
    ),
    endpoints=st.lists(st.builds(Endpoint, NAMES), max_size=6),
    node_name=NAMES,
)
def test_any_configuration_makes_a_consistent_tree_or_a_zone_error(
    zones: list[Zone], endpoints: list[Endpoint], node_name: str
) -> None:
    try:
        here = ZoneTree(zones=zones, endpoints=endpoints, node_name=node_name)
    except ZoneError:
        return
    assert here.relation(node_name) is Relation.SAME_ZONE
    for endpoint in here.endpoints:
        assert here.zone_of(endpoint) in here.zones
        if here.relation(endpoint) is Relation.SAME_ZONE:
            assert here.zone_of(endpoint) == here.local_zone.name
    assert node_name in here.reserved_names()
    assert node_name not in {each.name for each in here.dial_targets()}


# -- where a node may stand ------------------------------------------------------------


def test_undeclared_endpoint_of_the_own_zone_is_a_monitoring_conflict() -> None:
    assert monitoring_conflicts(tree("sat1")) == (MonitoringConflict("eu", "sat2"),)


def test_declared_endpoint_is_no_monitoring_conflict() -> None:
    here = tree("sat1", icefloe_endpoints=["sat2", "one-that-does-not-exist"])
    assert here.is_declared_icefloe("sat2")
    assert not here.is_declared_icefloe("sat1")
    assert monitoring_conflicts(here) == ()


def test_node_alone_in_its_zone_has_no_monitoring_conflict() -> None:
    assert monitoring_conflicts(tree("agent1")) == ()
