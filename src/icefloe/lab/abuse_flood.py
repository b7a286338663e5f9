"""A flood: many messages a second over a few connections from one address.

It runs in a process of its own, so that making it does not slow down what is measured
beside it. Two kinds, alike in number and connections: wrong tickets, and heartbeats,
which a node reads and does nothing about.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Final

from OpenSSL import SSL

from icefloe.lab.asking import ParentAddress
from icefloe.lab.crowd import Wish, make_agents
from icefloe.lab.errors import FloodFailed
from icefloe.node.doors import RealClock, RealEntropy
from icefloe.node.errors import ConnectionLost, TransportError
from icefloe.node.tls.connecting import connect
from icefloe.node.tls.transport import TLSStream
from icefloe.wire.catalogue import HEARTBEAT, REQUEST_CERTIFICATE
from icefloe.wire.jsonrpc import encode_notification, encode_request
from icefloe.wire.netstring import encode

TICK_SECONDS: Final = 0.01
RECONNECT_SECONDS: Final = 0.05
STOP_SECONDS_MAX: Final = 15.0

_TICKET: Final = b"0" * 40
# What an answer says, by which it is counted without being read.
_SAYINGS: Final = (b'"too-many-wrong-tickets"', b'"wrong-ticket"', b'"limit"')


class Load(enum.StrEnum):
    """What a flood consists of."""

    WRONG_TICKETS = "wrong-tickets"
    HEARTBEATS = "heartbeats"


@dataclass(frozen=True, slots=True, kw_only=True)
class FloodPlan:
    """A flood.

    Attributes:
        parent: Where it goes.
        load: Of what.
        rate: Messages a second in all.
        connections: At most so many at a time.
        source: The address it comes from.
    """

    parent: ParentAddress
    load: Load
    rate: int
    connections: int
    source: str


@dataclass(slots=True)
class FloodCounts:
    """What a flood did.

    Attributes:
        seconds: How long it lasted.
        sent: Messages written.
        connected: Connections made.
        failed: Connections that did not come about.
        answers: By what they say.
    """

    seconds: float = 0.0
    sent: int = 0
    connected: int = 0
    failed: int = 0
    answers: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Messages a second, in fact."""
        return self.sent / self.seconds if self.seconds else 0.0


class Flood:
    """A flood under way, in another process."""

    def __init__(self, plan: FloodPlan) -> None:
        """Begin it."""
        spawned = multiprocessing.get_context("spawn")
        self._ours, theirs = spawned.Pipe()
        self._process = spawned.Process(
            target=_flood_until_told, args=(plan, theirs), daemon=True
        )
        self._process.start()
        theirs.close()
        self.counts = FloodCounts()

    async def wait_begun(self, seconds_max: float = 30.0) -> None:
        """Wait until its first connections stand.

        Raises:
            FloodFailed: they do not.
        """
        await asyncio.to_thread(self._hear, seconds_max)

    def stop(self) -> FloodCounts:
        """End it; return what it did.

        Raises:
            FloodFailed: it had ended by itself, or does not end.
        """
        with contextlib.suppress(OSError):
            self._ours.send("stop")
        try:
            counts = self._hear(STOP_SECONDS_MAX)
        finally:
            self.kill()
        if not isinstance(counts, FloodCounts):
            raise FloodFailed("the flood ended with an error")
        self.counts = counts
        return counts

    def kill(self) -> None:
        """Make sure that its process is gone."""
        self._process.join(1.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._ours.close()

    def _hear(self, seconds_max: float) -> object:
        try:
            if self._ours.poll(seconds_max):
                return self._ours.recv()
        except (EOFError, OSError):
            pass
        raise FloodFailed("the flood's process does not answer")


def _flood_until_told(plan: FloodPlan, theirs: Connection) -> None:
    asyncio.run(_Flooding(plan, theirs).run())


class _Flooding:
    """The flood, in its process."""

    def __init__(self, plan: FloodPlan, told: Connection) -> None:
        self._plan = plan
        self._told = told
        self._counts = FloodCounts()
        self._streams: list[TLSStream] = []
        self._frames = _frames(plan.load)
        self._stopped = asyncio.Event()
        self._connected = asyncio.Event()

    async def run(self) -> None:
        entropy, clock = RealEntropy(), RealClock()
        wish = Wish(name=f"flood-{entropy.bytes(4).hex()}")
        (agent,) = await make_agents([wish], entropy=entropy, now=clock.now().wall)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._told.fileno(), self._stopped.set)
        async with asyncio.TaskGroup() as group:
            keeping = [
                group.create_task(self._keep_connection(agent.context))
                for _ in range(self._plan.connections)
            ]
            await self._connected.wait()
            self._told.send("begun")
            await self._send_all()
            for task in keeping:
                task.cancel()
        self._told.send(self._counts)

    async def _send_all(self) -> None:
        began = time.monotonic()
        while not self._stopped.is_set():
            await asyncio.sleep(TICK_SECONDS)
            elapsed = time.monotonic() - began
            due = int(elapsed * self._plan.rate) - self._counts.sent
            # What could not be sent in time is not made up for all at once.
            for number in range(min(due, self._plan.rate // 5 + 1)):
                if not self._streams:
                    break
                stream = self._streams[number % len(self._streams)]
                self._counts.sent += stream.write(next(self._frames))
            if self._streams:
                self._streams.append(self._streams.pop(0))
            self._counts.seconds = elapsed

    async def _keep_connection(self, context: SSL.Context) -> None:
        plan, counts = self._plan, self._counts
        while True:
            try:
                stream = await connect(
                    plan.parent.host,
                    plan.parent.port,
                    context=context,
                    source=plan.source,
                )
            except TransportError:
                counts.failed += 1
                await asyncio.sleep(RECONNECT_SECONDS)
                continue
            counts.connected += 1
            stream.start(_Answers(stream, counts))
            self._streams.append(stream)
            self._connected.set()
            try:
                await stream.wait_closed()
            finally:
                self._streams.remove(stream)
                stream.abort()


class _Answers:
    """Counts what is answered; a `StreamHandler`."""

    def __init__(self, stream: TLSStream, counts: FloodCounts) -> None:
        self._stream = stream
        self._counts = counts
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        text = self._rest + data
        for saying in _SAYINGS:
            # The rest was counted before, but for what it cuts in two.
            found = text.count(saying) - self._rest.count(saying)
            if found:
                self._counts.answers[saying.decode().strip('"')] += found
        self._rest = text[-max(map(len, _SAYINGS)) + 1 :]

    def peer_finished(self) -> None:
        """The stream closes by itself."""

    def connection_lost(self, error: ConnectionLost | None) -> None:
        """The connection is made anew."""
        del error


def _frames(load: Load) -> Iterator[bytes]:
    """Return the messages, each ready to be written."""
    if load is Load.HEARTBEATS:
        frame = encode(encode_notification(HEARTBEAT, {"timeout": 120}))
        while True:
            yield frame
    params = {"ticket": _TICKET.decode()}
    template = encode(encode_request(REQUEST_CERTIFICATE, params, "flood"))
    number = time.time_ns()
    while True:
        number += 1
        yield template.replace(_TICKET, b"%040x" % number)
