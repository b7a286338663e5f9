"""Installs certificates for the node's own key, and does not give up.

The core orders an installation once. A full disk or a wrong owner must not cost the
node the certificate that was signed for it: it is tried again until it works.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from icefloe.enrollment.commands import InstallIdentity, Level
from icefloe.errors import IcefloeError
from icefloe.node.logs import Logger

RETRY_SECONDS_FIRST = 5.0
RETRY_SECONDS_MAX = 600.0


class Installer:
    """Installs the identity it was given last."""

    def __init__(
        self,
        *,
        install: Callable[[InstallIdentity], object],
        installed: Callable[[], None],
        log: Logger,
    ) -> None:
        """Have nothing to do yet.

        Args:
            install: does it, in another thread; may raise.
            installed: called in the loop afterwards.
            log: where log events go.
        """
        self._install = install
        self._installed = installed
        self._log = log
        self._wanted: InstallIdentity | None = None
        self._news = asyncio.Event()

    def take(self, command: InstallIdentity) -> None:
        """Install this one; an older one that did not work yet is given up for it."""
        self._wanted = command
        self._news.set()

    async def run(self) -> None:
        """Install what is taken, until cancelled."""
        pause: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()
            if self._news.is_set():
                self._news.clear()
                pause = None
            command = self._wanted
            if command is None or await self._try(command, again=pause is not None):
                pause = None
            elif pause is None:
                pause = RETRY_SECONDS_FIRST
            else:
                pause = min(2 * pause, RETRY_SECONDS_MAX)

    async def _try(self, command: InstallIdentity, *, again: bool) -> bool:
        try:
            await asyncio.to_thread(self._install, command)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
            known = isinstance(error, IcefloeError)
            self._log.log(
                Level.WARNING if again else Level.ERROR,
                "own certificate could not be installed, trying again",
                detail=str(error),
                **({} if known else {"exc_info": error}),
            )
            return False
        self._log.log(Level.INFO, "own certificate installed")
        self._installed()
        return True
