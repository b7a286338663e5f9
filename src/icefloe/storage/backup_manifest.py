"""What belongs to a set of copies, where it is, and what the manifest says of it.

The manifest lies in a directory of the daemon's user, and root restores by it.  So a
place in it counts only when it is the place that this node has for that part, and a
stored file only when it lies beside the manifest.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum, unique
from pathlib import Path
from typing import Final

import msgspec

from icefloe.config.layout import NodeDirectories
from icefloe.storage.files import FileProblem, read_plain_file_with_status

__all__ = [
    "FORMAT",
    "LINK",
    "Entry",
    "Found",
    "Kind",
    "Manifest",
    "find_all",
    "places",
]

FORMAT: Final = 1

LINK: Final = "enabled-feature"
"""The part that there may be many of: a link in `features-enabled`."""

_API: Final = "api"


@unique
class Kind(StrEnum):
    """What was in a place."""

    FILE = "file"
    LINK = "link"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One place, and what was there.

    Attributes:
        part: What it is: see `places`.
        path: Where it was, absolute.
        kind: What was there.
        stored: The copy's file name, in the set; "" when there is none.
        digest: Hex SHA-256 of the copy; "" when there is none.
        mode: The file's permissions.
        uid: Its user.
        gid: Its group.
        target: Where a link led to; "" for no link.
    """

    part: str
    path: str
    kind: Kind
    stored: str = ""
    digest: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """`manifest.json`.

    Attributes:
        format: `FORMAT`.
        node_name: Whose identity it is.
        at: When it was taken; seconds since 1970.
        reason: What for.
        entries: What was where, in the order in which it is restored.
        before_restore_of: The set that was to be restored then, and which this one
            undoes; "" for a set that was taken for anything else.
    """

    format: int
    node_name: str
    at: float
    reason: str
    entries: tuple[Entry, ...]
    before_restore_of: str = ""

    def encode(self) -> bytes:
        """Return the file's content."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is in a place now.

    Attributes:
        entry: What the manifest says of it.
        content: What the file holds; None when it is none.  May be a key.
    """

    entry: Entry
    content: bytes | None = field(repr=False)


def places(directories: NodeDirectories, node_name: str) -> dict[str, Path]:
    """Return where the parts of a node are, but for the links to its features.

    The ticket is not among them: it has no end, and a copy would outlive the final
    answer, after which no file of the node holds it.

    Raises:
        LayoutError: No file can bear the node's name.
    """
    return {
        "ca": directories.trusted_ca,
        "key": directories.node_key(node_name),
        "certificate": directories.node_certificate(node_name),
        "icinga2.conf": directories.icinga2_conf,
        "constants.conf": directories.constants_conf,
        "zones.conf": directories.zones_conf,
        "api.conf": directories.feature_available(_API),
        "api-users.conf": directories.api_users_conf,
    }


def find_all(directories: NodeDirectories, node_name: str) -> Iterator[Found]:
    """Look at every place.

    A link that somebody else than root made is not followed for root: as `files` says.
    One that may be followed counts as the file it leads to.

    Raises:
        LayoutError: No file can bear the node's name.
        FileProblem: The operating system objects.
    """
    for number, (part, path) in enumerate(places(directories, node_name).items()):
        yield _found(part, path, f"{number:02}-{path.name}")
    enabled = directories.features_enabled
    try:
        links = sorted(each for each in enabled.iterdir() if each.suffix == ".conf")
    except FileNotFoundError:
        return
    except OSError as error:
        raise _problem(enabled, error) from error
    for path in links:
        if path.is_symlink():
            yield _link(LINK, path)


def _found(part: str, path: Path, stored: str) -> Found:
    _check_text(path, str(path))
    source = path
    try:
        if path.is_symlink():
            if os.geteuid() == 0 and path.lstat().st_uid != 0:
                return _link(part, path)
            source = path.parent / path.readlink()
    except FileNotFoundError:
        return _absent(part, path)
    except OSError as error:
        raise _problem(path, error) from error
    try:
        content, status = read_plain_file_with_status(source)
    except FileProblem as error:
        if error.is_missing:
            return _absent(part, path)
        raise
    return Found(
        entry=Entry(
            part=part,
            path=str(path),
            kind=Kind.FILE,
            stored=stored,
            digest=hashlib.sha256(content).hexdigest(),
            mode=stat.S_IMODE(status.st_mode) & 0o777,
            uid=status.st_uid,
            gid=status.st_gid,
        ),
        content=content,
    )


def _absent(part: str, path: Path) -> Found:
    return Found(entry=Entry(part=part, path=str(path), kind=Kind.ABSENT), content=None)


def _link(part: str, path: Path) -> Found:
    try:
        target = str(path.readlink())
    except OSError as error:
        raise _problem(path, error) from error
    _check_text(path, str(path) + target)
    return Found(
        entry=Entry(part=part, path=str(path), kind=Kind.LINK, target=target),
        content=None,
    )


def _check_text(path: Path, text: str) -> None:
    """Check that a name can be written into a manifest."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FileProblem(
            path, action="back up", reason="its name, or a link's target, is not UTF-8"
        ) from error


def _problem(path: Path, error: OSError) -> FileProblem:
    return FileProblem(
        path, action="back up", reason=error.strerror or str(error), errno=error.errno
    )
