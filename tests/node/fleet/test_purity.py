"""What decides about a fleet decides it from values alone."""

from __future__ import annotations

import pytest
from tests.source_tree import Module, all_modules
from tests.test_architecture import roads_to_io

DECIDING = frozenset(
    {
        *("targets", "inventory", "sightings", "states", "verdicts", "repair"),
        *("releases", "advisories", "nodes", "upgrades", "report"),
    }
)
FLEET = "icefloe.node.fleet."
MODULES = all_modules()


@pytest.mark.parametrize(
    "module",
    [each for each in MODULES if each.name.removeprefix(FLEET) in DECIDING],
    ids=lambda module: module.name,
)
def test_module_reaches_neither_world_nor_time_nor_chance(module: Module) -> None:
    roads = list(roads_to_io(module))
    if module.name == f"{FLEET}report":
        # It writes CSV into a string.
        roads = [road for road in roads if not road.endswith("import io")]
    assert roads == []


def test_all_of_them_were_looked_at() -> None:
    found = {each.name for each in MODULES}
    assert {f"{FLEET}{name}" for name in DECIDING} <= found
