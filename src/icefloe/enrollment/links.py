"""The connections as enrollment sees them."""

from __future__ import annotations

from dataclasses import dataclass, field

from icefloe.cluster.peer import Peer, Standing
from icefloe.enrollment.events import LinkId


@dataclass(slots=True)
class LinkState:
    """One live connection.

    Attributes:
        upstream: requests may be forwarded here.
        icefloe: the peer understands our additions.
        held: its idle lifetime is suspended because someone waits on it.
        answered: requests whose certificate went out on it.
    """

    link: LinkId
    peer: Peer
    upstream: bool
    icefloe: bool = False
    held: bool = False
    answered: set[str] = field(default_factory=set)

    @property
    def member(self) -> bool:
        """Whether the peer is a member of the cluster."""
        return self.peer.standing is Standing.MEMBER

    @property
    def name(self) -> str:
        """The member's name, or the stranger's address."""
        if self.member and self.peer.common_name:
            return self.peer.common_name
        return self.peer.address
