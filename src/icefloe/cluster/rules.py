"""Who may say what to whom.

One pure function for each kind of message, so that the whole of it can be read, and
enumerated by a test.  It is the first gate of two: what passes here is still judged by
the layer that acts on it.

Source: Icinga 2's guards of its cluster messages.  Icinga tests some of them against
the sender's zone only, which an anonymous sender does not have; here every rule begins
with whether the sender is a member at all.
"""

from __future__ import annotations

import enum

from icefloe.cluster.peer import Peer
from icefloe.cluster.settings import SessionSettings
from icefloe.cluster.states import Role
from icefloe.cluster.zones import Relation
from icefloe.wire.catalogue import (
    EXECUTE_COMMAND,
    HEARTBEAT,
    HELLO,
    SET_LOG_POSITION,
    UPDATE_CERTIFICATE,
    is_known,
)

_ENROLLMENT_PREFIXES = ("pki::", "icefloe::")
_COMMANDING = frozenset({Relation.PARENT, Relation.SAME_ZONE})


class Treatment(enum.Enum):
    """What a session does with a message."""

    SESSION = "session"
    DELIVER = "deliver"
    COUNT = "count"
    DENY = "deny"
    UNKNOWN = "unknown"


def treat(
    method: str, *, peer: Peer, role: Role, settings: SessionSettings
) -> Treatment:
    """Decide about a notification or request.

    Args:
        method: as sent.
        peer: the sender.
        role: which side of its connection we are.  A peer that we dialled was chosen
            by us, so it may answer even if it is no member of our tree.
        settings: which methods the upper layers act on.

    Returns:
        `SESSION` for what the session handles itself, `DELIVER` for the upper layers,
        `COUNT` for what is known and not acted on, `DENY` for what this peer may not
        say, `UNKNOWN` for what nobody knows.
    """
    if method in {HELLO, HEARTBEAT}:
        return Treatment.SESSION
    if method == SET_LOG_POSITION:
        return Treatment.SESSION if peer.is_member else Treatment.DENY
    if method not in settings.delivered_methods:
        return Treatment.COUNT if is_known(method) else Treatment.UNKNOWN
    if _may_say(method, peer=peer, role=role, settings=settings):
        return Treatment.DELIVER
    return Treatment.DENY


def treat_response(*, peer: Peer, role: Role) -> Treatment:
    """Decide about a response: a stranger who dialled us was never asked anything."""
    return Treatment.DELIVER if _was_chosen(peer, role) else Treatment.DENY


def concerns_enrollment(method: str) -> bool:
    """Whether a method belongs to enrollment, known or not."""
    return method.startswith(_ENROLLMENT_PREFIXES)


def is_worth_holding(method: str | None) -> bool:
    """Whether a large frame of a member is to be held until it is complete.

    Besides enrollment these are the commands we must decline: unanswered, they would
    leave a check without news for minutes.
    """
    return method is not None and (
        concerns_enrollment(method) or method == EXECUTE_COMMAND
    )


def may_acknowledge(peer: Peer) -> bool:
    """Whether its log position is acknowledged (see `icefloe.cluster.positions`)."""
    return peer.relation in _COMMANDING


def may_command(peer: Peer) -> bool:
    """Whether it may have commands executed: our own zone and the direct parent."""
    return peer.is_member and peer.relation in _COMMANDING


def _may_say(method: str, *, peer: Peer, role: Role, settings: SessionSettings) -> bool:
    if method == UPDATE_CERTIFICATE:
        # Whoever dialled a stranger on purpose may hear it; a daemon's core takes it
        # from members of its parent zone alone.
        if peer.relation is None:
            return role is Role.DIALLER
        return peer.relation in _COMMANDING
    if method == EXECUTE_COMMAND:
        return may_command(peer)
    return _was_chosen(peer, role) or method in settings.anonymous_methods


def _was_chosen(peer: Peer, role: Role) -> bool:
    """Whether the peer is a member, or one that we dialled ourselves."""
    return peer.is_member or role is Role.DIALLER
