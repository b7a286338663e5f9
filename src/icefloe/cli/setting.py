"""The real doors, for commands that change a node's files."""

from __future__ import annotations

from icefloe.cli.invocation import Invocation
from icefloe.cli.output import Output
from icefloe.config.host import daemon_user
from icefloe.node.commands.setting import Setting
from icefloe.node.doors import RealClock, RealEntropy


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
