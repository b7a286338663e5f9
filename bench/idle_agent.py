# ruff: noqa: INP001 - a script
"""How much memory an agent takes that is enrolled, connected, and has nothing to do.

    python bench/idle_agent.py                # after a minute
    python bench/idle_agent.py --seconds 600

Starts a master and an agent on loopback, as processes of their own, in a temporary
directory, and reads what the kernel says of the agent.  RSS is what it holds in memory;
PSS counts what it shares with other processes (two daemons share the interpreter's and
the libraries' code) in parts; private is what goes away when it ends.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.node.cluster import Authority, Zones, free_port, write_node

PROGRAM = Path(sys.executable).with_name("icefloe")


def main() -> None:
    """Measure, and print one line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="icefloe-idle-") as directory:
        root = Path(directory)
        zones = Zones(
            {
                "master": (None, {"m1": free_port()}),
                "agent1": ("master", {"agent1": free_port()}),
            },
            icefloe=("m1", "agent1"),
        )
        authority = Authority()
        running = []
        try:
            for name, dialled in (("m1", set()), ("agent1", {"m1"})):
                files = write_node(
                    root,
                    name,
                    zones,
                    dialled=dialled,
                    ca=authority,
                    signer=name == "m1",
                )
                running.append(started(root, name, files.config_dir, files.data_dir))
            wait_for(root / "agent1.log", "connected")
            time.sleep(seconds)
            tell(running[1].pid, seconds)
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(60)


def started(
    root: Path, name: str, config_dir: Path, data_dir: Path
) -> subprocess.Popen[bytes]:
    """Start a node; return when it is ready."""
    log = root / f"{name}.log"
    places = ("--config-dir", config_dir, "--data-dir", data_dir)
    with log.open("wb") as sink:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [PROGRAM, *places, "daemon"], stdout=sink, stderr=subprocess.STDOUT
        )
    wait_for(log, " ready ")
    return process


def wait_for(log: Path, text: str) -> None:
    """Wait until a log has a text."""
    end = time.monotonic() + 60
    while text not in log.read_text():
        if time.monotonic() > end:
            raise SystemExit(f"no '{text}' in a minute:\n{log.read_text()}")
        time.sleep(0.1)


def tell(pid: int, seconds: float) -> None:
    """Print what the kernel says of a process."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0])
    private = found["Private_Clean"] + found["Private_Dirty"]
    tasks = len(list(Path(f"/proc/{pid}/task").iterdir()))
    used = sum(map(int, Path(f"/proc/{pid}/stat").read_text().split()[13:15]))
    lines = [
        f"Python {platform.python_version()}, {platform.platform()}",
        f"idle and connected for {seconds:g} s: an agent",
        f"  RSS      {found['Rss'] / 1024:6.1f} MiB",
        f"  PSS      {found['Pss'] / 1024:6.1f} MiB",
        f"  private  {private / 1024:6.1f} MiB",
        f"  threads  {tasks:6}",
        f"  CPU      {used / 100:6.2f} s since its start",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
