"""Carries the core's asks to one upstream, over anonymous connections.

To the core an upstream is a parent with one link; the link stands while the upstream can
be reached.  In truth there is a connection for each ask, at most
`ForwarderLimits.connections_max` at a time, on which the gateway shows no certificate
at all: the request is in `cert_request`.  (An Icinga parent from 2.15.0 on closes on a
certificate of its CA that belongs to no Endpoint, and closes nothing on nobody.)

What becomes of an ask is told by what comes first:

* an answer: `ParentAnswered`;
* a connection that ends without one (Icinga 2.14.4 cuts "pending" off), silence, or
  words that are none: `ParentFailed`, upon which the core asks again, soon;
* no connection, or somebody else at its other end: `ParentFailed`, and doubt.  In doubt
  the upstream is tried once by itself; when that fails too, the link goes down, and the
  core tells its clients so, until the upstream is there again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from icefloe.cluster.pacing import backoff
from icefloe.cluster.peer import Peer, Standing
from icefloe.doors import Clock, Entropy
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.circle import Circle
from icefloe.enrollment.commands import Level
from icefloe.errors import IcefloeError
from icefloe.node.client import CLOSE_SECONDS_MAX, Conversation
from icefloe.node.gateway.options import UpstreamPlace
from icefloe.node.gateway.trust import UpstreamTrust
from icefloe.node.hub import Hub, LinkCommand
from icefloe.node.logs import Logger
from icefloe.node.tls.connecting import connect
from icefloe.node.tls.contexts import client_context
from icefloe.node.tls.stream_interface import TransportLimits
from icefloe.node.tls.transport import TLSStream
from icefloe.pki.certificates import load_der
from icefloe.pki.errors import PKIError
from icefloe.wire.catalogue import CertificateResult

__all__ = ["Forwarder", "ForwarderLimits"]

REPORT_EVERY_FAILURES: Final = 20
"""An upstream that stays away is said again this often, not at every try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwarderLimits:
    """Bounds towards one upstream.

    Attributes:
        connections_max: Connections at a time.  A real Icinga needs 5 ms of CPU for a
            handshake; an Icefloe satellite may keep an ask for 15 s.
        queue_max: Asks that wait for one of them.
        queue_seconds_max: How long an ask waits: the core repeats it after 15 s.
        connect_seconds_max: Name resolution, TCP and TLS.  Clients wait for 15 s, and
            there may be another upstream.
        answer_seconds_max: From the ask to its answer.  Icinga ends an anonymous
            connection after 10 s; an Icefloe satellite answers within 15 s.
    """

    connections_max: int = 32
    queue_max: int = 20_000
    queue_seconds_max: float = 15.0
    connect_seconds_max: float = 8.0
    answer_seconds_max: float = 20.0


class _Untrusted(IcefloeError):
    """Somebody else is in the upstream's place."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An ask in the queue, and when nobody needs it any more (loop time)."""

    ask: cmd.Ask
    until: float


class Forwarder:
    """The way to one upstream.

    Attributes:
        place: Where it is.
    """

    def __init__(
        self,
        place: UpstreamPlace,
        *,
        trust: UpstreamTrust,
        hub: Hub,
        submit: Callable[[ev.Event], bool],
        clock: Clock,
        entropy: Entropy,
        log: Logger,
        on_ca: Callable[[str], None],
        limits: ForwarderLimits | None = None,
    ) -> None:
        """Forward nothing until `run`.

        Args:
            place: Where.
            trust: Decides who may be there.
            hub: Gives the link its name, and brings commands for it.
            submit: Takes the core's events.
            clock: The real one.
            entropy: For jitter.
            log: Where log events go.
            on_ca: Told which CA certificate (PEM) an answer calls the one in force.
            limits: Bounds.
        """
        self.place = place
        self._trust = trust
        self._hub = hub
        self._submit = submit
        self._clock = clock
        self._entropy = entropy
        self._log = log
        self._on_ca = on_ca
        self._limits = limits or ForwarderLimits()
        self._context = client_context(None)
        self._queue: Circle[_Waiting] = Circle()
        self._connections = 0
        self._doubt = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._name = place.name

    async def run(self) -> None:
        """Keep the link up while the upstream is there; until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            while True:
                await self._reach()
                link = self._begin()
                try:
                    await self._until_lost()
                finally:
                    self._end(link)

    # -- whether it is there -----------------------------------------------------------

    async def _reach(self) -> None:
        """Try until the upstream answers and is the right one."""
        failures = 0
        while (problem := await self._probe()) is not None:
            loud = failures % REPORT_EVERY_FAILURES == 0
            level = Level.WARNING if loud else Level.DEBUG
            if isinstance(problem, _Untrusted) and loud:
                level = Level.ERROR
            self._log.log(
                level,
                "upstream not reached",
                upstream=self.place.label,
                failures=failures + 1,
                detail=str(problem),
            )
            await asyncio.sleep(backoff(failures, self._entropy))
            failures += 1

    async def _probe(self) -> IcefloeError | None:
        """Connect, look who is there, close; say what is wrong."""
        try:
            stream, leaf = await self._connect()
            await stream.drain_close(CLOSE_SECONDS_MAX)
            self._meet(leaf)
        except IcefloeError as error:
            return error
        return None

    def _meet(self, leaf: x509.Certificate) -> None:
        at_first_contact = self._trust.meet(self.place, leaf)
        self._name = self.place.name or self._trust.home.met[self.place.label]
        if at_first_contact:
            self._log.log(
                Level.WARNING,
                "upstream's name taken from its certificate, remembered from now on",
                upstream=self.place.label,
                name=self._name,
                next=f"to have it checked from the start: --upstream {self.place.host},"
                f"{self.place.port},{self._name}",
            )

    def _begin(self) -> ev.LinkId:
        self._doubt.clear()
        link = self._hub.add_carrier(self._carry_out)
        peer = Peer(
            standing=Standing.ANONYMOUS,
            common_name=self._name,
            address=self.place.label,
        )
        self._submit(ev.LinkUp(link, peer, upstream=True))
        self._log.log(
            Level.INFO, "upstream reached", upstream=self.place.label, name=self._name
        )
        return link

    async def _until_lost(self) -> None:
        while True:
            await self._doubt.wait()
            self._doubt.clear()
            problem = await self._probe()
            if problem is None:
                continue
            self._log.log(
                Level.WARNING,
                "upstream lost",
                upstream=self.place.label,
                detail=str(problem),
            )
            return

    def _end(self, link: ev.LinkId) -> None:
        self._hub.remove_carrier(link)
        # The core is told at once of all that was asked here.
        self._queue.clear()
        self._submit(ev.LinkDown(link))

    # -- asking ------------------------------------------------------------------------

    def _carry_out(self, command: LinkCommand) -> None:
        if not isinstance(command, cmd.Ask):
            return  # nothing else concerns an upstream
        group = self._group
        assert group is not None, "asked of a link that is up"
        if len(self._queue) >= self._limits.queue_max:
            self._fail(command, "too many asks wait for this upstream")
            return
        until = asyncio.get_running_loop().time() + self._limits.queue_seconds_max
        self._queue.add(
            command.asker,
            _Waiting(command, until),
            first=bool(command.params.ticket),
        )
        if self._connections < self._limits.connections_max:
            self._connections += 1
            group.create_task(self._work(), name=f"forward to {self.place.label}")

    async def _work(self) -> None:
        """Ask what waits, one after another, each asker in its turn."""
        try:
            while len(self._queue):
                waiting = self._queue.take()
                if asyncio.get_running_loop().time() > waiting.until:
                    self._fail(waiting.ask, "no connection was free for this ask")
                else:
                    self._submit(await self._ask(waiting.ask))
        finally:
            self._connections -= 1

    async def _ask(self, ask: cmd.Ask) -> ev.Event:
        try:
            stream, _ = await self._connect()
        except IcefloeError as error:
            self._doubt.set()
            return ev.ParentFailed(ask.link, ask.call, str(error))
        conversation = Conversation(
            stream, ask.params, clock=self._clock, call=ask.call
        )
        heard = await conversation.run(self._limits.answer_seconds_max)
        if isinstance(heard, CertificateResult):
            if heard.ca:
                self._on_ca(heard.ca)
            return ev.ParentAnswered(ask.link, ask.call, heard)
        return ev.ParentFailed(ask.link, ask.call, heard.detail)

    def _fail(self, ask: cmd.Ask, detail: str) -> None:
        self._submit(ev.ParentFailed(ask.link, ask.call, detail))

    async def _connect(self) -> tuple[TLSStream, x509.Certificate]:
        """Connect to the upstream and make sure that it is the right one.

        Raises:
            TransportError: Nobody answers there, or not with TLS.
            _Untrusted: It is somebody else; nothing was said to it.
        """
        seconds = self._limits.connect_seconds_max
        stream = await connect(
            self.place.host,
            self.place.port,
            context=self._context,
            limits=TransportLimits(
                connect_seconds_max=seconds, handshake_seconds_max=seconds
            ),
        )
        shown = stream.peer.certificate
        assert shown is not None, "a TLS server shows a certificate"
        try:
            leaf = load_der(shown)
            at = self._clock.now().wall
            problem = self._trust.problem(self.place, leaf, at)
        except PKIError as error:
            problem, leaf = str(error), None
        if problem is not None or leaf is None:
            await stream.drain_close(CLOSE_SECONDS_MAX)
            raise _Untrusted(f"{self.place.label} is not to be trusted: {problem}")
        return stream, leaf
