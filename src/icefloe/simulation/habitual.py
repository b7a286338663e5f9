"""Nodes that are not ours: real releases of Icinga 2 in any seat of a cluster.

What they do to a certificate request is decided by `icefloe.habits`; here it is driven
over the simulated network, with the same cuts, delays and crashes.  What survives a
crash is what a real node has in files: its identity and its stored requests.

The twin of `icefloe.lab.habitual`.  Not modelled at these nodes: a full disk, and all
that is not about certificates.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import partial

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.cluster.peer import PeerRejected, identify
from icefloe.cluster.zones import ZoneTree
from icefloe.doors import WallTime
from icefloe.enrollment.events import LinkId
from icefloe.enrollment.model import serial_text
from icefloe.errors import IcefloeError
from icefloe.habits import (
    CloseAt,
    CloseCut,
    CloseFlushed,
    Dial,
    Effect,
    HabitualMaster,
    HabitualNode,
    IcingaAuthority,
    InstallIdentity,
    Notify,
    Reply,
    ReplyEmpty,
    ReplyError,
    deliver,
    habits_of,
)
from icefloe.habits import Identity as Files
from icefloe.pki.certificates import common_name, key_id, load_pem, to_pem
from icefloe.pki.errors import PKIError
from icefloe.simulation.habitual_link import HabitualLinkOnTimeline
from icefloe.simulation.identities import read_der, read_pem
from icefloe.simulation.issued import Signature
from icefloe.simulation.machine import Seat
from icefloe.simulation.network import End, Face
from icefloe.simulation.process import Crashed
from icefloe.simulation.timeline import Action, Timer
from icefloe.simulation.world import World, ticket_is_valid
from icefloe.wire.jsonrpc import (
    Message,
    Response,
    encode_empty_response,
    encode_error,
    encode_notification,
    encode_response,
)

LinkEffect = (
    Reply | ReplyError | ReplyEmpty | Notify | CloseFlushed | CloseCut | CloseAt
)


class CAKeyUnusable(IcefloeError):
    """The simulated CA key cannot be used for a moment."""


class SimulatedAuthority:
    """A real signer's CA: it signs anew at each ask, and the judge is told."""

    def __init__(self, name: str, seat: Seat, world: World) -> None:
        """Sign as the node of that name."""
        self.has_salt = True
        self._name = name
        self._world = world
        self._signer = IcingaAuthority(
            ca=seat.ca.anchor.pem,
            key=seat.ca.key,
            salt="",
            entropy=world.entropy,
        )

    def ticket_is_valid(self, common_name: str, ticket: str) -> bool:
        """Say what a comparison of the ticket would come to."""
        return ticket_is_valid(common_name, ticket)

    def sign(self, request: x509.Certificate, now: WallTime) -> str:
        """Sign, and write down that it was signed."""
        faults = self._world.faults
        if faults.strikes("signing-failed", faults.plan.signing_fails):
            raise CAKeyUnusable("simulated: no key")
        signed = self._signer.sign(request, now)
        certificate = read_pem(signed)
        self._world.promises.issued.add(
            common_name(certificate),
            key_id(certificate),
            Signature(self._name, "", serial_text(certificate.serial_number)),
        )
        self._world.counts["signed-by-a-real-signer"] += 1
        return signed


class HabitualMachine:
    """A node that is not ours, over all its lives.

    Attributes:
        name: its endpoint name.
        tree: the zones as it sees them.
        node: what it has in files, and its habits.
        life: its present life, None while it is down.
        on_stored: told the name and the fingerprint of each request stored here.
    """

    def __init__(
        self, name: str, seat: Seat, world: World, *, version: str, skewed: bool
    ) -> None:
        """Set it up; it is off."""
        self.name = name
        self.tree: ZoneTree = seat.tree
        self.clock = world.clock(skewed=skewed)
        self.life: HabitualLife | None = None
        self.on_stored: list[Callable[[str, str], None]] = []
        self.anchor = seat.ca.anchor
        self.listens = seat.listens
        self.signs = seat.signs
        self.boundaries = 0
        self.lives = 0
        self.world = world
        self._seen: set[str] = set()
        self._link_numbers = itertools.count(1)
        self.node = self._make_node(seat, version)

    def _make_node(self, seat: Seat, version: str) -> HabitualNode:
        files = Files(
            certificate=seat.identity.pem, ca=seat.ca.anchor.pem, ticket=seat.ticket
        )
        habits = habits_of(version)
        dials = [endpoint.name for endpoint in seat.tree.dial_targets()]
        has_parent = seat.tree.parent_zone is not None
        if not seat.signs:
            return HabitualNode(
                self.name,
                habits=habits,
                identity=files,
                dials=dials,
                has_parent=has_parent,
            )
        return HabitualMaster(
            self.name,
            habits=habits,
            identity=files,
            dials=dials,
            has_parent=has_parent,
            authority=SimulatedAuthority(self.name, seat, self.world),
        )

    @property
    def face(self) -> Face:
        """What it shows in a handshake."""
        return Face(_der(self.node.identity.certificate))

    def new_link_id(self) -> LinkId:
        """Name a connection; no name is used again, in no life."""
        return LinkId(next(self._link_numbers))

    def start(self) -> None:
        """Begin a life."""
        self.lives += 1
        self.world.note(self.name, f"starts, life {self.lives}")
        self.life = self.make_life()
        self.life.start()

    def make_life(self) -> HabitualLife:
        """Return a new life."""
        return HabitualLife(self, self.world)

    def effect_boundary(self) -> None:
        """Between two effects: perhaps the node dies here."""
        number, self.boundaries = self.boundaries, self.boundaries + 1
        death = self.world.faults.crash_here(self.name, number)
        if death is not None:
            raise Crashed(death)

    def crash(self, crash: Crashed) -> None:
        """End a life in the middle of it, and plan the next one."""
        life, self.life = self.life, None
        if life is None:
            return
        self.world.note(self.name, f"crashes at boundary {self.boundaries - 1}")
        self.world.counts["crashes"] += 1
        self.world.network.stop_listening(self.name)
        life.die(power=crash.death.power)
        self.world.timeline.after(crash.death.down_seconds, self.start)

    def look_for_stored(self) -> None:
        """Tell of requests that are new in the files."""
        if not self.on_stored:
            return
        for request in list(self.node.requests.waiting()):
            if request.fingerprint in self._seen:
                continue
            self._seen.add(request.fingerprint)
            cn = common_name(read_pem(request.cert_request))
            for listener in self.on_stored:
                listener(cn, request.fingerprint)


class HabitualLife:
    """One life of a node that is not ours.

    Attributes:
        alive: false from its crash on.
        links: its connections.
    """

    def __init__(self, machine: HabitualMachine, world: World) -> None:
        """Do nothing yet."""
        self.alive = True
        self.links: dict[LinkId, HabitualLinkOnTimeline] = {}
        self.machine = machine
        self.world = world
        self._node = machine.node
        self._entered = False
        self._tick_timer: Timer | None = None

    def start(self) -> None:
        """Listen and dial."""
        if self.machine.listens:
            self.world.network.listen(self.machine.name, self)
        self.enter(lambda: self.carry_out(self._node.start(self.machine.clock.now())))
        self._arm()

    def die(self, *, power: bool) -> None:
        """Be gone, with every connection."""
        self.alive = False
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        for link in list(self.links.values()):
            link.vanish(power=power)
        self.links.clear()

    def enter(self, action: Action) -> None:
        """Take an action that comes from outside; the node may die in it."""
        if not self.alive:
            return
        if self._entered:
            action()
            return
        self._entered = True
        try:
            action()
        except Crashed as crash:
            self.machine.crash(crash)
        finally:
            self._entered = False

    def effect_boundary(self) -> None:
        """Between two effects: perhaps the node dies here."""
        self.machine.effect_boundary()

    # -- connections ----------------------------------------------------------------------

    @property
    def face(self) -> Face:
        """What is shown to those who dial it."""
        return self.machine.face

    def accept(self, end: End, face: Face, address: str) -> None:
        """Take a connection."""
        self.enter(lambda: self._take(end, face, address, None))

    def _dial(self, name: str) -> None:
        self.world.network.dial(
            self.machine.name, name, self.face, partial(self._dialled, name)
        )

    def _dialled(self, name: str, end: End | None, face: Face) -> None:
        if not self.alive:
            if end is not None:
                end.abort()
            return
        if end is None:
            self.enter(lambda: self.carry_out(self._node.on_dial_failed(name)))
            return
        self.enter(lambda: self._take(end, face, name, name))

    def _take(self, end: End, face: Face, address: str, expected: str | None) -> None:
        try:
            peer = identify(
                tree=self.machine.tree,
                certificate_der=face.certificate,
                verified=self._is_verified(face),
                address=address,
                expected_name=expected,
            )
        except PeerRejected:
            end.abort()
            if expected is not None:
                self.carry_out(self._node.on_dial_failed(expected))
            return
        link = HabitualLinkOnTimeline(
            link_id=self.machine.new_link_id(),
            end=end,
            peer=peer,
            expected=expected,
            habits=self._node.habits,
            owner=self,
            timeline=self.world.timeline,
        )
        self.links[link.link_id] = link
        link.start()

    def _is_verified(self, face: Face) -> bool:
        if face.certificate is None:
            return False
        at = self.machine.clock.now().wall
        if self.world.faults.refuses(face.certificate):
            return False
        return self.machine.anchor.is_signed(read_der(face.certificate), at)

    # -- from links -----------------------------------------------------------------------

    def link_open(self, link: HabitualLinkOnTimeline) -> None:
        """Tell the machine of a session."""
        peer = link.peer
        self.world.note(self.machine.name, f"link {link.link_id} with {peer.label}")
        if peer.relation is not None and peer.common_name is not None:
            effects = self._node.on_member_up(
                link.link_id, name=peer.common_name, relation=peer.relation
            )
        else:
            effects = self._node.on_anonymous_up(
                link.link_id,
                now=self.machine.clock.now(),
                is_verified=peer.verified,
            )
        self.carry_out(effects)

    def link_message(self, link: HabitualLinkOnTimeline, message: Message) -> None:
        """Do to a message what this release does."""
        self.carry_out(self.effects_of(link, message))
        self.machine.look_for_stored()

    def effects_of(
        self, link: HabitualLinkOnTimeline, message: Message
    ) -> list[Effect]:
        """Return what this release does to a message."""
        if isinstance(message, Response):
            return []
        return deliver(
            self._node,
            link.link_id,
            message,
            now=self.machine.clock.now(),
            presented=_pem(link.peer.certificate),
        )

    def link_down(self, link: HabitualLinkOnTimeline) -> None:
        """Tell the machine that a session is over."""
        self.links.pop(link.link_id, None)
        self.carry_out(self._node.on_link_down(link.link_id))
        if link.expected is not None and not link.peer.is_member:
            self.carry_out(self._node.on_dial_failed(link.expected))

    # -- effects ----------------------------------------------------------------------------

    def carry_out(self, effects: Iterable[Effect]) -> None:
        """Carry effects out, in order."""
        for effect in effects:
            self.effect_boundary()
            if isinstance(effect, Dial):
                self._dial(effect.endpoint)
            elif isinstance(effect, InstallIdentity):
                self.world.note(self.machine.name, "installs its own certificate")
            elif (link := self.links.get(effect.link)) is not None:
                self.on_link(link, effect)

    def on_link(self, link: HabitualLinkOnTimeline, effect: LinkEffect) -> None:
        """Carry out one effect on one connection."""
        name, peer = self.machine.name, link.peer.label
        match effect:
            case Reply():
                self.world.note(name, f"answers {_status(effect)} to {peer}")
                link.send(encode_response(effect.call.value, effect.result))
            case ReplyError():
                self.world.note(name, f"answers an exception to {peer}")
                link.send(encode_error(effect.call.value, effect.error))
            case ReplyEmpty():
                link.send(encode_empty_response(effect.call.value))
            case Notify():
                self.world.note(name, f"sends {effect.method} to {peer}")
                link.send(
                    encode_notification(effect.method, effect.params, ts=effect.ts)
                )
            case CloseFlushed():
                link.close_flushed()
            case CloseCut():
                link.close_cut()
            case CloseAt():
                link.close_at(effect.mono)

    def _arm(self) -> None:
        at = self._node.next_tick()
        if at is not None and self.alive:
            self._tick_timer = self.world.timeline.at(at, self._tick)

    def _tick(self) -> None:
        now = self.machine.clock.now()
        self.enter(lambda: self.carry_out(self._node.tick(now)))
        self._arm()


class HabitualOperator:
    """The person at a node that is not ours: `ca sign` and `ca remove`.

    A decision there is about one fingerprint, not about a key.

    Attributes:
        decided_at: virtual seconds of the last decision about a name.
    """

    def __init__(
        self,
        world: World,
        machine: HabitualMachine,
        *,
        approves: Callable[[str], bool],
        removes: Iterable[str] = (),
        seconds_to_decide: float,
    ) -> None:
        """Watch a node's list.

        Args:
            world: where.
            machine: whose list.
            approves: whether a name that waits is to be approved here.
            removes: names to decline when they wait.
            seconds_to_decide: how long a decision takes at most.
        """
        self.decided_at: dict[str, float] = {}
        self._world = world
        self._machine = machine
        self._approves = approves
        self._removes = frozenset(removes)
        self._seconds_to_decide = seconds_to_decide
        machine.on_stored.append(self._stored)

    def _stored(self, cn: str, fingerprint: str) -> None:
        if cn not in self._removes and not (self._machine.signs and self._approves(cn)):
            return
        pause = self._world.chance.uniform(0.0, self._seconds_to_decide)
        self._world.timeline.after(pause, partial(self._decide, cn, fingerprint))

    def _decide(self, cn: str, fingerprint: str) -> None:
        node = self._machine.node
        if cn in self._removes:
            done = node.requests.remove(fingerprint)
        elif isinstance(node, HabitualMaster):
            try:
                now = self._machine.clock.now()
                done = node.approve(fingerprint, now=now)
            except CAKeyUnusable:
                self._world.timeline.after(3.0, partial(self._decide, cn, fingerprint))
                return
        else:
            done = False
        if done:
            self.decided_at[cn] = self._world.timeline.seconds
            self._world.note("operator", f"decides about {cn}")


def _der(pem: str) -> bytes | None:
    try:
        return load_pem(pem).public_bytes(Encoding.DER)
    except PKIError:
        return None


def _pem(der: bytes | None) -> str:
    return "" if der is None else to_pem(read_der(der))


def _status(effect: Reply) -> str:
    return "nothing" if effect.result is None else str(effect.result["status_code"])
