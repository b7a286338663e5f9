"""Partings: the node's own, and that of a parent's connection.

A node that stops owes an answer to everyone who asked with an id. It gives the
certificate where that is there, and says "pending" to the others: their requests
are in the ledger, and go on in the next life. From then on who still comes is
recorded and told the same; nothing new is begun that the node would not see end.
"""

from __future__ import annotations

from collections.abc import Mapping

from icefloe.enrollment.answers import Responder
from icefloe.enrollment.events import LinkEnding, LinkId, Stopping
from icefloe.enrollment.links import LinkState
from icefloe.enrollment.own import OwnEnrollment
from icefloe.enrollment.turn import Turn
from icefloe.enrollment.upstream import Upstream
from icefloe.enrollment.waiters import Waiters


class Parting:
    """Takes leave of those who wait, and of a parent that goes.

    Attributes:
        stopping: the node stops; who asks now is told so at once.
    """

    def __init__(
        self,
        *,
        responder: Responder,
        waiters: Waiters,
        upstream: Upstream,
        own: OwnEnrollment,
        links: Mapping[LinkId, LinkState],
    ) -> None:
        """Begin as a node that goes on."""
        self.stopping = False
        self._responder = responder
        self._waiters = waiters
        self._upstream = upstream
        self._own = own
        self._links = links

    def stop(self, turn: Turn, _event: Stopping | None = None) -> None:
        """Give everyone who waits an answer. Reads no ledger: it may be the trouble."""
        self.stopping = True
        self._own.stop()
        for request_id in self._waiters.request_ids():
            self._responder.park(turn, self._waiters.of_request(request_id))

    def link_ending(self, turn: Turn, event: LinkEnding) -> None:
        """A parent's connection closes: what was asked on it is asked of another.

        Its answers would not be heard, and asks on it would not be sent; the end of
        the connection may take ten seconds more.
        """
        state = self._links.get(event.link)
        if state is None or not state.upstream:
            return
        state.upstream = False
        self._upstream.link_down(event.link, turn.now)
        self._own.link_down(turn, event.link, event.detail)
