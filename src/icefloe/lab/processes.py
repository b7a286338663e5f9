"""Processes that the lab starts, watches and ends, each by its own process id.

Every daemon here logs one JSON object a line, so that what it did can be waited for.
Ending is done without an event loop: it has to work when one was just interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from icefloe.lab.errors import ProcessFailed

LOOK_AGAIN_SECONDS: Final = 0.02
COMMAND_SECONDS_MAX: Final = 60.0
READY_SECONDS_MAX: Final = 30.0
STOP_SECONDS_MAX: Final = 5.0
"""Then a process is killed."""

TAIL_CHARACTERS: Final = 2000


async def run_command(
    argv: Sequence[str], *, environment: Mapping[str, str], what: str
) -> str:
    """Run a command that has to succeed.

    Returns:
        What it printed on standard output.

    Raises:
        ProcessFailed: It did not end with 0, or not in time.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us; we end what we started
    )
    try:
        async with asyncio.timeout(COMMAND_SECONDS_MAX):
            out, err = await process.communicate()
    except TimeoutError:
        problem = f"did not end in {COMMAND_SECONDS_MAX:g} s"
        raise ProcessFailed(what, problem=problem, tail="") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        tail = (out + err).decode(errors="replace")[-TAIL_CHARACTERS:]
        problem = f"ended with {process.returncode}"
        raise ProcessFailed(what, problem=problem, tail=tail)
    return out.decode(errors="replace")


class LoggingDaemon:
    """One running daemon.

    Attributes:
        what: Its name, for people.
        log: The file that it logs to.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        what: str,
        log: Path,
    ) -> None:
        """Start it, in a session of its own: it outlives us if it is kept."""
        self.what = what
        self.log = log
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                argv,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def events(self, **wanted: Any) -> list[dict[str, Any]]:
        """Return what it has logged with these fields, oldest first."""
        found = (logged_event(line) for line in self.log.read_bytes().splitlines())
        return [event for event in found if wanted.items() <= event.items()]

    async def wait_for(self, **wanted: Any) -> dict[str, Any]:
        """Return the first event with these fields, as soon as it is logged.

        Raises:
            ProcessFailed: It ended, or did not log it in time.
        """
        deadline = asyncio.get_running_loop().time() + READY_SECONDS_MAX
        while not (found := self.events(**wanted)):
            late = asyncio.get_running_loop().time() > deadline
            if late or not self.is_running:
                awaited = " ".join(str(value) for value in wanted.values())
                problem = f"not within {READY_SECONDS_MAX:g} s" if late else "it ended"
                raise ProcessFailed(
                    f"{self.what}, waiting for '{awaited}'",
                    problem=problem,
                    tail=self.log.read_text(errors="replace")[-TAIL_CHARACTERS:],
                )
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        return found[0]

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it, if it has not ended."""
        self._process.send_signal(number)

    def reap(self) -> int:
        """Return its exit code; it has ended or was killed."""
        return self._process.wait()


def end(daemons: Sequence[LoggingDaemon]) -> None:
    """Ask all to stop, the last started first, and kill what does not in time.

    Ctrl-C and a closing terminal are not heard meanwhile; it takes
    `STOP_SECONDS_MAX` at most.
    """
    deaf = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heard = {number: signal.signal(number, signal.SIG_IGN) for number in deaf}
    try:
        for daemon in reversed(daemons):
            daemon.send(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS_MAX
        while any(each.is_running for each in daemons) and time.monotonic() < deadline:
            time.sleep(LOOK_AGAIN_SECONDS)
        for daemon in daemons:
            daemon.send(signal.SIGKILL)
            daemon.reap()
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let a request to end, and a terminal that is gone, be as Ctrl-C is."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(n, signal.default_int_handler) for n in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def cancelled_by_signals() -> Iterator[None]:
    """Let Ctrl-C, a request to end and a closing terminal cancel the current task.

    Once: what is cancelled then cleans up undisturbed.  For who runs tasks beside the
    current one: an exception out of nowhere, as of `interruptible`, would hit any.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]

    def cancel() -> None:
        if not task.cancelling():
            task.cancel()

    for number in numbers:
        loop.add_signal_handler(number, cancel)
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def logged_event(line: bytes) -> dict[str, Any]:
    """Return the event of a line of a log in JSON; empty when it is something else."""
    try:
        found = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}
