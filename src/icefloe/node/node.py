"""One node, composed: listener, dialer, hub, core, ledger and workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from OpenSSL import SSL

from icefloe.cluster.states import Role
from icefloe.config.host import DaemonUser
from icefloe.doors import Clock, Entropy
from icefloe.enrollment import commands as cmd
from icefloe.enrollment.core import EnrollmentCore
from icefloe.errors import IcefloeError
from icefloe.node.dialer import Dialer
from icefloe.node.guard import objections
from icefloe.node.hub import Hub, HubSettings
from icefloe.node.installer import Installer
from icefloe.node.listener_log import log_listener_event
from icefloe.node.logs import Logger
from icefloe.node.material import Material, MaterialError, read_material
from icefloe.node.runner import TurnRunner
from icefloe.node.tls.contexts import client_context, server_context
from icefloe.node.tls.listener import Admission, Listener, ListenerLimits
from icefloe.node.tls.stream_interface import TransportLimits
from icefloe.node.tls.transport import TLSStream
from icefloe.node.workers import Workers
from icefloe.storage.identity import install_certificate
from icefloe.storage.ledger import SQLiteLedger

# How often the reminders below are looked at, and said.
REMIND_SECONDS = 3600.0
# The end: events under way, then an orderly close for everybody, then what that
# brought. Whatever is stuck, it is over after the sum of these.
STOP_IDLE_SECONDS = 2.0
STOP_DRAIN_SECONDS = 7.0
STOP_LAST_SECONDS = 1.0

Work = Callable[[], Coroutine[Any, Any, None]]


class NodeFailed(IcefloeError):
    """A part of the node met a bug; the node has ended in order.

    Attributes:
        part: its name.
    """

    def __init__(self, part: str) -> None:
        super().__init__(f"internal error in the node's {part}; see the log")
        self.part = part


class Node:
    """A running node."""

    def __init__(
        self,
        *,
        material: Material,
        ledger: SQLiteLedger,
        owner: DaemonUser | None,
        clock: Clock,
        entropy: Entropy,
        log: Logger,
        without_monitoring: bool = False,
    ) -> None:
        """Compose a node that does nothing yet.

        Args:
            material: what it stands on.
            ledger: its ledger; used from the runner's thread from here on.
            owner: who gets the files it writes.
            clock: the real one.
            entropy: the real one.
            log: where log events go.
            without_monitoring: the operator takes it upon himself that this node may
                stand where nodes monitor.
        """
        self._without_monitoring = without_monitoring
        self._material = material
        self._owner = owner
        self._clock = clock
        self._log = log
        self._failed_part = ""
        self._stopping = asyncio.Event()
        self._client_context = _client_context(material)
        core = EnrollmentCore(settings=material.enrollment_settings(), ledger=ledger)
        self._runner = TurnRunner(
            core=core,
            ledger=ledger,
            clock=clock,
            entropy=entropy,
            carry_out=self._carry_out,
            maintain=ledger.checkpoint,
        )
        self._workers = Workers(material.secrets, submit=self._runner.submit, log=log)
        self._installer = Installer(
            install=self._install, installed=self.reload, log=log
        )
        self._hub = Hub(
            settings=self._hub_settings(),
            clock=clock,
            log=log,
            submit=self._runner.submit,
        )
        self._dialer = self._make_dialer(entropy)
        self._listener = self._make_listener()

    # -- life ----------------------------------------------------------------------

    def bind(self) -> tuple[str, int]:
        """Take the listener's address.

        Raises:
            BindFailed: naming the address and the remedy.
        """
        self._listener.bind()
        return self._listener.address

    async def run(self, ready: Callable[[], None]) -> None:
        """Run until `stop`, then close every connection in order.

        Args:
            ready: called once connections are accepted.

        Raises:
            NodeFailed: a part of it failed, which was logged.
        """
        async with asyncio.TaskGroup() as group:

            def part(work: Work, name: str) -> asyncio.Task[None]:
                return group.create_task(self._guarded(work, name), name=name)

            runner = part(self._runner.run, "runner")
            listener = part(self._listener.serve, "listener")
            others = (
                part(self._dialer.run, "dialer"),
                part(self._installer.run, "installer"),
                part(self._remind, "reminder"),
            )
            self._dialer.set_targets(self._material.configuration.zones.dial_targets())
            ready()
            await self._stopping.wait()
            self._listener.stop()
            for other in others:
                other.cancel()
            await listener
            await self._runner.wait_idle(STOP_IDLE_SECONDS)
            await self._hub.drain_all("node stops", seconds_max=STOP_DRAIN_SECONDS)
            await self._runner.wait_idle(STOP_LAST_SECONDS)
            runner.cancel()
        self._workers.close()
        self._runner.close()
        if self._failed_part:
            raise NodeFailed(self._failed_part)

    async def _guarded(self, work: Work, name: str) -> None:
        """Run a part of the node; if it fails, the node ends, in order and loudly."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - a bug; told by `run`
            self._log.log(
                cmd.Level.CRITICAL,
                "internal error, stopping",
                part=name,
                exc_info=error,
            )
            self._failed_part = name
            self.stop()

    def stop(self) -> None:
        """Begin the end."""
        self._stopping.set()

    def reload(self) -> None:
        """Read the files again; what is wrong leaves everything as it was."""
        try:
            self._reload()
        except IcefloeError as error:
            self._log.log(
                cmd.Level.ERROR,
                "reload refused, running on as before",
                detail=str(error),
            )
        except Exception as error:  # noqa: BLE001 - a bug must not end the node
            self._log.log(cmd.Level.CRITICAL, "reload failed", exc_info=error)
        else:
            self._log.log(cmd.Level.INFO, "reloaded")

    def _reload(self) -> None:
        material = read_material(
            self._material.configuration.directories,
            ca_key=self._material.secrets.ca_key,
        )
        self._check_place(material)
        # Both before anything changes: a cipher list may be unusable.
        server, client = _server_context(material), _client_context(material)
        self._client_context = client
        self._listener.replace_context(server)
        self._stand_on(material)

    def _check_place(self, material: Material) -> None:
        """Refuse to take a monitoring seat that was not taken at the start."""
        found = objections(material.configuration)
        if found and not self._without_monitoring:
            raise MaterialError(" ".join(found))

    def _stand_on(self, material: Material) -> None:
        """Go on with new files; members reconnect only when we look different."""
        old, self._material = self._material, material
        self._workers.secrets = material.secrets
        self._runner.reconfigure(material.enrollment_settings())
        same_tree = old.configuration.zones == material.configuration.zones
        self._hub.settings = self._hub_settings()
        self._dialer.set_targets(material.configuration.zones.dial_targets())
        same_face = (
            old.identity.certificate_pem == material.identity.certificate_pem
            and old.identity.ca_pem == material.identity.ca_pem
            and old.crl_pem == material.crl_pem
        )
        if not same_face or not same_tree:
            self._hub.drain_members("identity or zones changed")

    # -- from the core ----------------------------------------------------------------

    def _carry_out(self, command: cmd.Command) -> None:
        match command:
            case cmd.Sign() | cmd.CheckTicket():
                self._workers.carry_out(command)
            case cmd.Log():
                self._log.log(command.level, command.event, **command.fields)
            case cmd.InstallIdentity():
                self._installer.take(command)
            case _:
                self._hub.carry_out(command)

    def _install(self, command: cmd.InstallIdentity) -> None:
        """Install an identity; called in another thread."""
        owner = self._owner
        install_certificate(
            self._material.configuration.directories.certs,
            self._material.node_name,
            certificate_pem=command.certificate,
            ca_pem=command.ca,
            owner=(owner.uid, owner.gid) if owner is not None else None,
            at=self._clock.now().wall,
        )

    # -- from the listener ---------------------------------------------------------------

    def _accepted(self, stream: TLSStream, admission: Admission) -> None:
        self._hub.take_stream(stream, role=Role.LISTENER, admission=admission)

    # -- inside --------------------------------------------------------------------------

    async def _remind(self) -> None:
        """Say again what must not be forgotten."""
        while True:
            self._say_reminders()
            await asyncio.sleep(REMIND_SECONDS)

    def _say_reminders(self) -> None:
        for objection in objections(self._material.configuration):
            self._log.log(
                cmd.Level.WARNING, "running without monitoring", detail=objection
            )
        for endpoint, text in self._hub.icinga_children.items():
            self._log.log(
                cmd.Level.ERROR,
                "real Icinga node below us: its check results end here",
                endpoint=endpoint,
                detail=text,
            )

    def _make_dialer(self, entropy: Entropy) -> Dialer:
        dialer = Dialer(
            hub=self._hub,
            clock=self._clock,
            entropy=entropy,
            log=self._log,
            context=lambda: self._client_context,
            limits=self._transport_limits(),
        )
        self._hub.on_member_connected = dialer.connected
        self._hub.on_member_disconnected = dialer.disconnected
        return dialer

    def _make_listener(self) -> Listener:
        configured = self._material.configuration.listener
        return Listener(
            host=configured.bind_host,
            port=configured.bind_port,
            context=_server_context(self._material),
            on_stream=self._accepted,
            on_event=partial(log_listener_event, self._log),
            limits=self._listener_limits(),
            transport_limits=self._transport_limits(),
        )

    def _hub_settings(self) -> HubSettings:
        return HubSettings(
            tree=self._material.configuration.zones,
            session=self._material.session_settings(),
        )

    def _transport_limits(self) -> TransportLimits:
        listener = self._material.configuration.listener
        return TransportLimits(
            connect_seconds_max=listener.connect_timeout,
            handshake_seconds_max=listener.tls_handshake_timeout,
        )

    def _listener_limits(self) -> ListenerLimits:
        most = self._material.configuration.listener.max_anonymous_clients
        if most is None:
            return ListenerLimits()
        return ListenerLimits(strangers_max=most)


def _server_context(material: Material) -> SSL.Context:
    return server_context(material.tls_identity(), material.tls_settings())


def _client_context(material: Material) -> SSL.Context:
    return client_context(material.tls_identity(), material.tls_settings())
