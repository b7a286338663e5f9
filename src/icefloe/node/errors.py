"""What can go wrong between this node's sockets and its peers.

    TransportError
    ├── TLSConfigurationInvalid    ours: key, certificate, CA, CRL, ciphers
    ├── BindFailed                 the machine's: the address cannot be listened on
    ├── ConnectFailed              the world's: no TCP connection to any address
    ├── HandshakeFailed            the peer's: TCP stands, TLS does not
    │   ├── HandshakeTimedOut
    │   └── PeerNotPinned
    └── ConnectionLost             an established connection ended without a close
        ├── PeerClosed             end of file without close_notify, or reset
        ├── TLSViolated            bytes that are no TLS, or a fatal alert
        ├── ReaderTooSlow          the peer did not take what we had for it
        └── Aborted                we ended it

Texts hold names, addresses and reasons, never bytes of the conversation.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Final

from icefloe.errors import IcefloeError

CERTIFICATE_ALERTS: Final = frozenset(
    {
        "access denied",
        "bad certificate",
        "certificate expired",
        "certificate required",
        "certificate revoked",
        "certificate unknown",
        "decrypt error",
        "unknown ca",
        "unsupported certificate",
    }
)
"""TLS alerts by which a peer refuses the certificate it was shown, in OpenSSL's words
(RFC 8446, 6.2)."""


class TransportError(IcefloeError):
    """A socket or a TLS connection could not be had or kept."""


class TLSConfigurationInvalid(TransportError):
    """A TLS context cannot be made of what we were given.

    Attributes:
        part: What is wrong: `key`, `certificate`, `ca`, `crl`, `cipher_list` or
            `tls_protocolmin`.
        reason: Why, in words.
    """

    def __init__(self, *, part: str, reason: str) -> None:
        super().__init__(f"TLS cannot be set up: {part}: {reason}")
        self.part = part
        self.reason = reason


_BIND_REMEDIES = {
    errno.EADDRINUSE: (
        "another process listens there (see 'ss -ltnp'): stop it or set another"
        " bind_port"
    ),
    errno.EACCES: (
        "ports below 1024 need CAP_NET_BIND_SERVICE: set a higher bind_port or grant it"
    ),
    errno.EADDRNOTAVAIL: (
        "this machine does not have that address: set bind_host to one of its own"
    ),
}


class BindFailed(TransportError):
    """The address to listen on cannot be bound.

    Attributes:
        host: The host as configured.
        port: The TCP port.
        errno: The system's error number, or `None` if the name did not resolve.
        remedy: What the operator can do.
    """

    def __init__(self, *, host: str, port: int, cause: OSError) -> None:
        self.host = host
        self.port = port
        self.errno = cause.errno
        self.remedy = _BIND_REMEDIES.get(
            cause.errno or 0, "check bind_host and bind_port"
        )
        super().__init__(
            f"cannot listen on [{host}]:{port}: {os_reason(cause)}; {self.remedy}"
        )


@dataclass(frozen=True, slots=True)
class ConnectAttempt:
    """One address that was tried, and why it did not do.

    Attributes:
        address: Numeric address, or the host's name if it did not resolve.
        reason: Why it failed, in words.
    """

    address: str
    reason: str


class ConnectFailed(TransportError):
    """No address of a host took our TCP connection in time.

    Attributes:
        host: Host as given.
        port: Port as given.
        attempts: Every address tried, in order.
        resolved: Whether the host's name had an address; true for a port that is none.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int | str,
        attempts: tuple[ConnectAttempt, ...],
        resolved: bool = True,
    ) -> None:
        tried = "; ".join(f"{a.address}: {a.reason}" for a in attempts)
        super().__init__(f"cannot connect to {host} port {port}: {tried}")
        self.host = host
        self.port = port
        self.attempts = attempts
        self.resolved = resolved


class HandshakeFailed(TransportError):
    """TCP stands, but TLS does not.

    Attributes:
        reason: Why, in OpenSSL's words or ours.
        alert: The alert the *peer* sent ("unknown ca"), or `None`.  The alert we
            send is OpenSSL's affair and follows from the reason.
        address: The peer's numeric address.
        peer_verified: The peer had sent a certificate that verifies as what was
            expected of it.  Until the handshake is done the rest is nobody's word.
    """

    def __init__(
        self,
        *,
        reason: str,
        address: str,
        alert: str | None = None,
        peer_verified: bool = False,
    ) -> None:
        told = f" (the peer says: {alert})" if alert else ""
        super().__init__(f"TLS handshake with {address} failed: {reason}{told}")
        self.reason = reason
        self.alert = alert
        self.address = address
        self.peer_verified = peer_verified

    @property
    def refuses_certificate(self) -> bool:
        """Whether the expected peer refused the certificate that we showed."""
        return self.peer_verified and self.alert in CERTIFICATE_ALERTS


class HandshakeTimedOut(HandshakeFailed):
    """The peer did not finish its handshake in time."""

    def __init__(self, *, address: str, seconds: float) -> None:
        super().__init__(reason=f"not finished in {seconds:g} s", address=address)
        self.seconds = seconds


class PeerNotPinned(HandshakeFailed):
    """The peer's certificate is not, byte for byte, the one it had to be."""

    def __init__(self, *, address: str) -> None:
        super().__init__(
            reason="the peer's certificate is not the trusted one; if the parent's"
            " certificate was renewed, fetch it anew with 'pki save-cert'",
            address=address,
        )


class ConnectionLost(TransportError):
    """An established connection ended otherwise than by an orderly close."""


class PeerClosed(ConnectionLost):
    """The peer's side went away without a TLS close_notify.

    What it sent last may be cut off: TLS cannot tell.

    Attributes:
        reset: Whether the system reported an error (reset, unreachable) and not
            just the end of the stream.
    """

    def __init__(self, reason: str, *, reset: bool) -> None:
        super().__init__(f"connection lost: {reason}")
        self.reset = reset


class TLSViolated(ConnectionLost):
    """The peer sent bytes that are no valid TLS, or a fatal alert.

    Attributes:
        reason: OpenSSL's words.
        alert: The alert the peer sent, or `None`.
    """

    def __init__(self, *, reason: str, alert: str | None) -> None:
        super().__init__(f"connection lost: TLS: {alert or reason}")
        self.reason = reason
        self.alert = alert


class ReaderTooSlow(ConnectionLost):
    """The peer did not read what we wrote, and our buffer for it was full.

    Attributes:
        buffered_bytes: What waited, with the write that was too much.
        outbound_bytes_max: The limit.
    """

    def __init__(self, *, buffered_bytes: int, outbound_bytes_max: int) -> None:
        super().__init__(
            f"connection given up: {buffered_bytes} bytes wait for the peer to read,"
            f" {outbound_bytes_max} are allowed"
        )
        self.buffered_bytes = buffered_bytes
        self.outbound_bytes_max = outbound_bytes_max


class Aborted(ConnectionLost):
    """We ended the connection at once, without an orderly close."""

    def __init__(self, reason: str = "ended by this node") -> None:
        super().__init__(f"connection aborted: {reason}")
        self.reason = reason


def os_reason(error: OSError) -> str:
    """The system's words for an error, without number and file name.

    `asyncio` replaces `strerror` by words of its own, so the number comes first;
    failures of name resolution have negative numbers and only words.
    """
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__
