"""One TLS connection on a non-blocking socket, without an event loop.

The only file that deals with pyOpenSSL's connection and its way of raising for
everything: here "not ready" is a value, a close is a value, and a failure is one of
`icefloe.node.errors`.  Each call does what it can at once and never waits.

A channel belongs to one thread at a time.  While a handshake step runs in a pool
thread nothing else may touch it.
"""

from __future__ import annotations

import contextlib
import enum
import select
import socket
import struct
from typing import Final

from OpenSSL import SSL, crypto

from icefloe.node.errors import (
    ConnectionLost,
    HandshakeFailed,
    PeerClosed,
    TLSViolated,
    os_reason,
)
from icefloe.node.tls.openssl import clear_error_queue, return_after_each_record
from icefloe.node.tls.outbound import RECORD_BYTES_MAX
from icefloe.node.tls.verdict import Verdict

SERVER_NAME_BYTES_MAX: Final = 255
"""Longer names cannot be sent as SNI: OpenSSL refuses them."""

CHAIN_KEPT_MAX: Final = 4
"""Certificates kept of what a peer sent beside its own: an Icinga node sends one."""


class Wait(enum.Enum):
    """What the socket must be ready for before the call is repeated."""

    READABLE = enum.auto()
    WRITABLE = enum.auto()


class Finished(enum.Enum):
    """The peer ended its direction in good order."""

    CLOSE_NOTIFY = enum.auto()


CLOSE_NOTIFY: Final = Finished.CLOSE_NOTIFY


class TLSChannel:
    """TLS over one connected, non-blocking TCP socket, which it owns.

    Attributes:
        socket: The socket; for waiting on it, not for reading or writing.
        address: Numeric address of the peer, for errors.
        verdict: What verification said, complete when the handshake is.
    """

    __slots__ = ("_connection", "address", "socket", "verdict")

    def __init__(
        self, *, context: SSL.Context, sock: socket.socket, address: str
    ) -> None:
        self.socket = sock
        self.address = address
        self.verdict = Verdict()
        self._connection = SSL.Connection(context, sock)
        self._connection.set_app_data(self.verdict)
        return_after_each_record(self._connection)

    @classmethod
    def server(
        cls, *, context: SSL.Context, sock: socket.socket, address: str
    ) -> TLSChannel:
        """The accepting side of a handshake."""
        channel = cls(context=context, sock=sock, address=address)
        channel._connection.set_accept_state()
        return channel

    @classmethod
    def client(
        cls,
        *,
        context: SSL.Context,
        sock: socket.socket,
        address: str,
        server_name: str,
    ) -> TLSChannel:
        """The dialling side; `server_name` goes out as SNI, IP literals included."""
        channel = cls(context=context, sock=sock, address=address)
        channel._connection.set_connect_state()
        name = server_name.encode("utf-8", "replace")
        if name and b"\0" not in name and len(name) <= SERVER_NAME_BYTES_MAX:
            channel._connection.set_tlsext_host_name(name)
        return channel

    # Handshake

    @property
    def awaits_client_hello(self) -> bool:
        """Whether the server's costly step, its signature, is still to come."""
        state: bytes = self._connection.get_state_string()
        return state == b"before SSL initialization"

    def handshake(self) -> Wait | None:
        """Go on with the handshake; `None` when it is done.

        Raises:
            HandshakeFailed: OpenSSL has then sent the alert that fits, if any.
        """
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return Wait.READABLE
        except SSL.WantWriteError:
            return Wait.WRITABLE
        except SSL.Error as error:
            raise self._handshake_failure(error) from None
        finally:
            clear_error_queue()
        return None

    def _handshake_failure(self, error: SSL.Error) -> HandshakeFailed:
        lost = _lost(error)
        reason = lost.reason if isinstance(lost, TLSViolated) else str(lost)
        alert = lost.alert if isinstance(lost, TLSViolated) else None
        return HandshakeFailed(reason=reason, alert=alert, address=self.address)

    # Facts, after the handshake

    def peer_certificate(self) -> bytes | None:
        """The peer's certificate, DER, or `None`; no parser of ours sees it here."""
        certificate = self._connection.get_peer_certificate(as_cryptography=False)
        if certificate is None:
            return None
        return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)

    def peer_chain(self) -> tuple[bytes, ...]:
        """The first `CHAIN_KEPT_MAX` certificates the peer sent beside its own, DER."""
        sent = self._connection.get_peer_cert_chain(as_cryptography=False) or []
        ders = [crypto.dump_certificate(crypto.FILETYPE_ASN1, c) for c in sent]
        # OpenSSL lists the peer's own certificate on the client's side only.
        own = self.peer_certificate()
        return tuple([der for der in ders if der != own][:CHAIN_KEPT_MAX])

    def tls_version(self) -> str:
        """`TLSv1.2` or `TLSv1.3`."""
        return self._connection.get_protocol_version_name()

    def cipher(self) -> str | None:
        """OpenSSL's name of the cipher suite in use."""
        return self._connection.get_cipher_name()

    def server_name(self) -> str | None:
        """The SNI that was sent, whatever it holds."""
        name = self._connection.get_servername()
        return None if name is None else name.decode("utf-8", "replace")

    # Data

    def receive(self) -> bytes | Wait | Finished:
        """Up to one record's plaintext.

        Raises:
            ConnectionLost: Nothing more will come, and nothing can be sent.
        """
        try:
            return self._connection.recv(RECORD_BYTES_MAX)
        except SSL.WantReadError:
            return Wait.READABLE
        except SSL.WantWriteError:
            return Wait.WRITABLE
        except SSL.ZeroReturnError:
            return CLOSE_NOTIFY
        except SSL.Error as error:
            clear_error_queue()
            raise _lost(error) from None

    def send(self, data: bytes | memoryview) -> int | Wait:
        """Send a part of `data` (not empty); how much, or what to wait for.

        After `Wait` the same bytes must be offered again.

        Raises:
            ConnectionLost: Unread data is lost with it; see `peer_has_reset`.
        """
        try:
            return self._connection.send(data)
        except SSL.WantReadError:
            return Wait.READABLE
        except SSL.WantWriteError:
            return Wait.WRITABLE
        except SSL.Error as error:
            clear_error_queue()
            raise _lost(error) from None

    def peer_has_reset(self) -> bool:
        """Whether the system has already seen the connection die.

        Sending would then fail, and OpenSSL gives nothing more to read after a failed
        send, although the kernel may still hold what the peer said last.  Read
        instead.
        """
        poller = select.poll()
        poller.register(self.socket, 0)
        return bool(poller.poll(0))

    # Close

    def send_close_notify(self) -> Wait | None:
        """Send close_notify and end our direction of TCP; `None` when done.

        To be repeated after `Wait`, and never once it is done.

        Raises:
            ConnectionLost: It could not be sent.
        """
        try:
            self._connection.shutdown()
        except SSL.WantReadError:
            return Wait.READABLE
        except SSL.WantWriteError:
            return Wait.WRITABLE
        except SSL.Error as error:
            clear_error_queue()
            raise _lost(error) from None
        self.end_writing()
        return None

    def end_writing(self) -> None:
        """Send FIN; reading goes on."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Free the socket and OpenSSL's state.

        Unread input makes the kernel reset the connection, which may take what the
        peer has not read yet with it; read to the end first where that matters.
        """
        self.socket.close()

    def discard_unsent(self) -> None:
        """Make `close` reset the connection and free what the kernel still holds."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )


def _lost(error: SSL.Error) -> ConnectionLost:
    if isinstance(error, SSL.ZeroReturnError):
        return PeerClosed("the peer closed it", reset=False)
    if isinstance(error, SSL.SysCallError):
        number = error.args[0] if error.args else -1
        if number <= 0:
            return PeerClosed("the peer closed it without close_notify", reset=False)
        return PeerClosed(os_reason(OSError(number, "")), reset=True)
    queue = error.args[0] if error.args else []
    reasons = [str(entry[2]) for entry in queue if entry[2]]
    alerts = [text.partition(" alert ")[2] for text in reasons if " alert " in text]
    return TLSViolated(
        reason="; ".join(reasons) or "the connection has already failed",
        alert=alerts[-1] if alerts else None,
    )
