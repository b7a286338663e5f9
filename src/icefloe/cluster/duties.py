"""What a node that runs no checks owes to those that think it does.

A parent may ask any endpoint of its own or of a child zone to execute a check.  Were
that swallowed, the check would look healthy and go stale.  So it is answered at once,
with the reason: UNKNOWN for a check, exit 126 for a command of the execute-command
action.  And a real Icinga node below an Icefloe node is an alarm: its check results end
there.

Pure functions over plain values.  Source: Icinga 2, `event::ExecuteCommand` and what it
answers to commands it does not accept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from icefloe.cluster.effects import HelloReceived
from icefloe.cluster.peer import Peer
from icefloe.cluster.rules import may_command
from icefloe.cluster.zones import ZoneTree
from icefloe.doors import WallTime
from icefloe.wire.catalogue import CHECK_RESULT, EXECUTED_COMMAND, format_version
from icefloe.wire.commands import (
    EXIT_NOT_ACCEPTED,
    ExecuteCommand,
    ExecutedCommand,
    UnknownCheckResult,
)
from icefloe.wire.errors import MessageError
from icefloe.wire.jsonrpc import Notification, Request

NAME_CHARACTERS_MAX: Final = 4096
"""Host, service and execution are sent back as they came, so they may not be of any
length.  Icinga's own names stay far below."""

_CHECK_COMMAND: Final = "check_command"


@dataclass(frozen=True, slots=True)
class Reply:
    """A notification to be sent back on the link the command came from.

    Attributes:
        method: its name.
        params: JSON object.
    """

    method: str
    params: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Declined:
    """What to do about a command, and why; the reason is a stable code, for logs.

    Attributes:
        reason: ``answered``, or why nothing is sent: ``not-a-parent``, ``malformed``,
            ``deadline-passed``, ``not-a-check`` or ``not-for-us``.
        reply: None when nothing is sent.
    """

    reason: str
    reply: Reply | None = None


def decline_command(
    message: Notification | Request, *, peer: Peer, tree: ZoneTree, now: WallTime
) -> Declined:
    """Answer an `event::ExecuteCommand` that this node does not execute.

    Args:
        message: as delivered.
        peer: its sender.
        tree: who is who.
        now: the time, which a deadline is compared with.
    """
    if not _comes_from_above(message, peer, tree):
        return Declined("not-a-parent")
    try:
        command = ExecuteCommand.parse(message.params)
    except MessageError:
        return Declined("malformed")
    texts = (command.host, command.service or "", command.source or "")
    if not command.host or max(map(len, texts)) > NAME_CHARACTERS_MAX:
        return Declined("malformed")
    if command.source is None:
        return _decline_check(command, tree.node_name)
    if command.deadline is not None and command.deadline < now:
        return Declined("deadline-passed")
    return _decline_execution(command, command.source, tree=tree, now=now)


def _comes_from_above(
    message: Notification | Request, peer: Peer, tree: ZoneTree
) -> bool:
    """Whether own zone or direct parent ask; a peer of our zone may pass on a parent's.

    A zone of origin counts only from a peer of our own zone.
    """
    if not may_command(peer):
        return False
    origin = message.origin_zone
    if origin is None or peer.zone != tree.local_zone.name:
        return True
    return origin in {tree.local_zone.name, tree.local_zone.parent}


def _decline_check(command: ExecuteCommand, node_name: str) -> Declined:
    if command.command_type != _CHECK_COMMAND:
        # An event command expects no answer, and a check result for it would be
        # stored as if the check had been made.
        return Declined("not-a-check")
    result = UnknownCheckResult(
        host=command.host,
        service=command.service,
        output=f"{_explain(node_name)} The check was not made.",
        check_source=node_name,
        # The receiver fills in its own time.  With ours the result would be discarded
        # as an old one wherever our clock is behind.
        at=0.0,
    )
    return Declined("answered", Reply(CHECK_RESULT, result.to_params()))


def _decline_execution(
    command: ExecuteCommand, source: str, *, tree: ZoneTree, now: WallTime
) -> Declined:
    target = command.endpoint or tree.node_name
    if not tree.is_in_subtree(target, tree.local_zone.name):
        return Declined("not-for-us")
    what = "run" if target == tree.node_name else f"passed on to '{target}'"
    executed = ExecutedCommand(
        host=command.host,
        service=command.service,
        execution=source,
        exit=EXIT_NOT_ACCEPTED,
        output=f"{_explain(tree.node_name)} The command was not {what}.",
        start=now,
        end=now,
    )
    return Declined("answered", Reply(EXECUTED_COMMAND, executed.to_params()))


def _explain(node_name: str) -> str:
    return (
        f"'{node_name}' is an Icefloe node, which enrolls certificates and does not"
        " execute checks."
    )


@dataclass(frozen=True, slots=True)
class ChildAlarm:
    """A real Icinga node below us: its check results end here.

    Attributes:
        endpoint: the child.
        zone: its zone.
        version: what its Hello says, such as ``2.16.5``.
        text: the whole of it, for log and status.
    """

    endpoint: str
    zone: str
    version: str
    text: str


def child_alarm(peer: Peer, hello: HelloReceived | None) -> ChildAlarm | None:
    """Decide whether a connected peer is a child that is no Icefloe node.

    Args:
        peer: who it is.
        hello: its Hello, None if it has not come (yet): no alarm.
    """
    if hello is None or hello.icefloe is not None:
        return None
    if peer.relation is None or not peer.relation.is_downward:
        return None
    zone, version = peer.zone or "", format_version(hello.version)
    return ChildAlarm(
        endpoint=peer.label,
        zone=zone,
        version=version,
        text=(
            f"'{peer.label}' in the child zone '{zone}' is a real Icinga {version} node."
            " Its check results end at this node, which does no monitoring: its hosts"
            " and services will look healthy and go stale. Let it have an Icinga parent"
            " and enroll it through this node only."
        ),
    )
