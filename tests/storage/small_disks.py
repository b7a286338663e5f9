"""A real file system that is soon full."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.peer_gate import REQUIRE_VARIABLE, peers_are_required


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 512 KB."""
    with tempfile.TemporaryDirectory(prefix="icefloe-test-") as place:
        mount = ["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", place]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = f"no small file system can be mounted: {done.stderr.strip()}"
            if peers_are_required():
                pytest.fail(f"{reason}; {REQUIRE_VARIABLE} forbids to skip it")
            pytest.skip(reason)
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", place], check=True)


def fill(directory: Path, *, leave: int = 0) -> Path:
    """Take all the space there is."""
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    os.truncate(ballast, max(0, ballast.stat().st_size - leave))
    return ballast
