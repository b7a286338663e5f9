"""Run as a program: kill -9 at every step of a switch of the identity.

    python switch_kill_points.py SWITCH DIRECTORY

For each step a child process does the switch from the beginning and is killed just
before that step; another one recovers. Prints how many steps there were. It forks, so it
is no test itself: a test runner has threads.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests.pki.makers import AGENT, NOW
from tests.storage.disk_steps import seen
from tests.storage.switches import SWITCHES, Places, check_done, check_whole, journal_in

from icefloe.storage.identity import load_identity


def _in_child(act: Callable[[], object], *, die_at: int = 0) -> bool:
    """Do it in a child, which is killed before a step; return whether it was."""
    child = os.fork()
    if child == 0:
        count = 0

        def step(_name: str) -> None:
            nonlocal count
            count += 1
            if count == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

        code = 1
        try:
            with seen(step):
                act()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert status == 0, status
    return False


def main(name: str, directory: Path) -> int:
    """Kill at the first step, the second, and so on, until it is done before."""
    switch = SWITCHES[name]
    places = Places(directory, switch)
    number, killed = 0, True
    while killed:
        number += 1
        root = places.again()
        killed = _in_child(lambda: switch.act(root), die_at=number)  # noqa: B023
        _in_child(lambda: journal_in(root).recover(NOW))  # noqa: B023
        check_whole(root, switch)
        load_identity(root / "certs", AGENT)
        _in_child(lambda: switch.act(root))  # noqa: B023
        check_done(root, switch)
    return number - 1


if __name__ == "__main__":
    print(main(sys.argv[1], Path(sys.argv[2])))  # noqa: T201
