"""The real doors, for commands that change a node's files."""

from __future__ import annotations

from icefloe.cli.invocation import Invocation
from icefloe.cli.output import Output
from icefloe.config.host import daemon_user
from icefloe.node.becoming import become
from icefloe.node.commands.setting import Setting
from icefloe.node.doors import RealClock, RealEntropy


def become_owner(given: Invocation) -> None:
    """Give up root for the daemon user: what follows works on that user's files only.

    For commands that open the ledger of a node that exists. SQLite opens files by
    name, and root would follow whatever link the daemon user put there.

    Raises:
        LayoutError: `ICINGA2_USER` or `ICINGA2_GROUP` names nobody.
        CannotBecomeUser: That user cannot be used.
    """
    user = daemon_user(given.directories.data_dir, given.environment)
    become(user, directory=given.directories.data_dir)


def setting_of(given: Invocation, output: Output | None = None) -> Setting:
    """Return what commands that change the node's files work with.

    Raises:
        LayoutError: `ICINGA2_USER` or `ICINGA2_GROUP` names nobody.
    """
    user = daemon_user(given.directories.data_dir, given.environment)
    return Setting(
        directories=given.directories,
        clock=RealClock(),
        entropy=RealEntropy(),
        owner=None if user is None else (user.uid, user.gid),
        narrator=output or given.output,
    )
