"""The end of a node, in order: everyone gets an answer, nobody is turned away.

`stop_in_order` is the whole of it; node and gateway both end by it.

1. **Nobody new comes in.**  Connections wait in their own kernel for the next process
   (`tls.shutting`); handshakes under way are finished, and what those who are in ask is
   taken up as always.
2. **Who waits gets the answer that comes in time**: while somebody is owed one, or has
   only just come and not asked yet, up to `answer_seconds`.
3. **The others are parked.**  `events.Stopping` makes the core answer everyone
   "pending": their requests are in the ledger.  So it answers who still asks.
4. **A core that hangs** (a stuck disk, a locked ledger) answers nobody.  Then the shell
   does: "pending" to whom it recorded, the ledger's fault to the rest.
5. **Every connection is closed in order**, once no answer is owed on it: flushed,
   close_notify, and the peer's own close awaited.  What is left after `DRAIN_SECONDS`
   is cut.
6. **The core hears of these ends** (a certificate counts as delivered then), and the
   listening socket goes.

A second signal cuts the waiting in steps 1, 2 and 5 short; nobody goes without an
answer.  In most cases all of it takes a moment, and never more than `seconds_max`: 21 s
for a node, 34 s for a gateway.  The process goes on after that only while its ledger
hangs, and says so.  Nothing is lost when it is killed sooner: what was acknowledged is in
the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from icefloe.enrollment import events as ev
from icefloe.enrollment.commands import Level
from icefloe.node.hub import Hub
from icefloe.node.logs import Logger
from icefloe.node.runner import TurnRunner
from icefloe.node.tls.listener import Listener

ENTER_SECONDS: Final = 8.0
"""Until those whose handshake is under way have come in.  Bounds a flood of strangers."""

ANSWER_SECONDS: Final = 3.0
"""Until those who wait have the answer that is on its way.  A signer needs 50 ms, a chain
of relays less than a second; what takes longer may take for ever."""

PARK_SECONDS: Final = 2.0
"""Until the core has said "pending" to the rest: one turn, behind those that queue."""

DRAIN_SECONDS: Final = 5.0
"""Until every peer has closed its side.  A real Icinga does it at once."""

LAST_SECONDS: Final = 1.0
"""Until what was cut is closed; and again, until that is recorded."""

HASTE_SECONDS: Final = 0.5
"""In place of the times of steps 1, 2 and 5 after a second signal."""

_LOOK_SECONDS: Final = 0.02


class Ending:
    """When a node is to end, and how patiently."""

    def __init__(self) -> None:
        """Begin with a node that goes on."""
        self.begun = asyncio.Event()
        self.in_haste = False

    def ask(self) -> None:
        """Begin the end; asked again, hurry."""
        self.in_haste = self.begun.is_set()
        self.begun.set()


async def stop_in_order(
    *,
    ending: Ending,
    listener: Listener,
    hub: Hub,
    runner: TurnRunner,
    log: Logger,
    answer_seconds: float | None = None,
) -> None:
    """Answer everyone and close every connection; see the top of this module.

    Args:
        ending: Tells when to hurry.
        listener: Is told to stop at the end; its task is then over soon.
        hub: The connections.
        runner: Goes on running; nothing is submitted after this returns.
        log: Told what became of whom.
        answer_seconds: How long step 2 may take; default `ANSWER_SECONDS`.
    """
    answer_seconds = ANSWER_SECONDS if answer_seconds is None else answer_seconds
    clock = asyncio.get_running_loop().time
    began, before, connections = clock(), hub.told, hub.open_links
    log.log(
        Level.INFO,
        "stopping",
        connections=connections,
        waiting=hub.owed,
        seconds_max=seconds_max(answer_seconds),
    )
    wait = _Waiting(ending)
    listener.shut()
    await wait.until(lambda: listener.is_quiet, ENTER_SECONDS)
    await wait.until(
        lambda: not hub.owed and not hub.expects_askers and runner.is_idle,
        answer_seconds,
    )
    await _park(hub, runner, wait)
    await _close(hub, runner, wait)
    await wait.until(lambda: runner.is_idle, LAST_SECONDS, hurry=False)
    listener.stop()
    told = hub.told - before
    log.log(
        Level.WARNING if told["unrecorded"] else Level.INFO,
        "everyone has an answer",
        answered=told["answered"],
        parked=told["parked"],
        unrecorded=told["unrecorded"],
        gone=told["gone"],
        connections=connections,
        seconds=round(clock() - began, 3),
    )
    if not runner.is_idle:
        log.log(
            Level.WARNING,
            "the ledger hangs, which keeps this process from its end",
            next="look for its disk, or who has it locked; kill -9 loses nothing",
        )


def seconds_max(answer_seconds: float = ANSWER_SECONDS) -> float:
    """Return after how many seconds an end is over, whatever is stuck."""
    return (
        ENTER_SECONDS + answer_seconds + PARK_SECONDS + DRAIN_SECONDS + 3 * LAST_SECONDS
    )


async def _park(hub: Hub, runner: TurnRunner, wait: _Waiting) -> None:
    """Have the core say "pending" to all who wait; say it ourselves if it hangs."""
    stopping = ev.Stopping()
    runner.submit(stopping)
    await wait.until(
        lambda: stopping not in runner.unconcluded, PARK_SECONDS, hurry=False
    )
    if stopping in runner.unconcluded:
        hub.answer_all(runner.unconcluded)


async def _close(hub: Hub, runner: TurnRunner, wait: _Waiting) -> None:
    """Close what is open, and what is still opened meanwhile."""

    def all_closed() -> bool:
        hub.leave_all("node-stops")
        return not hub.open_links

    await wait.until(all_closed, DRAIN_SECONDS)
    if hub.owed:  # of a core that hung only now
        hub.answer_all(runner.unconcluded)
        await wait.until(all_closed, LAST_SECONDS)
    hub.abort_all()
    await wait.until(lambda: not hub.open_links, LAST_SECONDS, hurry=False)


class _Waiting:
    """Waits for what is looked at now and then."""

    def __init__(self, ending: Ending) -> None:
        self._ending = ending

    async def until(
        self, so: Callable[[], bool], seconds_max: float, *, hurry: bool = True
    ) -> None:
        """Wait until it is so, or the time is over, which haste cuts short."""
        clock = asyncio.get_running_loop().time
        began = clock()
        while not so():
            most = seconds_max
            if hurry and self._ending.in_haste:
                most = min(most, HASTE_SECONDS)
            if clock() - began >= most:
                return
            await asyncio.sleep(_LOOK_SECONDS)
