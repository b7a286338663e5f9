"""The `icinga2` that a tool finds first in its PATH."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.tools import zygote

__all__ = ["forked_program", "linked_program"]


def linked_program(directory: Path) -> Path:
    """Make a directory with a link to our program, as the document says."""
    directory.mkdir()
    icefloe = Path(sys.executable).with_name("icefloe")
    (directory / "icinga2").symlink_to(icefloe)
    return directory


@contextmanager
def forked_program(directory: Path) -> Iterator[Path]:
    """Do the same for a program that starts quickly; see `zygote`."""
    directory.mkdir()
    name = f"icefloe-tools-{os.getpid()}-{directory.stat().st_ino}"
    script = directory / "icinga2"
    script.write_text(zygote.SCRIPT.format(python=sys.executable, name=name))
    script.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, zygote.__file__, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield directory
        process.stdin.close()
