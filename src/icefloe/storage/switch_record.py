"""What the journal of an identity holds: `switch.json`.

Names and digests; never a key's bytes.  The file lies in a directory of the daemon's
user and is read by root, so a name in it is a plain file name of `certs/`, a mode is
nothing but permissions and a time is a time, or the whole is not believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum, unique
from pathlib import Path
from typing import Final

import msgspec

from icefloe.storage.files import (
    FileProblem,
    Owner,
    ensure_directory,
    read_plain_file,
    remove_file,
    write_file,
)

__all__ = [
    "AT_END",
    "FORMAT",
    "Older",
    "Part",
    "Phase",
    "Record",
    "RecordDamaged",
    "RecordFile",
    "Step",
]

FORMAT: Final = 1

AT_END: Final = 253_402_300_800
"""The year 10000: a time from then on is no time that can be shown."""

_RIGHTS: Final = 0o777
_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_NAME: Final = "switch.json"
_DAMAGED_NAME: Final = "switch.json.damaged"


@unique
class Phase(StrEnum):
    """How far the last switch has come."""

    SWITCHING = "switching"
    """Between the first rename and the last: `recover` finishes it."""

    UNCONFIRMED = "unconfirmed"
    """In place; no parent has taken it yet."""

    CONFIRMED = "confirmed"
    """In place, and it works: a parent took it, or there is nobody to ask."""

    ROLLED_BACK = "rolled-back"
    """It was refused, and the older one is back in place."""


class RecordDamaged(Exception):
    """The journal holds no record that can be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One file that is replaced, made or removed.

    Attributes:
        name: The file.
        staged: What is renamed over it; None when it goes away.
        new: Hex SHA-256 of what it is to hold; None when it goes away.
        old: That of what it held; None when there was none.
        kept: The old file's second name; None when nothing could be kept.
        mode: The old file's permissions; 0 when there was none.
    """

    name: str
    staged: str | None
    new: str | None
    old: str | None
    kept: str | None
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Where a part of an older identity is.

    Attributes:
        name: The file: a second name, or the file itself where it was not replaced.
        digest: Hex SHA-256 of what it holds.
        mode: The permissions it had in its place.
    """

    name: str
    digest: str
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Older:
    """The identity to roll back to.

    Attributes:
        key: Its key.
        certificate: Its certificate.
        ca: The CA it trusted; None when there was none.
        fingerprint: Of its certificate: hex SHA-256 of its DER.
        is_issued: Whether its certificate came from a CA: a parent may have taken it.
    """

    key: Part
    certificate: Part
    ca: Part | None
    fingerprint: str
    is_issued: bool

    def parts(self) -> tuple[Part, ...]:
        """Return all there are."""
        both = (self.key, self.certificate)
        return both if self.ca is None else (*both, self.ca)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All that the journal says.

    Attributes:
        format: `FORMAT`.
        state: See `Phase`.
        at: When it came to that; seconds since 1970.
        reason: Why, in words.
        old: Fingerprint of the older identity's certificate, or "".
        new: That of the new one's.
        node_name: Whom the certificates are for.
        key: The key's file.
        certificate: The certificate's file.
        ca: The CA's file.
        steps: What the last switch did.
        ends: The state when all of it is done.
        older: The identity to roll back to.
        before: What the journal said before a switch that is under way, for when it
            has to be undone.
    """

    format: int
    state: Phase
    at: float
    reason: str
    old: str
    new: str
    node_name: str
    key: str
    certificate: str
    ca: str
    steps: tuple[Step, ...]
    ends: Phase
    older: Older | None = None
    before: Record | None = None

    def names(self) -> Iterator[str]:
        """Return every file name in it."""
        yield from (self.key, self.certificate, self.ca)
        for step in self.steps:
            yield step.name
            yield from (name for name in (step.staged, step.kept) if name is not None)
        if self.older is not None:
            yield from (part.name for part in self.older.parts())
        if self.before is not None:
            yield from self.before.names()

    def modes(self) -> Iterator[int]:
        """Return every mode in it."""
        yield from (step.mode for step in self.steps)
        if self.older is not None:
            yield from (part.mode for part in self.older.parts())
        if self.before is not None:
            yield from self.before.modes()


class RecordFile:
    """`switch.json` in the journal's directory."""

    def __init__(self, directory: Path) -> None:
        """Touch nothing yet."""
        self._directory = directory
        self.path = directory / _NAME

    def read(self) -> Record | None:
        """Return what is there; None when there is nothing.

        Raises:
            RecordDamaged: It cannot be understood, or must not be believed.
            FileProblem: It cannot be read.
        """
        try:
            content = read_plain_file(self.path)
        except FileProblem as error:
            if error.is_missing:
                return None
            raise
        try:
            record = msgspec.json.decode(content, type=Record)
        except (msgspec.DecodeError, RecursionError, OverflowError) as error:
            raise RecordDamaged(str(error)) from error
        if record.format != FORMAT:
            raise RecordDamaged(f"its format is {record.format}, not {FORMAT}")
        before = record.before
        if before is not None and before.before is not None:
            raise RecordDamaged("it goes back further than one switch")
        if not all(0 <= each.at < AT_END for each in (record, before or record)):
            raise RecordDamaged("its time is none")
        if any(mode & ~_RIGHTS for mode in record.modes()):
            raise RecordDamaged("a mode in it is more than permissions")
        if not all(map(_is_plain_name, record.names())):
            raise RecordDamaged("it names a file that is somewhere else")
        return record

    def write(self, record: Record, *, owner: Owner | None) -> None:
        """Replace what is there, in one step.

        Raises:
            FileProblem: The operating system objects.
        """
        ensure_directory(self._directory, mode=_DIRECTORY_MODE, owner=owner)
        data = msgspec.json.format(msgspec.json.encode(record), indent=2)
        write_file(self.path, data + b"\n", mode=_FILE_MODE, owner=owner)

    def remove(self) -> None:
        """Say nothing any more.

        Raises:
            FileProblem: The operating system objects.
        """
        remove_file(self.path)

    def set_aside(self, *, owner: Owner | None) -> None:
        """Put a damaged record where a person finds it and no program does.

        Raises:
            FileProblem: The operating system objects.
        """
        content = read_plain_file(self.path)
        aside = self.path.with_name(_DAMAGED_NAME)
        write_file(aside, content, mode=_FILE_MODE, owner=owner)
        self.remove()


def _is_plain_name(name: str) -> bool:
    return (
        bool(name) and "/" not in name and "\0" not in name and name not in {".", ".."}
    )
