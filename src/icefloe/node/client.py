"""The requester's side of a connection: asking a parent for a certificate.

`ask` is one connection and one answer, whatever happens on it: every failure is an
`AskResult`, none is a hang.  `enroll` does what the sans-IO `Requester` says, with a
real clock.  `fetch_certificate` takes what a peer shows and nothing else.

On the wire this is an ordinary anonymous session: we say Hello, so that an Icefloe
parent knows whom it has before it, ask once with an id, and pass over everything that
is not the answer to it.  A parent's close is always answered; when we close, we wait a
bounded time for the parent's answer.

protocol: what Icinga's `pki request` does is the same without Hello and without end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from cryptography import x509
from OpenSSL import SSL

from icefloe import __version__
from icefloe.cluster.effects import HelloReceived
from icefloe.cluster.peer import identify
from icefloe.cluster.session import Session
from icefloe.cluster.settings import SessionSettings
from icefloe.cluster.states import Role
from icefloe.doors import Clock, Entropy
from icefloe.enrollment.events import LinkId
from icefloe.enrollment.problems import Code
from icefloe.enrollment.requester import (
    AskParent,
    AskResult,
    Came,
    Ended,
    Parent,
    Pause,
    Requester,
)
from icefloe.errors import IcefloeError
from icefloe.node.acceptance import (
    Applicant,
    Distrust,
    ca_in_chain,
    result_of,
    tidy,
    trust_problem,
)
from icefloe.node.errors import (
    ConnectFailed,
    HandshakeFailed,
    PeerNotPinned,
    TransportError,
)
from icefloe.node.link import Link
from icefloe.node.tls.connecting import connect
from icefloe.node.tls.contexts import TLSIdentity, client_context
from icefloe.node.tls.stream_interface import CloseReport, TransportLimits
from icefloe.node.tls.transport import TLSStream
from icefloe.pki.certificates import common_name, load_der
from icefloe.pki.errors import PKIError
from icefloe.wire.catalogue import (
    REQUEST_CERTIFICATE,
    CertificateResult,
    RequestCertificate,
)
from icefloe.wire.errors import MessageError
from icefloe.wire.jsonrpc import Message, Response

__all__ = [
    "Asking",
    "Conversation",
    "FetchFailed",
    "FetchedCertificates",
    "Heard",
    "Progress",
    "Waiting",
    "Watch",
    "ask",
    "code_of_failure",
    "enroll",
    "fetch_certificate",
]

CLOSE_SECONDS_MAX: Final = 2.0
"""How long an orderly close may take once we know all there is to know."""

CONNECT_SECONDS_MAX: Final = 15.0
HANDSHAKE_SECONDS_MAX: Final = 10.0
"""protocol: Icinga's limits."""

FETCH_SECONDS_MAX: Final = 20.0

_ID_BYTES: Final = 16


# --- Asking ---------------------------------------------------------------------------


@dataclass(slots=True)
class Watch:
    """Sees how far one ask came, and when; for those who measure a path.

    Times are the event loop's, in seconds; None: it did not come to that.

    Attributes:
        connected: The TCP connection stood.
        secured: The TLS handshake was done.
        asked: The request was handed to the kernel.
        heard: The answer came.
        version: What the parent's Hello said: 10000 * major + 100 * minor + patch; 0
            when it said nothing.
        gave_up: Nothing came, and we ended it.
    """

    connected: float | None = None
    secured: float | None = None
    asked: float | None = None
    heard: float | None = None
    version: int = 0
    gave_up: bool = False


async def ask(
    parent: Parent,
    *,
    applicant: Applicant,
    timeout_s: float,
    clock: Clock,
    entropy: Entropy,
    watch: Watch | None = None,
) -> AskResult:
    """Ask a parent once for the applicant's certificate.

    Args:
        parent: Where.
        applicant: Who asks, with what, and whom it believes.
        timeout_s: Seconds for connection and answer together.
        clock: Tells by what time to verify.
        entropy: For the request's id.
        watch: Is told how far it came.

    Returns:
        What came of it.  `certificate` and `ca` have been verified.  CUT_OFF bears the
        parent's CA, too, when the TLS handshake showed it.

    Raises:
        TLSConfigurationInvalid: The applicant's own key or certificate is unusable.
    """
    context = _context_of(applicant)
    watch = watch or Watch()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    limits = TransportLimits(
        connect_seconds_max=min(CONNECT_SECONDS_MAX, timeout_s),
        handshake_seconds_max=min(HANDSHAKE_SECONDS_MAX, timeout_s),
    )
    try:
        stream = await connect(parent.host, parent.port, context=context, limits=limits)
    except (ConnectFailed, HandshakeFailed) as error:
        return AskResult(Came.UNREACHABLE, str(error), code=code_of_failure(error))
    watch.connected, watch.secured = stream.opened, loop.time()
    try:
        leaf = _leaf_of(stream)
        common_name(leaf)  # a node has one, and `Conversation` needs it
        distrust = trust_problem(applicant, leaf, clock.now().wall)
    except PKIError as error:
        distrust, leaf = Distrust(str(error)), None
    if distrust is not None:
        # Nothing was sent: whoever this is has not seen the ticket.
        await _close(stream)
        text = f"{parent} is not to be trusted: {distrust.text}"
        return AskResult(Came.UNTRUSTED, text, code=distrust.code)
    assert leaf is not None, "without a certificate there is no trust"
    conversation = Conversation(
        stream,
        RequestCertificate(ticket=applicant.ticket),
        clock=clock,
        call=entropy.bytes(_ID_BYTES).hex(),
        watch=watch,
    )
    heard = await conversation.run(deadline - loop.time())
    at = clock.now().wall
    if isinstance(heard, CertificateResult):
        return result_of(
            heard, applicant=applicant, leaf=leaf, at=at, icefloe=conversation.icefloe
        )
    if heard.came is Came.CUT_OFF:
        chain = _readable(stream.peer.chain)
        ca = ca_in_chain(chain, applicant=applicant, leaf=leaf, at=at)
        return replace(heard, ca=ca)
    return heard


def code_of_failure(error: TransportError) -> str:
    """Return the code of `icefloe.enrollment.problems` for a connection not had."""
    if isinstance(error, PeerNotPinned):
        return Code.TRUST_MISMATCH
    if isinstance(error, HandshakeFailed):
        return Code.TLS_FAILED
    if isinstance(error, ConnectFailed) and not error.resolved:
        return Code.NAME_NOT_RESOLVED
    return Code.UNREACHABLE


def _context_of(applicant: Applicant) -> SSL.Context:
    identity = applicant.identity
    return client_context(
        TLSIdentity(
            certificate_pem=identity.certificate_pem,
            key_pem=identity.key_pem,
            ca_pem=identity.ca_pem,
        )
    )


def _leaf_of(stream: TLSStream) -> x509.Certificate:
    certificate = stream.peer.certificate
    assert certificate is not None, "a TLS server shows a certificate"
    return load_der(certificate)


def _readable(ders: Iterable[bytes]) -> Iterator[x509.Certificate]:
    for der in ders:
        with suppress(PKIError):
            yield load_der(der)


async def _close(stream: TLSStream) -> None:
    """Close in order, within bounds; an error here changes nothing."""
    stream.start_drain(CLOSE_SECONDS_MAX)
    try:
        await stream.wait_closed()
    except asyncio.CancelledError:
        stream.abort()
        raise


class Conversation:
    """One request on an established stream: the owner of its link.

    Attributes:
        icefloe: The parent introduced itself as an Icefloe node.
    """

    def __init__(
        self,
        stream: TLSStream,
        params: RequestCertificate,
        *,
        clock: Clock,
        call: str,
        watch: Watch | None = None,
    ) -> None:
        """Ask on a stream that was not started yet; it is owned from here on.

        Args:
            stream: To a parent that may be told what is in `params`.
            params: What to ask.
            clock: The real one.
            call: The id of the request.
            watch: Is told what happens.
        """
        self.icefloe = False
        self._watch = watch or Watch()
        self._call = call
        self._params = params
        self._heard: CertificateResult | AskResult | None = None
        self._faults: list[str] = []
        self._over = asyncio.Event()
        facts = stream.peer
        peer = identify(
            tree=None,
            certificate_der=facts.certificate,
            verified=False,
            address=f"{facts.address}:{facts.port}",
        )
        session = Session(
            role=Role.DIALLER,
            peer=peer,
            settings=SessionSettings(
                node_name="",
                hello_facts={"version": __version__},
                delivered_methods=frozenset(),
                drain_seconds=CLOSE_SECONDS_MAX,
            ),
            now=clock.now(),
        )
        session.hold()
        self._link = Link(
            link_id=LinkId(1),
            stream=stream,
            session=session,
            peer=peer,
            role=Role.DIALLER,
            owner=self,
            clock=clock,
            log=self,
        )

    async def run(self, timeout_s: float) -> CertificateResult | AskResult:
        """Ask, wait for the answer, close in order.

        Returns:
            The answer as it came, unverified; else what went wrong: CUT_OFF or
            INVALID.
        """
        link = self._link
        link.start()
        try:
            try:
                async with asyncio.timeout(max(0.0, timeout_s)):
                    await self._over.wait()
            except TimeoutError:
                self._watch.gave_up = self._heard is None
                self._heard = self._heard or AskResult(
                    Came.CUT_OFF, f"no answer in {timeout_s:.0f} s"
                )
            link.drain("answered")
            await link.wait_closed()
        except asyncio.CancelledError:
            link.abort()
            raise
        assert self._heard is not None, "the end of a link is heard"
        return self._heard

    # From the link.

    def link_opened(self, link: Link) -> None:
        """Ask: messages may be sent."""
        params = self._params.to_params()
        link.step(
            lambda _now: link.session.send_request(
                REQUEST_CERTIFICATE, params, call=self._call
            )
        )
        self._watch.asked = asyncio.get_running_loop().time()

    def link_hello(self, link: Link, hello: HelloReceived) -> None:
        """See what kind of parent this is."""
        del link
        self.icefloe = hello.icefloe is not None
        self._watch.version = hello.version

    def link_message(self, link: Link, message: Message) -> None:
        """Take the answer; everything else is passed over."""
        del link
        if not isinstance(message, Response) or self._heard is not None:
            return
        if message.error is not None:
            # protocol: Icinga's client takes an error with any id for its own.
            self._end(
                AskResult(
                    Came.INVALID,
                    f"the parent could not handle the request: {tidy(message.error)}",
                    icefloe=self.icefloe,
                    code=Code.INVALID_ANSWER,
                )
            )
        elif message.id == self._call:
            self._end(self._parsed(message.result))

    def link_ending(self, link: Link) -> None:
        """Nothing: the link's close says more."""

    def link_closed(self, link: Link, report: CloseReport) -> None:
        """See whether it ended before the answer."""
        del link
        if self._heard is None and self._faults:
            self._heard = AskResult(
                Came.INVALID,
                f"what the parent sent is no message: {self._faults[0]}",
                icefloe=self.icefloe,
                code=Code.INVALID_ANSWER,
            )
        elif self._heard is None:
            why = f" ({report.error})" if report.error is not None else ""
            self._heard = AskResult(
                Came.CUT_OFF,
                f"the parent closed the connection before it answered{why}",
                icefloe=self.icefloe,
            )
        self._over.set()

    # From the link, as its log.

    def log(self, level: int, event: str, **fields: Any) -> None:
        """Keep what is wrong with the bytes that came."""
        del level
        if event == "session.bad_bytes":
            self._faults.append(str(fields.get("detail", "")))

    # Inside.

    def _parsed(self, result: object) -> CertificateResult | AskResult:
        try:
            return CertificateResult.parse(result)
        except MessageError as error:
            return AskResult(
                Came.INVALID,
                f"the parent's answer cannot be used: {error}",
                icefloe=self.icefloe,
                code=Code.INVALID_ANSWER,
            )

    def _end(self, heard: CertificateResult | AskResult) -> None:
        self._watch.heard = asyncio.get_running_loop().time()
        self._heard = heard
        self._over.set()


# --- Asking until it is decided -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asking:
    """A parent is being asked, for the `number`th time in all."""

    parent: Parent
    number: int


@dataclass(frozen=True, slots=True)
class Heard:
    """That is what came."""

    parent: Parent
    result: AskResult


@dataclass(frozen=True, slots=True)
class Waiting:
    """The next ask is so many seconds away."""

    seconds: float


Progress = Callable[[Asking | Heard | Waiting], None]


async def enroll(
    requester: Requester,
    *,
    applicant: Applicant,
    clock: Clock,
    entropy: Entropy,
    progress: Progress = lambda _event: None,
) -> Ended:
    """Ask until there is an answer that ends it, or the requester's time is over.

    Args:
        requester: Decides whom to ask and when to stop.
        applicant: Who asks.
        clock: The clock the requester was made with.
        entropy: For ids and jitter.
        progress: Told what happens, as it happens.

    Returns:
        How it ended.

    Raises:
        TLSConfigurationInvalid: The applicant's own key or certificate is unusable.
    """
    while True:
        match requester.next_step(clock.now()):
            case Ended() as ended:
                return ended
            case Pause(until):
                seconds = max(0.0, until - clock.now().mono)
                progress(Waiting(seconds))
                await asyncio.sleep(seconds)
            case AskParent(parent, timeout):
                progress(Asking(parent, requester.asks))
                result = await ask(
                    parent,
                    applicant=applicant,
                    timeout_s=timeout,
                    clock=clock,
                    entropy=entropy,
                )
                requester.report(result, clock.now(), entropy)
                progress(Heard(parent, result))


# --- Fetching a certificate -----------------------------------------------------------


class FetchFailed(IcefloeError):
    """A peer's certificate could not be fetched; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedCertificates:
    """What a peer showed; **nothing of it has been verified**.

    Attributes:
        leaf: The peer's own certificate.
        chain: Certificates it sent along, such as its CA's.
    """

    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...] = field(default=())


async def fetch_certificate(host: str, port: int | str) -> FetchedCertificates:
    """Connect to a peer, take the certificate it shows, and close in order.

    Args:
        host: Name or address.
        port: TCP port.

    Raises:
        FetchFailed: Nobody answers there, or it is not TLS, or the certificate cannot
            be read.
    """
    context = client_context(None)
    try:
        async with asyncio.timeout(FETCH_SECONDS_MAX):
            stream = await connect(host, port, context=context)
            await _close(stream)
        leaf = _leaf_of(stream)
        chain = tuple(map(load_der, stream.peer.chain))
    except TimeoutError as error:
        text = f"{host} port {port} did not answer in {FETCH_SECONDS_MAX:g} s"
        raise FetchFailed(text) from error
    except (ConnectFailed, HandshakeFailed) as error:
        raise FetchFailed(str(error)) from error
    except PKIError as error:
        text = f"the certificate of {host} port {port} cannot be read: {error}"
        raise FetchFailed(text) from error
    return FetchedCertificates(leaf=leaf, chain=chain)
