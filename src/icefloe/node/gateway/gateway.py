"""A gateway, composed: a relay without a seat in the cluster.

It takes certificate requests like a satellite and forwards them over anonymous
connections.  It has no Endpoint and no Zone, so nothing in the cluster needs to know it,
and it can take nobody's place: to itself and to everybody else it is a stranger that
knows whom to ask.  What it does for a request is the enrollment core's relay, as in any
Icefloe satellite; only the way up is its own (`gateway_upstream`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from OpenSSL import SSL

from icefloe.cluster.settings import SessionSettings
from icefloe.cluster.states import Role
from icefloe.doors import Clock, Entropy
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.commands import Level
from icefloe.enrollment.core import EnrollmentCore
from icefloe.enrollment.ledger import LedgerWriter
from icefloe.enrollment.settings import EnrollmentLimits, EnrollmentSettings
from icefloe.errors import IcefloeError
from icefloe.node.gateway.home import GatewayHome
from icefloe.node.gateway.options import GatewayOptions, UpstreamPlace
from icefloe.node.gateway.own import OwnCertificate
from icefloe.node.gateway.trust import UpstreamTrust
from icefloe.node.gateway.upstream import Forwarder
from icefloe.node.hub import Hub, HubSettings
from icefloe.node.listener_log import log_listener_event
from icefloe.node.logs import Logger
from icefloe.node.material import HELLO_FACTS
from icefloe.node.runner import TurnRunner
from icefloe.node.tls.contexts import TLSIdentity, server_context
from icefloe.node.tls.listener import Admission, Listener
from icefloe.node.tls.transport import TLSStream
from icefloe.pki.certificates import fingerprint, is_self_issued, to_pem
from icefloe.storage.identity import NodeIdentity, install_ca, load_trust_anchor

__all__ = ["GATEWAY_LIMITS", "Gateway"]

GATEWAY_LIMITS: Final = EnrollmentLimits(
    # A repeated ask is a TLS handshake of its own, and a real satellite passes each on
    # to its master, which signs anew each time: asking a busy master more often makes
    # it busier (ran: at an ask a second for each client, 36 of 200 got no answer in
    # time).  So the pauses double, and repeated asks cost an upstream half a core at
    # most: 5 ms for the handshake there, 15 ms for ticket and signature.  Nobody waits
    # for the late ones: who asks again is asked for at once.
    poll_first=(0.25, 0.5, 1.0, 2.0, 4.0),
    poll_steady=8.0,
    poll_steady_for=60.0,
    poll_slow=60.0,
    polls_per_second=25.0,
)

OWN_SECONDS_MAX: Final = 6.0
"""How long the first client may have to wait for the gateway's own certificate: it is
shown from the start if it comes in time.  Through a satellite it takes a second."""

STOP_SECONDS_MAX: Final = GATEWAY_LIMITS.hold_ticketed + 1.0
"""When told to stop: how long clients are waited for that wait for an answer.  By then
each of them has had one, if only "pending"."""


class Gateway:
    """A running gateway."""

    def __init__(
        self,
        *,
        options: GatewayOptions,
        home: GatewayHome,
        identity: NodeIdentity,
        trust: UpstreamTrust,
        ledger: LedgerWriter,
        clock: Clock,
        entropy: Entropy,
        log: Logger,
    ) -> None:
        """Compose a gateway that does nothing yet.

        Args:
            options: What the operator says.
            home: Its directory.
            identity: Its key and certificate.
            trust: Its CA, and whom it takes for an upstream.
            ledger: Its ledger; used from the runner's thread from here on.
            clock: The real one.
            entropy: The real one.
            log: Where log events go.
        """
        self._home = home
        self._shown = identity
        self._trust = trust
        self._clock = clock
        self._entropy = entropy
        self._log = log
        self._serving = False
        self._strange_ca = ""
        self._stopping = asyncio.Event()
        self._in_haste = asyncio.Event()
        self._runner = TurnRunner(
            core=EnrollmentCore(settings=self._enrollment_settings(), ledger=ledger),
            ledger=ledger,
            clock=clock,
            entropy=entropy,
            carry_out=self._carry_out,
        )
        self._calls = _OpenCalls()
        self._hub = Hub(
            settings=HubSettings(
                tree=None,
                session=SessionSettings(node_name=home.name, hello_facts=HELLO_FACTS),
            ),
            clock=clock,
            log=log,
            submit=self._submit,
        )
        self._forwarders = [self._forwarder_to(place) for place in options.upstreams]
        self._own = self._own_certificate(options.ticket)
        self._listener = Listener(
            host=options.listen.host,
            port=options.listen.port,
            context=self._server_context(),
            on_stream=self._accepted,
            on_event=partial(log_listener_event, log),
        )

    # -- life --------------------------------------------------------------------------

    def bind(self) -> tuple[str, int]:
        """Take the listener's address; clients wait until `run`.

        Raises:
            BindFailed: Naming the address and the remedy.
        """
        self._listener.bind()
        return self._listener.address

    @property
    def shown(self) -> NodeIdentity:
        """What clients see and pin."""
        return self._shown

    async def run(self, ready: Callable[[], None]) -> None:
        """Run until `stop`, then let waiting clients have their answers.

        Args:
            ready: Called once clients are served.
        """
        async with asyncio.TaskGroup() as group:
            runner = group.create_task(self._runner.run(), name="runner")
            forwarders = [
                group.create_task(each.run(), name=f"upstream {each.place.label}")
                for each in self._forwarders
            ]
            own = group.create_task(self._own.run(), name="own certificate")
            await _first_of(self._own.settled, self._stopping, seconds=OWN_SECONDS_MAX)
            self._serving = True
            if not self._stopping.is_set():
                listener = group.create_task(self._listener.serve(), name="listener")
                ready()
                await self._stopping.wait()
                self._listener.stop()
                await listener
            own.cancel()
            await self._end_calls()
            await self._hub.drain_all("gateway stops")
            for forwarder in forwarders:
                forwarder.cancel()
            await asyncio.wait([own, *forwarders])
            await self._runner.wait_idle()
            runner.cancel()
        self._runner.close()

    def stop(self) -> None:
        """Begin the end; the second time, without waiting for anybody's answer."""
        if self._stopping.is_set():
            self._in_haste.set()
        self._stopping.set()

    def show_stored(self) -> None:
        """Show clients the certificate that is stored; those in between must pin anew.

        What cannot be read leaves everything as it was.
        """
        try:
            self._shown = self._home.identity(
                at=self._clock.now().wall, entropy=self._entropy
            )
            self._listener.replace_context(self._server_context())
        except IcefloeError as error:
            self._log.log(
                Level.ERROR, "stored certificate not shown", detail=str(error)
            )
            return
        self._log.log(
            Level.INFO,
            "certificate shown to clients",
            name=self._home.name,
            sha256=fingerprint(self._shown.certificate),
            signed=not is_self_issued(self._shown.certificate),
        )

    async def _end_calls(self) -> None:
        """Wait for the answers to those who wait."""
        waiting = self._calls.count
        if waiting:
            self._log.log(
                Level.INFO,
                "stopping when waiting clients have their answers",
                clients=waiting,
                seconds_max=STOP_SECONDS_MAX,
            )
        await _first_of(self._calls.none, self._in_haste, seconds=STOP_SECONDS_MAX)

    # -- parts -------------------------------------------------------------------------

    def _forwarder_to(self, place: UpstreamPlace) -> Forwarder:
        return Forwarder(
            place,
            trust=self._trust,
            hub=self._hub,
            submit=self._submit,
            clock=self._clock,
            entropy=self._entropy,
            log=self._log,
            on_ca=self._take_ca,
        )

    def _own_certificate(self, ticket: str) -> OwnCertificate:
        return OwnCertificate(
            home=self._home,
            trust=self._trust,
            ticket=ticket,
            hub=self._hub,
            submit=self._submit,
            clock=self._clock,
            entropy=self._entropy,
            log=self._log,
            on_stored=self._own_stored,
        )

    # -- between core and links ------------------------------------------------------------

    def _submit(self, event: ev.Event) -> bool:
        taken = self._runner.submit(event)
        if taken:
            self._calls.note_event(event)
        return taken

    def _carry_out(self, command: cmd.Command) -> None:
        match command:
            case cmd.Log():
                self._log.log(command.level, command.event, **command.fields)
            case cmd.Sign() | cmd.CheckTicket() | cmd.InstallIdentity():
                raise AssertionError("a gateway has no CA and no seat")
            case _:
                self._hub.carry_out(command)
                self._calls.note_command(command)

    def _accepted(self, stream: TLSStream, admission: Admission) -> None:
        self._hub.take_stream(stream, role=Role.LISTENER, admission=admission)

    # -- certificates ----------------------------------------------------------------------

    def _own_stored(self) -> None:
        if self._serving:
            self._log.log(
                Level.INFO,
                "clients go on seeing the old certificate, which they have pinned",
                next="the new one is shown from the next start, or SIGHUP, on",
            )
        else:
            self.show_stored()

    def _take_ca(self, ca_pem: str) -> None:
        """An upstream says which CA is in force; take a renewed one."""
        if ca_pem in {self._trust.anchor.pem, self._strange_ca}:
            return
        self._strange_ca = ca_pem  # looked at once, whatever it is
        try:
            at = self._clock.now().wall
            if not install_ca(self._home.files, ca_pem=ca_pem, owner=None, at=at):
                return
            anchor = load_trust_anchor(self._home.files)
            assert anchor is not None, "it was just stored"
            self._trust.anchor = anchor
            self._listener.replace_context(self._server_context())
            self._runner.reconfigure(self._enrollment_settings())
        except IcefloeError as error:
            self._log.log(
                Level.WARNING, "another CA from upstream not taken", detail=str(error)
            )
            return
        self._log.log(Level.INFO, "renewed CA taken", sha256=fingerprint(anchor.ca))

    def _enrollment_settings(self) -> EnrollmentSettings:
        return EnrollmentSettings(
            node_name=self._home.name,
            tree=None,
            anchor=self._trust.anchor,
            limits=GATEWAY_LIMITS,
        )

    def _server_context(self) -> SSL.Context:
        anchor = self._trust.anchor
        return server_context(
            TLSIdentity(
                certificate_pem=self._shown.certificate_pem,
                key_pem=self._shown.key_pem,
                ca_pem="".join(map(to_pem, anchor.all_cas)).encode("ascii"),
            )
        )


class _OpenCalls:
    """Who waits for the answer to a call.

    Attributes:
        none: Set while nobody does.
    """

    def __init__(self) -> None:
        self._by_link: Counter[ev.LinkId] = Counter()
        self.none = asyncio.Event()
        self.none.set()

    @property
    def count(self) -> int:
        """How many answers are owed."""
        return self._by_link.total()

    def note_event(self, event: ev.Event) -> None:
        """See a call begin, or its link end."""
        if isinstance(event, ev.CertificateAsked) and event.call is not None:
            self._by_link[event.link] += 1
            self.none.clear()
        elif isinstance(event, ev.LinkDown) and self._by_link.pop(event.link, 0):
            self._look()

    def note_command(self, command: cmd.Command) -> None:
        """See a call answered."""
        if isinstance(command, cmd.Answer) and command.link in self._by_link:
            self._by_link[command.link] -= 1
            if self._by_link[command.link] <= 0:
                del self._by_link[command.link]
            self._look()

    def _look(self) -> None:
        if not self._by_link:
            self.none.set()


async def _first_of(*events: asyncio.Event, seconds: float) -> None:
    """Wait until one of these is set, or the time is over."""
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(event.wait()) for event in events]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
