"""The signals of a daemon, from its start to its last instruction.

asyncio gives a signal its default back when the loop closes.  For SIGHUP that is to
die: a reload that met a daemon in the last moments of an orderly end would make it
look killed.  Whoever has ended must not be ended, so these signals stay ignored.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Final

_ENDING: Final = (signal.SIGTERM, signal.SIGINT)
_HANDLED: Final = (*_ENDING, signal.SIGHUP)


def ignore_reload() -> None:
    """Ignore SIGHUP: until files are read, there is nothing to reload."""
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


@contextlib.contextmanager
def signals_handled(
    *, stop: Callable[[], object], reload: Callable[[], object]
) -> Iterator[None]:
    """Call `stop` at SIGTERM and SIGINT and `reload` at SIGHUP, in the running loop.

    Afterwards all three are ignored, for as long as the process lives.
    """
    loop = asyncio.get_running_loop()
    for number in _ENDING:
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        yield
    finally:
        # Blocked in between: a handler that is removed leaves the default behind.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        for number in _HANDLED:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
