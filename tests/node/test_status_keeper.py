"""The record is written, the newest one at least, whatever the disk says."""

from __future__ import annotations

import asyncio

import pytest
from tests.node.cluster import Logs, until
from tests.node.tls.joined import in_loop

from icefloe.doors import WallTime
from icefloe.enrollment.commands import Level
from icefloe.enrollment.own_status import OwnStatus
from icefloe.errors import IcefloeError
from icefloe.node import status_keeper as module
from icefloe.node.status_keeper import StatusKeeper

FIRST = OwnStatus("pending", WallTime(1.0))
SECOND = OwnStatus("healthy", WallTime(2.0))


@pytest.mark.parametrize("error", [IcefloeError("disk full"), ValueError("a bug")])
@in_loop
async def test_a_disk_that_is_full_is_tried_again_and_said_once(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    tries: list[OwnStatus] = []

    def keep(status: OwnStatus) -> None:
        tries.append(status)
        if len(tries) < 4:
            raise error

    logs = Logs("s1")
    keeper = StatusKeeper(keep=keep, log=logs)
    task = asyncio.create_task(keeper.run())
    try:
        keeper.take(FIRST)
        await until(lambda: len(tries) == 4, "written")
        keeper.take(SECOND)
        await until(lambda: tries[-1] == SECOND, "the next one")
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert tries == [FIRST] * 4 + [SECOND]
    levels = [level for level, _, _ in logs.events]
    assert levels == [Level.WARNING, Level.DEBUG, Level.DEBUG]
