"""What nodes run, in which role, and what concerns them."""

from __future__ import annotations

import pytest

from icefloe.node.fleet.advisories import BEFORE_TELLING, Role
from icefloe.node.fleet.nodes import Node, of_looks, of_releases, parse_roles
from icefloe.node.fleet.reading import known_advisories
from icefloe.node.fleet.releases import Release, ReleaseUnreadable
from icefloe.node.fleet.sightings import Cause, Greeting, Look, Presented, Unreached
from icefloe.node.fleet.targets import Target, TargetInvalid

KNOWN = known_advisories()


def seen(greeting: Greeting | None, **target: object) -> Node:
    about = {"label": "sat1", "host": "sat1.example.org", **target}
    look = Look(
        Target(**about),  # type: ignore[arg-type] # what a row gives
        Presented(leaf=b"", greeting=greeting, no_greeting="it says no Hello"),
    )
    (node,) = of_looks([look], parse_roles(["satellite=sat*,group:dmz"]), KNOWN)
    return node


def role(**target: object) -> Role | None:
    node = seen(Greeting(version=21404), **{"host": "h", **target})
    assert node.running is not None
    return node.running.role


def test_a_hello_tells_the_release_and_what_concerns_it() -> None:
    node = seen(Greeting(version=21404))
    assert node.running is not None
    assert node.running.release == Release(2, 14, 4)
    assert node.running.concerns[0].advisory.id == "icinga2-10330"
    assert (node.runs, node.is_newer) == ("Icinga 2.14.4", False)
    assert seen(Greeting(version=29900)).is_newer


def test_a_hello_without_a_version_is_of_2_12_or_older() -> None:
    node = seen(Greeting(version=None))
    assert node.running is not None
    assert node.running.release == BEFORE_TELLING


def test_icefloe_is_told_and_not_compared() -> None:
    node = seen(Greeting(version=21605, icefloe="1.2.0"))
    assert (node.running, node.runs) == (None, "Icefloe 1.2.0")


def test_who_told_nothing_is_unknown_with_the_reason() -> None:
    assert seen(None).why_unknown == "it says no Hello"
    away = Unreached(cause=Cause.REFUSED, detail="connection refused")
    (node,) = of_looks([Look(Target(label="web1", host="h"), away)], (), KNOWN)
    assert node.running is None
    assert "connection refused" in node.why_unknown


@pytest.mark.parametrize(
    "target, told",
    [
        ({"label": "sat2"}, Role.SATELLITE),
        ({"label": "a", "host": "sat2"}, Role.SATELLITE),
        ({"label": "a", "name": "sat2"}, Role.SATELLITE),
        ({"label": "a", "groups": ("dmz",)}, Role.SATELLITE),
        ({"label": "a", "variables": {"icefloe_role": "agent"}}, Role.AGENT),
        ({"label": "a", "variables": {"icinga2_role": "master"}}, Role.MASTER),
        ({"label": "sat2", "variables": {"icefloe_role": "agent"}}, Role.SATELLITE),
        ({"label": "a", "variables": {"icefloe_role": ["agent"]}}, None),
        ({"label": "a", "variables": {"icefloe_role": "king"}}, None),
        ({"label": "a"}, None),
    ],
)
def test_a_role_is_of_the_option_else_of_the_inventory(
    target: dict[str, object], told: Role | None
) -> None:
    assert role(**target) is told


@pytest.mark.parametrize("word", ["", "satellite", "king=a", "satellite="])
def test_a_role_that_is_none_is_refused(word: str) -> None:
    with pytest.raises(TargetInvalid):
        parse_roles([word])


def test_a_release_is_thought_of_in_the_role_of_its_name() -> None:
    (node,) = of_releases(["r2.14.5~rc1-1"], parse_roles(["satellite=2.14.5"]), KNOWN)
    assert node.label == "r2.14.5~rc1-1"
    assert node.running is not None
    assert node.running.role is Role.SATELLITE
    assert node.running.concerns[0].advisory.id == "icinga2-10330"
    with pytest.raises(ReleaseUnreadable):
        of_releases(["two"], (), KNOWN)
