"""Carries out what the core orders about the node's own identity, and does not give up.

The core orders each thing once.  A full disk or a wrong owner must not cost the node the
certificate that was signed for it, nor keep it on one that its parents refuse: what does
not work is tried again until it does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from icefloe.enrollment.commands import (
    ConfirmIdentity,
    InstallIdentity,
    Level,
    RollBackIdentity,
)
from icefloe.errors import IcefloeError
from icefloe.node.logs import Logger
from icefloe.node.own_identity import OrderOutdated, RollBackImpossible
from icefloe.storage.identity_files import IdentityProblem

RETRY_SECONDS_FIRST = 5.0
RETRY_SECONDS_MAX = 600.0

Order = InstallIdentity | ConfirmIdentity | RollBackIdentity

_FAILED: Final = {
    InstallIdentity: "own certificate could not be installed, trying again",
    ConfirmIdentity: "own certificate could not be noted as confirmed, trying again",
    RollBackIdentity: "own certificate could not be put back, trying again",
}
_GIVEN_UP: Final = {
    InstallIdentity: "own certificate cannot be installed",
    ConfirmIdentity: "own certificate not noted as confirmed",
    RollBackIdentity: "own certificate not rolled back",
}
_DONE: Final = {
    InstallIdentity: (Level.INFO, "own certificate installed"),
    ConfirmIdentity: (Level.DEBUG, "own certificate is noted as confirmed"),
    RollBackIdentity: (Level.ERROR, "own certificate rolled back to the older one"),
}


class Installer:
    """Carries out orders one after the other, of each kind the last one."""

    def __init__(
        self,
        *,
        install: Callable[[InstallIdentity], object],
        installed: Callable[[], None],
        log: Logger,
        confirm: Callable[[ConfirmIdentity], object] = lambda _order: None,
        roll_back: Callable[[RollBackIdentity], object] = lambda _order: None,
    ) -> None:
        """Have nothing to do yet.

        Args:
            install: does it, in another thread; may raise.
            installed: called in the loop when the files are others.
            log: where log events go.
            confirm: notes that it was accepted; as `install`.
            roll_back: puts the older one back; as `install`.
        """
        self._install = install
        self._installed = installed
        self._log = log
        self._confirm = confirm
        self._roll_back = roll_back
        self._wanted: list[Order] = []
        self._news = asyncio.Event()

    def take(self, order: Order) -> None:
        """Carry this one out; an older one of its kind is given up for it."""
        self._wanted = [each for each in self._wanted if type(each) is not type(order)]
        self._wanted.append(order)
        self._news.set()

    async def run(self) -> None:
        """Carry out what is taken, until cancelled."""
        pause: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()
            if self._news.is_set():
                self._news.clear()
                pause = None
            if await self._carry_out_all(again=pause is not None):
                pause = None
            elif pause is None:
                pause = RETRY_SECONDS_FIRST
            else:
                pause = min(2 * pause, RETRY_SECONDS_MAX)

    async def _carry_out_all(self, *, again: bool) -> bool:
        """Carry out what is wanted; false when one of them did not work.

        One that does not work keeps none of the others from being done.
        """
        failed: list[Order] = []
        while order := self._next(failed):
            if not await self._try(order, again=again):
                failed.append(order)
                continue
            # Another one of its kind may have come meanwhile.
            self._wanted = [each for each in self._wanted if each is not order]
        return not failed

    def _next(self, failed: list[Order]) -> Order | None:
        tried = {id(each) for each in failed}
        return next((each for each in self._wanted if id(each) not in tried), None)

    async def _try(self, order: Order, *, again: bool) -> bool:
        try:
            await asyncio.to_thread(self._do, order)
        except (OrderOutdated, RollBackImpossible, IdentityProblem) as error:
            # Trying again would not help: the core looks at what is there.
            outdated = isinstance(error, OrderOutdated)
            self._log.log(
                Level.INFO if outdated else Level.ERROR,
                _GIVEN_UP[type(order)],
                detail=str(error),
            )
            self._installed()
            return True
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
            known = isinstance(error, IcefloeError)
            self._log.log(
                Level.WARNING if again else Level.ERROR,
                _FAILED[type(order)],
                detail=str(error),
                **({} if known else {"exc_info": error}),
            )
            return False
        self._done(order)
        return True

    def _do(self, order: Order) -> None:
        match order:
            case InstallIdentity():
                self._install(order)
            case ConfirmIdentity():
                self._confirm(order)
            case RollBackIdentity():
                self._roll_back(order)

    def _done(self, order: Order) -> None:
        level, event = _DONE[type(order)]
        why = {"reason": order.reason} if isinstance(order, RollBackIdentity) else {}
        self._log.log(level, event, **why)
        if not isinstance(order, ConfirmIdentity):
            self._installed()
