"""Upstreams that do as a test says, and gateways in front of them, in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from tests.node.cluster import Authority, Logs, free_port, until

from icefloe.doors import WallTime
from icefloe.lab.asking import ParentAddress, ask
from icefloe.lab.conversation import Conversation
from icefloe.lab.crowd import Agent, Wish, make_agents
from icefloe.lab.outcomes import Attempt
from icefloe.node.doors import RealClock, RealEntropy
from icefloe.node.gateway.gateway import Gateway
from icefloe.node.gateway.home import GatewayHome
from icefloe.node.gateway.options import (
    GatewayOptions,
    ListenPlace,
    TrustOptions,
    UpstreamPlace,
)
from icefloe.node.gateway.trust import UpstreamTrust, establish_trust
from icefloe.node.tls.contexts import TLSIdentity, server_context
from icefloe.node.tls.listener import Admission, Listener
from icefloe.node.tls.transport import TLSStream
from icefloe.pki.certificates import common_name, fingerprint, load_pem, to_pem
from icefloe.pki.keys import require_supported
from icefloe.storage.keys import encode_private_key
from icefloe.storage.ledger import SQLiteLedger
from icefloe.wire.catalogue import HELLO, REQUEST_CERTIFICATE, Hello, RequestCertificate
from icefloe.wire.jsonrpc import (
    Message,
    Request,
    encode_error,
    encode_notification,
    encode_response,
)
from icefloe.wire.netstring import encode

HOST = "127.0.0.1"
CLOCK, ENTROPY = RealClock(), RealEntropy()
NAME = "gateway.example"
CLIENT_SECONDS_MAX = 25.0


# --- What an upstream does with one ask -----------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """Answer with a result object; close behind it, or leave that to the other side."""

    value: dict[str, Any]
    close: bool = False


@dataclass(frozen=True, slots=True)
class Fails:
    """Answer with a JSON-RPC error."""

    text: str = "handler failed"


@dataclass(frozen=True, slots=True)
class Raw:
    """Send these bytes."""

    data: bytes


CUT = "cut"
"""Close without an answer, as 2.14.4 does."""

SILENCE = "silence"

Act = Result | Fails | Raw | str
Script = Callable[["Upstream", RequestCertificate], Act]


def signs(upstream: Upstream, asked: RequestCertificate) -> Act:
    """Sign at once, and anew each time, as a real master does with a valid ticket."""
    certificate = upstream.sign(asked.cert_request)
    return Result(
        {
            "status_code": 0,
            "cert": to_pem(certificate),
            "ca": upstream.ca.pem,
            "fingerprint_request": _fingerprint(asked),
        }
    )


def says_pending(
    upstream: Upstream, asked: RequestCertificate, *, close: bool = True
) -> Act:
    """Answer as a satellite does, and close, as up to 2.14.3."""
    return Result(
        {
            "status_code": 2,
            "error": "The certificate request is pending.",
            "ca": upstream.ca.pem,
            "fingerprint_request": _fingerprint(asked),
        },
        close=close,
    )


def refuses(upstream: Upstream, asked: RequestCertificate) -> Act:
    """Refuse the ticket in a real master's words."""
    name = common_name(load_pem(asked.cert_request))
    return Result(
        {
            "status_code": 1,
            "error": f"Invalid ticket for CN '{name}'.",
            "ca": upstream.ca.pem,
            "fingerprint_request": _fingerprint(asked),
        }
    )


def one_after_another(*acts: Script | Act) -> Script:
    """Do the first to the first ask, and so on; the last one to all that follow."""
    left = list(acts)

    def act(upstream: Upstream, asked: RequestCertificate) -> Act:
        now = left.pop(0) if len(left) > 1 else left[0]
        return now(upstream, asked) if callable(now) else now

    return act


def _fingerprint(asked: RequestCertificate) -> str:
    return fingerprint(load_pem(asked.cert_request))


# --- The upstream ---------------------------------------------------------------------


@dataclass
class Upstream:
    """A parent with a real listener and a script.

    Attributes:
        script: What it does with clients' requests.
        own: What it does with the gateway's own.
        asks: What was asked, in order.
        presented: Certificates that clients showed in TLS.
        connections_now: How many are open.
        connections_max: The most at one time.
    """

    ca: Authority
    script: Script
    own: Script = signs
    name: str = "satellite1"
    issued_by: Authority | None = None
    port: int = field(default_factory=free_port)
    asks: list[RequestCertificate] = field(default_factory=list)
    presented: list[bytes | None] = field(default_factory=list)
    connections_now: int = 0
    connections_max: int = 0
    signed: int = 0
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = (self.issued_by or self.ca).issue(self.name, self._key)
        self._streams: set[TLSStream] = set()

    @property
    def place(self) -> UpstreamPlace:
        """As `--upstream` says it, without a name."""
        return UpstreamPlace(host=HOST, port=self.port)

    def sign(self, pem: str) -> x509.Certificate:
        """Issue a certificate for the key and name in another."""
        self.signed += 1
        wanted = load_pem(pem)
        key = require_supported(wanted.public_key())
        public: Any = _PublicOnly(key)
        return self.ca.issue(common_name(wanted), public)

    def names(self) -> list[str]:
        """Names that were asked for, in order."""
        return [common_name(load_pem(each.cert_request)) for each in self.asks]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Upstream]:
        """Listen, as a node with the identity of this moment."""
        issuer = self.issued_by or self.ca
        listener = Listener(
            host=HOST,
            port=self.port,
            context=server_context(
                TLSIdentity(
                    certificate_pem=to_pem(self.certificate).encode(),
                    key_pem=encode_private_key(self._key),
                    ca_pem=issuer.pem.encode(),
                )
            ),
            on_stream=self._accepted,
        )
        listener.bind()
        async with asyncio.TaskGroup() as group:
            group.create_task(listener.serve())
            try:
                yield self
            finally:
                listener.stop()
                for stream in list(self._streams):
                    stream.abort()

    def _accepted(self, stream: TLSStream, admission: Admission) -> None:
        del admission
        self._streams.add(stream)
        self.presented.append(stream.peer.certificate)
        self.connections_now += 1
        self.connections_max = max(self.connections_max, self.connections_now)

        def closed(_report: object) -> None:
            self.connections_now -= 1
            self._streams.discard(stream)

        stream.on_closed(closed)
        hello = encode_notification(HELLO, Hello(version=21306).to_params())
        stream.write(encode(hello))
        stream.start(
            Conversation(
                on_message=lambda message: self._heard(stream, message),
                on_garbage=lambda _error: stream.abort(),
                on_finished=lambda: None,
                on_lost=lambda _error: None,
            )
        )

    def _heard(self, stream: TLSStream, message: Message) -> None:
        if not isinstance(message, Request) or message.method != REQUEST_CERTIFICATE:
            return
        asked = RequestCertificate.parse(message.params)
        self.asks.append(asked)
        is_own = common_name(load_pem(asked.cert_request)) == NAME
        match (self.own if is_own else self.script)(self, asked):
            case Result(value, close):
                stream.write(encode(encode_response(message.id, value)))
                if close:
                    stream.start_drain(5)
            case Fails(text):
                stream.write(encode(encode_error(message.id, text)))
            case Raw(data):
                stream.write(data)
            case "cut":
                stream.start_drain(5)


@dataclass
class _PublicOnly:
    """What `Authority.issue` takes for a key."""

    key: Any

    def public_key(self) -> Any:
        return self.key


# --- The gateway ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KnownCA:
    """A CA of which the gateway has the certificate."""

    pem: str


class Told(list[str]):
    """What an operator was told."""

    def information(self, text: str, *, facility: str = "cli") -> None:
        del facility
        self.append(text)

    def warning(self, text: str, *, facility: str = "cli") -> None:
        del facility
        self.append(text)


@dataclass
class RunningGateway:
    """A gateway in the test's loop."""

    gateway: Gateway
    home: GatewayHome
    logs: Logs
    port: int
    task: asyncio.Task[None]

    @property
    def parent(self) -> ParentAddress:
        """Where its clients ask."""
        return ParentAddress(host=HOST, port=self.port)

    async def reached(self, count: int = 1) -> None:
        """Wait until so many upstreams were reached."""
        await until(lambda: self.seen("upstream reached") >= count, "upstream reached")

    def seen(self, event: str) -> int:
        """How often an event was logged."""
        return sum(1 for entry in self.logs.events if entry[1] == event)

    def fields(self, event: str) -> dict[str, Any]:
        """The fields of the last such event."""
        return [entry[2] for entry in self.logs.events if entry[1] == event][-1]

    async def ask(self, agent: Agent) -> Attempt:
        """Ask once, as an unmodified client does."""
        return await ask(
            agent, self.parent, entropy=ENTROPY, seconds_max=CLIENT_SECONDS_MAX
        )


@contextlib.asynccontextmanager
async def gateway_to(
    root: Path,
    *upstreams: Upstream | UpstreamPlace,
    ca: Authority | KnownCA,
    ticket: str = "",
    is_reached: bool = True,
) -> AsyncIterator[RunningGateway]:
    """Run a gateway that believes a CA; a second time, on what the first one left."""
    ca_file = root / "ca-of-the-cluster.crt"
    ca_file.write_text(ca.pem)
    options = GatewayOptions(
        upstreams=tuple(
            each.place if isinstance(each, Upstream) else each for each in upstreams
        ),
        listen=ListenPlace(host=HOST, port=0),
        data_dir=root / "gateway",
        name=NAME,
        ticket=ticket,
        trust=TrustOptions(ca_file=ca_file),
    )
    options.check()
    home = GatewayHome.open(options.data_dir, name=NAME, machine_name="")
    now = CLOCK.now().wall
    identity = home.identity(at=now, entropy=ENTROPY)
    anchor = await establish_trust(
        home, options.trust, options.upstreams, at=now, narrator=Told()
    )
    logs = Logs("gateway")
    with SQLiteLedger.open(home.directories.ledger) as ledger:
        gateway = Gateway(
            options=options,
            home=home,
            identity=identity,
            trust=UpstreamTrust(anchor=anchor, home=home, own_key_id=identity.key_id),
            ledger=ledger,
            clock=CLOCK,
            entropy=ENTROPY,
            log=logs,
        )
        _, port = gateway.bind()
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(gateway.run(ready.set))
            running = RunningGateway(gateway, home, logs, port, task)
            async with asyncio.timeout(30):
                await ready.wait()
            if is_reached:
                await running.reached()
            try:
                yield running
            finally:
                gateway.stop()
                gateway.stop()


async def clients(
    count: int, *, ticket: str = "ticket", prefix: str = "agent"
) -> list[Agent]:
    """Make clients."""
    wishes = [Wish(name=f"{prefix}{n}", ticket=ticket) for n in range(1, count + 1)]
    return await make_agents(wishes, entropy=ENTROPY, now=WallTime(time.time()))
