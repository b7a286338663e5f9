"""Agents that want a certificate while everything around them fails.

*Clients* speak as an unmodified `pki request` does, in this process, with the patience
of Icefloe's requester.  *Commands* are `icefloe node setup`, run again when they were
killed, as configuration management does.  *Daemons* are `icefloe daemon` with a ticket
and no certificate, kept running.  *Icinga2s* are Debian's `icinga2 pki request`, run by
hand until it is signed.  Whatever the kind: an agent ends with a certificate.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from icefloe.doors import Clock, Entropy
from icefloe.lab.chaos_keeper import Keeper, OwnProcess
from icefloe.lab.chaos_stage import (
    DAEMON_AGENTS_MAX,
    ChaosStage,
    icinga2_environment,
)
from icefloe.lab.crowd import Wish, make_agents
from icefloe.lab.enrolling import AsRequester, Enrollment, enroll
from icefloe.lab.stage import Actor
from icefloe.node.commands.enrolling import TICKET_VARIABLE
from icefloe.pki.certificates import is_self_issued, key_id, load_pem
from icefloe.pki.errors import PKIError
from icefloe.storage.keys import read_private_key

CLIENT: Final = "client"
COMMAND: Final = "command"
DAEMON: Final = "daemon"
REAL: Final = "icinga2"

ATTEMPT_SECONDS_MAX: Final = 30.0
REAL_SECONDS_MAX: Final = 40.0
"""The real client waits for ever: then somebody presses Ctrl-C."""

COMMAND_WAIT_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = (0.05, 0.6)
_LOOK_SECONDS: Final = 0.1
_AGAIN_SECONDS: Final = 0.5


@dataclass(slots=True, kw_only=True)
class Applicant:
    """One agent, and what became of it.

    Attributes:
        name: Its common name.
        kind: See the constants above.
        tries: Connections, runs of the command, or starts of the daemon.
        killed: How often it was killed.
        certificate: PEM, once it has one.
        ca: PEM of the CA that it was given.
        key_id: Of the key that it really has.
        seconds: From its first try to its certificate.
        notes: What went wrong on its way, in words.
    """

    name: str
    kind: str
    tries: int = 0
    killed: int = 0
    certificate: str = field(default="", repr=False)
    ca: str = field(default="", repr=False)
    key_id: str = ""
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def is_signed(self) -> bool:
        """Whether it has a certificate."""
        return bool(self.certificate)


class Crowd:
    """All agents of a run.

    Attributes:
        applicants: Each that has begun.
        commands: Those that run as a command just now.
        daemons: Those whose daemon runs just now.
    """

    def __init__(
        self, stage: ChaosStage, *, seed: int, clock: Clock, entropy: Entropy
    ) -> None:
        """Let nobody ask yet."""
        self.applicants: list[Applicant] = []
        self.commands: dict[str, OwnProcess] = {}
        self.daemons: dict[str, Keeper] = {}
        self._stage = stage
        self._clock = clock
        self._entropy = entropy
        self._chance = Random(f"{seed}/agents")  # noqa: S311 - an experiment
        self._daemon_numbers = iter(range(1, DAEMON_AGENTS_MAX + 1))
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Begin no more; those under way go on to their certificate."""
        self._closing.set()

    async def keep_asking(self, kind: str) -> None:
        """Let one agent after the other enroll, until `close`; the last one too."""
        enroll_one = {
            CLIENT: self._client,
            COMMAND: self._command,
            DAEMON: self._daemon,
            REAL: self._real,
        }[kind]
        while not self._closing.is_set():
            loop = asyncio.get_running_loop()
            began = loop.time()
            applicant = Applicant(name="", kind=kind)
            if not await enroll_one(applicant):
                return
            applicant.seconds = loop.time() - began
            await self._pause()

    def blow(self, kind: str, number: signal.Signals) -> str:
        """Send a signal to one of those that run; return its name, or nothing."""
        running: Mapping[str, OwnProcess | Keeper]
        running = self.commands if kind == COMMAND else self.daemons
        names = sorted(running)
        self._chance.shuffle(names)
        for name in names:
            process = running[name]
            gentle = number in {signal.SIGTERM, signal.SIGHUP}
            if process.ask(number) if gentle else process.blow(number):
                return name
        return ""

    def go_on(self, name: str) -> None:
        """Let one that was stopped go on, if it is still there."""
        process = self.commands.get(name) or self.daemons.get(name)
        if process is not None:
            process.blow(signal.SIGCONT)

    def end(self) -> None:
        """Kill all processes that still run."""
        for command in self.commands.values():
            command.blow(signal.SIGKILL)
            command.reap()
        for keeper in self.daemons.values():
            keeper.kill()

    # The kinds.

    async def _client(self, applicant: Applicant) -> bool:
        stage = self._stage
        applicant.name = f"client-{len(self.applicants) + 1}"
        self.applicants.append(applicant)
        ticket = await asyncio.to_thread(stage.ticket, applicant.name)
        (agent,) = await make_agents(
            [Wish(name=applicant.name, ticket=ticket)],
            entropy=self._entropy,
            now=self._clock.now().wall,
        )
        applicant.key_id = agent.key_id
        while not applicant.is_signed:
            enrollment = Enrollment(agent)
            parent = stage.downlink.address
            await enroll(
                enrollment,
                parent,
                AsRequester(
                    parent,
                    seconds_max=7200.0,
                    clock=self._clock,
                    entropy=self._entropy,
                ),
                entropy=self._entropy,
                attempt_seconds_max=ATTEMPT_SECONDS_MAX,
            )
            applicant.tries += len(enrollment.attempts)
            last = enrollment.last
            if last is None or not enrollment.is_signed:
                said = "nothing" if last is None else f"{last.outcome}: {last.detail}"
                applicant.notes.append(f"its client gave up: {said}")
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            applicant.certificate, applicant.ca = last.certificate, last.ca
        return True

    async def _command(self, applicant: Applicant) -> bool:
        stage = self._stage
        agent = stage.new_agent("command")
        applicant.name = agent.name
        self.applicants.append(applicant)
        ticket = await asyncio.to_thread(stage.ticket, agent.name)
        argv = stage.set_up_argv(agent, wait=COMMAND_WAIT_SECONDS)
        await self._repeat(applicant, agent, argv, **{TICKET_VARIABLE: ticket})
        return True

    async def _real(self, applicant: Applicant) -> bool:
        stage = self._stage
        agent = stage.new_agent(REAL)
        applicant.name = agent.name
        self.applicants.append(applicant)
        await stage.prepare_real(agent)
        ticket = await asyncio.to_thread(stage.ticket, agent.name)
        argv = stage.real_request_argv(agent, ticket)
        await self._repeat(applicant, agent, argv, **icinga2_environment())
        return True

    async def _repeat(
        self,
        applicant: Applicant,
        agent: Actor,
        argv: Sequence[str],
        **environment: str,
    ) -> None:
        """Run a command until the agent is signed."""
        log = agent.root / "log"
        while not _is_signed(agent):
            if applicant.tries:
                await self._pause()
            applicant.tries += 1
            process = OwnProcess(
                argv, environment=self._stage.environment(**environment), log=log
            )
            self.commands[agent.name] = process
            try:
                async with asyncio.timeout(_patience(applicant)):
                    code = await process.ended()
            except TimeoutError:
                process.blow(signal.SIGKILL)
                code = 0
            finally:
                process.reap()
                del self.commands[agent.name]
            if process.was_killed:
                applicant.killed += 1
            elif code != 0:
                applicant.notes.append(_last_words(log, code))
        _take_files(applicant, agent)

    async def _daemon(self, applicant: Applicant) -> bool:
        number = next(self._daemon_numbers, None)
        if number is None:
            return False
        stage = self._stage
        agent = stage.daemon_agent(number)
        applicant.name = agent.name
        self.applicants.append(applicant)
        keeper = await stage.prepare_daemon(agent)
        self.daemons[agent.name] = keeper
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(keeper.run())
                while not _is_signed(agent):  # noqa: ASYNC110 - a file tells nobody
                    await asyncio.sleep(_LOOK_SECONDS)
                problem = await keeper.stop()
                if problem:
                    applicant.notes.append(problem)
        finally:
            keeper.kill()
            del self.daemons[agent.name]
        applicant.tries = keeper.starts
        applicant.notes += keeper.surprises
        _take_files(applicant, agent)
        return True

    async def _pause(self) -> None:
        await asyncio.sleep(self._chance.uniform(*_PAUSE_SECONDS))


def _is_signed(agent: Actor) -> bool:
    try:
        return not is_self_issued(load_pem(agent.certificate.read_bytes()))
    except (OSError, PKIError):
        return False


def _patience(applicant: Applicant) -> float | None:
    return REAL_SECONDS_MAX if applicant.kind == REAL else None


def _take_files(applicant: Applicant, agent: Actor) -> None:
    """Read what the agent has on disk now."""
    where = agent.directories
    applicant.certificate = where.node_certificate(agent.name).read_text()
    applicant.ca = where.trusted_ca.read_text()
    applicant.key_id = key_id(read_private_key(where.node_key(agent.name)).public_key())


def _last_words(log: Path, code: int) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    said = " / ".join(lines[-3:])
    return f"its command ended with {code}: {said}"
