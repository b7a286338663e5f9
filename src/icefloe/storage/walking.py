"""Opening a directory without being led astray.

Set-up commands are run by root and write into directories of the daemon user, who may
be hostile or merely hacked. A link in place of `certs/` would let root write node files
anywhere, and hand them over to the daemon user (CVE-2017-16933's kind). So root goes
down a path step by step and follows a symbolic link only when root made it: that one is
an administrator's wish (`/var/lib/icinga2` on another disk), while a link of anybody
else's is refused. Other users gain nothing by being led, and are not restrained.

What is opened stays what it was, whatever is renamed meanwhile: callers work relative
to the descriptor.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LINKS_MAX: Final = 40
"""As many as Linux follows."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_directory(path: Path) -> int:
    """Open a directory.

    Args:
        path: It may lead through symbolic links; see above which ones.

    Returns:
        A descriptor, which the caller closes.

    Raises:
        OSError: It is not there, is no directory, or leads through a link that root
            must not follow (ELOOP).
    """
    if os.geteuid() != 0:
        return os.open(path, _DIRECTORY)
    rest = deque(path.absolute().parts[1:])
    links = 0
    here = os.open("/", _DIRECTORY)
    try:
        while rest:
            step = rest.popleft()
            target = _link_of_root(step, here, path)
            if target is not None:
                links += 1
                _expect_few(links, path)
                rest.extendleft(reversed(Path(target).parts))
                continue
            # An absolute link's first part is "/", which is opened from anywhere.
            following = os.open(step, _DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = following
    except BaseException:
        os.close(here)
        raise
    return here


def _link_of_root(name: str, directory: int, path: Path) -> str | None:
    """Return where a link of root's points; None when it is no link.

    Raises:
        OSError: It is somebody else's link, or not there.
    """
    # The link itself is opened, so that what is looked at is what is read.
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    found = os.open(name, flags, dir_fd=directory)
    try:
        status = os.fstat(found)
        if not stat.S_ISLNK(status.st_mode):
            return None
        if status.st_uid == 0:
            return os.readlink("", dir_fd=found)
    finally:
        os.close(found)
    text = (
        f"'{name}' is a symbolic link made by the user id {status.st_uid}, which root "
        "does not follow; replace it by a directory"
    )
    raise OSError(errno.ELOOP, text, str(path))


def _expect_few(links: int, path: Path) -> None:
    if links > LINKS_MAX:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


@contextmanager
def opened_directory(path: Path) -> Iterator[int]:
    """Open a directory (`open_directory`) for as long as one works in it."""
    descriptor = open_directory(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
