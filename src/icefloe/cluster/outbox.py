"""Payloads on their way out: framed, counted, and never larger than the peer accepts."""

from __future__ import annotations

from icefloe.cluster.counters import Counters
from icefloe.cluster.effects import Level, Report, Transmit
from icefloe.cluster.peer import Peer
from icefloe.cluster.reporting import Reporter
from icefloe.doors import MonotonicTime
from icefloe.wire import netstring
from icefloe.wire.limits import ANONYMOUS_MESSAGE_BYTES_MAX, CHILD_MESSAGE_BYTES_MAX


class Outbox:
    """The sending half of a session.  It holds nothing: queues are the transport's."""

    def __init__(self, *, peer: Peer, counters: Counters, reporter: Reporter) -> None:
        """Take the session's peer, counters and reporter."""
        self._counters = counters
        self._reporter = reporter
        # What the peer accepts from us depends on how we stand to it, which it judges
        # as we judge it, or worse.  It would close the connection over one byte more.
        self._bytes_max = (
            CHILD_MESSAGE_BYTES_MAX if peer.is_member else ANONYMOUS_MESSAGE_BYTES_MAX
        )

    def transmit(self, payload: bytes, now: MonotonicTime) -> list[Transmit | Report]:
        """Send one message.

        Returns:
            The bytes to write; or, for a payload too large, a report.
        """
        if len(payload) > self._bytes_max:
            self._counters.refused_sends += 1
            return [
                *self._reporter.maybe_report(
                    Level.ERROR,
                    "session.send_too_large",
                    now,
                    size=len(payload),
                    limit=self._bytes_max,
                )
            ]
        self._counters.messages_out += 1
        return [self.transmit_raw(netstring.encode(payload))]

    def transmit_raw(self, data: bytes) -> Transmit:
        """Send bytes that are no message."""
        self._counters.bytes_out += len(data)
        return Transmit(data)

    def refuse(self, payload: bytes, now: MonotonicTime, state: str) -> list[Report]:
        """Note that a message came too early or too late to be sent."""
        self._counters.refused_sends += 1
        return self._reporter.maybe_report(
            Level.DEBUG, "session.send_refused", now, size=len(payload), state=state
        )
