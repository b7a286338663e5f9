"""A daemon that ends in order cannot be made to look killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

ENDS_IN_ORDER = """
import asyncio
from icefloe.node.signals import ignore_reload, signals_handled

async def work():
    stopped, reloaded = asyncio.Event(), asyncio.Event()
    with signals_handled(stop=stopped.set, reload=reloaded.set):
        print("ready", flush=True)
        await reloaded.wait()
        await stopped.wait()

ignore_reload()
asyncio.run(work())
"""


@pytest.mark.parametrize(
    "last", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name
)
def test_no_signal_ends_a_daemon_that_is_ending_already(last: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-c", ENDS_IN_ORDER], stdout=subprocess.PIPE
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"ready\n"
        daemon.send_signal(signal.SIGHUP)
        daemon.send_signal(signal.SIGTERM)
        while daemon.poll() is None:
            daemon.send_signal(last)
            time.sleep(0.001)  # a flood can lock CPython's own handler up
        assert daemon.returncode == 0
