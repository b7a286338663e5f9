"""Many agents at one parent: what they see, how long it takes, what it costs.

The parent may be anything that speaks Icinga's protocol.  Each agent has a key of its
own and uses a connection for each attempt, as an unmodified client does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from icefloe.doors import Clock, Entropy
from icefloe.lab.asking import ParentAddress
from icefloe.lab.cpu import cpu_seconds_of
from icefloe.lab.crowd import Agent
from icefloe.lab.enrolling import (
    AsRequester,
    Enrollment,
    Once,
    Patience,
    enroll,
    repeat,
)

ATTEMPT_SECONDS_MAX = 30.0
"""An Icefloe relay holds a ticketed request for up to 15 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StormPlan:
    """What is to be done.

    Attributes:
        parent: Where all agents ask.
        at_once: How many of them at the same time.
        until_signed: Whether an agent goes on as Icefloe's requester does; otherwise
            it asks once.
        ask_again: Whether each signed agent asks once more, when all are through.
        seconds_max: When everything ends, whether or not it is finished.
        pids: Server processes whose CPU seconds are counted.
    """

    parent: ParentAddress
    at_once: int
    until_signed: bool = False
    ask_again: bool = False
    seconds_max: float = 120.0
    pids: tuple[int, ...] = ()


@dataclass(slots=True, kw_only=True)
class Storm:
    """What happened; grows while it happens.

    Attributes:
        plan: What was to be done.
        enrollments: One for each agent, in the order given.
        seconds: How long the agents took altogether, without asking again.
        in_time: Whether all of it was done before the deadline.
        server_cpu: CPU seconds spent by each of the plan's pids.
        client_cpu: CPU seconds spent by this process.
    """

    plan: StormPlan
    enrollments: list[Enrollment]
    seconds: float = 0.0
    in_time: bool = False
    server_cpu: dict[int, float] = field(default_factory=dict)
    client_cpu: float = 0.0


async def run_storm(
    plan: StormPlan,
    agents: Sequence[Agent],
    *,
    clock: Clock,
    entropy: Entropy,
    on_progress: Callable[[Enrollment], None] = lambda _: None,
) -> Storm:
    """Let all agents ask.

    Args:
        plan: What to do.
        agents: Who asks, in this order.
        clock: The real one.
        entropy: The real one.
        on_progress: Told of each agent that has come to its end.

    Returns:
        What happened, also when the deadline ended it.

    Raises:
        NoSuchProcess: One of the pids is not there at the start, or has ended.
    """
    loop = asyncio.get_running_loop()
    storm = Storm(plan=plan, enrollments=[Enrollment(a) for a in agents])
    before, own_before = cpu_seconds_of(plan.pids), time.process_time()
    began = loop.time()
    try:
        async with asyncio.timeout(plan.seconds_max):
            jobs = _enrolling(storm, clock, entropy, on_progress)
            await _at_once(plan.at_once, jobs)
            _count_cpu(storm, before, own_before)
            storm.seconds = loop.time() - began
            if plan.ask_again:
                await _at_once(plan.at_once, _repeating(storm, entropy))
            storm.in_time = True
    except TimeoutError:
        if not storm.seconds:
            _count_cpu(storm, before, own_before)
            storm.seconds = loop.time() - began
    return storm


async def _at_once(workers: int, jobs: Iterator[Callable[[], Awaitable[None]]]) -> None:
    """Do all jobs, so many at a time; each worker takes the next one."""

    async def work() -> None:
        for job in jobs:
            await job()

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())


def _enrolling(
    storm: Storm,
    clock: Clock,
    entropy: Entropy,
    on_progress: Callable[[Enrollment], None],
) -> Iterator[Callable[[], Awaitable[None]]]:
    plan = storm.plan

    async def take(enrollment: Enrollment) -> None:
        await enroll(
            enrollment,
            plan.parent,
            _patience(plan, clock, entropy),
            entropy=entropy,
            attempt_seconds_max=ATTEMPT_SECONDS_MAX,
        )
        on_progress(enrollment)

    return (partial(take, enrollment) for enrollment in storm.enrollments)


def _repeating(
    storm: Storm, entropy: Entropy
) -> Iterator[Callable[[], Awaitable[None]]]:
    return (
        partial(
            repeat,
            enrollment,
            storm.plan.parent,
            entropy=entropy,
            attempt_seconds_max=ATTEMPT_SECONDS_MAX,
        )
        for enrollment in storm.enrollments
        if enrollment.is_signed
    )


def _patience(plan: StormPlan, clock: Clock, entropy: Entropy) -> Patience:
    if not plan.until_signed:
        return Once()
    return AsRequester(
        plan.parent, seconds_max=plan.seconds_max, clock=clock, entropy=entropy
    )


def _count_cpu(storm: Storm, before: Mapping[int, float], own_before: float) -> None:
    after = cpu_seconds_of(before)
    storm.server_cpu = {pid: after[pid] - spent for pid, spent in before.items()}
    storm.client_cpu = time.process_time() - own_before
