"""A process group that this test run started, and its log.

`icinga2 daemon` is three processes (umbrella, worker, spawn helper).  They share a
process group whose leader is the one we started, so stopping and killing hit all of
them and nobody else.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.peers.waiting import DeadlineMissed, wait_until

STOP_SECONDS = 30.0
"""How long a daemon may take to stop when asked; a real icinga2 takes 1 to 3 s."""


class OwnProcess:
    """One started process group; standard output and error go to a log file."""

    def __init__(
        self, argv: Sequence[str], *, environment: Mapping[str, str], log: Path
    ) -> None:
        """Start `argv` in a new session; append what it prints to `log`."""
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
        """Process id of the leader, which is also the group's id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Say whether the leader still runs."""
        return self._process.returncode is None and not self._has_ended()

    def handles(self, number: signal.Signals) -> bool:
        """Say whether the leader has installed a handler for a signal.

        icinga2's worker listens before its umbrella process handles SIGTERM; asked
        to stop in between, the umbrella just dies.
        """
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return False
        caught = next(line for line in status.splitlines() if line[:7] == "SigCgt:")
        return bool(int(caught[7:], 16) >> (number - 1) & 1)

    def stop(self) -> int:
        """Ask the leader to stop, wait, and return its exit code.

        A group that does not stop in 30 s is killed, and that is an error: a node
        that cannot stop is a finding.
        """
        if self.is_running:
            self.send(signal.SIGTERM)
            try:
                wait_until(
                    self._has_ended,
                    what=f"process {self.pid} to stop",
                    timeout_seconds=STOP_SECONDS,
                )
            except DeadlineMissed:
                self.kill()
                raise
        return self.kill()

    def kill(self) -> int:
        """Kill whatever is left of the group (-9) and return the exit code."""
        if self._process.returncode is None:
            # The leader is not reaped yet, so its group id cannot be somebody else's.
            os.killpg(self.pid, signal.SIGKILL)
        return self._process.wait(STOP_SECONDS)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the leader only (SIGHUP, SIGSTOP...)."""
        self._process.send_signal(number)

    def _has_ended(self) -> bool:
        """Look without reaping: the id stays ours until `kill`."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self.pid, flags) is not None
        except ChildProcessError:
            return True
