"""What the daemon last said about its own certificate, for commands to read.

`DataDir/icefloe/own-status.json`, one JSON object; it holds no secret, and is 0600 as all
that lies there.  It is replaced in one step, and only when it says something new: the
daemon's state must not wear out a disk.  A file that is not there, or is no such object,
says nothing.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Final, get_args

import msgspec

from icefloe.config.layout import NodeDirectories
from icefloe.doors import WallTime
from icefloe.enrollment.own_status import OwnStatus, State
from icefloe.storage.files import Owner, read_file_if_there, write_file

__all__ = ["OWN_STATUS_MODE", "OWN_STATUS_NAME", "read_own_status", "write_own_status"]

OWN_STATUS_NAME: Final = "own-status.json"
OWN_STATUS_MODE: Final = 0o600
_BYTES_MAX: Final = 16_384
_TEXT_CHARS_MAX: Final = 2_000
_STATES: Final[tuple[State, ...]] = get_args(State)


def write_own_status(
    directories: NodeDirectories, status: OwnStatus, *, owner: Owner | None
) -> bool:
    """Keep a record, unless it stands there already.

    Args:
        directories: The node's.
        status: The record.  When the file has the same state and code, its `since`
            stays: it began in an earlier life of the daemon.
        owner: The daemon's user, who gets the file when we are root.

    Returns:
        Whether the file was written.

    Raises:
        FileProblem: The operating system objects; the file is the old one.
    """
    before = read_own_status(directories)
    if before is not None and (before.state, before.code) == (
        status.state,
        status.code,
    ):
        status = replace(status, since=min(before.since, status.since))
    if status == before:
        return False
    content = msgspec.json.format(msgspec.json.encode(asdict(status)), indent=2)
    path = directories.own_dir / OWN_STATUS_NAME
    write_file(path, content + b"\n", mode=OWN_STATUS_MODE, owner=owner)
    return True


def read_own_status(directories: NodeDirectories) -> OwnStatus | None:
    """Read the record; None when there is none that can be understood.

    Raises:
        FileProblem: The operating system objects.
    """
    path = directories.own_dir / OWN_STATUS_NAME
    content = read_file_if_there(path, bytes_max=_BYTES_MAX)
    if content is None:
        return None
    with suppress(msgspec.DecodeError, RecursionError):
        return _status_in(msgspec.json.decode(content))
    return None


# --- Parts ----------------------------------------------------------------------------


def _status_in(found: object) -> OwnStatus | None:
    if not isinstance(found, dict):
        return None
    state = next((each for each in _STATES if each == found.get("state")), None)
    since = _time(found.get("since"))
    if state is None or since is None:
        return None
    return OwnStatus(
        state=state,
        since=since,
        parent=_text(found.get("parent")),
        next_attempt=_time(found.get("next_attempt")),
        code=_text(found.get("code")),
        detail=_text(found.get("detail")),
        certificate_ends=_time(found.get("certificate_ends")),
        renew_at=_time(found.get("renew_at")),
    )


def _time(value: object) -> WallTime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return WallTime(number) if math.isfinite(number) else None


def _text(value: object) -> str:
    return value[:_TEXT_CHARS_MAX] if isinstance(value, str) else ""
