"""Changes to a node's files, as data.

Planning reads and decides; whoever carries a plan out writes (atomically, with
back-ups, for the right user), which needs another layer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

OPEN_MODE = 0o644
"""Configuration that anyone may read; Icinga writes all its files like this."""

SECRET_MODE = 0o640
"""Configuration with a secret in it: the ticket salt, an API password.

Debian installs `constants.conf` like this and Icinga's own set-up opens it to all; the
daemon's group is enough.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFile:
    """A file to write as a whole.

    Attributes:
        path: Where.
        text: The new content, to be encoded as UTF-8.  Kept out of `repr`: it may
            hold a secret.
        mode: The file's permissions.
    """

    path: Path
    text: str = field(repr=False)
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLink:
    """A symbolic link to make; `target` is relative to the link's directory."""

    path: Path
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Changes that belong together, in the order to carry them out.

    Attributes:
        files: To write.
        links: To make, after the files they point to.
        removals: Links (or files) to remove.
    """

    files: tuple[PlannedFile, ...] = ()
    links: tuple[PlannedLink, ...] = ()
    removals: tuple[Path, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.files or self.links or self.removals)


_NOTE: Final = re.compile(
    r"Written by 'icefloe [^'\n]*' on \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\."
)


def says_the_same(present: str, wanted: str) -> bool:
    """Whether two texts differ at most in when, and by which command, they were written.

    Such a file is left alone: a set-up that is run again by the clock would otherwise
    touch it each time.
    """
    return _NOTE.sub("", present) == _NOTE.sub("", wanted)
