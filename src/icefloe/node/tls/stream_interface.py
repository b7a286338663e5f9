"""What a stream and its owner agree on: limits, callbacks, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from icefloe.node.errors import ConnectionLost


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportLimits:
    """Bounds of one connection.

    Attributes:
        connect_seconds_max: Resolving, TCP and TLS together (Icinga's
            `connect_timeout`).
        handshake_seconds_max: The TLS handshake alone (Icinga's
            `tls_handshake_timeout`).
        answer_seconds_max: Flushing and answering after the *peer* closed; Icinga
            waits 10 s for it.
        outbound_bytes_max: What may wait for a peer that does not read.  Small,
            because it holds before the peer has shown who it is; the owner raises
            `TLSStream.outbound_bytes_max` for members.
    """

    connect_seconds_max: float = 15.0
    handshake_seconds_max: float = 10.0
    answer_seconds_max: float = 10.0
    outbound_bytes_max: int = 4 * 1024 * 1024


class StreamHandler(Protocol):
    """Who gets the bytes.  All calls come from the event loop, one at a time.

    A handler that raises has a bug: the loop's exception handler hears of it and the
    connection is aborted.
    """

    def data_received(self, data: bytes) -> None:
        """Take the next bytes (1 to 16384), in order."""
        ...

    def peer_finished(self) -> None:
        """The peer sent close_notify: no more data will come.

        What is written *during this call* is still sent; then the stream drains by
        itself.
        """
        ...

    def connection_lost(self, error: ConnectionLost | None) -> None:
        """The stream is closed; the last call, made exactly once.

        `error` is `None` after a drain, ours or in answer to the peer's close.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseReport:
    """How a stream ended.

    Attributes:
        flushed: Whether everything written was handed to the system, and
            close_notify behind it.
        clean: Whether in addition the peer ended its side (close_notify or end of
            file) before the deadline: it was there to the end.
        error: What ended the stream early, if anything did.
    """

    flushed: bool
    clean: bool
    error: ConnectionLost | None
