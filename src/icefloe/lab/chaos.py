"""`icefloe lab chaos`: enrollment while everything is killed, cut and stopped.

Real daemons with real files, a network of fault proxies, and agents that go on asking.
When the blows are over, everybody must be signed within a deadline; then the daemons
stop, and files, ledgers and logs are judged from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from icefloe.doors import Clock, Entropy
from icefloe.errors import IcefloeError
from icefloe.lab.chaos_agents import (
    CLIENT,
    COMMAND,
    DAEMON,
    REAL,
    Applicant,
    Crowd,
)
from icefloe.lab.chaos_schedule import UNPRIVILEGED, Blow, Target, Trouble, schedule
from icefloe.lab.chaos_stage import ICEFLOE, ChaosStage, Seat
from icefloe.lab.chaos_verdict import (
    LedgerFacts,
    agents_complaints,
    first_few,
    ledgers_complaints,
    left_over,
    log_complaints,
)
from icefloe.lab.errors import LabError, ProcessFailed
from icefloe.lab.faked_clock import find_library
from icefloe.lab.processes import cancelled_by_signals
from icefloe.lab.proxy import FaultProxy
from icefloe.lab.proxy_faults import EveryConnection, FaultKind, SeededFaults
from icefloe.lab.small_disk import SmallDisk

START_SECONDS_MAX: Final = 120.0
SETTLE_SECONDS_MAX: Final = 240.0
"""When the blows are over: a relay asks above again within 60 s, a requester within
10 s, and Icinga's own nodes reconnect every 10 s; several times over on a busy machine.
"""

TARGET_SECONDS_MAX: Final = 30.0
"""How long a blow waits for somebody to fall on."""

DISK_KILOBYTES: Final = 64 * 1024
_NOISE_SHARE: Final = 0.4
_NOISE: Final = tuple(kind for kind in FaultKind if kind is not FaultKind.BLACK_HOLE)
"""Swallowed bytes are a broken machine between, which no timeout of the peers knows of;
a silence that ends is what networks do."""

_LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosPlan:
    """What is to be done.

    Attributes:
        seed: Makes the blows.
        blows: How many; None for as many as fit into `seconds`.
        seconds: When no new blow begins.
        troubles: Their kinds.
        clients: Agents at a time that are clients in this process.
        commands: Agents at a time that are commands.
        daemons: Agents at a time that are daemons.
        icinga2s: Agents at a time that are commands of Debian's icinga2.
        signer: What stands in the signer's seat.
        relay: What stands in the relay's.
        keep: Whether to leave the directory in any case; it is left after complaints.
    """

    seed: int
    blows: int | None = None
    seconds: float = 600.0
    troubles: tuple[Trouble, ...] = UNPRIVILEGED
    clients: int = 6
    commands: int = 1
    daemons: int = 1
    icinga2s: int = 0
    signer: str = ICEFLOE
    relay: str = ICEFLOE
    keep: bool = False


@dataclass(slots=True, kw_only=True)
class Chaos:
    """What happened; grows while it happens.

    Attributes:
        plan: What was to be done.
        blows: Those that fell, counted by trouble and target.
        missed: Those that found nobody to fall on.
        applicants: All agents.
        starts: How often each daemon was started.
        complaints: What is wrong, in sentences; none is how it has to be.
        seconds: How long the blows went on.
        settled_seconds: How long it took until everybody was signed after the last.
        directory: Where files and logs were left; None if they are gone.
    """

    plan: ChaosPlan
    blows: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    applicants: list[Applicant] = field(default_factory=list)
    starts: dict[str, int] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    seconds: float = 0.0
    settled_seconds: float = 0.0
    directory: Path | None = None


class NotPossible(LabError):
    """A trouble cannot be made on this machine."""


def run_chaos(
    plan: ChaosPlan,
    *,
    clock: Clock,
    entropy: Entropy,
    on_blow: Callable[[Blow, Chaos], None] = lambda _blow, _happened: None,
) -> Chaos:
    """Do it, and clean up; to be called from the main thread.

    Args:
        plan: What to do.
        clock: The real one.
        entropy: The real one.
        on_blow: Told of each blow, and of what has happened by then.

    Raises:
        LabError: It could not be done; nothing is said about the outcome.
        KeyboardInterrupt: Somebody ended it; everything is cleaned up.
    """
    library = None
    if Trouble.CLOCK in plan.troubles:
        library = find_library()
        if library is None:
            raise NotPossible(
                "stepping clocks needs libfaketime (Debian: apt-get install faketime)"
            )
    with contextlib.ExitStack() as cleanup:
        root = Path(tempfile.mkdtemp(prefix="icefloe-chaos-"))
        remove = contextlib.ExitStack()
        remove.callback(shutil.rmtree, root, ignore_errors=True)
        cleanup.push(remove)
        stage = ChaosStage(
            root, signer=plan.signer, relay=plan.relay, clock_library=library
        )
        disks: dict[Target, SmallDisk] = {}
        if Trouble.DISK in plan.troubles:
            for target, seat in zip(_SEATS, stage.seats, strict=True):
                where = seat.actor.directories.data_dir
                disk = SmallDisk.mounted(where, kilobytes=DISK_KILOBYTES)
                disks[target] = cleanup.enter_context(disk)
        run = _Run(plan, stage, disks, clock=clock, entropy=entropy, on_blow=on_blow)
        try:
            happened = asyncio.run(run.run())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        happened.complaints += first_few(run.complaints())
        if plan.keep or happened.complaints:
            remove.pop_all()
            happened.directory = root
    return happened


_SEATS: Final = (Target.SIGNER, Target.RELAY)


class _Run:
    """One run."""

    def __init__(
        self,
        plan: ChaosPlan,
        stage: ChaosStage,
        disks: dict[Target, SmallDisk],
        *,
        clock: Clock,
        entropy: Entropy,
        on_blow: Callable[[Blow, Chaos], None],
    ) -> None:
        self._plan = plan
        self._stage = stage
        self._disks = disks
        self._clock = clock
        self._entropy = entropy
        self._on_blow = on_blow
        self._happened = Chaos(plan=plan)

    # The run.

    async def run(self) -> Chaos:
        """Let it happen."""
        stage, happened = self._stage, self._happened
        crowd = Crowd(
            stage, seed=self._plan.seed, clock=self._clock, entropy=self._entropy
        )
        happened.applicants = crowd.applicants
        running: list[asyncio.Task[None]] = []
        with cancelled_by_signals():
            try:
                async with asyncio.TaskGroup() as group:
                    try:
                        await self._start(group, running)
                        await self._let_it_happen(crowd)
                        await self._stop()
                    finally:
                        crowd.end()
                        for task in running:
                            task.cancel()
            except ExceptionGroup as failures:
                raise _first(failures) from None
            finally:
                stage.end()
        return happened

    async def _start(
        self, group: asyncio.TaskGroup, running: list[asyncio.Task[None]]
    ) -> None:
        stage = self._stage
        await stage.set_up()
        running += [
            group.create_task(each.run()) for each in (stage.uplink, stage.downlink)
        ]
        running.append(group.create_task(stage.signer.keeper.run()))
        await _listens(stage.signer)
        await stage.set_up_relay()
        running.append(group.create_task(stage.relay.keeper.run()))
        await _listens(stage.relay)

    async def _let_it_happen(self, crowd: Crowd) -> None:
        plan, happened = self._plan, self._happened
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            asking = [
                group.create_task(crowd.keep_asking(kind))
                for kind, count in (
                    (CLIENT, plan.clients),
                    (COMMAND, plan.commands),
                    (DAEMON, plan.daemons),
                    (REAL, plan.icinga2s),
                )
                for _ in range(count)
            ]
            await self._all_blows(crowd)
            self._put_right()
            happened.seconds = round(time.monotonic() - began, 3)
            crowd.close()
            _, late = await asyncio.wait(asking, timeout=SETTLE_SECONDS_MAX)
            for task in late:
                task.cancel()
        happened.settled_seconds = round(time.monotonic() - began, 3) - happened.seconds

    async def _stop(self) -> None:
        """Stop the daemons in order, the relay first."""
        for seat in reversed(self._stage.seats):
            problem = await seat.keeper.stop()
            if problem:
                self._happened.complaints.append(problem)
            self._happened.starts[seat.actor.name] = seat.keeper.starts

    # Blows.

    async def _all_blows(self, crowd: Crowd) -> None:
        plan = self._plan
        end = time.monotonic() + plan.seconds
        async with asyncio.TaskGroup() as lasting:
            for blow in schedule(plan.seed, plan.troubles):
                await asyncio.sleep(blow.pause)
                if blow.number > (plan.blows or blow.number) or time.monotonic() > end:
                    return
                await self._strike(blow, crowd, lasting)

    async def _strike(
        self, blow: Blow, crowd: Crowd, lasting: asyncio.TaskGroup
    ) -> None:
        """Let a blow fall as soon as there is somebody to fall on."""
        deadline = time.monotonic() + TARGET_SECONDS_MAX
        while (undo := self._do(blow, crowd)) is None:
            if time.monotonic() > deadline:
                self._happened.missed += 1
                return
            await asyncio.sleep(_LOOK_SECONDS)
        self._happened.blows[f"{blow.trouble} {blow.target}"] += 1
        self._on_blow(blow, self._happened)
        lasting.create_task(_undo_later(blow.seconds, undo))

    def _do(self, blow: Blow, crowd: Crowd) -> Callable[[], object] | None:
        """Do it; return what ends it, or None when nobody was there."""
        match blow.trouble:
            case Trouble.CLOCK:
                return self._step_clock(blow)
            case Trouble.DISK:
                disk = self._disks[blow.target]
                disk.fill()
                return disk.free
            case Trouble.SILENCE | Trouble.REFUSE | Trouble.BREAK | Trouble.NOISE:
                return self._disturb(blow)
            case _:
                return self._signal(blow, crowd)

    def _step_clock(self, blow: Blow) -> Callable[[], object]:
        clock = self._seat(blow.target).clock
        assert clock is not None
        clock.step(blow.step)
        return lambda: clock.step(0.0)

    def _disturb(self, blow: Blow) -> Callable[[], object]:
        stage = self._stage
        link = stage.uplink if blow.target is Target.UPLINK else stage.downlink
        match blow.trouble:
            case Trouble.SILENCE:
                link.silence()
                return link.restore
            case Trouble.REFUSE:
                link.refuse()
                link.end_all()
                return link.restore
            case Trouble.BREAK:
                link.end_all(reset=True)
                return _nothing
            case _:
                link.plan = SeededFaults(
                    seed=self._plan.seed + blow.number,
                    share=_NOISE_SHARE,
                    kinds=_NOISE,
                )
                return lambda: _calm(link)

    def _signal(self, blow: Blow, crowd: Crowd) -> Callable[[], object] | None:
        number = _SIGNALS[blow.trouble]
        if blow.target in {Target.COMMAND, Target.AGENT}:
            kind = COMMAND if blow.target is Target.COMMAND else DAEMON
            name = crowd.blow(kind, number)
            return (lambda: crowd.go_on(name)) if name else None
        keeper = self._seat(blow.target).keeper
        gentle = blow.trouble in {Trouble.TERM, Trouble.HUP}
        if not (keeper.ask(number) if gentle else keeper.blow(number)):
            return None
        return lambda: keeper.blow(signal.SIGCONT)

    def _seat(self, target: Target) -> Seat:
        return self._stage.signer if target is Target.SIGNER else self._stage.relay

    def _put_right(self) -> None:
        """End all trouble, whatever of it is left."""
        for link in (self._stage.uplink, self._stage.downlink):
            link.restore()
            _calm(link)
        for seat in self._stage.seats:
            seat.keeper.blow(signal.SIGCONT)
            if seat.clock is not None:
                seat.clock.step(0.0)
        for disk in self._disks.values():
            disk.free()

    # The verdict.

    def complaints(self) -> Iterator[str]:
        """Judge from outside; all daemons have ended."""
        stage, happened = self._stage, self._happened
        both_icefloe = all(seat.is_icefloe for seat in stage.seats)
        yield from agents_complaints(
            happened.applicants, trust=stage.trust, at=self._clock.now().wall
        )
        yield from ledgers_complaints(
            happened.applicants,
            signer=_facts(stage.signer),
            relay=_facts(stage.relay),
        )
        for seat in stage.seats:
            if not seat.is_icefloe:
                continue
            yield from log_complaints(seat.actor.name, seat.keeper.events())
            # A daemon cannot start on a full disk, says why and is started again.
            if Trouble.DISK not in self._plan.troubles:
                yield from seat.keeper.surprises
        if both_icefloe:
            for each in happened.applicants:
                if each.kind in {CLIENT, DAEMON}:
                    yield from (f"{each.name}: {note}" for note in each.notes)
        for process in left_over(stage.mark):
            yield f"a process was left: {process}"


_SIGNALS: Final = {
    Trouble.KILL: signal.SIGKILL,
    Trouble.PAUSE: signal.SIGSTOP,
    Trouble.TERM: signal.SIGTERM,
    Trouble.HUP: signal.SIGHUP,
}


def _facts(seat: Seat) -> LedgerFacts | None:
    if not seat.is_icefloe:
        return None
    return LedgerFacts.read(seat.actor.name, seat.actor.directories.ledger)


def _nothing() -> None:
    """End what is over."""


def _calm(link: FaultProxy) -> None:
    link.plan = EveryConnection()


async def _undo_later(seconds: float, undo: Callable[[], object]) -> None:
    await asyncio.sleep(seconds)
    undo()


async def _listens(seat: Seat) -> None:
    """Wait until a seat's daemon takes connections.

    Raises:
        ProcessFailed: It does not, in time.
    """
    address = seat.actor.address
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if seat.keeper.surprises:
            break
        with contextlib.suppress(OSError):
            socket.create_connection((address.host, address.port), timeout=1.0).close()
            return
        await asyncio.sleep(_LOOK_SECONDS)
    raise ProcessFailed(
        seat.actor.name, problem="does not listen", tail=seat.keeper.tail()
    )


def _first(failures: ExceptionGroup[Exception]) -> Exception:
    """Return what a group of failures is about."""
    known, _ = failures.split(IcefloeError)
    found: Exception = known or failures
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    return found
