"""A real shell for each machine of a guide, and the guide pasted into it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.peers.waiting import DeadlineMissed, wait_until

BLOCK_SECONDS = 90.0
"""For one block: generous, because the machine may be busy."""

# -E: a failing command in a function counts, too.  `$?` alone would only tell of a
# block's last command.
_PREPARE = "set -E; trap 'guide_failed=$?' ERR\n"
_PASTE = (
    "guide_failed=0; source '{file}' >'{out}' 2>&1 </dev/null; "
    "echo \"$guide_failed\" >'{code}.new'; mv '{code}.new' '{code}'\n"
)
_MOVED = frozenset(
    {"ICEFLOE_CONFIG_DIR", "ICEFLOE_DATA_DIR", "ICEFLOE_TICKET", "ICEFLOE_WAIT"}
)


@dataclass(frozen=True, slots=True)
class Printed:
    """What a block did: its first failing command's exit code, and all it printed."""

    code: int
    text: str


class Machine:
    """A machine of a guide: a directory, an environment, a bash that stays.

    `/etc/icinga2` and `/var/lib/icinga2` are directories of its own, as Icefloe takes
    them from the environment; other programs are put into its `bin`.
    """

    def __init__(self, name: str, root: Path) -> None:
        """Make it; the shell starts with the first block."""
        self.name = name
        self.root = root / name
        self.home = self.root / "home"
        self.bin = self.root / "bin"
        self.home.mkdir(parents=True)
        self.bin.mkdir()
        self.variables: dict[str, str] = {
            "ICEFLOE_CONFIG_DIR": str(self.root / "etc"),
            "ICEFLOE_DATA_DIR": str(self.root / "data"),
        }
        self._shell: subprocess.Popen[str] | None = None
        self._pasted = 0

    def install(self, name: str, script: str) -> None:
        """Put a program, a shell script, into the machine's path."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def live_in(self, config_dir: Path, data_dir: Path) -> None:
        """Let it be the machine of a node that is there already."""
        self.variables |= {
            "ICEFLOE_CONFIG_DIR": str(config_dir),
            "ICEFLOE_DATA_DIR": str(data_dir),
        }

    def environment(self) -> dict[str, str]:
        """Return the whole environment of its shell."""
        kept = {name: text for name, text in os.environ.items() if name not in _MOVED}
        ours = Path(sys.executable).parent
        return {
            **kept,
            "PATH": f"{self.bin}:{ours}:{os.environ.get('PATH', '')}",
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "100",
            "NO_COLOR": "1",
            **self.variables,
        }

    def paste(self, text: str) -> Printed:
        """Let the shell read a block; return when it has done all of it.

        Raises:
            DeadlineMissed: It did not end in time; the text says what it had printed.
        """
        shell = self._started()
        self._pasted += 1
        base = self.root / f"block{self._pasted}"
        file, out, code = (base.with_suffix(f".{kind}") for kind in ("sh", "out", "rc"))
        file.write_text(text)
        assert shell.stdin is not None
        shell.stdin.write(_PASTE.format(file=file, out=out, code=code))
        shell.stdin.flush()
        try:
            wait_until(
                lambda: code.exists() or _has_ended(shell),
                what=f"the end of the block on {self.name}",
                timeout_seconds=BLOCK_SECONDS,
            )
        except DeadlineMissed as missed:
            raise DeadlineMissed(f"{missed}\n{text}\n{out.read_text()}") from None
        printed = out.read_text(errors="replace")
        if not code.exists():
            raise AssertionError(f"the shell of {self.name} ended:\n{text}\n{printed}")
        return Printed(int(code.read_text()), printed)

    def end(self) -> None:
        """End the shell and all it started."""
        if self._shell is None:
            return
        # Not reaped yet, so the group's id is still this shell's.
        os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait(30)
        if self._shell.stdin is not None:
            self._shell.stdin.close()
        self._shell = None

    def _started(self) -> subprocess.Popen[str]:
        if self._shell is None:
            self._shell = subprocess.Popen(
                ["bash", "--noprofile", "--norc"],
                env=self.environment(),
                cwd=self.home,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
            assert self._shell.stdin is not None
            self._shell.stdin.write(_PREPARE)
        return self._shell


def _has_ended(shell: subprocess.Popen[str]) -> bool:
    # Looked at without reaping: its id, which is its group's, stays its own.
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, shell.pid, flags) is not None


class Machines:
    """The machines of one guide."""

    def __init__(self, root: Path) -> None:
        """Let all of them live below `root`."""
        self._root = root
        self._made: dict[str, Machine] = {}

    def __getitem__(self, name: str) -> Machine:
        """Return a machine; it is made when it is first named."""
        if name not in self._made:
            self._made[name] = Machine(name, self._root)
        return self._made[name]

    def end(self) -> None:
        """End all of them; what they printed stays on disk."""
        for machine in self._made.values():
            machine.end()


def edited(values: str, ours: Mapping[str, str]) -> str:
    """Return a block of values as somebody edits it: other text behind each `=`."""
    lines = []
    for line in values.splitlines():
        name = line.partition("=")[0]
        lines.append(f"{name}={ours[name]}" if name in ours else line)
    return "\n".join(lines) + "\n"
