"""What a listener reports, as log events."""

from __future__ import annotations

from icefloe.enrollment.commands import Level
from icefloe.node.logs import Logger
from icefloe.node.tls.address import PeerAddress
from icefloe.node.tls.listener import ConnectionRefused, HandshakeRefused, ListenerEvent


def log_listener_event(log: Logger, event: ListenerEvent) -> None:
    """Log one event."""
    match event:
        case HandshakeRefused():
            log.log(
                Level.INFO,
                "handshake failed",
                address=_shown(event.address),
                detail=str(event.error),
            )
        case ConnectionRefused():
            log.log(
                Level.WARNING,
                "connection refused by limit",
                address=_shown(event.address),
                limit=event.limit,
            )
        case _:
            log.log(Level.ERROR, "accepting paused", detail=event.reason)


def _shown(address: PeerAddress) -> str:
    return f"{address.host}:{address.port}"
