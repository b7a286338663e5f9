"""`icefloe demo`: an agent enrolls through a satellite, and why that is news.

Real daemons on real sockets, in a temporary directory that is gone afterwards.  What
is told is what happened: the table is made of outcomes, and the demo fails when they
are not the ones that the story is about.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from icefloe.doors import Clock, Entropy
from icefloe.lab.crowd import make_agents, with_tickets
from icefloe.lab.enrolling import ByHand, Enrollment, enroll
from icefloe.lab.narrator import Narrator
from icefloe.lab.processes import cancelled_by_signals, end, interruptible
from icefloe.lab.stage import Actor, Stage
from icefloe.lab.story import ByHandTold, Chapter, Command, Story

RELEASES: Final = ("2.14.3", "2.14.4", "2.14.5")
PAUSE_SECONDS: Final = 1.0
"""How soon an operator repeats a command that failed."""

ATTEMPTS_MAX: Final = 8
ATTEMPT_SECONDS_MAX: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """How the demo is to run.

    Attributes:
        narrator: Who tells it.
        clock: The real one.
        entropy: The real one.
        keep: Whether to leave the cluster running.
    """

    narrator: Narrator
    clock: Clock
    entropy: Entropy
    keep: bool

    def run(self) -> Story:
        """Play it, and clean up.

        Returns:
            What happened, whether or not it is as it was to be.

        Raises:
            LabError: It could not be played to its end.
            KeyboardInterrupt: Somebody ended it; everything is cleaned up.
        """
        began = time.monotonic()
        with interruptible(), contextlib.ExitStack() as cleanup:
            root = Path(tempfile.mkdtemp(prefix="icefloe-demo-"))
            cleanup.callback(shutil.rmtree, root, ignore_errors=True)
            stage = Stage.in_directory(root, RELEASES)
            cleanup.callback(end, stage.daemons)
            story = self._run_play(stage, root, began)
            self.narrator.tell_story(story)
            if self.keep:
                cleanup.pop_all()
                self.narrator.tell_how_to_go_on(stage, root)
        return story

    def _run_play(self, stage: Stage, root: Path, began: float) -> Story:
        """Play it; a signal ends it between two awaits, where children are known.

        Raised just after a command was forked, KeyboardInterrupt would leave that
        command running, and writing into the directory that is about to go.
        """

        async def play() -> Story:
            with cancelled_by_signals():
                return await self._play(stage, root, began)

        try:
            return asyncio.run(play())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    async def _play(self, stage: Stage, root: Path, began: float) -> Story:
        narrator = self.narrator
        narrator.introduce(stage, root)
        agent = await self._enroll_the_agent(stage)
        narrator.tell_way(agent)
        chapters = await self._tell_of_satellites(stage, root)
        return Story(
            agent=agent,
            nodes_on_the_way=(stage.satellite.name, stage.master.name),
            chapters=chapters,
            pause_seconds=PAUSE_SECONDS,
            seconds=round(time.monotonic() - began, 3),
        )

    async def _enroll_the_agent(self, stage: Stage) -> Command:
        master, satellite, agent = stage.master, stage.satellite, stage.agent
        with self.narrator.step(f"{master.name}: set up, started"):
            await stage.start_master()
        with self.narrator.step(f"{satellite.name}: set up, signed, connected"):
            await stage.start_satellite(satellite)
        with self.narrator.step(f"{agent.name}: set up through {satellite.name}"):
            told = await _set_up(stage, agent, satellite)
        with self.narrator.step(f"{agent.name}: connected to {satellite.name}"):
            await stage.start_agent()
        return told

    async def _tell_of_satellites(self, stage: Stage, root: Path) -> list[Chapter]:
        releases = ", ".join(RELEASES)
        with self.narrator.step(f"three satellites with the habits of {releases}"):
            await _together(map(stage.start_satellite, stage.habitual))
        with self.narrator.step("an agent through each satellite, by hand"):
            by_hand = [
                await self._by_hand(stage, satellite) for satellite in stage.satellites
            ]
        with self.narrator.step("an agent through each, by Icefloe's client"):
            commands = [
                await _one_command(stage, satellite, root)
                for satellite in stage.satellites
            ]
        return [
            Chapter(
                satellite=satellite.name,
                habits=satellite.habits,
                by_hand=told,
                one_command=command,
            )
            for satellite, told, command in zip(
                stage.satellites, by_hand, commands, strict=True
            )
        ]

    async def _by_hand(self, stage: Stage, satellite: Actor) -> ByHandTold:
        """Ask as an unmodified client does, again and again with the same key."""
        names = [f"by-hand-at-{satellite.name}"]
        (agent,) = await make_agents(
            await with_tickets(names, salt=stage.salt),
            entropy=self.entropy,
            now=self.clock.now().wall,
        )
        enrollment = Enrollment(agent)
        await enroll(
            enrollment,
            satellite.address,
            ByHand(pause_seconds=PAUSE_SECONDS, attempts_max=ATTEMPTS_MAX),
            entropy=self.entropy,
            attempt_seconds_max=ATTEMPT_SECONDS_MAX,
        )
        return ByHandTold.of(enrollment)


async def _together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do several things at once; the first failure is the failure of all."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _one_command(stage: Stage, satellite: Actor, root: Path) -> Command:
    """Set an agent up below a satellite with Icefloe's own command."""
    agent = Actor.on_disk(f"agent-at-{satellite.name}", root, port=satellite.port)
    return await _set_up(stage, agent, satellite)


async def _set_up(stage: Stage, agent: Actor, satellite: Actor) -> Command:
    began = time.monotonic()
    told = await stage.set_up(agent, satellite, parent_zone=satellite.name)
    return Command.of(told, seconds=time.monotonic() - began)
