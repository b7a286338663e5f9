"""Every call of Python's that changes the disk, one after another: seen, refused, the last.

SQLite goes its own way to the disk (see `watched_disk`); everything else of this house
goes through these functions of `os`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_CALLS = (
    *("open", "write", "fsync", "ftruncate", "replace", "rename", "link", "unlink"),
    *("mkdir", "rmdir", "symlink", "fchmod", "fchown", "chown"),
)
TAKE_ROOM = frozenset({"open", "write", "link", "mkdir", "symlink"})
"""What a full disk refuses for sure; the rest it may refuse."""


class Killed(BaseException):
    """The process is no more: nothing it would have tidied up is tidied up."""


Step = Callable[[str], None]
"""Told the name of each call before it is made; may raise."""


@contextmanager
def seen(step: Step, *, torn: bool = False) -> Iterator[None]:
    """Tell `step` of each call that changes the disk.

    Args:
        step: Told of it.
        torn: Where it is killed in a write, half of that goes to the file.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in _CALLS:
            patch.setattr(os, name, _told(name, getattr(os, name), step, torn=torn))
        yield


def _told(name: str, real: Any, step: Step, *, torn: bool) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        if name == "open" and not args[1] & os.O_CREAT:
            return real(*args, **options)
        try:
            step(name)
        except Killed:
            if name == "write" and torn:
                real(args[0], bytes(args[1])[: len(args[1]) // 2])
            raise
        return real(*args, **options)

    return call


def count_steps(act: Callable[[], object]) -> int:
    """Do it, and return how many steps it took."""
    told: list[str] = []
    with seen(told.append):
        act()
    return len(told)


def die_at(number: int, act: Callable[[], object], *, torn: bool = False) -> bool:
    """Do it as a process that is killed before the `number`th step; say if it was.

    Args:
        number: Of the step that it does not take any more, nor any after it.
        act: What to do.
        torn: Where that step is a write, half of it goes to the file.
    """
    count = 0

    def step(_name: str) -> None:
        nonlocal count
        count += 1
        if count >= number:
            raise Killed

    with seen(step, torn=torn):
        try:
            act()
        except Killed:
            return True
    return count >= number


def full_at(
    number: int, act: Callable[[], object], *, lasting: bool, all_calls: bool
) -> BaseException | None:
    """Do it on a disk that is full at the `number`th step.

    Args:
        number: Counted among all steps.
        act: What to do.
        lasting: Whether it stays full.
        all_calls: Whether it refuses every call, and not those alone that take room.

    Returns:
        What was raised, or None.
    """
    count = 0

    def step(name: str) -> None:
        nonlocal count
        count += 1
        is_hit = count >= number if lasting else count == number
        if is_hit and (all_calls or name in TAKE_ROOM):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with seen(step):
        try:
            act()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            return error
    return None
