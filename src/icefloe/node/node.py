"""One node, composed: listener, dialer, hub, core, ledger and workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from icefloe.cluster.standing import objections as doubts
from icefloe.cluster.states import Role
from icefloe.config.host import DaemonUser
from icefloe.doors import Clock, Entropy
from icefloe.enrollment import commands as cmd
from icefloe.enrollment.core import EnrollmentCore
from icefloe.errors import IcefloeError
from icefloe.node import descriptors, limits
from icefloe.node.dialer import Dialer
from icefloe.node.guard import objections
from icefloe.node.hub import Hub, HubSettings
from icefloe.node.installer import Installer
from icefloe.node.listener_log import log_listener_event
from icefloe.node.log_gate import LogGate
from icefloe.node.logs import Logger
from icefloe.node.material import Material, MaterialError, read_material
from icefloe.node.own_identity import OwnIdentityFiles
from icefloe.node.reloading import Reloader
from icefloe.node.revocation_watch import list_alarms, stale_lists
from icefloe.node.runner import TurnRunner
from icefloe.node.service_manager import READY, STOPPING, reloading, tell_of_life
from icefloe.node.status_keeper import StatusKeeper
from icefloe.node.stopping import Ending, stop_in_order
from icefloe.node.tls.contexts import client_context, server_context
from icefloe.node.tls.listener import Admission, Listener, ListenerLimits
from icefloe.node.tls.stream_interface import TransportLimits
from icefloe.node.tls.transport import TLSStream
from icefloe.node.workers import Workers
from icefloe.pki.certificates import fingerprint
from icefloe.storage.ledger import SQLiteLedger

# How often the reminders below are looked at, and said.
REMIND_SECONDS = 3600.0

Work = Callable[[], Coroutine[Any, Any, None]]


class NodeFailed(IcefloeError):
    """A part of the node met a bug; the node has ended in order.

    Attributes:
        part: its name.
    """

    def __init__(self, part: str) -> None:
        super().__init__(f"internal error in the node's {part}; see the log")
        self.part = part


@dataclass(frozen=True, slots=True)
class _Prepared:
    """New files, read and checked, and what was made of them."""

    material: Material
    server_context: SSL.Context
    client_context: SSL.Context


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
        notify: Callable[[str], None] = lambda _words: None,
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
            notify: tells the service manager; see `service_manager`.
        """
        self._notify = notify
        self._without_monitoring = without_monitoring
        self._material = material
        self._clock = clock
        self._log = log
        self._failed_part = ""
        self._ending = Ending()
        self._bound = _place_of(material)
        self._reloader = Reloader(
            prepare=self._prepare, take=self._take, log=log, told=self._tell_reload
        )
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
        self._own_files = OwnIdentityFiles(
            material.configuration.directories,
            material.node_name,
            owner=(owner.uid, owner.gid) if owner is not None else None,
            clock=clock,
        )
        self._installer = Installer(
            install=self._own_files.install,
            confirm=self._own_files.confirm,
            roll_back=self._own_files.roll_back,
            installed=self.reload,
            log=log,
        )
        self._status_keeper = StatusKeeper(keep=self._own_files.keep_status, log=log)
        self._hub = Hub(
            settings=self._hub_settings(),
            clock=clock,
            log=log,
            submit=self._runner.submit,
        )
        self._dialer = self._make_dialer(entropy)
        self._listener = self._make_listener()
        self._apply_limits()

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
            watchdog = part(self._tell_of_life, "watchdog")
            listener = part(self._listener.serve, "listener")
            others = (
                part(self._dialer.run, "dialer"),
                part(self._installer.run, "installer"),
                part(self._status_keeper.run, "status-keeper"),
                part(self._remind, "reminder"),
                part(self._reloader.run, "reloader"),
            )
            self._dialer.set_targets(self._material.configuration.zones.dial_targets())
            ready()
            await self._ending.begun.wait()
            self._notify(STOPPING)
            for other in others:
                other.cancel()
            await stop_in_order(
                ending=self._ending,
                listener=self._listener,
                hub=self._hub,
                runner=self._runner,
                log=self._log,
            )
            await listener
            watchdog.cancel()
            runner.cancel()
        self._workers.close()
        self._runner.close()
        if self._failed_part:
            raise NodeFailed(self._failed_part)

    async def _tell_of_life(self) -> None:
        await tell_of_life(self._runner.prove_life, self._notify)

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
        """Begin the end (see `stopping`); the second time, hurry."""
        self._ending.ask()

    def reload(self) -> None:
        """Read the files again, soon (see `_take`).

        What is wrong with them is logged and leaves everything as it was.
        """
        if self._ending.begun.is_set():
            self._log.log(cmd.Level.INFO, "not reloaded: this node stops")
            return
        self._reloader.ask()

    # -- a reload ----------------------------------------------------------------------

    def _prepare(self) -> _Prepared:
        """Read the files and check all that can be wrong with them; in a thread."""
        self._own_files.recover()
        material = read_material(
            self._material.configuration.directories,
            ca_key=self._material.secrets.ca_key,
        )
        self._check_name(material)
        self._check_place(material)
        self._check_lists(material)
        return _Prepared(material, _server_context(material), _client_context(material))

    def _check_name(self, material: Material) -> None:
        before = self._material.node_name
        if material.node_name != before:
            raise MaterialError(
                f"NodeName is '{material.node_name}' now and was '{before}': another "
                "name is another node; restart the daemon for that"
            )

    def _check_place(self, material: Material) -> None:
        """Refuse to take a monitoring seat that was not taken at the start."""
        found = objections(material.configuration)
        if found and not self._without_monitoring:
            raise MaterialError(" ".join(found))

    def _check_lists(self, material: Material) -> None:
        """Refuse a revocation list that is out of date in place of one that is not."""
        at = self._clock.now().wall
        stale = stale_lists(material.anchor, at)
        same = material.crl_pem == self._material.crl_pem
        if stale and not same and not stale_lists(self._material.anchor, at):
            path = material.configuration.listener.crl_path
            raise MaterialError(f"{path}: {'; '.join(stale)}")

    async def _take(self, prepared: _Prepared) -> None:
        """Go on with new files.

        1. Whatever is begun from here on stands on them: handshakes show the new
           certificate and check by the new CA file and revocation list, peers are
           identified by the new zones, requests decided by the new rules and keys.
        2. Endpoints that are new are dialled.
        3. Open connections are judged again; those whose peer still stands as it did
           go on, whatever certificate was shown on them. The others are closed in
           order, with the reason in the log.
        4. If our own certificate is one that no parent has accepted yet, or was put
           back, the connections to the parents are made anew: whether they accept it
           shows there. If this node was a stranger
           to its peers (no certificate yet) and is none any more, all its members' are.
        """
        old, material = self._material, prepared.material
        self._material = material
        self._client_context = prepared.client_context
        self._listener.replace_context(prepared.server_context)
        self._listener.reconfigure(self._listener_limits(), self._transport_limits())
        self._dialer.limits = self._transport_limits()
        self._apply_limits()
        self._workers.secrets = material.secrets
        self._runner.reconfigure(material.enrollment_settings())
        self._dialer.set_targets(material.configuration.zones.dial_targets())
        await self._hub.reconfigure(self._hub_settings())
        if self._is_proven(material) and not self._is_proven(old):
            self._hub.leave_members("own-certificate-new")
        elif material.own.is_on_trial:
            self._hub.leave_members("own-certificate-new", upstream_only=True)
        self._say_reminders()
        if _place_of(material) != self._bound:
            host, port = self._bound
            self._log.log(
                cmd.Level.WARNING,
                "listening where it did: another address needs a restart",
                address=f"{host}:{port}",
                configured="{}:{}".format(*_place_of(material)),
            )

    def _is_proven(self, material: Material) -> bool:
        """Whether our certificate proves our name to those who trust as we do."""
        own = material.identity.certificate.public_bytes(Encoding.DER)
        return not doubts(own, material.anchor, self._clock.now().wall)

    def _tell_reload(self, what: str) -> None:
        self._notify(reloading() if what == "begins" else READY)

    # -- from the core ----------------------------------------------------------------

    def _carry_out(self, command: cmd.Command) -> None:
        match command:
            case cmd.Sign() | cmd.CheckTicket():
                self._workers.carry_out(command)
            case cmd.Log():
                self._log.log(command.level, command.event, **command.fields)
            case cmd.InstallIdentity() | cmd.ConfirmIdentity() | cmd.RollBackIdentity():
                self._installer.take(command)
            case cmd.TellOwnStatus():
                self._status_keeper.take(command.status)
            case _:
                self._hub.carry_out(command)

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
        at = self._clock.now().wall
        for level, event, fields in list_alarms(self._material, at):
            self._log.log(level, event, **fields)

    def _make_dialer(self, entropy: Entropy) -> Dialer:
        dialer = Dialer(
            hub=self._hub,
            clock=self._clock,
            entropy=entropy,
            log=self._log,
            context=lambda: self._client_context,
            limits=self._transport_limits(),
            submit=self._runner.submit,
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
            is_over_rate=self._hub.shunning.is_over_rate,
        )

    def _hub_settings(self) -> HubSettings:
        return HubSettings(
            tree=self._material.configuration.zones,
            session=self._material.session_settings(),
            anchor=self._material.anchor,
            shown=fingerprint(self._material.identity.certificate),
        )

    def _transport_limits(self) -> TransportLimits:
        listener = self._material.configuration.listener
        return TransportLimits(
            connect_seconds_max=listener.connect_timeout,
            handshake_seconds_max=listener.tls_handshake_timeout,
        )

    def _listener_limits(self) -> ListenerLimits:
        configuration = self._material.configuration
        wished = limits.listener_limits(
            configuration.limits,
            anonymous_clients=configuration.listener.max_anonymous_clients,
        )
        members = len(configuration.zones.endpoints)
        return descriptors.fitted_aloud(wished, members=members, log=self._log)

    def _apply_limits(self) -> None:
        """Let the parts that stand on no settings of their own go by the limits."""
        configured = self._material.configuration.limits
        self._runner.limit_askings(limits.asking_limits(configured))
        if isinstance(self._log, LogGate):
            self._log.limits = limits.log_limits(configured)


def _place_of(material: Material) -> tuple[str, int]:
    listener = material.configuration.listener
    return listener.bind_host, listener.bind_port


def _server_context(material: Material) -> SSL.Context:
    return server_context(material.tls_identity(), material.tls_settings())


def _client_context(material: Material) -> SSL.Context:
    return client_context(material.tls_identity(), material.tls_settings())
