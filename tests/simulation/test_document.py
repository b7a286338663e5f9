"""`docs/simulator.md` says what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from icefloe import simulation
from icefloe.simulation.exercised import EXEMPTIONS
from icefloe.simulation.faults import FAULT_KINDS
from tests.simulation.planted import PLANTED, SEEDS_MAX
from tests.simulation.planted_table import BEGIN, DOCUMENT, END

SIMULATION = Path(simulation.__file__).parent
TEXT = DOCUMENT.read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([a-z ]+) \| `(\w+)` \| (\d+) \| (\d+) \|$", re.MULTILINE)
FOUND = {row[0]: row[1:] for row in ROW.findall(TEXT.partition(BEGIN)[2])}


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_each_kind_of_fault_is_explained(kind: str) -> None:
    assert f"\n| {kind} | " in TEXT


def test_each_promise_that_shows_a_bug_is_explained() -> None:
    promises = {promise for planted in PLANTED for promise in planted.promises}
    told = TEXT.partition(BEGIN)[0]
    assert {name for name in promises if f"`{name}`" not in told} == set()


def test_each_promise_that_can_be_broken_is_explained() -> None:
    """Whoever judges: the judge of the promises, a requester, a machine, the runner."""
    names = set()
    for path in SIMULATION.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        names |= set(re.findall(r'(?:broken|Violation)\(\s*"(\w+)"', source))
        # Of what was committed: the name, and what is wrong.
        names |= set(re.findall(r'\[\("(\w+)", ', source))
    assert {"the_simulator_holds", "it_finishes", "states_follow_the_table"} < names
    told = TEXT.partition(BEGIN)[0]
    assert {name for name in names if f"`{name}`" not in told} == set()


def test_each_exemption_is_one_that_has_to_be_reached() -> None:
    found = set()
    for path in SIMULATION.glob("*.py"):
        found |= set(re.findall(r'"(exempt\.[\w-]+)"', path.read_text("utf-8")))
    assert found == set(EXEMPTIONS)


def test_each_planted_bug_is_in_the_table_and_was_found_with_room_to_spare() -> None:
    assert END in TEXT
    assert set(FOUND) == {planted.name for planted in PLANTED}
    assert max(int(seeds) for _, _, seeds in FOUND.values()) * 3 <= SEEDS_MAX
