"""Giving up root, before anything is opened.

What belongs to the daemon user may have been arranged by somebody who broke into the
daemon: a link where a file is expected leads root astray, and the daemon user nowhere
new. So the daemon and the commands that work on its files become that user first, as
Icinga's own do (CVE-2017-16933 came of not doing so).
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from icefloe.config.host import DaemonUser
from icefloe.errors import IcefloeError


class CannotBecomeUser(IcefloeError):
    """The daemon user cannot be used; the text names the directory and the remedy."""


def become(owner: DaemonUser | None, *, directory: Path) -> None:
    """Give up root for the daemon user, as Icinga does, before anything is opened.

    Args:
        owner: the user; None changes nothing.
        directory: whose owner it is, for the text of an error.

    Raises:
        CannotBecomeUser: the machine does not know the user, or would not let us.
    """
    if owner is None or os.geteuid() != 0 or owner.uid == 0:
        return
    try:
        os.initgroups(pwd.getpwuid(owner.uid).pw_name, owner.gid)
        os.setgid(owner.gid)
        os.setuid(owner.uid)
    except KeyError:
        raise CannotBecomeUser(
            f"'{directory}' belongs to the user id {owner.uid}, which this machine does "
            "not know: give it to the daemon user (chown -R), or add that user"
        ) from None
    except OSError as error:
        raise CannotBecomeUser(
            f"cannot become the user with the id {owner.uid}, to whom '{directory}' "
            f"belongs: {error.strerror}; start this as that user"
        ) from error
    for part in (os.__file__, __file__):
        # What is imported from here on would fail one by one, far from the cause.
        if not os.access(part, os.R_OK):
            raise CannotBecomeUser(
                f"'{directory}' belongs to the user id {owner.uid}, who cannot read "
                f"'{part}': install Python and Icefloe where that user can read them, "
                "or give the directory to the user who runs this"
            )
