"""A master away for ten minutes, and as many agents waiting as you like.

What runs is the production core and ledger of one signer and ten relays, and the
production requester of those agents that have one.  Left out is what costs most and
says least at this size: bytes and sessions (messages are handed over as such), faults,
and the judge; `running` is for those.  Nothing is kept of an agent that can be made
again, and no history is written.

Agents are of three sorts, as in a real roll-out: half run our command, which asks again
with growing pauses and jitter; a fifth are daemons that ask once, without an id, and
stay on their connection; the others run Icinga's command again every minute, as a tool
does.  Half of them stand behind addresses that a hundred share.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.cluster.peer import Peer, identify
from icefloe.cluster.zones import Endpoint, Zone, ZoneTree
from icefloe.doors import WallTime
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.batch import BatchRunner
from icefloe.enrollment.core import EnrollmentCore
from icefloe.enrollment.event_queue import EventQueue
from icefloe.enrollment.memory_ledger import MemoryLedger
from icefloe.enrollment.settings import EnrollmentSettings
from icefloe.pki.profiles import LEAF_LIFETIME, self_signed, sign_tbs
from icefloe.simulation.cluster import SIGNER
from icefloe.simulation.crowd import Agent, CommandAgent, DaemonAgent, ToolAgent
from icefloe.simulation.identities import authority, signed_identity
from icefloe.simulation.timeline import (
    WALL_START,
    SimulatedClock,
    SimulatedEntropy,
    Timeline,
    Timer,
)
from icefloe.wire.catalogue import CertificateResult

RELAYS: Final = 10
AWAY_SECONDS: Final = 600.0
ARRIVAL_SECONDS: Final = 600.0
"""The roll-out goes on as long as the master is away."""

SETTLE_SECONDS: Final = 3600.0
"""All have to be signed so long after the master's return, at the very most."""

QUIET_SECONDS: Final = 700.0
"""Afterwards, until a member that was told "pending" is remembered no more."""

LATENCY_SECONDS: Final = 0.005
COMMIT_SECONDS: Final = 0.002
BATCH_EVENTS_MAX: Final = 128
TICKET_SECONDS: Final = 0.015
TICKET_WORKERS: Final = 2
"""PBKDF2 on two cores: what a master spends most of its time with."""

UNHELD_SECONDS: Final = 20.0
"""A stranger's connection that is not held ends so long after it asked."""

RECONNECT_SECONDS_MAX: Final = 12.0
_NO_LINK: Final = ev.LinkId(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """What became of a crowd.

    Attributes:
        agents: how many there were.
        unsigned: names of some that were not signed; empty when all is well.
        waits: seconds each waited, from its first asking to its certificate, sorted.
        afterwards: the same counted from the master's return.
        asks: how often agents asked.
        events: what the cores were told.
        relay_rows: rows in the largest ledger of a relay, by kind.
        relay_agents: how many agents that relay had.
        signer_rows: the same in the signer's.
        remembered: what the cores still remember when all is done; all zero but links.
    """

    agents: int
    unsigned: tuple[str, ...]
    waits: Sequence[float]
    afterwards: Sequence[float]
    asks: int
    events: int
    relay_rows: dict[str, int]
    relay_agents: int
    signer_rows: dict[str, int]
    remembered: dict[str, int]


def grow(agents: int, *, seed: int = 0, relays: int = RELAYS) -> Grown:
    """Let a crowd wait for its master.

    Args:
        agents: how many.
        seed: of chance.
        relays: behind how many.
    """
    return _Crowd(agents, seed, relays).run()


@dataclass(slots=True, eq=False)
class Wire:
    """One connection between a node and an agent, or between a relay and the signer.

    Attributes:
        node: who listens.
        link: its name there.
        agent: who dialled, or None.
        below: the relay that dialled, or None.
        link_below: its name there.
        held: its idle lifetime is suspended.
        open: it has not ended.
    """

    node: Node
    link: ev.LinkId
    agent: Agent | None = None
    below: Node | None = None
    link_below: ev.LinkId = _NO_LINK
    held: bool = False
    open: bool = True


@dataclass(slots=True)
class _Workers:
    """Threads that compare tickets, one after the other."""

    free_at: list[float] = field(default_factory=lambda: [0.0] * TICKET_WORKERS)

    def done_at(self, now: float) -> float:
        """Give the next free one something to do."""
        number = min(range(TICKET_WORKERS), key=self.free_at.__getitem__)
        self.free_at[number] = max(self.free_at[number], now) + TICKET_SECONDS
        return self.free_at[number]


class Node:
    """A relay or the signer: a core, its ledger, and its connections."""

    def __init__(self, name: str, tree: ZoneTree, number: int, crowd: _Crowd) -> None:
        """Start."""
        self.name = name
        self.tree = tree
        self.ledger = MemoryLedger()
        self.events = 0
        self._signs = name == SIGNER
        self.certificate = signed_identity(name, number).der
        anchor = authority().anchor
        settings = EnrollmentSettings(
            node_name=name,
            tree=tree,
            anchor=anchor,
            issuer=authority().certificate if self._signs else None,
            checks_tickets=self._signs,
            reserved_names=tree.reserved_names(),
        )
        self.core = EnrollmentCore(settings=settings, ledger=self.ledger)
        self._batches = BatchRunner(core=self.core, ledger=self.ledger)
        self._crowd = crowd
        self._timeline = crowd.timeline
        self._clock = crowd.clock
        self._queue = EventQueue()
        self._wires: dict[ev.LinkId, Wire] = {}
        self._numbers = itertools.count(1)
        self._busy = False
        self._deadline: Timer | None = None
        self._workers = _Workers()
        self.tell(ev.Started())

    # -- connections ------------------------------------------------------------------

    def accept(self, agent: Agent, peer: Peer) -> Wire:
        """Take an agent's connection."""
        wire = Wire(self, ev.LinkId(next(self._numbers)), agent=agent)
        self._wires[wire.link] = wire
        self.tell(ev.LinkUp(wire.link, peer))
        return wire

    def connect(self, signer: Node) -> None:
        """Dial the signer."""
        wire = Wire(
            signer,
            ev.LinkId(next(signer._numbers)),
            below=self,
            link_below=ev.LinkId(next(self._numbers)),
        )
        signer._wires[wire.link] = self._wires[wire.link_below] = wire
        for node, link, other in (
            (signer, wire.link, self),
            (self, wire.link_below, signer),
        ):
            peer = identify(
                tree=node.tree,
                certificate_der=other.certificate,
                verified=True,
                address=other.name,
            )
            node.tell(ev.LinkUp(link, peer, upstream=other is signer))
            node.tell(ev.PeerIsIcefloe(link))

    def close(self, wire: Wire) -> None:
        """A connection ends in order."""
        if not wire.open:
            return
        wire.open = False
        del self._wires[wire.link]
        self.tell(ev.LinkDown(wire.link, clean=True))
        if wire.agent is not None:
            wire.agent.closed()

    # -- turns ------------------------------------------------------------------------

    def tell(self, event: ev.Event) -> None:
        """Queue an event."""
        self._queue.append(event)
        if not self._busy:
            self._busy = True
            self._timeline.after(COMMIT_SECONDS, self._run_batch)

    def _run_batch(self) -> None:
        now = self._clock.now()
        events = self._queue.take(BATCH_EVENTS_MAX)
        due = self.core.next_deadline
        if due is not None and due <= now.mono:
            events.append(ev.DeadlineReached())
        self.events += len(events)
        batch = self._batches.run(events, now, self._crowd.entropy)
        for command in batch.commands:
            self._carry_out(command)
        if self._queue:
            self._timeline.after(COMMIT_SECONDS, self._run_batch)
            return
        self._busy = False
        self._arm(batch.next_deadline)

    def _arm(self, due: float | None) -> None:
        if self._deadline is not None and self._deadline.at != due:
            self._deadline.cancel()
            self._deadline = None
        if due is not None and self._deadline is None:
            self._deadline = self._timeline.at(due, self._deadline_reached)

    def _deadline_reached(self) -> None:
        self._deadline = None
        if not self._busy:
            self._busy = True
            self._run_batch()

    # -- commands ---------------------------------------------------------------------

    def _carry_out(self, command: cmd.Command) -> None:
        match command:
            case cmd.CheckTicket(attempt_id=attempt_id):
                checked = ev.TicketChecked(attempt_id, valid=True)
                at = self._workers.done_at(self._timeline.seconds)
                self._timeline.at(at, partial(self.tell, checked))
            case cmd.Sign(request_id=request_id, tbs=tbs):
                signed = ev.Signed(request_id, sign_tbs(authority().key, tbs))
                self._timeline.after(0.001, partial(self.tell, signed))
            case cmd.Answer() | cmd.Push() | cmd.Ask() | cmd.Drain():
                self._send(command)
            case cmd.Hold(link=link) | cmd.Release(link=link):
                self._hold(link, held=isinstance(command, cmd.Hold))
            case cmd.Log(fields=fields) if "exc_info" in fields:
                raise AssertionError(str(fields["exc_info"]))

    def _hold(self, link: ev.LinkId, *, held: bool) -> None:
        wire = self._wires.get(link)
        if wire is not None:
            wire.held = held
            if not held:
                self.end_unheld(wire, UNHELD_SECONDS)

    def end_unheld(self, wire: Wire, seconds: float) -> None:
        """End a stranger's connection after a while, unless it is held by then."""

        def look() -> None:
            if wire.open and not wire.held:
                self.close(wire)

        self._timeline.after(seconds, look)

    def _send(self, command: cmd.Answer | cmd.Push | cmd.Ask | cmd.Drain) -> None:
        wire = self._wires.get(command.link)
        if wire is None:
            return
        hear: Callable[[], object]
        if isinstance(command, cmd.Drain):
            hear = partial(self.close, wire)
        elif wire.agent is not None and not isinstance(command, cmd.Ask):
            hear = partial(_hear, wire.agent, command)
        else:
            hear = partial(_hand_over, wire, command)
        self._timeline.after(LATENCY_SECONDS, hear)


def _hear(agent: Agent, command: cmd.Answer | cmd.Push) -> None:
    if isinstance(command, cmd.Answer):
        agent.answered(CertificateResult.parse(command.result))
    else:
        agent.pushed(command.params.cert)


def _hand_over(wire: Wire, command: cmd.Answer | cmd.Push | cmd.Ask) -> None:
    """Carry a message between a relay and the signer."""
    if wire.below is None:
        return
    if isinstance(command, cmd.Ask):
        call = ev.CallId(command.call)
        wire.node.tell(ev.CertificateAsked(wire.link, call, command.params))
    elif isinstance(command, cmd.Push):
        wire.below.tell(ev.CertificateUpdated(wire.link_below, command.params))
    else:
        result = CertificateResult.parse(command.result)
        call_below = str(command.call.value)
        wire.below.tell(ev.ParentAnswered(wire.link_below, call_below, result))


class _Crowd:
    """The whole of it.

    Attributes:
        timeline: virtual time.
        clock: everybody's.
        entropy: chance.
    """

    def __init__(self, agents: int, seed: int, relays: int) -> None:
        self.timeline = Timeline()
        self.clock = SimulatedClock(self.timeline, skew_seconds=0.0)
        self._chance = Random(seed)  # noqa: S311 - to be repeated is what it is for
        self.entropy = SimulatedEntropy(self._chance)
        names = [f"relay-{number}" for number in range(relays)]
        zones = (
            Zone("master", (SIGNER,)),
            *(Zone(name, (name,), "master") for name in names),
        )
        endpoints = [Endpoint(SIGNER, SIGNER), *map(Endpoint, names)]

        def node(name: str, number: int) -> Node:
            tree = ZoneTree(
                zones=zones,
                endpoints=endpoints,
                node_name=name,
                icefloe_endpoints=(SIGNER, *names),
            )
            return Node(name, tree, 100 + number, self)

        self._signer = node(SIGNER, 0)
        self._relays = [node(name, n) for n, name in enumerate(names, start=1)]
        self._left = agents
        self._agents = [self._agent(number) for number in range(agents)]

    def _agent(self, number: int) -> Agent:
        sort: type[Agent] = (
            *(CommandAgent,) * 5,
            *(DaemonAgent,) * 2,
            *(ToolAgent,) * 3,
        )[number % 10]
        # Every other group of twenty shares its address with the next ones.
        block = number // 200 if number // 20 % 2 else number
        agent = sort(
            cn=f"agent-{number}.example",
            certificate=_certificate(number),
            address=f"10.{block >> 16}.{block >> 8 & 255}.{block & 255}",
            node=self._relays[number // 10 % len(self._relays)],
            timeline=self.timeline,
            clock=self.clock,
            entropy=self.entropy,
            on_signed=self._signed,
        )
        self.timeline.at(self._chance.uniform(0.0, ARRIVAL_SECONDS), agent.begin)
        return agent

    def _signed(self) -> None:
        self._left -= 1

    def run(self) -> Grown:
        for relay in self._relays:
            back_at = AWAY_SECONDS + self._chance.uniform(0.0, RECONNECT_SECONDS_MAX)
            self.timeline.at(back_at, partial(relay.connect, self._signer))
        self.timeline.run_until(
            AWAY_SECONDS + SETTLE_SECONDS, done=lambda: not self._left
        )
        self.timeline.run_until(self.timeline.seconds + QUIET_SECONDS)
        return self._result()

    def _result(self) -> Grown:
        agents = self._agents
        signed = [agent for agent in agents if agent.signed_at is not None]
        waits = sorted((a.signed_at or 0.0) - a.began_at for a in signed)
        afterwards = sorted((a.signed_at or 0.0) - AWAY_SECONDS for a in signed)
        nodes = [self._signer, *self._relays]
        largest = max(self._relays, key=lambda node: sum(node.ledger.rows().values()))
        remembered: Counter[str] = Counter()
        for node in nodes:
            census = node.core.census()
            remembered["links"] += census.links
            remembered["waiters"] += census.waiters
            remembered["errands"] += census.errands
            remembered["asks"] += census.asks
        return Grown(
            agents=len(agents),
            unsigned=tuple(a.cn for a in agents if a.signed_at is None)[:10],
            waits=waits,
            afterwards=afterwards,
            asks=sum(agent.asks for agent in agents),
            events=sum(node.events for node in nodes),
            relay_rows=largest.ledger.rows(),
            relay_agents=sum(1 for agent in agents if agent.node is largest),
            signer_rows=self._signer.ledger.rows(),
            remembered=dict(remembered),
        )


def _certificate(number: int) -> bytes:
    """Make an agent's self-signed certificate, DER; its key is not needed again."""
    key = ec.derive_private_key(0x1CEF10E100000000 + number, ec.SECP256R1())
    certificate = self_signed(
        f"agent-{number}.example",
        key,
        serial=(1 << 100) + number,
        not_before=WallTime(WALL_START - 86_400),
        not_after=WallTime(WALL_START + LEAF_LIFETIME),
    )
    return certificate.public_bytes(Encoding.DER)
