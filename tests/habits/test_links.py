from __future__ import annotations

import pytest

from icefloe.cluster.zones import Relation
from icefloe.enrollment.events import LinkId
from icefloe.habits.links import HabitualLink, Links

STRANGER = HabitualLink(LinkId(99))


def links(own: str, *others: tuple[str, Relation]) -> Links:
    made = Links(own)
    made.add(STRANGER)
    for number, (name, relation) in enumerate(others):
        made.add(HabitualLink(LinkId(number), name=name, relation=relation))
    return made


def targets(made: Links, came_from: HabitualLink = STRANGER) -> list[str | None]:
    return [link.name for link in made.relay_targets(came_from)]


def test_one_endpoint_of_the_parent_zone_is_told() -> None:
    made = links("s", ("m1", Relation.PARENT), ("m2", Relation.PARENT))
    assert targets(made) == ["m1"]


def test_children_and_grandparents_are_not_told() -> None:
    made = links(
        "s",
        ("agent", Relation.CHILD),
        ("below", Relation.DESCENDANT),
        ("top", Relation.ANCESTOR),
        ("else", Relation.UNRELATED),
    )
    assert targets(made) == []


def test_the_first_name_of_a_zone_tells_its_peer_and_the_parent() -> None:
    made = links("a", ("b", Relation.SAME_ZONE), ("m", Relation.PARENT))
    assert targets(made) == ["b", "m"]


def test_the_second_name_of_a_zone_tells_only_the_first() -> None:
    made = links("b", ("a", Relation.SAME_ZONE), ("m", Relation.PARENT))
    assert targets(made) == ["a"]


def test_nobody_is_told_what_he_said() -> None:
    made = links("b", ("a", Relation.SAME_ZONE), ("m", Relation.PARENT))
    first = made.live(LinkId(0))
    assert first is not None
    assert targets(made, first) == []


def test_a_closing_link_neither_counts_nor_is_it_free() -> None:
    made = links("s", ("m", Relation.PARENT))
    parent = made.live(LinkId(0))
    assert parent is not None
    parent.is_closing = True
    assert made.live(LinkId(0)) is None
    assert targets(made) == []
    assert made.is_connected("m")


def test_a_link_is_forgotten_once() -> None:
    made = links("s", ("m", Relation.PARENT))
    assert made.pop(LinkId(0)) is not None
    assert made.pop(LinkId(0)) is None
    assert not made.is_connected("m")
    made.clear()
    assert made.all_live() == []


def test_a_links_number_is_used_once() -> None:
    made = links("s")
    with pytest.raises(AssertionError, match="used once"):
        made.add(HabitualLink(STRANGER.link))
