# ruff: noqa: INP001, SLF001 - a script, which looks inside
"""How many simulated histories a second one core lives through, and what helps.

    python bench/simulation.py [--seeds 60] [--from 1000] [--profile]

Each way is measured in turns on the same seeds, in CPU seconds, so that what else the
machine does falls on all of them alike; the ratio says more than the numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import gc
import pstats
import sys
import time
from collections.abc import Callable, Iterator

from icefloe.pki import certificates, trust
from icefloe.simulation.running import Script, play

ROUNDS = 3


def live(first: int, count: int, *, traced: bool) -> float:
    """Live through seeds; returns CPU seconds."""
    began = time.process_time()
    for seed in range(first, first + count):
        play(Script.drawn(seed), traced=traced)
    return time.process_time() - began


class KeepsNothing(dict[bytes, bool]):
    """A memory without one."""

    def __setitem__(self, key: bytes, value: bool) -> None:
        """Forget at once."""


@contextlib.contextmanager
def nothing_known() -> Iterator[None]:
    """Read every certificate and check every signature each time."""
    instead = (
        (certificates, "_known_der", certificates._known_der.__wrapped__),
        (certificates, "_known_pem", certificates._known_pem.__wrapped__),
        (trust, "_signed", KeepsNothing()),
    )
    known = [(module, name, getattr(module, name)) for module, name, _ in instead]
    for module, name, other in instead:
        setattr(module, name, other)
    try:
        yield
    finally:
        for module, name, memory in known:
            setattr(module, name, memory)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--from", type=int, default=1000, dest="first")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    live(given.first, given.seeds // 2, traced=False)
    if given.profile:
        profile = cProfile.Profile()
        profile.runcall(live, given.first, given.seeds, traced=False)
        pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(40)
        return 0
    ways: dict[str, Callable[[], float]] = {
        "as it is": lambda: live(given.first, given.seeds, traced=False),
        "with its trace": lambda: live(given.first, given.seeds, traced=True),
        "nothing known of certificates": lambda: without_memory(given),
    }
    spent = dict.fromkeys(ways, 0.0)
    for _ in range(ROUNDS):
        for name, way in ways.items():
            gc.collect()
            spent[name] += way()
    best = spent["as it is"]
    for name, seconds in spent.items():
        each = seconds / ROUNDS / given.seeds
        sys.stdout.write(
            f"{name:<32} {each * 1000:7.1f} ms CPU a seed"
            f" {1 / each:7.1f} a second and core {seconds / best:6.2f} x\n"
        )
    return 0


def without_memory(given: argparse.Namespace) -> float:
    """Live through the seeds with nothing known."""
    with nothing_known():
        return live(given.first, given.seeds, traced=False)


if __name__ == "__main__":
    sys.exit(main())
