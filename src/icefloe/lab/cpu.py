"""CPU seconds of processes, as the kernel counts them (Linux, /proc).

A daemon may be several processes: icinga2 is an umbrella process, a worker and a spawn
helper.  So a process id stands for itself and everything below it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from icefloe.lab.errors import LabError

# Fields of /proc/PID/stat after the command's closing parenthesis (proc(5), fields 3 on).
_PARENT = 1
_OWN_TIMES = slice(11, 13)  # utime, stime
_REAPED_TIMES = slice(13, 15)  # cutime, cstime: children that ended and were waited for


class NoSuchProcess(LabError):
    """There is no process of that id.

    Attributes:
        pid: The id.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(f"there is no process {pid}")
        self.pid = pid


def cpu_seconds(pid: int) -> float:
    """Return what a process and its descendants have used so far, threads included.

    Raises:
        NoSuchProcess: It is not there, or not any more.
    """
    stats = _all_stats()
    if pid not in stats:
        raise NoSuchProcess(pid)
    family = {pid}
    while True:
        found = {p for p, s in stats.items() if int(s[_PARENT]) in family} - family
        if not found:
            break
        family |= found
    ticks = sum(_ticks(stats[member]) for member in family)
    return ticks / os.sysconf("SC_CLK_TCK")


def cpu_seconds_of(pids: Iterable[int]) -> dict[int, float]:
    """Return the CPU seconds of several processes.

    Raises:
        NoSuchProcess: One of them is not there.
    """
    return {pid: cpu_seconds(pid) for pid in pids}


def _ticks(stat: list[str]) -> int:
    return sum(int(text) for text in [*stat[_OWN_TIMES], *stat[_REAPED_TIMES]])


def _all_stats() -> dict[int, list[str]]:
    stats = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "stat").read_text()
        except OSError:  # it ended meanwhile
            continue
        # The command may hold blanks and parentheses; the last one is the stat's.
        stats[int(entry.name)] = text.rpartition(")")[2].split()
    return stats
