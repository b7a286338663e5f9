"""Configuration files on disk: find what an include means, read what it found.

The rules are Icinga's (found by running 2.13.6): a relative path starts at the file
that includes it, `include` takes files only, a path with `*` or `?` may match nothing.
"""

from __future__ import annotations

import glob
import os
import stat
from fnmatch import fnmatchcase
from pathlib import Path

from icefloe.config.errors import ConfigProblem
from icefloe.config.evaluator import IncludeFailure
from icefloe.config.source import Source

FILE_BYTES_MAX = 16 * 1024 * 1024
"""Size of one file.  A zones.conf with 10,000 agents has about 2 MB."""


class SourceUnreadable(IncludeFailure):
    """A file that cannot be used."""

    def problem(self, path: Path, remedy: str = "") -> ConfigProblem:
        """The problem with that file; `remedy` where this says none itself."""
        return ConfigProblem.of_file(path, self.message, self.remedy or remedy)


class SourceMissing(SourceUnreadable):
    """A file that is not there."""


def read_source(path: Path, *, strict: bool = True) -> Source:
    """Read one configuration file.

    Args:
        path: A regular file; a link to one will do.
        strict: Whether bytes that are not UTF-8 are refused, or else replaced.

    Raises:
        SourceMissing: When there is no such file.
        SourceUnreadable: When the file is too large, not regular, not readable for
            us, or (if strict) not UTF-8.
    """
    try:
        # A pipe or device would block or never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise SourceUnreadable(f"{path} is not a regular file", "")
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise SourceMissing(f"{path} does not exist", "") from None
    except OSError as error:
        raise SourceUnreadable(
            f"{path} cannot be read: {error.strerror}",
            "Run as root or as the user that the files belong to.",
        ) from None
    if len(data) > FILE_BYTES_MAX:
        raise SourceUnreadable(f"{path} has more than {FILE_BYTES_MAX} bytes", "")
    try:
        text = data.decode("utf-8", "strict" if strict else "replace")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceUnreadable(
            f"{path} is not UTF-8 (line {line})", "Save the file as UTF-8."
        ) from None
    return Source(str(path), text)


def named_files(including: str, path: str) -> list[Path]:
    """The files that `include "path"` means in the file `including`, sorted.

    Raises:
        SourceUnreadable: When the directory is there and cannot be listed.
    """
    pattern = Path(including).parent / path
    directory = pattern.parent
    # glob() would take a directory that is closed to us for an empty one.
    if is_directory(directory) and not os.access(directory, os.R_OK | os.X_OK):
        raise _closed(directory, "Permission denied")
    found = (Path(match) for match in sorted(glob.glob(str(pattern))))  # noqa: PTH207
    return [file for file in found if not is_directory(file)]


def has_wildcard(path: str) -> bool:
    """Whether Icinga lets this path match nothing."""
    return "*" in path or "?" in path


def is_directory(path: Path) -> bool:
    """Whether there is such a directory.

    Raises:
        SourceUnreadable: When that cannot be told.
    """
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _closed(path, error.strerror) from None


def list_directory(path: Path) -> list[Path]:
    """What lies in a directory, sorted; nothing when there is no such directory.

    Raises:
        SourceUnreadable: When it cannot be listed.
    """
    if not is_directory(path):
        return []
    try:
        return sorted(path.iterdir())
    except OSError as error:
        raise _closed(path, error.strerror) from None


def files_below(directory: Path, pattern: str) -> list[Path]:
    """The files in a directory and all below it whose names match, sorted by path.

    Links to directories are followed, each directory once.

    Raises:
        SourceUnreadable: When the directory, or one below it, cannot be listed or is
            not there.
    """
    found: list[Path] = []
    seen: set[str] = set()
    for root, directories, names in os.walk(
        directory, followlinks=True, onerror=_not_listed
    ):
        real = os.path.realpath(root)
        if real in seen:
            directories.clear()
            continue
        seen.add(real)
        directories.sort()
        found += (Path(root) / n for n in sorted(names) if fnmatchcase(n, pattern))
    return found


class FileIncludes:
    """The real `Includes` of an evaluation: reads from disk."""

    def named(self, including: str, path: str) -> list[Source]:
        """See `Includes.named`."""
        files = named_files(including, path)
        if not files and not has_wildcard(path):
            missing = Path(including).parent / path
            raise SourceMissing(
                f"{missing} does not exist",
                "Create the file, or remove the include.",
            )
        return [read_source(file) for file in files]

    def below(self, including: str, path: str, pattern: str) -> list[Source]:
        """See `Includes.below`."""
        directory = Path(including).parent / path
        return [read_source(file) for file in files_below(directory, pattern)]


def _not_listed(error: OSError) -> None:
    raise _closed(Path(str(error.filename)), error.strerror) from None


def _closed(path: Path, reason: str | None) -> SourceUnreadable:
    return SourceUnreadable(
        f"{path} cannot be listed: {reason}",
        "Correct the path, or run as root or as the user that the files belong to.",
    )
