"""What an agent costs while its master is away: measured at several sizes.

Each size has a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import gc
import multiprocessing
import resource
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Final, TextIO

import msgspec

from icefloe.lab.errors import LabError
from icefloe.lab.figures import percentile
from icefloe.lab.screen import status
from icefloe.simulation import scale

SMALLEST: Final = 100
_RSS_UNIT: Final = 1024  # bytes; `ru_maxrss` on Linux

_LEFT_OVER: Final = ("waiters", "errands", "asks")


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What one size came to.

    Attributes:
        agents: how many.
        unsigned: some that were not signed.
        wait_p50: virtual seconds from the first asking to the certificate; so all.
        wait_p99: see there.
        back_p50: the same from the master's return.
        back_p99: see there.
        back_max: see there.
        asks: how often agents asked.
        cpu_seconds: of the process.
        rss_bytes: its peak, without what it had at the beginning.
        relay_rows: in the largest ledger of a relay.
        relay_agents: how many agents that one had.
        signer_rows: in the signer's ledger.
        left_over: what the cores should have forgotten and have not.
    """

    agents: int
    unsigned: tuple[str, ...]
    wait_p50: float
    wait_p99: float
    back_p50: float
    back_p99: float
    back_max: float
    asks: int
    cpu_seconds: float
    rss_bytes: int
    relay_rows: dict[str, int]
    relay_agents: int
    signer_rows: dict[str, int]
    left_over: dict[str, int]

    @property
    def kept(self) -> bool:
        """Whether everybody was signed and nothing was left over."""
        return not self.unsigned and not self.left_over


def sizes(agents: int) -> list[int]:
    """Return a hundredth, a tenth and the whole, as far as they are not too small."""
    return [n for n in (agents // 100, agents // 10, agents) if n >= SMALLEST] or [
        agents
    ]


def run_sizes(agents: int, *, seed: int, stream: TextIO) -> list[Size]:
    """Measure a crowd, and smaller ones before it.

    Args:
        agents: how many the largest has.
        seed: of chance.
        stream: where progress is shown.

    Raises:
        LabError: a process died.
    """
    grown = []
    for size in sizes(agents):
        with (
            status(stream, f"{size:,} agents wait for their master"),
            ProcessPoolExecutor(
                1, mp_context=multiprocessing.get_context("fork")
            ) as worker,
        ):
            try:
                grown.append(worker.submit(_measure, size, seed).result())
            except BrokenProcessPool as error:
                raise LabError(
                    f"The process of the simulation with {size} agents died; the "
                    "kernel may have ended it for want of memory."
                ) from error
    return grown


def lines(grown: Sequence[Size]) -> Iterator[str]:
    """Tell what was measured, a line at a time."""
    yield (
        f"master away for {scale.AWAY_SECONDS / 60:.0f} minutes, agents behind"
        f" {scale.RELAYS} relays"
    )
    head = ("agents", "signed", "wait p50/p99", "after return p50/p99/max")
    cost = ("asks each", "CPU ms each", "CPU ms an ask", "memory each")
    rows_head = "rows each: relay, master"
    widths = "{:>9} {:>7} {:>15} {:>25}  {:>9} {:>11} {:>13} {:>12} {:>25}"
    yield widths.format(*head, *cost, rows_head)
    for one in grown:
        rows = (
            f"{sum(one.relay_rows.values()) / max(one.relay_agents, 1):.1f},"
            f" {sum(one.signer_rows.values()) / one.agents:.1f}"
        )
        yield (
            f"{one.agents:>9,} {'no' if one.unsigned else 'all':>7}"
            f" {f'{one.wait_p50:.0f}/{one.wait_p99:.0f} s':>15}"
            f" {f'{one.back_p50:.0f}/{one.back_p99:.0f}/{one.back_max:.0f} s':>25} "
            f" {one.asks / one.agents:>9.1f}"
            f" {one.cpu_seconds / one.agents * 1000:>11.2f}"
            f" {one.cpu_seconds / max(one.asks, 1) * 1000:>13.3f}"
            f" {one.rss_bytes / one.agents / 1024:>8.1f} KiB {rows:>25}"
        )
    last = grown[-1]
    yield (
        f"the whole: {last.cpu_seconds:,.0f} s of CPU,"
        f" {last.rss_bytes / 2**20:,.0f} MiB at the peak;"
        f" rows at a relay {sum(last.relay_rows.values()):,} for"
        f" {last.relay_agents:,} agents, at the master"
        f" {sum(last.signer_rows.values()):,}"
    )
    for one in grown:
        if one.unsigned:
            yield f"NOT SIGNED, of {one.agents:,}: {', '.join(one.unsigned)} ..."
        for what, count in one.left_over.items():
            yield f"LEFT OVER, of {one.agents:,}: {count:,} {what}"


def as_json(grown: Sequence[Size]) -> str:
    """Return the same as JSON."""
    return msgspec.json.format(msgspec.json.encode(grown), indent=2).decode()


def _measure(agents: int, seed: int) -> Size:
    # All ledgers and agents are in this one process.  The collector of cycles walks them
    # at each of its full rounds, a hundred times at 100,000 agents, a fifth of all time;
    # a node has its ledger on disk.  Cycles that were made would show in the memory.
    gc.disable()
    before, began = _rss_now(), time.process_time()
    grown = scale.grow(agents, seed=seed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
    waits, back = grown.waits or (0.0,), grown.afterwards or (0.0,)
    return Size(
        agents=grown.agents,
        unsigned=grown.unsigned,
        wait_p50=percentile(waits, 50),
        wait_p99=percentile(waits, 99),
        back_p50=percentile(back, 50),
        back_p99=percentile(back, 99),
        back_max=max(back),
        asks=grown.asks,
        cpu_seconds=time.process_time() - began,
        rss_bytes=max(0, peak - before),
        relay_rows=grown.relay_rows,
        relay_agents=grown.relay_agents,
        signer_rows=grown.signer_rows,
        left_over={k: n for k in _LEFT_OVER if (n := grown.remembered[k])},
    )


def _rss_now() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * resource.getpagesize()
