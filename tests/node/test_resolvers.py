"""Nobody waits for a name server."""

from __future__ import annotations

import asyncio
import errno
import subprocess
import sys
import threading

import pytest

from icefloe.node.resolvers import Resolvers, run_with_resolvers


def test_what_was_looked_up_is_returned() -> None:
    async def story() -> int:
        return await asyncio.to_thread(int, "7")

    assert run_with_resolvers(story()) == 7


def test_what_went_wrong_is_raised() -> None:
    async def story() -> int:
        return await asyncio.to_thread(int, "x")

    with pytest.raises(ValueError, match="'x'"):
        run_with_resolvers(story())


def test_a_silent_name_server_keeps_neither_the_loop_nor_the_process() -> None:
    program = """
import asyncio, time
from icefloe.node.resolvers import run_with_resolvers
async def story():
    try:
        await asyncio.wait_for(asyncio.to_thread(time.sleep, 60), 0.2)
    except TimeoutError:
        print("given up")
run_with_resolvers(story())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        timeout=30,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "given up\n"


def test_more_than_there_may_be_are_refused() -> None:
    resolvers, released = Resolvers(max_workers=1), threading.Event()
    first = resolvers.submit(released.wait, 30.0)
    with pytest.raises(OSError) as refused:
        resolvers.submit(int, "7")
    assert refused.value.errno == errno.EAGAIN
    released.set()
    assert first.result(30.0) is True
