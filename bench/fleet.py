# ruff: noqa: INP001, S603, T201 - a script
"""How long a fleet audit takes, by how many hosts are looked at at once.

    python bench/fleet.py [--nodes 500] [--at-once 16 64 256] [--timeout 10]

The nodes are listeners on loopback in every state that an audit knows; some answer
nothing until the deadline, and those decide how long it takes.  The audit is the
command, as a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.node.fleet.rig import Rig, rig_of


def audit(rig: Rig, directory: Path, at_once: int, timeout: float) -> tuple[float, int]:
    """Run the command once; return its seconds and how many hosts it named wrongly."""
    targets = directory / "fleet.txt"
    targets.write_text("\n".join(seat.target for seat in rig.seats))
    ca, crl = rig.write_files(directory)
    began = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "icefloe", "fleet", "audit", f"@{targets}"),
            *("--ca", str(ca), "--crl", str(crl), "--json"),
            *("--at-once", str(at_once), "--timeout", str(timeout)),
        ],
        stdout=subprocess.PIPE,
        check=False,
        env={**os.environ, "ICEFLOE_DATA_DIR": str(directory)},
    )
    seconds = time.monotonic() - began
    hosts = {host["host"]: host for host in msgspec.json.decode(done.stdout)["hosts"]}
    wrong = sum(
        (hosts[seat.name]["state"], hosts[seat.name]["cause"])
        != (seat.state, seat.cause)
        for seat in rig.seats
    )
    return seconds, wrong


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--at-once", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--timeout", type=float, default=10.0)
    given = parser.parse_args()
    with rig_of(given.nodes) as rig, tempfile.TemporaryDirectory() as directory:
        silent = sum(seat.kind in {"mute", "dropping"} for seat in rig.seats)
        print(f"{given.nodes} nodes, {silent} of them silent for {given.timeout:g} s")
        for at_once in given.at_once:
            seconds, wrong = audit(rig, Path(directory), at_once, given.timeout)
            print(f"{at_once:5} at once: {seconds:6.1f} s, {wrong} named wrongly")


if __name__ == "__main__":
    main()
