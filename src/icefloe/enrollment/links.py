"""The connections as enrollment sees them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from icefloe.cluster.peer import Peer, Standing
from icefloe.enrollment.events import LinkId
from icefloe.enrollment.model import Refusal


@dataclass(slots=True)
class LinkState:
    """One live connection.

    Attributes:
        upstream: requests may be forwarded here.
        icefloe: the peer understands our additions.
        held: its idle lifetime is suspended because someone waits on it.
        answered: requests whose certificate went out on it.
        asked: requests this parent was asked about on it.
        trouble: what keeps this parent from deciding anything, as it said last.
    """

    link: LinkId
    peer: Peer
    upstream: bool
    icefloe: bool = False
    held: bool = False
    answered: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    trouble: Refusal | None = None

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


class Links(dict[LinkId, LinkState]):
    """Every live connection.

    Of ten thousand connections a handful leads upwards, and how many are held is asked
    at each asking: neither is searched for.
    """

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self._upwards: dict[LinkId, LinkState] = {}
        self._held: set[LinkId] = set()

    def add(self, state: LinkState) -> None:
        """Add a connection that came up."""
        self[state.link] = state
        if state.upstream:
            self._upwards[state.link] = state

    def drop(self, link: LinkId) -> LinkState | None:
        """Forget a connection that ended; returns what was known of it."""
        self._upwards.pop(link, None)
        self._held.discard(link)
        return self.pop(link, None)

    def upwards(self) -> Iterator[LinkState]:
        """Return the connections on which requests may be forwarded."""
        return (state for state in self._upwards.values() if state.upstream)

    def hold(self, state: LinkState) -> None:
        """Note that a connection is held."""
        state.held = True
        self._held.add(state.link)

    def let_go(self, state: LinkState) -> None:
        """Note that a connection is not held, or no longer."""
        state.held = False
        self._held.discard(state.link)

    @property
    def held_count(self) -> int:
        """How many connections are held."""
        return len(self._held)
