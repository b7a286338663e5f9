"""Keeps the record of the node's own certificate in its file, the last one at least."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from icefloe.enrollment.commands import Level
from icefloe.enrollment.own_status import OwnStatus
from icefloe.errors import IcefloeError
from icefloe.node.logs import Logger

RETRY_SECONDS = 60.0


class StatusKeeper:
    """Writes the newest record, in a thread; a disk that is full is tried again."""

    def __init__(self, *, keep: Callable[[OwnStatus], object], log: Logger) -> None:
        """Have nothing to write yet.

        Args:
            keep: writes it, in another thread; may raise.
            log: where log events go.
        """
        self._keep = keep
        self._log = log
        self._wanted: OwnStatus | None = None
        self._news = asyncio.Event()
        self._fails = False

    def take(self, status: OwnStatus) -> None:
        """Write this one; an older one that was not written yet is of no use."""
        self._wanted = status
        self._news.set()

    async def run(self) -> None:
        """Write what is taken, until cancelled."""
        while True:
            pause = RETRY_SECONDS if self._wanted is not None else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()
            self._news.clear()
            status = self._wanted
            if status is None or not await self._write(status):
                continue
            if self._wanted is status:  # and no newer one came meanwhile
                self._wanted = None

    async def _write(self, status: OwnStatus) -> bool:
        try:
            await asyncio.to_thread(self._keep, status)
        except Exception as error:  # noqa: BLE001 - a record must not end the node
            known = isinstance(error, IcefloeError)
            self._log.log(
                Level.DEBUG if self._fails else Level.WARNING,
                "own status not written, trying again",
                detail=str(error),
                **({} if known else {"exc_info": error}),
            )
            self._fails = True
            return False
        self._fails = False
        return True
