"""Keeps a daemon running, as a service manager does: whatever ends it, it is started.

Blows fall on the whole process group (icinga2 is three processes), except for signals
that a service manager sends to the first process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from icefloe.lab.processes import logged_event

STOP_SECONDS_MAX: Final = 40.0
RESTART_SECONDS: Final = 0.1
TAIL_CHARACTERS: Final = 2000
_FAILED_AT_ONCE_SECONDS: Final = 1.0
"""A daemon that cannot start is tried again this often."""

_LOOK_SECONDS: Final = 0.05


class OwnProcess:
    """A process group of ours; what it prints goes to a file."""

    def __init__(
        self, argv: Sequence[str], *, environment: Mapping[str, str], log: Path
    ) -> None:
        """Start it."""
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                argv,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.was_killed = False

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        # Not reaped before it is waited for: the group's id stays ours till then.
        if self._process.returncode is not None:
            return False
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, self._process.pid, flags) is None
        return False

    def blow(self, number: signal.Signals) -> bool:
        """Send a signal to the group, if it runs; say whether it did."""
        if not self.is_running:
            return False
        self.was_killed = self.was_killed or number is signal.SIGKILL
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        return True

    def ask(self, number: signal.Signals) -> bool:
        """Send a signal to the first process, if it runs; say whether it did."""
        if not self.is_running:
            return False
        self._process.send_signal(number)
        return True

    async def ended(self) -> int:
        """Wait for its end; return its exit code.  Nothing of its group is left."""
        while self.is_running:  # noqa: ASYNC110 - who would wait for it would reap it
            await asyncio.sleep(_LOOK_SECONDS)
        return self.reap()

    def reap(self) -> int:
        """Return the exit code; whatever of the group is left is killed."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()


class Keeper:
    """Keeps one daemon.

    Attributes:
        what: Its name.
        starts: How often it was started.
        surprises: Ends that nobody asked for, as sentences.
    """

    def __init__(
        self,
        what: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
    ) -> None:
        """Do not start it yet; `log` is appended to by every run."""
        self.what = what
        self.log = log
        self.starts = 0
        self.surprises: list[str] = []
        self._argv = argv
        self._environment = environment
        self._process: OwnProcess | None = None
        self._stopping = False
        self._asked: set[signal.Signals] = set()

    async def run(self) -> None:
        """Keep it running until `stop`; cancelled, it is killed."""
        try:
            while not self._stopping:
                await self._run_once()
        finally:
            if self._process is not None:
                self._process.reap()

    async def stop(self) -> str:
        """Ask it to end, for good.

        Returns:
            What was wrong with its end; empty for an orderly one.
        """
        self._stopping = True
        process = self._process
        if process is None:
            return ""
        process.blow(signal.SIGCONT)
        if not process.ask(signal.SIGTERM):
            return ""
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                code = await process.ended()
        except TimeoutError:
            process.blow(signal.SIGKILL)
            return f"{self.what} did not stop in {STOP_SECONDS_MAX:g} s"
        if code not in {0, -signal.SIGTERM} and not process.was_killed:
            return f"{self.what} ended with {code} when it was asked to stop"
        return ""

    def kill(self) -> None:
        """End it for good, at once."""
        self._stopping = True
        if self._process is not None:
            self._process.reap()

    def blow(self, number: signal.Signals) -> bool:
        """Send a signal to all of it; say whether it runs."""
        return self._process is not None and self._process.blow(number)

    def ask(self, number: signal.Signals) -> bool:
        """Send a signal to its first process; say whether it runs."""
        self._asked.add(number)
        return self._process is not None and self._process.ask(number)

    def tail(self) -> str:
        """Return the end of its log."""
        if not self.log.exists():
            return ""
        return self.log.read_text(errors="replace")[-TAIL_CHARACTERS:]

    def events(self) -> list[dict[str, Any]]:
        """Return the events that all runs of it have logged, as far as they are."""
        if not self.log.exists():
            return []
        return [
            event
            for line in self.log.read_bytes().splitlines()
            if (event := logged_event(line))
        ]

    async def _run_once(self) -> None:
        self._asked.clear()
        self.starts += 1
        process = OwnProcess(self._argv, environment=self._environment, log=self.log)
        self._process = process
        code = await process.ended()
        if self._stopping or process.was_killed or self._may_end_with(code):
            await asyncio.sleep(RESTART_SECONDS)
            return
        self.surprises.append(f"{self.what} ended by itself with {code}")
        await asyncio.sleep(_FAILED_AT_ONCE_SECONDS)

    def _may_end_with(self, code: int) -> bool:
        """Whether it was asked to; while it starts, a signal simply ends a process."""
        return (code == 0 and signal.SIGTERM in self._asked) or -code in self._asked
