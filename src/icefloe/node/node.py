"""One node, composed: listener, dialer, hub, core, ledger and workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from OpenSSL import SSL

from icefloe.cluster.states import Role
from icefloe.config.host import DaemonUser
from icefloe.doors import Clock, Entropy
from icefloe.enrollment import commands as cmd
from icefloe.enrollment.core import EnrollmentCore
from icefloe.errors import IcefloeError
from icefloe.node.dialer import Dialer
from icefloe.node.hub import Hub, HubSettings
from icefloe.node.listener import Admission, Listener, ListenerLimits
from icefloe.node.listener_log import log_listener_event
from icefloe.node.logs import Logger
from icefloe.node.material import Material, read_material
from icefloe.node.runner import TurnRunner
from icefloe.node.stream_interface import TransportLimits
from icefloe.node.tls import client_context, server_context
from icefloe.node.transport import TLSStream
from icefloe.node.workers import Workers
from icefloe.storage.identity import install_certificate
from icefloe.storage.ledger import SQLiteLedger

# How often the reminders below are looked at, and said.
REMIND_SECONDS = 3600.0


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
    ) -> None:
        """Compose a node that does nothing yet.

        Args:
            material: what it stands on.
            ledger: its ledger; used from the runner's thread from here on.
            owner: who gets the files it writes.
            clock: the real one.
            entropy: the real one.
            log: where log events go.
        """
        self._material = material
        self._owner = owner
        self._clock = clock
        self._log = log
        self._tasks: asyncio.TaskGroup | None = None
        self._stopping = asyncio.Event()
        self._client_context = self._make_client_context()
        core = EnrollmentCore(settings=material.enrollment_settings(), ledger=ledger)
        self._runner = TurnRunner(
            core=core,
            ledger=ledger,
            clock=clock,
            entropy=entropy,
            carry_out=self._carry_out,
            maintain=ledger.checkpoint,
        )
        self._workers = Workers(material.secrets, submit=self._runner.submit)
        self._hub = Hub(
            settings=self._hub_settings(),
            clock=clock,
            log=log,
            submit=self._runner.submit,
        )
        limits = self._transport_limits()
        self._dialer = Dialer(
            hub=self._hub,
            clock=clock,
            entropy=entropy,
            log=log,
            context=lambda: self._client_context,
            limits=limits,
        )
        self._hub.on_member_connected = self._dialer.connected
        self._hub.on_member_disconnected = self._dialer.disconnected
        listener = material.configuration.listener
        self._listener = Listener(
            host=listener.bind_host,
            port=listener.bind_port,
            context=self._make_server_context(),
            on_stream=self._accepted,
            on_event=partial(log_listener_event, log),
            limits=self._listener_limits(),
            transport_limits=limits,
        )

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
        """
        runner: asyncio.Task[None]
        async with asyncio.TaskGroup() as group:
            self._tasks = group
            runner = group.create_task(self._runner.run(), name="runner")
            listener = group.create_task(self._listener.serve(), name="listener")
            dialer = group.create_task(self._dialer.run(), name="dialer")
            reminder = group.create_task(self._remind(), name="reminder")
            self._dialer.set_targets(self._material.configuration.zones.dial_targets())
            ready()
            await self._stopping.wait()
            self._listener.stop()
            dialer.cancel()
            reminder.cancel()
            await listener
            await self._runner.wait_idle()
            await self._hub.drain_all("node stops")
            await self._runner.wait_idle()
            runner.cancel()
        self._workers.close()
        self._runner.close()

    def stop(self) -> None:
        """Begin the end."""
        self._stopping.set()

    def reload(self) -> None:
        """Read the files again; what is wrong leaves everything as it was."""
        try:
            material = read_material(
                self._material.configuration.directories,
                ca_key=self._material.secrets.ca_key,
            )
        except IcefloeError as error:
            self._log.log(
                cmd.Level.ERROR,
                "reload refused, running on as before",
                detail=str(error),
            )
            return
        self._stand_on(material)
        self._log.log(cmd.Level.INFO, "reloaded")

    def _stand_on(self, material: Material) -> None:
        """Go on with new files; members reconnect only when we look different."""
        old, self._material = self._material, material
        self._client_context = self._make_client_context()
        self._listener.replace_context(self._make_server_context())
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
                self._start(self._install(command), "install identity")
            case _:
                self._hub.carry_out(command)

    async def _install(self, command: cmd.InstallIdentity) -> None:
        directories = self._material.configuration.directories
        owner = self._owner
        try:
            await asyncio.to_thread(
                install_certificate,
                directories.certs,
                self._material.node_name,
                certificate_pem=command.certificate,
                ca_pem=command.ca,
                owner=(owner.uid, owner.gid) if owner is not None else None,
                at=self._clock.now().wall,
            )
        except IcefloeError as error:
            self._log.log(
                cmd.Level.ERROR,
                "own certificate could not be installed",
                detail=str(error),
            )
            return
        self._log.log(cmd.Level.INFO, "own certificate installed")
        self.reload()

    # -- from the listener ---------------------------------------------------------------

    def _accepted(self, stream: TLSStream, admission: Admission) -> None:
        self._hub.take_stream(stream, role=Role.LISTENER, admission=admission)

    # -- inside --------------------------------------------------------------------------

    def _start(self, work: object, name: str) -> None:
        if self._tasks is not None:
            self._tasks.create_task(work, name=name)  # type: ignore[arg-type]

    async def _remind(self) -> None:
        """Say again what must not be forgotten."""
        while True:
            await asyncio.sleep(REMIND_SECONDS)
            for endpoint, text in self._hub.icinga_children.items():
                self._log.log(
                    cmd.Level.ERROR,
                    "real Icinga node below us: its check results end here",
                    endpoint=endpoint,
                    detail=text,
                )

    def _hub_settings(self) -> HubSettings:
        return HubSettings(
            tree=self._material.configuration.zones,
            session=self._material.session_settings(),
        )

    def _make_server_context(self) -> SSL.Context:
        material = self._material
        return server_context(material.tls_identity(), material.tls_settings())

    def _make_client_context(self) -> SSL.Context:
        material = self._material
        return client_context(material.tls_identity(), material.tls_settings())

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
