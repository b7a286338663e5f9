"""A gateway, composed: a relay without a seat in the cluster.

It takes certificate requests like a satellite and forwards them over anonymous
connections.  It has no Endpoint and no Zone, so nothing in the cluster needs to know it,
and it can take nobody's place: to itself and to everybody else it is a stranger that
knows whom to ask.  What it does for a request is the enrollment core's relay, as in any
Icefloe satellite; only the way up is its own (`gateway_upstream`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from OpenSSL import SSL

from icefloe.cluster.settings import SessionSettings
from icefloe.cluster.states import Role
from icefloe.doors import Clock, Entropy
from icefloe.enrollment import commands as cmd
from icefloe.enrollment.commands import Level
from icefloe.enrollment.core import EnrollmentCore
from icefloe.enrollment.settings import EnrollmentLimits, EnrollmentSettings
from icefloe.errors import IcefloeError
from icefloe.node import descriptors, limits
from icefloe.node.gateway.home import GatewayHome
from icefloe.node.gateway.options import GatewayOptions, UpstreamPlace
from icefloe.node.gateway.own import OwnCertificate
from icefloe.node.gateway.trust import UpstreamTrust, stored_trust
from icefloe.node.gateway.upstream import Forwarder
from icefloe.node.hub import Hub, HubSettings
from icefloe.node.listener_log import log_listener_event
from icefloe.node.log_gate import LogGate
from icefloe.node.logs import Logger
from icefloe.node.material import HELLO_FACTS
from icefloe.node.reloading import Reloader
from icefloe.node.runner import TurnRunner
from icefloe.node.service_manager import READY, STOPPING, reloading, tell_of_life
from icefloe.node.stopping import Ending, stop_in_order
from icefloe.node.tls.contexts import TLSIdentity, server_context
from icefloe.node.tls.listener import Admission, Listener
from icefloe.node.tls.transport import TLSStream
from icefloe.pki.certificates import fingerprint, is_self_issued, to_pem
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.files import FileProblem
from icefloe.storage.identity import NodeIdentity, install_ca, load_trust_anchor
from icefloe.storage.ledger import SQLiteLedger

__all__ = ["GATEWAY_LIMITS", "Gateway"]

GATEWAY_LIMITS: Final = EnrollmentLimits(
    # A repeated ask is a TLS handshake of its own, and a real satellite passes each on
    # to its master, which signs anew each time: asking a busy master more often makes
    # it busier (ran: at an ask a second for each client, 36 of 200 got no answer in
    # time).  So the pauses double, and repeated asks cost an upstream half a core at
    # most: 5 ms for the handshake there, 15 ms for ticket and signature.  Who asks again
    # does not wait for the late ones: it is asked for in the next free turn.
    poll_first=(0.25, 0.5, 1.0, 2.0, 4.0),
    poll_steady=8.0,
    poll_steady_for=60.0,
    poll_slow=60.0,
    polls_per_second=25.0,
    polls_unwaited_per_second=5.0,
)

OWN_SECONDS_MAX: Final = 6.0
"""How long the first client may have to wait for the gateway's own certificate: it is
shown from the start if it comes in time.  Through a satellite it takes a second."""

CA_AGAIN_SECONDS: Final = 60.0
"""After so long a renewed CA that could not be stored is stored, if it is shown again."""

STOP_ANSWER_SECONDS: Final = GATEWAY_LIMITS.hold_ticketed + 1.0
"""When told to stop: how long clients are waited for that wait for an answer.  By then
each of them has had one, if only "pending".  Longer than a node's: a client's command
ends with what it is told, and monitoring does not wait for a gateway."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is stored, read anew, and what was made of it."""

    identity: NodeIdentity
    anchor: TrustAnchor
    server_context: SSL.Context


class Gateway:
    """A running gateway."""

    def __init__(
        self,
        *,
        options: GatewayOptions,
        home: GatewayHome,
        identity: NodeIdentity,
        trust: UpstreamTrust,
        ledger: SQLiteLedger,
        clock: Clock,
        entropy: Entropy,
        log: Logger,
        notify: Callable[[str], None] = lambda _words: None,
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
            notify: Tells the service manager; see `service_manager`.
        """
        self._options = options
        self._home = home
        self._notify = notify
        self._shown = identity
        self._trust = trust
        self._clock = clock
        self._entropy = entropy
        self._log = log
        self._serving = False
        self._strange_ca = ""
        self._ending = Ending()
        self._reloader = Reloader(
            prepare=self._prepare, take=self._take, log=log, told=self._tell_reload
        )
        self._runner = TurnRunner(
            core=EnrollmentCore(settings=self._enrollment_settings(), ledger=ledger),
            ledger=ledger,
            clock=clock,
            entropy=entropy,
            carry_out=self._carry_out,
            maintain=ledger.checkpoint,
        )
        self._hub = Hub(
            settings=self._hub_settings(),
            clock=clock,
            log=log,
            submit=self._runner.submit,
        )
        self._forwarders = [self._forwarder_to(place) for place in options.upstreams]
        self._own = self._own_certificate(options.ticket)
        self._listener = Listener(
            host=options.listen.host,
            port=options.listen.port,
            context=_server_context(self._shown, self._trust.anchor),
            on_stream=self._accepted,
            on_event=partial(log_listener_event, log),
            limits=descriptors.fitted_aloud(
                limits.listener_limits(options.limits), members=0, log=log
            ),
            is_over_rate=self._hub.shunning.is_over_rate,
        )
        self._runner.limit_askings(limits.asking_limits(options.limits))
        if isinstance(log, LogGate):
            log.limits = limits.log_limits(options.limits)

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
            life = tell_of_life(self._runner.prove_life, self._notify)
            watchdog = group.create_task(life, name="watchdog")
            forwarders = [
                group.create_task(each.run(), name=f"upstream {each.place.label}")
                for each in self._forwarders
            ]
            own = group.create_task(self._own.run(), name="own certificate")
            reloader = group.create_task(self._reloader.run(), name="reloader")
            await _first_of(
                self._own.settled, self._ending.begun, seconds=OWN_SECONDS_MAX
            )
            self._serving = True
            if not self._ending.begun.is_set():
                listener = group.create_task(self._listener.serve(), name="listener")
                ready()
                await self._ending.begun.wait()
                self._notify(STOPPING)
                own.cancel()
                reloader.cancel()
                await stop_in_order(
                    ending=self._ending,
                    listener=self._listener,
                    hub=self._hub,
                    runner=self._runner,
                    log=self._log,
                    answer_seconds=STOP_ANSWER_SECONDS,
                )
                await listener
            for each in (own, reloader, *forwarders):
                each.cancel()
            await asyncio.wait([own, reloader, *forwarders])
            await self._runner.wait_idle()
            watchdog.cancel()
            runner.cancel()
        self._runner.close()

    def stop(self) -> None:
        """Begin the end (see `stopping`); the second time, hurry."""
        self._ending.ask()

    # -- a reload ----------------------------------------------------------------------

    def reload(self) -> None:
        """Read what is stored again, soon; see `_take`.

        What cannot be read is logged and leaves everything as it was.
        """
        if self._ending.begun.is_set():
            self._log.log(Level.INFO, "not reloaded: this gateway stops")
            return
        self._reloader.ask()

    def _prepare(self) -> _Prepared:
        """Read certificate and CA anew, in a thread; `--ca` and what is stored."""
        at = self._clock.now().wall
        identity = self._home.identity(at=at, entropy=self._entropy)
        anchor = stored_trust(self._home, self._options.trust, at=at)
        return _Prepared(identity, anchor, _server_context(identity, anchor))

    async def _take(self, prepared: _Prepared) -> None:
        """Show clients the certificate that is stored, and believe the CA that is.

        Those who pinned the certificate before have to pin anew. Connections that are
        open go on.
        """
        self._show(prepared)
        # What was stored while the files were read may have been read over.
        self._look_at_any_ca()
        self._runner.reconfigure(self._enrollment_settings())
        await self._hub.reconfigure(self._hub_settings())

    def _show(self, prepared: _Prepared) -> None:
        self._shown = prepared.identity
        self._trust.anchor = prepared.anchor
        self._listener.replace_context(prepared.server_context)
        self._log.log(
            Level.INFO,
            "certificate shown to clients",
            name=self._home.name,
            sha256=fingerprint(self._shown.certificate),
            signed=not is_self_issued(self._shown.certificate),
        )

    def _tell_reload(self, what: str) -> None:
        self._notify(reloading() if what == "begins" else READY)

    # -- parts -------------------------------------------------------------------------

    def _forwarder_to(self, place: UpstreamPlace) -> Forwarder:
        return Forwarder(
            place,
            trust=self._trust,
            hub=self._hub,
            submit=self._runner.submit,
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
            submit=self._runner.submit,
            clock=self._clock,
            entropy=self._entropy,
            log=self._log,
            on_stored=self._own_stored,
        )

    # -- between core and links ------------------------------------------------------------

    def _carry_out(self, command: cmd.Command) -> None:
        match command:
            case cmd.Log():
                self._log.log(command.level, command.event, **command.fields)
            case (
                cmd.Sign()
                | cmd.CheckTicket()
                | cmd.InstallIdentity()
                | cmd.ConfirmIdentity()
                | cmd.RollBackIdentity()
                | cmd.TellOwnStatus()
            ):
                raise AssertionError("a gateway has no CA and no seat")
            case _:
                self._hub.carry_out(command)

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
            self._show_at_start()

    def _show_at_start(self) -> None:
        """Nobody was shown anything yet, and nobody waits: no need for a thread."""
        try:
            self._show(self._prepare())
        except IcefloeError as error:
            self._log.log(
                Level.ERROR, "stored certificate not shown", detail=str(error)
            )

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
            self._hub.settings = self._hub_settings()
            self._listener.replace_context(
                _server_context(self._shown, self._trust.anchor)
            )
            self._runner.reconfigure(self._enrollment_settings())
        except IcefloeError as error:
            self._log.log(
                Level.WARNING, "another CA from upstream not taken", detail=str(error)
            )
            if isinstance(error, FileProblem):  # a full disk says nothing against it
                loop = asyncio.get_running_loop()
                loop.call_later(CA_AGAIN_SECONDS, self._look_at_any_ca)
            return
        self._log.log(Level.INFO, "renewed CA taken", sha256=fingerprint(anchor.ca))

    def _look_at_any_ca(self) -> None:
        self._strange_ca = ""

    def _enrollment_settings(self) -> EnrollmentSettings:
        return EnrollmentSettings(
            node_name=self._home.name,
            tree=None,
            anchor=self._trust.anchor,
            limits=limits.enrollment_limits(self._options.limits, GATEWAY_LIMITS),
        )

    def _hub_settings(self) -> HubSettings:
        return HubSettings(
            tree=None,
            session=limits.session_settings(
                self._options.limits,
                SessionSettings(node_name=self._home.name, hello_facts=HELLO_FACTS),
            ),
            anchor=self._trust.anchor,
        )


def _server_context(identity: NodeIdentity, anchor: TrustAnchor) -> SSL.Context:
    return server_context(
        TLSIdentity(
            certificate_pem=identity.certificate_pem,
            key_pem=identity.key_pem,
            ca_pem="".join(map(to_pem, anchor.all_cas)).encode("ascii"),
        )
    )


async def _first_of(*events: asyncio.Event, seconds: float) -> None:
    """Wait until one of these is set, or the time is over."""
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(event.wait()) for event in events]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
