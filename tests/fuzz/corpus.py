"""The committed inputs: one directory per target, one file per input.

A file named by hexadecimal digits was chosen by coverage and may be replaced by the
next campaign; `crash-...` made something fail once and stays.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

ROOT = Path(__file__).parent / "corpus"

FILES_MAX = 40
"""Of one target, chosen by coverage."""

BYTES_MAX = 64 * 1024
"""Of one target, chosen by coverage, together: the whole stays below 1 MB."""

_CHOSEN = re.compile(r"[0-9a-f]{12}")


def files(target: str) -> list[Path]:
    """The inputs of one target, in the order of their names."""
    directory = ROOT / target
    return sorted(directory.iterdir()) if directory.is_dir() else []


def is_chosen(path: Path) -> bool:
    """Whether coverage chose this file, and nobody named it."""
    return _CHOSEN.fullmatch(path.name) is not None


def replace_chosen(target: str, inputs: list[bytes]) -> int:
    """Keep these inputs, the small ones first, instead of those chosen before.

    Returns:
        How many there was room for.
    """
    directory = ROOT / target
    directory.mkdir(parents=True, exist_ok=True)
    for path in files(target):
        if is_chosen(path):
            path.unlink()
    room = BYTES_MAX
    kept = 0
    for data in sorted(inputs, key=len)[:FILES_MAX]:
        room -= len(data)
        if room >= 0:
            name = hashlib.sha256(data).hexdigest()[:12]
            (directory / name).write_bytes(data)
            kept += 1
    return kept


def keep_crash(target: str, kind: str, data: bytes) -> Path:
    """Keep an input that made something fail, under a name that says how."""
    directory = ROOT / target
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"crash-{kind}-{hashlib.sha256(data).hexdigest()[:8]}"
    path.write_bytes(data)
    return path
