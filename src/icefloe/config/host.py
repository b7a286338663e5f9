"""What the machine says about itself: its name, and the user that owns the node."""

from __future__ import annotations

import grp
import os
import pwd
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from icefloe.config.errors import LayoutError, printable
from icefloe.config.layout import DATA_DIR_DEFAULT

USER_VARIABLE = "ICINGA2_USER"
GROUP_VARIABLE = "ICINGA2_GROUP"

PACKAGED_USERS = ("icinga", "nagios")
"""Daemon users of Icinga's packages: Red Hat, SUSE and Alpine; Debian and Ubuntu."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonUser:
    """The user that Icinga's files belong to and its daemon runs as."""

    uid: int
    gid: int


def daemon_user(data_dir: Path, environment: Mapping[str, str]) -> DaemonUser | None:
    """Find the user that the node's files are to belong to.

    In this order: `ICINGA2_USER` and `ICINGA2_GROUP`; the owner of the data
    directory; for the packages' own data directory their user, `icinga` or
    `nagios`.  Directories elsewhere belong to whoever makes them: the packages'
    user might not even be let in there.

    Args:
        data_dir: The node's data directory; need not exist.
        environment: Where the two variables are looked up; empty means not set.

    Returns:
        The user, or None where nothing tells: files then stay with who made them.

    Raises:
        LayoutError: When a variable names a user or group that does not exist.
    """
    user = _named_user(environment) or _owner(data_dir)
    if user is None and data_dir == DATA_DIR_DEFAULT:
        user = _packaged_user()
    group_name = environment.get(GROUP_VARIABLE)
    if not group_name:
        return user
    try:
        gid = grp.getgrnam(group_name).gr_gid
    except (KeyError, ValueError):
        raise _unknown(GROUP_VARIABLE, "group", group_name) from None
    return DaemonUser(uid=os.geteuid() if user is None else user.uid, gid=gid)


def fully_qualified_name() -> str:
    """The machine's full name, as Icinga finds its default for NodeName.

    The host name, completed by the resolver unless that answers `localhost`.  May
    wait for the resolver.
    """
    name = socket.gethostname()
    try:
        found = socket.getaddrinfo(name, None, flags=socket.AI_CANONNAME)
    except (OSError, UnicodeError):
        return name
    canonical = found[0][3] if found else ""
    if not canonical or canonical == "localhost":
        return name
    return canonical


def _named_user(environment: Mapping[str, str]) -> DaemonUser | None:
    name = environment.get(USER_VARIABLE)
    if not name:
        return None
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise _unknown(USER_VARIABLE, "user", name) from None
    return DaemonUser(uid=entry.pw_uid, gid=entry.pw_gid)


def _unknown(variable: str, kind: str, name: str) -> LayoutError:
    return LayoutError(
        f"{variable} names the {kind} '{printable(name)}', which does not exist"
    )


def _owner(directory: Path) -> DaemonUser | None:
    try:
        status = directory.stat()
    except OSError:
        return None
    return DaemonUser(uid=status.st_uid, gid=status.st_gid)


def _packaged_user() -> DaemonUser | None:
    for name in PACKAGED_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return DaemonUser(uid=entry.pw_uid, gid=entry.pw_gid)
    return None
