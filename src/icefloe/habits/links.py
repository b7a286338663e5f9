"""The connections of a habitual node, and to whom it relays a request.

Relaying, for a request stored at this node: the connected endpoint of the own zone
whose name sorts first speaks for the zone.  If that is somebody else, only he is told.
If it is us, every connected endpoint of the own zone is told, and one of the parent
zone.  Nobody is told what he has just told us.

Source: protocol, "Relay algorithm" and "Zone master".
"""

from __future__ import annotations

from dataclasses import dataclass

from icefloe.cluster.zones import Relation
from icefloe.enrollment.events import LinkId


@dataclass(slots=True)
class HabitualLink:
    """One connection.

    Attributes:
        link: Its number.
        name: The endpoint's name; None for an anonymous peer.
        relation: How the endpoint stands to us; None for an anonymous peer.
        newest_ts: The newest `ts` received on it; an older one is dropped.
        is_closing: Nothing is read from it or queued on it any more.
    """

    link: LinkId
    name: str | None = None
    relation: Relation | None = None
    newest_ts: float = 0.0
    is_closing: bool = False

    @property
    def is_member(self) -> bool:
        """Whether an Endpoint stands behind it."""
        return self.name is not None


class Links:
    """All connections of one node."""

    def __init__(self, own_name: str) -> None:
        self._own_name = own_name
        self._links: dict[LinkId, HabitualLink] = {}

    def add(self, link: HabitualLink) -> None:
        """Note a new connection."""
        assert link.link not in self._links, "a link's number is used once"
        self._links[link.link] = link

    def pop(self, link: LinkId) -> HabitualLink | None:
        """Forget a connection; return what it was."""
        return self._links.pop(link, None)

    def live(self, link: LinkId) -> HabitualLink | None:
        """Return a connection that messages are taken from."""
        known = self._links.get(link)
        return None if known is None or known.is_closing else known

    def all_live(self) -> list[HabitualLink]:
        """Return the connections that are not closing, oldest first."""
        return [link for link in self._links.values() if not link.is_closing]

    def is_connected(self, endpoint: str) -> bool:
        """Say whether an endpoint holds a connection, closing or not."""
        return any(link.name == endpoint for link in self._links.values())

    def clear(self) -> None:
        """Forget all connections, as a crash does."""
        self._links.clear()

    def relay_targets(self, came_from: HabitualLink) -> list[HabitualLink]:
        """Return who is told about a request that came in on a connection."""
        peers = {
            link.name: link
            for link in self.all_live()
            if link.name is not None and link.relation is Relation.SAME_ZONE
        }
        speaker = min([self._own_name, *peers])
        if speaker != self._own_name:
            targets = [peers[speaker]]
        else:
            parents = [
                link for link in self.all_live() if link.relation is Relation.PARENT
            ]
            targets = [*peers.values(), *parents[:1]]
        return [link for link in targets if link is not came_from]
