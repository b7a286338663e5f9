"""A memberless gateway: the relay's core without a seat in the cluster.

The twin of `icefloe.node.gateway`.  Everybody is a stranger to it and it is a stranger
to everybody: it takes requests as a relay does, and carries each ask to an upstream over
an anonymous connection of its own, showing no certificate.  To its core an upstream is a
parent with one link, which stands while the upstream can be reached.

Left out: its own certificate, which it gets in the same way, and a queue for asks that
wait for a connection, of which there are never so many here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from icefloe.cluster.effects import HelloReceived, Report
from icefloe.cluster.pacing import backoff
from icefloe.cluster.peer import Peer, Standing, identify
from icefloe.cluster.session import Session
from icefloe.cluster.settings import SessionSettings
from icefloe.cluster.states import Role
from icefloe.cluster.zones import Endpoint, Zone, ZoneTree
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.settings import EnrollmentLimits, EnrollmentSettings
from icefloe.simulation.hub import Hub, LinkCommand
from icefloe.simulation.identities import authority, read_der, signed_identity
from icefloe.simulation.link import Link
from icefloe.simulation.machine import Machine, Seat
from icefloe.simulation.network import End, Face
from icefloe.simulation.process import Process
from icefloe.simulation.timeline import Action, Timer
from icefloe.wire.catalogue import REQUEST_CERTIFICATE, CertificateResult
from icefloe.wire.errors import MessageError
from icefloe.wire.jsonrpc import Message, Response

if TYPE_CHECKING:
    from icefloe.simulation.world import World

GATEWAY: Final = "gateway"
KEY_NUMBER: Final = 180

LIMITS: Final = EnrollmentLimits(
    poll_first=(0.25, 0.5, 1.0, 2.0, 4.0),
    poll_steady=8.0,
    poll_steady_for=60.0,
    poll_slow=60.0,
    polls_per_second=25.0,
    polls_unwaited_per_second=5.0,
    wrong_tickets_per_minute=10,
)
"""As a gateway runs by default, which this package cannot see: the paces of
`icefloe.node.gateway.gateway.GATEWAY_LIMITS`, the limits of `options.GATEWAY_DEFAULTS`."""

ANSWER_SECONDS_MAX: Final = 20.0
"""As `ForwarderLimits.answer_seconds_max`."""


class GatewayMachine(Machine):
    """A gateway over all its lives."""

    def __init__(self, world: World, upstreams: Sequence[str], *, skewed: bool) -> None:
        """Set it up; it is off.

        Args:
            world: where.
            upstreams: nodes to ask.
            skewed: its clock may be off.
        """
        self.upstreams = tuple(upstreams)
        seat = Seat(
            tree=ZoneTree(
                zones=(Zone(GATEWAY, (GATEWAY,)),),
                endpoints=(Endpoint(GATEWAY),),
                node_name=GATEWAY,
            ),
            identity=signed_identity(GATEWAY, KEY_NUMBER),
            ca=authority(),
        )
        super().__init__(GATEWAY, seat, world, skewed=skewed)
        world.promises.add_node(
            GATEWAY,
            signs=False,
            tree=seat.tree,
            anchor=self.anchor,
            parents=frozenset(upstreams),
        )

    def settings(self) -> EnrollmentSettings:
        """Return what its core stands on: no zones, and nobody's certificate."""
        return EnrollmentSettings(
            node_name=GATEWAY, tree=None, anchor=self.anchor, limits=LIMITS
        )

    def make_process(self) -> Process:
        """Return a new life."""
        return GatewayProcess(self, self._world)


class GatewayProcess(Process):
    """One life of a gateway."""

    def __init__(self, machine: GatewayMachine, world: World) -> None:
        """Compose a gateway that does nothing yet."""
        super().__init__(machine, world)
        self._carriers = _Carriers(self, machine, world)
        self.hub: Hub = self._carriers

    @property
    def announced(self) -> int:
        """How many links its core was told of, those of the upstreams included."""
        return super().announced + self._carriers.standing


class _Carriers(Hub):
    """The connections of a gateway, below and above."""

    def __init__(self, process: Process, machine: GatewayMachine, world: World) -> None:
        super().__init__(process, machine, world)
        self._ways = [_Way(name, process, machine, world) for name in machine.upstreams]

    @property
    def standing(self) -> int:
        """How many upstreams can be reached."""
        return sum(way.link is not None for way in self._ways)

    def start(self) -> None:
        """Listen, and look for the upstreams."""
        super().start()
        for way in self._ways:
            way.start()

    def vanish(self, *, power: bool) -> None:
        """The process died."""
        super().vanish(power=power)
        for way in self._ways:
            way.vanish(power=power)

    def carry_out(self, command: LinkCommand | cmd.Shun) -> None:
        """Carry out a command on its link, or take an ask to its upstream."""
        if isinstance(command, cmd.Shun):
            super().carry_out(command)
            return
        for way in self._ways:
            if way.link == command.link:
                if isinstance(command, cmd.Ask):
                    self._world.promises.durable_before_spoken(GATEWAY, command)
                    way.carry(command)
                return
        super().carry_out(command)


class _Way:
    """The way to one upstream."""

    def __init__(
        self, upstream: str, process: Process, machine: GatewayMachine, world: World
    ) -> None:
        self.link: ev.LinkId | None = None
        self.upstream = upstream
        self.process = process
        self.world = world
        self.machine = machine
        self.asks: dict[str, _Carried] = {}
        self._failures = 0
        self._timer: Timer | None = None
        self._gone = False

    def start(self) -> None:
        """Look whether it is there."""
        self._timer = None
        self.dial(self._probed)

    def vanish(self, *, power: bool) -> None:
        """The process died."""
        self._gone = True
        if self._timer is not None:
            self._timer.cancel()
        for ask in list(self.asks.values()):
            ask.vanish(power=power)

    def dial(self, done: Callable[[End | None, Face], None]) -> None:
        """Connect, and see that it is the right one; nothing is shown to it."""

        def dialled(end: End | None, face: Face) -> None:
            if self._gone:
                if end is not None:
                    end.connection.owner_died(end.side, power=False)
                return
            if end is not None and not self._is_trusted(face):
                end.abort()
                end = None
            self.process.enter(lambda: done(end, face))

        self.world.network.dial(GATEWAY, self.upstream, Face(None), dialled)

    def doubt(self) -> None:
        """It could not be reached: look whether it is there at all."""
        if self._timer is None and not self._gone:
            self._timer = self.world.timeline.after(0.0, self.start)

    def carry(self, ask: cmd.Ask) -> None:
        """Ask over a connection of its own."""
        self.world.note(GATEWAY, f"asks {ask.call[:8]} of {self.upstream}")
        self.world.counts["asked-by-a-gateway"] += 1
        self.asks[ask.call] = _Carried(self, ask)

    def _probed(self, end: End | None, _face: Face) -> None:
        if end is not None:
            end.start_drain(1.0)
            self._failures = 0
            if self.link is None:
                self._reached()
            return
        if self.link is not None:
            link, self.link = self.link, None
            self.world.note(GATEWAY, f"lost {self.upstream}")
            self.process.submit(ev.LinkDown(link))
        pause = backoff(self._failures, self.world.entropy)
        self._failures += 1
        self._timer = self.world.timeline.after(pause, self.start)

    def _reached(self) -> None:
        self.link = self.machine.new_link_id()
        self.world.note(GATEWAY, f"reached {self.upstream}")
        peer = Peer(
            standing=Standing.ANONYMOUS,
            common_name=self.upstream,
            address=self.upstream,
        )
        self.process.submit(ev.LinkUp(self.link, peer, upstream=True))

    def _is_trusted(self, face: Face) -> bool:
        if face.certificate is None:
            return False
        at = self.machine.clock.now().wall
        return self.machine.anchor.is_signed(read_der(face.certificate), at)


class _Carried:
    """One ask on its way; the owner of its link."""

    def __init__(self, way: _Way, ask: cmd.Ask) -> None:
        self._way = way
        self._ask = ask
        self._told = False
        self._link: Link | None = None
        self._timer = way.world.timeline.after(ANSWER_SECONDS_MAX, self._timed_out)
        way.dial(self._dialled)

    def vanish(self, *, power: bool) -> None:
        """The process died."""
        self._told = True
        self._timer.cancel()
        if self._link is not None:
            self._link.vanish(power=power)

    def _dialled(self, end: End | None, face: Face) -> None:
        if end is None:
            self._way.doubt()
            self._tell(self._failed("no connection"))
            return
        if self._told:
            end.start_drain(1.0)
            return
        clock = self._way.machine.clock
        peer = identify(
            tree=None,
            certificate_der=face.certificate,
            verified=False,
            address=self._way.upstream,
        )
        session = Session(
            role=Role.DIALLER,
            peer=peer,
            settings=SessionSettings(node_name=""),
            now=clock.now(),
        )
        session.hold()
        self._link = Link(
            link_id=ev.LinkId(0),
            end=end,
            session=session,
            peer=peer,
            role=Role.DIALLER,
            owner=self,
            clock=clock,
            timeline=self._way.world.timeline,
        )
        self._link.start()

    def _timed_out(self) -> None:
        self.enter(lambda: self._end(self._failed("no answer in time")))

    def _failed(self, detail: str) -> ev.Event:
        return ev.ParentFailed(self._ask.link, self._ask.call, detail)

    def _tell(self, event: ev.Event) -> None:
        if self._told:
            return
        self._told = True
        self._timer.cancel()
        self._way.asks.pop(self._ask.call, None)
        if self._way.link == self._ask.link:
            self._way.process.submit(event)

    def _end(self, event: ev.Event) -> None:
        self._tell(event)
        if self._link is not None:
            self._link.drain("answered")

    # -- from the link ----------------------------------------------------------------

    def enter(self, action: Action) -> None:
        """Take an action that comes from outside."""
        self._way.process.enter(action)

    def effect_boundary(self) -> None:
        """Between two effects."""
        self._way.process.effect_boundary()

    def link_opened(self, link: Link) -> None:
        """Ask."""
        params = replace(self._ask.params).to_params()
        link.step(
            lambda _now: link.session.send_request(
                REQUEST_CERTIFICATE, params, call=self._ask.call
            )
        )

    def link_hello(self, link: Link, hello: HelloReceived) -> None:
        """It asks the same of everybody."""

    def link_message(self, link: Link, message: Message) -> None:
        """Take the answer; everything else is passed over."""
        del link
        if not isinstance(message, Response) or self._told:
            return
        if message.error is not None:
            self._end(self._failed(message.error[:500]))
        elif message.id == self._ask.call:
            try:
                result = CertificateResult.parse(message.result)
            except MessageError as error:
                self._end(self._failed(str(error)))
                return
            self._end(ev.ParentAnswered(self._ask.link, self._ask.call, result))

    def link_report(self, link: Link, report: Report) -> None:
        """Its log is the gateway's, and says nothing here."""

    def link_ending(self, link: Link) -> None:
        """The close says more."""

    def link_closed(self, link: Link, *, clean: bool) -> None:
        """It ended, perhaps without an answer."""
        del link, clean
        self._tell(self._failed("the upstream closed the connection"))
