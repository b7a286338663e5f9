"""A reload: read in a thread, taken whole or not at all, one at a time.

Reading and checking the files takes a moment (a large zones.conf: seconds), so that is
done beside the event loop.  What is wrong with them is said and changes nothing.  A
request that comes while one is carried out leads to another one afterwards, however
many came; so the last state of the files is always read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from icefloe.enrollment.commands import Level
from icefloe.errors import IcefloeError
from icefloe.node.logs import Logger

_PreparedT = TypeVar("_PreparedT")


class Reloader(Generic[_PreparedT]):
    """Carries out reloads, one after another."""

    def __init__(
        self,
        *,
        prepare: Callable[[], _PreparedT],
        take: Callable[[_PreparedT], Awaitable[None]],
        log: Logger,
        told: Callable[[str], None] = lambda _words: None,
    ) -> None:
        """Carry out nothing yet.

        Args:
            prepare: Reads and checks everything, in a thread; raises `IcefloeError`
                for what is wrong with the files.
            take: Makes it hold, in the loop; fails for a bug only.
            log: Told how it went.
            told: Told "begins" and "ended", for the service manager.
        """
        self._prepare = prepare
        self._take = take
        self._log = log
        self._told = told
        self._wanted = asyncio.Event()

    def ask(self) -> None:
        """Have the files read again, soon."""
        self._wanted.set()

    async def run(self) -> None:
        """Carry out what is asked for, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            self._told("begins")
            try:
                await self._reload()
            finally:
                self._told("ended")

    async def _reload(self) -> None:
        try:
            prepared = await asyncio.to_thread(self._prepare)
            await self._take(prepared)
        except IcefloeError as error:
            self._log.log(
                Level.ERROR,
                "reload refused, running on as before",
                detail=str(error),
            )
        except Exception as error:  # noqa: BLE001 - a bug must not end the node
            self._log.log(Level.CRITICAL, "reload failed", exc_info=error)
        else:
            self._log.log(Level.INFO, "reloaded")
