"""Run as a program: `icinga2` for tools, each call a process of its own, quickly.

    python zygote.py NAME

A tool's run is some ten commands, and the trap matrix is a hundred runs; half a second
of start for each would be most of it.  So one process imports Icefloe once and listens
on the socket NAME of Linux's abstract space.  `icinga2`, a script of a few lines, hands
over its words, its environment and its three streams; a fork runs `icefloe.cli.main`
with them, as the console script does, and the script ends with its exit code.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from importlib import import_module

MESSAGE_BYTES_MAX = 200_000
PRELOADED = ("app", "pki", "node", "feature", "daemon", "enrollment")

SCRIPT = """#!{python} -IS
import json, os, signal, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
    door.connect("\\0{name}")
    signal.signal(signal.SIGTERM, lambda *_: door.send(b"T"))
    asked = [sys.argv, os.getcwd(), dict(os.environ)]
    socket.send_fds(door, [json.dumps(asked).encode()], [0, 1, 2])
    answer = door.recv(1)
sys.exit(answer[0] if answer else 70)
"""
"""The `icinga2` that tools find."""


class Zygote:
    """Forks a command for each connection."""

    def __init__(self, name: str) -> None:
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._door.bind(f"\0{name}")
        self._door.listen(64)
        self._wake, wake = socket.socketpair()
        for end in (self._wake, wake):
            end.settimeout(0)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._written = wake
        self._running: dict[socket.socket, int] = {}

    def serve(self) -> None:
        """Go on until standard input, our starter's pipe, ends."""
        while True:
            watched = [self._door, self._wake, *self._running]
            readable, _, _ = select.select([*watched, sys.stdin], [], [])
            for one in readable:
                if one is sys.stdin:
                    self._end_all()
                    return
                if one is self._door:
                    self._take()
                elif one is self._wake:
                    self._reap()
                elif one in self._running:
                    self._pass_on(one)

    def _take(self) -> None:
        caller, _ = self._door.accept()
        message, streams, _, _ = socket.recv_fds(caller, MESSAGE_BYTES_MAX, 3)
        words, directory, environment = json.loads(message)
        child = os.fork()
        if child == 0:
            self._become(streams, words, directory, environment)
        for stream in streams:
            os.close(stream)
        self._running[caller] = child

    def _become(
        self,
        streams: list[int],
        words: list[str],
        directory: str,
        environment: dict[str, str],
    ) -> None:
        """Be the command; does not return."""
        code = 70
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            os.closerange(3, 256)
            os.setsid()
            sys.stdin, sys.stdout, sys.stderr = (
                os.fdopen(number, mode, encoding="utf-8")
                for number, mode in enumerate("rww")
            )
            os.chdir(directory)
            os.environ.clear()
            os.environ.update(environment)
            sys.argv = words
            import_module("icefloe.cli").main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        except BaseException:  # noqa: BLE001 - as the interpreter does
            traceback.print_exc()
            code = 1
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _pass_on(self, caller: socket.socket) -> None:
        """Ask the command to end, or end it when its caller is gone."""
        asked = caller.recv(1)
        number = signal.SIGTERM if asked else signal.SIGKILL
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._running[caller], number)
        if not asked:
            # Never looked at again; `_reap` finds it by the process.
            self._gone(caller)

    def _gone(self, caller: socket.socket) -> None:
        os.waitpid(self._running.pop(caller), 0)
        caller.close()

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake.recv(4096):
                pass
        for caller, child in list(self._running.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            if not ended:
                continue
            code = os.waitstatus_to_exitcode(status)
            del self._running[caller]
            with contextlib.suppress(OSError):
                caller.send(bytes([code if code >= 0 else 128 - code]))
            caller.close()

    def _end_all(self) -> None:
        for caller, child in list(self._running.items()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            self._gone(caller)


def main() -> None:
    """Import, say so, serve."""
    for name in PRELOADED:
        import_module(f"icefloe.cli.{name}")
    zygote = Zygote(sys.argv[1])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    zygote.serve()


if __name__ == "__main__":
    main()
