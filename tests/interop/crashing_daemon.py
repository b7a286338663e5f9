"""`icefloe daemon` that kills itself with signal 9 at a chosen point, once.

    python crashing_daemon.py POINT MARKER CONFIG_DIR DATA_DIR

What the daemon has committed is on disk when a command is carried out, and nothing of
the command has happened yet: that is where a crash hurts most.  The file MARKER is made
at the crash; a daemon that finds it runs on as usual.  Production code knows nothing of
this: the methods that carry out commands are wrapped from here.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Final
from unittest import mock

from icefloe.config.layout import NodeDirectories
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.node import workers
from icefloe.node.daemon import run
from icefloe.node.hub import Hub, LinkCommand
from icefloe.node.workers import SigningSecrets, Workers

STORED: Final = "stored"
"""Relay: request and attempt are recorded, nothing is forwarded."""

INTENDED: Final = "intended"
"""Signer: decision, serial number and to-be-signed bytes are recorded."""

SIGNATURE_MADE: Final = "signature-made"
"""Signer: the CA key has signed, nobody has recorded the signature."""

TO_BE_ANSWERED: Final = "to-be-answered"
"""Either: the certificate is recorded, the asker has not been told."""

POINTS: Final = (STORED, INTENDED, SIGNATURE_MADE, TO_BE_ANSWERED)


class Crash:
    """Ends this process at its point, unless that has been done before."""

    def __init__(self, point: str, marker: Path) -> None:
        """Crash at `point` if there is no `marker` yet."""
        self._point = point
        self._marker = marker

    def reached(self, point: str) -> None:
        """Crash, or go on."""
        if point != self._point:
            return
        try:
            self._marker.touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


def main(point: str, marker: str, config_dir: str, data_dir: str) -> int:
    """Run the daemon; return its exit code if it lives to have one."""
    crash = Crash(point, Path(marker))
    to_links, to_workers, work = Hub.carry_out, Workers.carry_out, workers.work

    def watched_links(hub: Hub, command: LinkCommand) -> None:
        if isinstance(command, cmd.Ask):
            crash.reached(STORED)
        if isinstance(command, cmd.Answer) and command.result.get("status_code") == 0:
            crash.reached(TO_BE_ANSWERED)
        to_links(hub, command)

    def watched_workers(pool: Workers, command: cmd.Sign | cmd.CheckTicket) -> None:
        if isinstance(command, cmd.Sign):
            crash.reached(INTENDED)
        to_workers(pool, command)

    def watched_work(
        command: cmd.Sign | cmd.CheckTicket, secrets: SigningSecrets
    ) -> ev.Event:
        outcome = work(command, secrets)
        if isinstance(outcome, ev.Signed):
            crash.reached(SIGNATURE_MADE)
        return outcome

    with (
        mock.patch.object(Hub, "carry_out", watched_links),
        mock.patch.object(Workers, "carry_out", watched_workers),
        mock.patch.object(workers, "work", watched_work),
    ):
        return run(
            directories=NodeDirectories(
                config_dir=Path(config_dir), data_dir=Path(data_dir)
            ),
            without_monitoring=False,
        )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
