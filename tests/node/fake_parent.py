"""A parent over real TLS that does what a test tells it, in a thread of its own.

A thread, so that a command under test may run its own event loop beside it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from tests.node.tls.material import Authority, Node, build, common_name, dns, pem

from icefloe.node.errors import ConnectionLost
from icefloe.node.tls.contexts import server_context
from icefloe.node.tls.listener import Admission, Listener
from icefloe.node.tls.transport import TLSStream
from icefloe.pki.certificates import common_names, fingerprint, load_der, to_pem
from icefloe.wire import netstring
from icefloe.wire.catalogue import HELLO, REQUEST_CERTIFICATE
from icefloe.wire.jsonrpc import (
    Message,
    Request,
    decode,
    encode_error,
    encode_notification,
    encode_response,
)

READY_SECONDS = 10.0


@dataclass
class Asked:
    """One `pki::RequestCertificate`, and the means to answer it.

    Attributes:
        parent: who was asked.
        request: the message.
        presented: the certificate the asker showed in TLS.
    """

    parent: FakeParent
    stream: TLSStream
    request: Request
    presented: x509.Certificate

    @property
    def ticket(self) -> str:
        params = self.request.params
        assert isinstance(params, dict)
        return str(params["ticket"])

    def answer(self, **result: object) -> None:
        self.send(encode_response(self.request.id, result))

    def send(self, payload: bytes) -> None:
        self.stream.write(netstring.encode(payload))

    def close(self) -> None:
        self.stream.start_drain(5.0)


Behaviour = Callable[[Asked], None]


def signs(asked: Asked, *, by: Authority | None = None) -> None:
    """Sign the presented key, as a signer does for a valid ticket."""
    ca = by or asked.parent.ca
    asked.answer(
        status_code=0,
        cert=to_pem(issue(ca, asked.presented)),
        ca=to_pem(ca.certificate),
        fingerprint_request=fingerprint(asked.presented),
    )
    asked.close()


def pends(asked: Asked, *, ca: bool = True, **facts: object) -> None:
    """Answer "pending", as a satellite does."""
    result: dict[str, object] = {
        "status_code": 2,
        "error": "Certificate request is pending.",
        "fingerprint_request": fingerprint(asked.presented),
    }
    if ca:
        result["ca"] = to_pem(asked.parent.ca.certificate)
    if facts:
        result["icefloe"] = facts
    asked.answer(**result)
    asked.close()


def cuts(asked: Asked) -> None:
    """Close without an answer, as 2.14.4 does while a request is pending."""
    asked.close()


def refuses(asked: Asked, *, ca: bool = False, **facts: object) -> None:
    """Refuse the ticket; a real signer sends its CA along."""
    result: dict[str, object] = {"status_code": 1, "error": "Invalid ticket."}
    if ca:
        result["ca"] = to_pem(asked.parent.ca.certificate)
        result["fingerprint_request"] = fingerprint(asked.presented)
    if facts:
        result["icefloe"] = facts
    asked.answer(**result)
    asked.close()


def fails(asked: Asked) -> None:
    """Answer with an error instead of a result."""
    asked.send(encode_error(asked.request.id, "handler exception"))


def stays_silent(_asked: Asked) -> None:
    """Hold the connection and say nothing."""


def says(**result: object) -> Behaviour:
    """Answer with this result, whatever it is."""
    return lambda asked: asked.answer(**result)


def sends(data: bytes) -> Behaviour:
    """Send these bytes, whatever they are, and no answer."""
    return lambda asked: void(asked.stream.write(data))


def chats_first(then: Behaviour) -> Behaviour:
    """Say other things before the answer, with and without ids."""

    def behave(asked: Asked) -> None:
        asked.send(encode_notification("event::Heartbeat", {}))
        asked.send(encode_notification("x::Unheard", {"cert": "not for you"}))
        asked.send(encode_response("another id", {"status_code": 1, "error": "no"}))
        asked.send(
            encode_notification("pki::UpdateCertificate", {"cert": "a", "ca": "b"})
        )
        then(asked)

    return behave


def void(_value: object) -> None:
    """Make an expression a statement."""


def issue(ca: Authority, presented: x509.Certificate, cn: str = "") -> x509.Certificate:
    """Sign the key of a presented certificate, as Icinga does."""
    name = cn or common_names(presented)[0]
    node_key: Any = _PublicOnly(presented.public_key())
    return build(
        subject=common_name(name),
        key=node_key,
        issuer=ca.name,
        signer=ca.key,
        extensions=[dns(name)],
    )


@dataclass
class _PublicOnly:
    """What `build` wants of a key: its public half."""

    public: Any

    def public_key(self) -> Any:
        return self.public


@dataclass
class FakeParent:
    """A parent; answer number n is by behaviour number n, the last one goes on.

    Attributes:
        ca: the CA it hands out.
        node: its key and certificate.
        port: where it listens, on 127.0.0.1.
        asked: every request so far.
        heard: every message so far.
    """

    ca: Authority
    node: Node
    behaviours: Sequence[Behaviour]
    says_hello: bool = False
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    heard: list[Message] = field(default_factory=list)
    connections: int = 0
    closed_in_order: int = 0

    @property
    def certificate(self) -> x509.Certificate:
        return self.node.certificate

    @property
    def pin(self) -> bytes:
        return pem(self.node.certificate)

    @property
    def address(self) -> str:
        return f"127.0.0.1,{self.port}"

    # In its thread.

    def accepted(self, stream: TLSStream, _admission: Admission) -> None:
        self.connections += 1
        stream.on_closed(self._closed)
        stream.start(_Ears(self, stream))

    def _closed(self, report: Any) -> None:
        self.closed_in_order += report.clean

    def take(self, stream: TLSStream, message: Message) -> None:
        self.heard.append(message)
        if not isinstance(message, Request) or message.method != REQUEST_CERTIFICATE:
            return
        certificate = stream.peer.certificate
        assert certificate is not None
        asked = Asked(self, stream, message, load_der(certificate))
        self.asked.append(asked)
        index = min(len(self.asked), len(self.behaviours)) - 1
        self.behaviours[index](asked)


class _Ears:
    def __init__(self, parent: FakeParent, stream: TLSStream) -> None:
        self._parent = parent
        self._stream = stream
        self._reader = netstring.NetstringReader(1_000_000)
        if parent.says_hello:
            params = {"version": 21405, "capabilities": 0, "icefloe": {"version": "1"}}
            stream.write(netstring.encode(encode_notification(HELLO, params)))

    def data_received(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            assert isinstance(frame, netstring.Payload)
            self._parent.take(self._stream, decode(frame.data))

    def peer_finished(self) -> None:
        pass

    def connection_lost(self, error: ConnectionLost | None) -> None:
        pass


@contextmanager
def fake_parent(
    *behaviours: Behaviour,
    ca: Authority | None = None,
    name: str = "parent1",
    node: Node | None = None,
    sends_ca: bool = True,
    says_hello: bool = False,
) -> Iterator[FakeParent]:
    """Let a parent listen while the block runs.

    Args:
        behaviours: what it does with each request.
        ca: its CA.
        name: its common name.
        node: its key and certificate, if not from the CA.
        sends_ca: whether its CA goes along in TLS, as real nodes do.
        says_hello: whether it introduces itself as an Icefloe node.
    """
    ca = ca or Authority()
    node = node or ca.issue(name)
    parent = FakeParent(ca, node, behaviours or (signs,), says_hello)
    ready, over = threading.Event(), threading.Event()
    failures: list[BaseException] = []
    context = server_context(node.identity(ca if sends_ca else None))

    async def serve() -> None:
        listener = Listener(
            host="127.0.0.1", port=0, context=context, on_stream=parent.accepted
        )
        listener.bind()
        parent.port = listener.address[1]
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(listener.serve())
            ready.set()
            await asyncio.to_thread(over.wait)
            listener.stop()
            await serving

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - shown in the test's thread
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="fake-parent")
    thread.start()
    try:
        assert ready.wait(READY_SECONDS)
        yield parent
    finally:
        over.set()
        thread.join(READY_SECONDS)
        assert not thread.is_alive()
    if failures:
        raise failures[0]
