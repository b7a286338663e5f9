"""Payloads on their way out (the limits are in the conversations of `test_session`)."""

from __future__ import annotations

from icefloe.cluster.counters import Counters
from icefloe.cluster.effects import Transmit
from icefloe.cluster.outbox import Outbox
from icefloe.cluster.reporting import Reporter
from tests.cluster.helpers import mono, stranger


def test_what_is_sent_and_what_is_not_is_counted() -> None:
    counters = Counters()
    peer = stranger()
    outbox = Outbox(
        peer=peer,
        counters=counters,
        reporter=Reporter(peer=peer, period_seconds=60),
    )
    assert outbox.transmit(b"{}", mono(0)) == [Transmit(b"2:{},")]
    assert outbox.transmit_raw(b"raw") == Transmit(b"raw")
    assert len(outbox.transmit(b"x" * 1_048_577, mono(0))) == 1
    assert len(outbox.refuse(b"{}", mono(0), "closed")) == 1
    assert counters == Counters(bytes_out=8, messages_out=1, refused_sends=2)
