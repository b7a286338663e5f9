"""The times and limits of a session, each with its origin.

The times are Icinga 2's own, unless said otherwise, so that a real peer finds nothing
unusual on the other side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from icefloe.cluster.peer import Peer
from icefloe.wire.catalogue import (
    EXECUTE_COMMAND,
    REQUEST_CERTIFICATE,
    UPDATE_CERTIFICATE,
)
from icefloe.wire.limits import (
    ANONYMOUS_MESSAGE_BYTES_MAX,
    CHILD_MESSAGE_BYTES_MAX,
    NESTING_DEPTH_MAX,
    NETSTRING_BYTES_MAX,
)

STREAM_BYTES_MIN: Final = 65_536
"""A member's frames larger than this are read past, not held, unless we act on their
kind.  Ours: messages of enrollment are a few kilobytes."""

KEPT_BYTES_MAX: Final = 1_048_576
"""A member's frames larger than this are read past, whatever their kind.  Ours: what
is worth holding fits in what even a stranger may send."""

MEMBER_OUTBOUND_BYTES_MAX: Final = 134_217_728
"""How much a transport holds for a member that does not read.  Ours: a relay that gets
its parent back may forward twenty thousand waiting requests in one turn, 6 KB each."""

ANONYMOUS_OUTBOUND_BYTES_MAX: Final = 1_048_576
"""The same for everybody else.  Ours: an answer is 10 KB at most, and a gateway that
asks for a hundred clients at once stays below."""


def message_bytes_max(peer: Peer) -> int:
    """How large a payload this peer may send (protocol: Icinga 2, "Size limits").

    Members at or above our own zone are not limited, except by what a frame can
    announce; what they send is never held in full (see `STREAM_BYTES_MIN`).
    """
    if peer.relation is None:
        return ANONYMOUS_MESSAGE_BYTES_MAX
    return NETSTRING_BYTES_MAX if peer.relation.is_upward else CHILD_MESSAGE_BYTES_MAX


def outbound_bytes_max(peer: Peer) -> int:
    """How many unsent bytes a transport holds for this peer.

    Above that the transport closes the connection and calls
    `Session.lost("outbound-overflow")`.
    """
    return MEMBER_OUTBOUND_BYTES_MAX if peer.is_member else ANONYMOUS_OUTBOUND_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """What all sessions of a node have in common.

    Attributes:
        node_name: our own endpoint, or "" for a command.
        hello_facts: what our Hello tells other Icefloe nodes, JSON values, such as
            ``{"version": "0.1.0"}``.  Real nodes ignore it.
        delivered_methods: the methods that the upper layers act on.  Every other
            known method is counted and ignored.
        anonymous_methods: those among them that a stranger who dialled us may use.
        setup_seconds: a listener hears the first byte this soon after accepting, or
            closes.
        heartbeat_seconds: between two heartbeats, and before the first.
        silence_seconds: a peer that sends nothing for so long is gone.  Icinga looks
            every 30 s only and so needs up to 90.
        anonymous_seconds: lifetime of a stranger's session that nobody holds.
        position_seconds: between two acknowledgements of the log position.
        future_ts_seconds: a message may bear a time this far ahead of our clock.
            Ours: nodes whose clocks are set by the network are not a minute apart.
        drain_seconds: how long the flush and close of a session may take: Icinga's
            limit for the TLS shutdown.
        brief_drain_seconds: the same where nobody waits for an answer.  Ours.
        drain_discard_bytes_max: what a stranger may send during that.  Ours: enough
            for the largest message it may have been in the middle of, many times.
        report_seconds: how often one kind of event may be reported.  Ours.
        anonymous_message_bytes_max: the largest payload of a stranger.
        nesting_depth_max: objects and arrays inside each other, from whomever.
    """

    node_name: str
    hello_facts: Mapping[str, object] = field(
        default_factory=lambda: MappingProxyType({})
    )
    delivered_methods: frozenset[str] = frozenset(
        {REQUEST_CERTIFICATE, UPDATE_CERTIFICATE, EXECUTE_COMMAND}
    )
    anonymous_methods: frozenset[str] = frozenset({REQUEST_CERTIFICATE})
    setup_seconds: float = 15.0
    heartbeat_seconds: float = 20.0
    silence_seconds: float = 60.0
    anonymous_seconds: float = 10.0
    position_seconds: float = 5.0
    future_ts_seconds: float = 60.0
    drain_seconds: float = 10.0
    brief_drain_seconds: float = 2.0
    drain_discard_bytes_max: int = 16 * ANONYMOUS_MESSAGE_BYTES_MAX
    report_seconds: float = 60.0
    anonymous_message_bytes_max: int = ANONYMOUS_MESSAGE_BYTES_MAX
    nesting_depth_max: int = NESTING_DEPTH_MAX
