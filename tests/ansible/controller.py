"""A control node: the collection of this tree, real ansible-core, hosts on loopback.

Every "host" is this machine with directories and a port of its own, over Ansible's local
connection: modules run as they do on another machine, transferred and in a process of
their own.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.source_tree import ROOT

COLLECTION = ROOT / "ansible"
ROLLOUT = "icefloe.icefloe.rollout"

RUN_SECONDS = 3600.0
"""How long one run may take; the test's own timeout is the shorter one, usually."""

FORKS = 5

_RECAP = re.compile(r"^(\S+)\s+: (ok=.*)$", re.MULTILINE)

Variables = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """How one `ansible-playbook` ended.

    Attributes:
        code: Its exit code.
        output: What it printed, standard error included.
    """

    code: int
    output: str

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        """The last lines: host by host, how many tasks ended how."""
        return {
            host: {
                name: int(count)
                for name, count in (each.split("=") for each in counts.split())
            }
            for host, counts in _RECAP.findall(self.output)
        }

    def counts(self, what: str) -> dict[str, int]:
        """Return one number of the recap by host, such as `changed`."""
        return {host: counts[what] for host, counts in self.recap.items()}

    def of_host(self, host: str) -> str:
        """Return the lines that name a host, and what follows them."""
        pattern = rf"^\w+: \[{re.escape(host)}\].*?(?=^\w+: \[|^TASK|^PLAY|\Z)"
        found = re.findall(pattern, self.output, re.MULTILINE | re.DOTALL)
        return "".join(found)


class Controller:
    """Runs playbooks against hosts on loopback."""

    def __init__(self, root: Path) -> None:
        """Keep everything below `root`."""
        self._root = root
        self._inventory = root / "inventory.json"
        self._configuration = root / "ansible.cfg"
        self._configuration.write_text("[defaults]\n")
        place = root / "collections/ansible_collections/icefloe"
        place.mkdir(parents=True)
        (place / "icefloe").symlink_to(COLLECTION)

    def hosts(self, groups: Mapping[str, Mapping[str, Variables]]) -> None:
        """Write the inventory: groups, their hosts, and the variables of each host."""
        local = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
        }
        inventory = {
            name: {"hosts": {host: {**local, **own} for host, own in hosts.items()}}
            for name, hosts in groups.items()
        }
        self._inventory.write_text(json.dumps(inventory))
        self._inventory.chmod(0o600)

    def playbook(self, name: str, tasks: Sequence[Variables]) -> str:
        """Write a playbook of one play for all hosts; return its path."""
        path = self._root / f"{name}.json"
        play = {"name": name, "hosts": "all", "gather_facts": False, "tasks": tasks}
        path.write_text(json.dumps([play]))
        return str(path)

    def run(self, playbook: str, *options: str) -> Run:
        """Run a playbook to its end."""
        result = subprocess.run(
            self._argv(playbook, options),
            env=self.environment(),
            cwd=self._root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        return Run(result.returncode, result.stdout)

    def start(self, playbook: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a playbook; what it prints goes to a file."""
        with (self._root / "started.log").open("wb") as sink:
            return subprocess.Popen(
                self._argv(playbook, options),
                env=self.environment(),
                cwd=self._root,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )

    def log(self) -> str:
        """Return what a started playbook has printed so far."""
        return (self._root / "started.log").read_text()

    def environment(self) -> dict[str, str]:
        """Return an environment without anybody's Ansible configuration."""
        kept = {
            name: text
            for name, text in os.environ.items()
            if not name.startswith(("ANSIBLE_", "ICEFLOE_", "ICINGA", "PYTEST_"))
        }
        return {
            **kept,
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_HOME": str(self._root / "ansible-home"),
            "ANSIBLE_CONFIG": str(self._configuration),
            "ANSIBLE_COLLECTIONS_PATH": str(self._root / "collections"),
            "ANSIBLE_LOCAL_TEMP": str(self._root / "local-tmp"),
            "ANSIBLE_REMOTE_TMP": str(self._root / "remote-tmp"),
            "ANSIBLE_PIPELINING": "True",
            "ANSIBLE_FORKS": str(FORKS),
            "ANSIBLE_NOCOLOR": "True",
            "ANSIBLE_RETRY_FILES_ENABLED": "False",
        }

    def _argv(self, playbook: str, options: Sequence[str]) -> list[str]:
        program = Path(sys.executable).with_name("ansible-playbook")
        return [str(program), "-i", str(self._inventory), playbook, *options]


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that we started and all that it started, as a power cut would."""
    family = [process.pid, *_descendants(process.pid)]
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _descendants(pid: int) -> Iterator[int]:
    with suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from _descendants(int(child))


def files_below(*roots: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return every file below some directories: inode, mode and content."""
    found = {}
    for root in roots:
        for path in sorted(root.rglob("*")):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (status.st_ino, status.st_mode, content)
    return found
