"""A node with the habits of one release of Icinga 2, as a process on a real network.

It stands on the directories of a node as `icefloe daemon` and Icinga do: names, zones,
listener, certificate, and on a master CA key and salt.  What it does to a certificate
request is decided by `icefloe.habits`; TLS and sockets are Icefloe's.

For tests, experiments and the demo.  It forgets its stored requests when it ends, it
monitors nothing, and it acknowledges only what its parents send.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Iterable

from icefloe.cluster.peer import Peer, PeerRejected, identify
from icefloe.config.layout import NodeDirectories
from icefloe.doors import Clock, Entropy
from icefloe.enrollment.commands import Level
from icefloe.enrollment.events import LinkId
from icefloe.errors import IcefloeError
from icefloe.habits import (
    CloseAt,
    CloseCut,
    CloseFlushed,
    Dial,
    Effect,
    Habits,
    HabitualMaster,
    HabitualNode,
    HabitualSatellite,
    IcingaAuthority,
    Identity,
    InstallIdentity,
    Notify,
    Reply,
    ReplyEmpty,
    ReplyError,
    deliver,
)
from icefloe.lab.habitual_link import HabitualLinkOnWire
from icefloe.node.doors import RealClock, RealEntropy
from icefloe.node.errors import TransportError
from icefloe.node.logs import Logger, configure
from icefloe.node.material import Material, read_material
from icefloe.node.tls.connecting import connect
from icefloe.node.tls.contexts import TLSIdentity, client_context, server_context
from icefloe.node.tls.listener import Admission, Listener
from icefloe.node.tls.transport import TLSStream
from icefloe.node.tls.verdict import EndpointExpected
from icefloe.pki import certificates
from icefloe.pki.certificates import load_der, root_among
from icefloe.storage.files import remove_file, write_file
from icefloe.wire.catalogue import REQUEST_CERTIFICATE, UPDATE_CERTIFICATE
from icefloe.wire.jsonrpc import (
    Message,
    Response,
    encode_empty_response,
    encode_error,
    encode_notification,
    encode_response,
)

EXIT_OK = 0
EXIT_FAILED = 1

_CERTIFICATE_MODE = 0o644

_TOLD = {
    REQUEST_CERTIFICATE: "certificate asked for",
    UPDATE_CERTIFICATE: "certificate came",
}
"""Messages worth a line in the log."""


class HabitualDaemon:
    """Drives one `HabitualNode` over real connections.

    Attributes:
        node: The machine; its `requests` may be looked at and approved.
    """

    node: HabitualNode

    def __init__(
        self,
        *,
        material: Material,
        habits: Habits,
        clock: Clock,
        entropy: Entropy,
        log: Logger,
    ) -> None:
        """Make a node that is not started.

        Args:
            material: What it stands on.
            habits: The release.
            clock: The real one.
            entropy: For serial numbers.
            log: Where log events go.
        """
        self._tree = material.configuration.zones
        self._directories = material.configuration.directories
        self._clock = clock
        self._log = log
        self._tls = material.tls_identity()
        self._client_context = client_context(self._tls)
        self._targets = {e.name: e for e in self._tree.dial_targets()}
        self._numbers = itertools.count(1)
        self._links: dict[LinkId, HabitualLinkOnWire] = {}
        self._positions: dict[str, float] = {}
        self._dials: asyncio.TaskGroup | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._stopping = asyncio.Event()
        self.node = _make_node(material, habits=habits, entropy=entropy)
        listener = material.configuration.listener
        self._listener = Listener(
            host=listener.bind_host,
            port=listener.bind_port,
            context=server_context(self._tls),
            on_stream=self._accepted,
        )

    # Life.

    def bind(self) -> tuple[str, int]:
        """Take the listener's address.

        Raises:
            BindFailed: It cannot be had.
        """
        self._listener.bind()
        return self._listener.address

    async def run(self) -> None:
        """Run until `stop`, then close every connection in order."""
        async with asyncio.TaskGroup() as group:
            self._dials = group
            listening = group.create_task(self._listener.serve(), name="listener")
            self._carry_out(self.node.start(self._clock.now()))
            self._arm()
            await self._stopping.wait()
            self._listener.stop()
            if self._ticking is not None:
                self._ticking.cancel()
            await listening
            links = list(self._links.values())
            for link in links:
                link.close_flushed()
            for link in links:
                await link.wait_closed()

    def stop(self) -> None:
        """Begin the end."""
        self._stopping.set()

    # Connections.

    def _accepted(self, stream: TLSStream, admission: Admission) -> None:
        # The lab counts on no limits: the storm is what is being watched.
        admission.release()
        self._take_stream(stream, expected=None)

    def _take_stream(self, stream: TLSStream, *, expected: str | None) -> Peer | None:
        facts = stream.peer
        try:
            peer = identify(
                tree=self._tree,
                certificate_der=facts.certificate,
                verified=facts.verified,
                address=f"{facts.address}:{facts.port}",
                expected_name=expected,
                presented_root_der=root_among(facts.chain),
            )
        except PeerRejected as error:
            self._log.log(Level.WARNING, "peer rejected", detail=str(error))
            stream.abort()
            return None
        link = HabitualLinkOnWire(
            link_id=LinkId(next(self._numbers)),
            stream=stream,
            peer=peer,
            expected=expected,
            habits=self.node.habits,
            owner=self,
            position=self._positions.get(peer.common_name or "", 0.0),
        )
        self._links[link.link_id] = link
        link.start()
        return peer

    def link_open(self, link: HabitualLinkOnWire) -> None:
        """Tell the machine of a session."""
        peer = link.peer
        self._log.log(
            Level.INFO if peer.is_member else Level.DEBUG,
            "connected",
            peer=peer.label,
            address=peer.address,
            standing=peer.standing.value,
        )
        if peer.relation is not None and peer.common_name is not None:
            effects = self.node.on_member_up(
                link.link_id, name=peer.common_name, relation=peer.relation
            )
        else:
            effects = self.node.on_anonymous_up(
                link.link_id, now=self._clock.now(), is_verified=peer.verified
            )
        self._carry_out(effects)

    def link_message(self, link: HabitualLinkOnWire, message: Message) -> None:
        """Hand a message to the machine."""
        effects = deliver(
            self.node,
            link.link_id,
            message,
            now=self._clock.now(),
            presented=_pem(link.peer.certificate),
            presented_root=_pem(link.peer.presented_root),
        )
        told = None if isinstance(message, Response) else _TOLD.get(message.method)
        if told is not None:
            did = ", ".join(type(effect).__name__ for effect in effects) or "nothing"
            self._log.log(Level.INFO, told, peer=link.peer.label, orders=did)
        self._carry_out(effects)

    def link_down(self, link: HabitualLinkOnWire) -> None:
        """Tell the machine that a session is over."""
        self._links.pop(link.link_id, None)
        if link.peer.is_member:
            self._positions[link.peer.common_name or ""] = link.position
            self._log.log(Level.INFO, "disconnected", peer=link.peer.label)
        self._carry_out(self.node.on_link_down(link.link_id))
        if link.expected is not None and not link.peer.is_member:
            # It was dialled and turned out to be a stranger.
            self._carry_out(self.node.on_dial_failed(link.expected))

    # Effects.

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Dial):
                assert self._dials is not None, "the node runs"
                name = effect.endpoint
                self._dials.create_task(self._dial(name), name=f"dial {name}")
            elif isinstance(effect, InstallIdentity):
                self._install(effect)
            elif (link := self._links.get(effect.link)) is not None:
                _on_link(link, effect)

    async def _dial(self, name: str) -> None:
        endpoint = self._targets[name]
        try:
            stream = await connect(
                endpoint.host or "",
                endpoint.port,
                context=self._client_context,
                expectation=EndpointExpected(name),
            )
        except TransportError as error:
            self._log.log(
                Level.WARNING, "cannot connect", endpoint=name, detail=str(error)
            )
            self._carry_out(self.node.on_dial_failed(name))
            return
        if self._stopping.is_set():
            stream.abort()
        elif self._take_stream(stream, expected=name) is None:
            self._carry_out(self.node.on_dial_failed(name))

    def _install(self, effect: InstallIdentity) -> None:
        """Write the files and show the new face from the next connection on."""
        name = self.node.name
        certificate, ca = effect.certificate.encode(), effect.ca.encode()
        write_file(self._directories.trusted_ca, ca, mode=_CERTIFICATE_MODE)
        write_file(
            self._directories.node_certificate(name),
            certificate,
            mode=_CERTIFICATE_MODE,
        )
        remove_file(self._directories.ticket)
        self._tls = TLSIdentity(
            certificate_pem=certificate, key_pem=self._tls.key_pem, ca_pem=ca
        )
        self._client_context = client_context(self._tls)
        self._listener.replace_context(server_context(self._tls))
        self._log.log(Level.INFO, "own certificate installed")

    # Time.

    def _arm(self) -> None:
        at = self.node.next_tick()
        if at is None:
            return
        delay = max(0.0, at - self._clock.now().mono)
        self._ticking = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._carry_out(self.node.tick(self._clock.now()))
        self._arm()


def run(
    *,
    directories: NodeDirectories,
    habits: Habits,
    log_level: int = Level.INFO,
    log_json: bool = False,
) -> int:
    """Run a habitual node in the foreground until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after an orderly end, 1 when it could not start.
    """
    log = configure(level=log_level, as_json=log_json)
    try:
        asyncio.run(_run(read_material(directories), habits, log))
    except IcefloeError as error:
        log.log(Level.CRITICAL, "cannot run", detail=str(error))
        return EXIT_FAILED
    return EXIT_OK


async def _run(material: Material, habits: Habits, log: Logger) -> None:
    daemon = HabitualDaemon(
        material=material,
        habits=habits,
        clock=RealClock(),
        entropy=RealEntropy(),
        log=log,
    )
    host, port = daemon.bind()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.stop)
    log.log(
        Level.INFO,
        "ready",
        node=material.node_name,
        habits=habits.version,
        address=f"{host}:{port}",
    )
    await daemon.run()
    log.log(Level.INFO, "stopped")


def _make_node(material: Material, *, habits: Habits, entropy: Entropy) -> HabitualNode:
    tree = material.configuration.zones
    identity = Identity(
        certificate=material.identity.certificate_pem.decode(),
        ca=""
        if material.identity.ca_pem is None
        else material.identity.ca_pem.decode(),
        ticket=material.ticket,
    )
    dials = [endpoint.name for endpoint in tree.dial_targets()]
    has_parent = tree.parent_zone is not None
    if material.issuer is None or material.secrets.ca_key is None:
        return HabitualSatellite(
            material.node_name,
            habits=habits,
            identity=identity,
            dials=dials,
            has_parent=has_parent,
        )
    return HabitualMaster(
        material.node_name,
        habits=habits,
        identity=identity,
        dials=dials,
        has_parent=has_parent,
        authority=IcingaAuthority(
            ca=certificates.to_pem(material.issuer),
            key=material.secrets.ca_key,
            salt=material.secrets.ticket_salt,
            entropy=entropy,
        ),
    )


def _on_link(
    link: HabitualLinkOnWire,
    effect: Reply
    | ReplyError
    | ReplyEmpty
    | Notify
    | CloseFlushed
    | CloseCut
    | CloseAt,
) -> None:
    match effect:
        case Reply():
            link.send(encode_response(effect.call.value, effect.result))
        case ReplyError():
            link.send(encode_error(effect.call.value, effect.error))
        case ReplyEmpty():
            link.send(encode_empty_response(effect.call.value))
        case Notify():
            link.send(encode_notification(effect.method, effect.params, ts=effect.ts))
        case CloseFlushed():
            link.close_flushed()
        case CloseCut():
            link.close_cut()
        case CloseAt():
            link.close_at(effect.mono)


def _pem(der: bytes | None) -> str:
    return "" if der is None else certificates.to_pem(load_der(der))
