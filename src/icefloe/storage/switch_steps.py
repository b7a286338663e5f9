"""The steps of a switch on disk: staged, taken, taken back.

Each of them may be repeated, and may be the last one before a crash.  What is done and
what is not is read from the files themselves, by digest.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from icefloe.doors import WallTime
from icefloe.storage.files import (
    FileProblem,
    Owner,
    read_file_if_there,
    remove_file,
)
from icefloe.storage.replacing import (
    keep,
    put_back,
    put_in_place,
    stage,
    synchronize,
)
from icefloe.storage.switch_record import Step

__all__ = [
    "Change",
    "are_whole",
    "digest_of",
    "discard_staged",
    "go_back",
    "go_forward",
    "is_complete",
    "mode_of",
    "prepare",
]

Change = tuple[Path, bytes | None, int]
"""A file, what it is to hold (None: it goes away), and its mode."""


def digest_of(content: bytes | None) -> str | None:
    """Return the hex SHA-256 of a file's content; None for no file."""
    return None if content is None else hashlib.sha256(content).hexdigest()


def mode_of(path: Path) -> int:
    """Return a file's permissions; 0 when it is not there."""
    try:
        return stat.S_IMODE(path.stat().st_mode) & 0o777
    except OSError:
        return 0


def prepare(
    changes: Sequence[Change],
    *,
    owner: Owner | None,
    at: WallTime,
    spare: Collection[str],
) -> tuple[Step, ...]:
    """Stage the new contents and keep the old files, all of it brought to disk.

    Args:
        changes: What is to change, in the order of the renames; files of one directory.
        owner: Who gets the files when we are root.
        at: The time, for the names of what is kept.
        spare: Names of kept files that must not be forgotten.

    Raises:
        FileProblem: The operating system objects; nothing staged is left.
    """
    steps: list[Step] = []
    directory = changes[0][0].parent
    try:
        for path, new, mode in changes:
            old = digest_of(read_file_if_there(path))
            staged = None
            if new is not None:
                staged = stage(path, new, mode=mode, owner=owner).name
            # Noted before anything else can fail: what is staged is to be discarded.
            steps.append(
                Step(
                    name=path.name,
                    staged=staged,
                    new=digest_of(new),
                    old=old,
                    kept=None,
                    mode=mode_of(path),
                )
            )
        done = tuple(_kept(directory, step, at, spare) for step in steps)
        synchronize(directory)
    except BaseException:
        discard_staged(directory, steps)
        raise
    return done


def _kept(directory: Path, step: Step, at: WallTime, spare: Collection[str]) -> Step:
    kept = keep(directory / step.name, at, spare=spare)
    return Step(
        name=step.name,
        staged=step.staged,
        new=step.new,
        old=step.old,
        kept=None if kept is None else kept.name,
        mode=step.mode,
    )


def are_whole(directory: Path, steps: Sequence[Step]) -> bool:
    """Say whether each step is done, or can be.

    Raises:
        FileProblem: The operating system objects.
    """
    return all(
        _is_done(directory, step) or _is_ready(directory, step) for step in steps
    )


def is_complete(directory: Path, steps: Sequence[Step]) -> bool:
    """Say whether each step is done.

    Raises:
        FileProblem: The operating system objects.
    """
    return all(_is_done(directory, step) for step in steps)


def _is_done(directory: Path, step: Step) -> bool:
    return digest_of(read_file_if_there(directory / step.name)) == step.new


def _is_ready(directory: Path, step: Step) -> bool:
    # What somebody else has put there since is not replaced: nobody kept it.
    if digest_of(read_file_if_there(directory / step.name)) != step.old:
        return False
    if step.staged is None:
        return True
    return digest_of(read_file_if_there(directory / step.staged)) == step.new


def go_forward(directory: Path, steps: Sequence[Step]) -> None:
    """Take the steps that are not done yet, in their order.

    Raises:
        FileProblem: The operating system objects; the steps so far are taken.
    """
    for step in steps:
        if _is_done(directory, step):
            continue
        if step.staged is None:
            remove_file(directory / step.name)
        else:
            put_in_place(directory / step.staged, directory / step.name)
    # Also what an earlier attempt did, whose last words may have been an error here.
    synchronize(directory)


def go_back(directory: Path, steps: Sequence[Step], *, owner: Owner | None) -> None:
    """Take back the steps that are done, the last one first.

    Args:
        directory: Where the files are.
        steps: What was to be done.
        owner: Who gets the files when we are root.

    Raises:
        FileProblem: The operating system objects; the steps so far are taken back.
    """
    for step in reversed(steps):
        if not _is_done(directory, step):
            continue
        path = directory / step.name
        if step.old is None:
            remove_file(path)
        elif step.kept is not None:
            put_back(directory / step.kept, path, mode=step.mode, owner=owner)
    synchronize(directory)


def discard_staged(directory: Path, steps: Sequence[Step]) -> None:
    """Remove what was staged and not used; what cannot be removed is swept away later."""
    for step in steps:
        if step.staged is not None:
            with suppress(FileProblem):
                remove_file(directory / step.staged)
