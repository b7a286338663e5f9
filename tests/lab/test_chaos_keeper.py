from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from icefloe.lab import chaos_keeper
from icefloe.lab.chaos_keeper import Keeper, OwnProcess

SECONDS_MAX = 30.0
LOOK_SECONDS = 0.02
SERVE = """
import json, os, signal, sys, time
def end(*_):
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGHUP, lambda *_: print(json.dumps({"event": "hup"}), flush=True))
print(json.dumps({"event": "ready", "pid": os.getpid()}), flush=True)
while True:
    time.sleep(0.05)
"""
FAIL = 'import sys; sys.exit("cannot")'
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('{"event": "ready"}', flush=True)
time.sleep(600)
"""
WITH_CHILD = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print('{"event": "ready", "child": %d}' % child.pid, flush=True)
time.sleep(600)
"""


@contextlib.asynccontextmanager
async def kept(tmp_path: Path, source: str) -> AsyncIterator[Keeper]:
    keeper = Keeper(
        "it",
        [sys.executable, "-c", source],
        environment=os.environ,
        log=tmp_path / "log",
    )
    async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as group:
        running = group.create_task(keeper.run())
        try:
            yield keeper
        finally:
            keeper.kill()
            running.cancel()


async def until(keeper: Keeper, event: str, *, count: int = 1) -> dict[str, object]:
    while True:
        found = [each for each in keeper.events() if each.get("event") == event]
        if len(found) >= count:
            return found[-1]
        await asyncio.sleep(LOOK_SECONDS)


def test_what_is_killed_is_started_again_and_nobody_is_surprised(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        async with kept(tmp_path, SERVE) as keeper:
            first = await until(keeper, "ready")
            assert keeper.blow(signal.SIGKILL)
            second = await until(keeper, "ready", count=2)
            assert first["pid"] != second["pid"]
            assert (keeper.starts, keeper.surprises) == (2, [])
            assert await keeper.stop() == ""

    asyncio.run(scene())


def test_an_end_that_was_asked_for_is_no_surprise(tmp_path: Path) -> None:
    async def scene() -> None:
        async with kept(tmp_path, SERVE) as keeper:
            await until(keeper, "ready")
            keeper.ask(signal.SIGTERM)
            await until(keeper, "ready", count=2)
            keeper.ask(signal.SIGHUP)
            await until(keeper, "hup")
            assert (keeper.starts, keeper.surprises) == (2, [])

    asyncio.run(scene())


def test_what_ends_by_itself_is_a_surprise_and_is_tried_again(tmp_path: Path) -> None:
    async def scene() -> None:
        async with kept(tmp_path, FAIL) as keeper:
            while keeper.starts < 2:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)
            assert set(keeper.surprises) == {"it ended by itself with 1"}
            assert "cannot" in keeper.tail()

    asyncio.run(scene())


def test_what_is_stopped_goes_on_and_can_be_ended(tmp_path: Path) -> None:
    async def scene() -> None:
        async with kept(tmp_path, SERVE) as keeper:
            await until(keeper, "ready")
            assert keeper.blow(signal.SIGSTOP)
            # Stopped, it would not hear of its end.
            assert await keeper.stop() == ""
            assert not keeper.blow(signal.SIGKILL)

    asyncio.run(scene())


def test_a_whole_group_is_killed(tmp_path: Path) -> None:
    async def scene() -> int:
        async with kept(tmp_path, WITH_CHILD) as keeper:
            child = (await until(keeper, "ready"))["child"]
            assert isinstance(child, int)
            keeper.kill()
            while _runs(child):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)
            return child

    assert asyncio.run(scene())


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_what_does_not_stop_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chaos_keeper, "STOP_SECONDS_MAX", 0.2)

    async def scene() -> None:
        async with kept(tmp_path, DEAF) as keeper:
            await until(keeper, "ready")
            assert await keeper.stop() == "it did not stop in 0.2 s"

    asyncio.run(scene())


def test_an_id_is_not_given_back_before_it_is_reaped(tmp_path: Path) -> None:
    """A late signal must not hit whoever has the id by then."""
    process = OwnProcess(
        [sys.executable, "-c", ""], environment=os.environ, log=tmp_path / "log"
    )
    assert asyncio.run(process.ended()) == 0
    assert not process.blow(signal.SIGKILL)
    assert not process.ask(signal.SIGTERM)
