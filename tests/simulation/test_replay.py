"""The same seed makes the same history, whatever machine and process it is run in."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from icefloe.simulation import FaultPlan, simulate
from icefloe.simulation.cluster import chain
from icefloe.simulation.running import Script, play

# Whole histories, with the coverage measured, on a machine that is busy with others.
pytestmark = pytest.mark.timeout(300)


def test_a_seed_replays_exactly() -> None:
    for seed in range(20):
        first, second = simulate(seed), simulate(seed)
        assert first.trace == second.trace
        assert first.trace_hash == second.trace_hash
        assert first.figures == second.figures


def test_another_seed_is_another_history() -> None:
    assert len({simulate(seed).trace_hash for seed in range(20)}) == 20


def test_a_given_plan_replays_exactly() -> None:
    plan = FaultPlan(until=30.0, cut=0.1, crash=0.05)
    hashes = {
        simulate(4, faults=plan, cluster=chain(1), kinds=["valid", "wrong"]).trace_hash
        for _ in range(3)
    }
    assert len(hashes) == 1


def test_a_drawn_history_can_be_said_as_data() -> None:
    """Shrinking begins here: the same world, given instead of drawn."""
    for seed in range(8):
        script = Script.drawn(seed)
        given = simulate(
            seed,
            faults=script.faults,
            cluster=script.cluster,
            kinds=script.kinds,
            varied=True,
        )
        assert given.trace_hash == simulate(seed).trace_hash


def test_keeping_no_history_changes_none() -> None:
    for seed in range(8):
        told, untold = (
            play(Script.drawn(seed), traced=traced) for traced in (True, False)
        )
        assert told.trace
        assert not untold.trace
        assert told.figures == untold.figures
        assert told.violations == untold.violations


def test_the_faults_that_struck_are_enough_to_make_the_same_history() -> None:
    """Named one by one: then each can be left away by itself."""
    for seed in range(8):
        script = Script.drawn(seed)
        report = play(script)
        named = replace(script.faults, only=frozenset(report.strikes))
        assert play(replace(script, faults=named)).trace_hash == report.trace_hash


REPLAY = """
from icefloe.simulation import simulate
print(" ".join(simulate(seed).trace_hash for seed in range(15)))
"""


def test_a_seed_replays_in_another_process() -> None:
    """Nothing follows from the order of a set or from an address in memory."""
    told = {
        subprocess.run(
            [sys.executable, "-c", REPLAY],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.split()[-1]
        for hash_seed in ("1", "2")
    }
    assert told == {simulate(14).trace_hash}
