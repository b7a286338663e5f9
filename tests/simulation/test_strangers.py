"""Whom a stranger asks, and that it is counted where it may not choose."""

from __future__ import annotations

import pytest

from icefloe.simulation import FaultPlan
from icefloe.simulation.requesters import CommandPlan, Expected, Stranger
from icefloe.simulation.world import World

COUNT = "exempt.a-stranger-asks-where-its-victim-does"


@pytest.mark.parametrize(
    "parents, once, counted",
    [
        (("left", "right"), True, 20),
        (("left", "right"), False, 0),
        (("left",), True, 0),
    ],
)
def test_a_stranger_that_may_not_choose_is_an_exemption(
    parents: tuple[str, ...], *, once: bool, counted: int
) -> None:
    world = World(0, FaultPlan.none())
    world.promises.one_signature_is_enough = once
    victim = CommandPlan(
        cn="agent1",
        key_number=1,
        tickets=("t",),
        parents=parents,
        expected=Expected.SIGNED,
    )
    stranger = Stranger(world, victim=victim, number=1, times=1, with_ticket=True)
    asked = {stranger._choose_parent() for _ in range(20)}
    assert world.counts[COUNT] == counted
    assert asked == ({"left"} if once else set(parents))
