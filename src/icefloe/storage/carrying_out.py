"""Carrying out a plan of configuration changes on disk.

`icefloe.config` decides and returns a `Plan`; here it is done.  Each file is kept as
`.orig` before its first change (protocol: Icinga's rule) and replaced in one step.  The
plan as a whole is not one step: its order is such that what points to something comes
after it, and carrying out the same plan again completes what was interrupted.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import Final

from icefloe.config.plan import Plan, PlannedFile, PlannedLink
from icefloe.storage.files import (
    FileProblem,
    Owner,
    back_up,
    ensure_directory,
    read_file_if_there,
    remove_file,
    write_file,
)
from icefloe.storage.narrator import Narrator
from icefloe.storage.walking import opened_directory

__all__ = ["carry_out"]

_DIRECTORY_MODE: Final = 0o750
"""As Debian's package installs the configuration directories."""


def carry_out(plan: Plan, *, owner: Owner | None, narrator: Narrator) -> None:
    """Write, link and remove what a plan says; what is so already is left alone.

    Args:
        plan: The changes.
        owner: The daemon's user and group, who get the files when we are root.
        narrator: Is told of each change.

    Raises:
        FileProblem: The operating system objects.  What was said to be done is done.
    """
    for file in plan.files:
        _write(file, owner, narrator)
    for link in plan.links:
        _link(link, owner)
    for path in plan.removals:
        remove_file(path)


def _write(file: PlannedFile, owner: Owner | None, narrator: Narrator) -> None:
    data = file.text.encode()
    if read_file_if_there(file.path) == data:
        return
    ensure_directory(file.path.parent, mode=_DIRECTORY_MODE, owner=owner)
    copy = back_up(file.path)
    if copy is not None:
        narrator.information(f"Created backup file '{copy}'.")
    write_file(file.path, data, mode=file.mode, owner=owner)
    narrator.information(f"Updated '{file.path}'.")


def _link(link: PlannedLink, owner: Owner | None) -> None:
    directory = link.path.parent
    ensure_directory(directory, mode=_DIRECTORY_MODE, owner=owner)
    temporary = f".{link.path.name}.tmp.{secrets.token_hex(8)}"
    try:
        with opened_directory(directory) as here:
            os.symlink(link.target, temporary, dir_fd=here)
            try:
                if owner is not None and os.geteuid() == 0:
                    os.chown(temporary, *owner, dir_fd=here, follow_symlinks=False)
                os.replace(temporary, link.path.name, src_dir_fd=here, dst_dir_fd=here)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=here)
                raise
    except OSError as error:
        raise FileProblem(
            link.path,
            action="create",
            reason=error.strerror or str(error),
            errno=error.errno,
        ) from error
