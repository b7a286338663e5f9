"""Looking names up in threads that nobody waits for.

A name server that is silent keeps a thread for half a minute, and a thread cannot be
cancelled.  asyncio's own waits for its threads when the loop ends, and the interpreter
when the process ends; so a command that promises an end has these.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

__all__ = ["RESOLVERS_MAX", "Resolvers", "run_with_resolvers"]

RESOLVERS_MAX: Final = 1000
"""Names that are looked up at the same time, those included that nobody waits for any
more: no other name may wait for them.  A thread that waits takes some 50 KiB."""

_Result = TypeVar("_Result")


class Resolvers(ThreadPoolExecutor):
    """Threads that look names up; nobody waits for one that a name server keeps.

    Its base keeps its threads in a list that the interpreter joins when it ends.  These
    are in none: each is for one name, and the process ends without it.
    """

    def __init__(self, max_workers: int = RESOLVERS_MAX) -> None:
        """Look up at most so many names at the same time."""
        super().__init__(max_workers=max_workers)
        self._free = threading.BoundedSemaphore(max_workers)

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Run it in a thread of its own.

        Raises:
            OSError: There are too many.
        """
        if not self._free.acquire(blocking=False):
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        future: Future[Any] = Future()
        thread = threading.Thread(
            target=self._run, args=(future, fn, args, kwargs), daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            self._free.release()
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
        return future

    def _run(
        self,
        future: Future[Any],
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        try:
            if future.set_running_or_notify_cancel():
                try:
                    result = fn(*args, **kwargs)
                except Exception as error:  # noqa: BLE001 - it is passed on
                    future.set_exception(error)
                else:
                    future.set_result(result)
        finally:
            self._free.release()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as its base has it
        """End without waiting, whatever is asked."""
        del wait, cancel_futures
        super().shutdown(wait=False, cancel_futures=True)


def run_with_resolvers(main: Coroutine[Any, Any, _Result]) -> _Result:
    """Run in a loop of its own, as `asyncio.run`, and wait for no name's thread."""

    async def run() -> _Result:
        asyncio.get_running_loop().set_default_executor(Resolvers())
        return await main

    return asyncio.run(run())
