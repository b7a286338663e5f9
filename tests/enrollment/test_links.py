"""Connections are found by what they are for, without looking at the others."""

from __future__ import annotations

from icefloe.cluster.peer import Peer, Standing
from icefloe.enrollment.events import LinkId
from icefloe.enrollment.links import Links, LinkState

STRANGER = Peer(standing=Standing.ANONYMOUS, common_name=None, address="192.0.2.1")


def link(number: int, *, upstream: bool = False) -> LinkState:
    return LinkState(LinkId(number), STRANGER, upstream=upstream)


def test_of_many_connections_those_that_lead_upwards_are_known() -> None:
    links = Links()
    for number in range(100):
        links.add(link(number, upstream=number in {7, 70}))
    assert [state.link for state in links.upwards()] == [7, 70]
    links[LinkId(7)].upstream = False  # its session closes
    assert [state.link for state in links.upwards()] == [70]
    links.drop(LinkId(70))
    assert not any(links.upwards())
    assert len(links) == 99


def test_held_connections_are_counted() -> None:
    links = Links()
    one, other = link(1), link(2)
    for state in (one, other):
        links.add(state)
        links.hold(state)
        links.hold(state)
    assert links.held_count == 2
    held_before = one.held
    assert held_before
    links.let_go(one)
    links.let_go(one)
    assert not one.held
    assert links.held_count == 1
    assert links.drop(LinkId(2)) is other
    assert links.held_count == 0
    assert links.drop(LinkId(2)) is None
