from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from icefloe.lab.faked_clock import FakedClock, find_library
from tests.peer_gate import peers_are_required

LIBRARY = find_library()
TELL = """
import asyncio, sys, time
async def tell():
    loop = asyncio.get_running_loop()
    for _ in sys.stdin:
        before = loop.time()
        await asyncio.sleep(0.01)
        print(time.time(), loop.time() - before, flush=True)
asyncio.run(tell())
"""

pytestmark = pytest.mark.skipif(
    LIBRARY is None and not peers_are_required(),
    reason="libfaketime is not installed (Debian: faketime)",
)


class Told:
    """A process that tells its time when it is asked."""

    def __init__(self, clock: FakedClock) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", TELL],
            env={**os.environ, **clock.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ahead(self) -> tuple[float, float]:
        """Return by how much its clock is ahead, and how long it slept."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        wall, slept = map(float, self.process.stdout.readline().split())
        return wall - time.time(), slept


@pytest.fixture
def clock(tmp_path: Path) -> FakedClock:
    assert LIBRARY is not None
    return FakedClock(LIBRARY, tmp_path / "clock")


@pytest.fixture
def told(clock: FakedClock) -> Iterator[Told]:
    made = Told(clock)
    yield made
    made.process.communicate()


@pytest.mark.parametrize("step", [3600.0, -7200.0])
def test_a_clock_steps_under_a_running_process_and_its_timers_do_not_notice(
    clock: FakedClock, told: Told, step: float
) -> None:
    for offset in (0.0, step, 0.0):
        clock.step(offset)
        ahead, slept = told.ahead()
        assert abs(ahead - offset) < 60
        assert 0 < slept < 60
    assert clock.offset == 0.0
