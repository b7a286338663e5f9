"""Idlers: connections that say nothing, or a byte a second, and come again when closed.

Three kinds. *Idle* ones finish the handshake and say nothing. *Slow handshakes* send
their first TLS message byte by byte. *Slow messages* announce a message inside TLS and
send it byte by byte. Each is opened again as soon as the node closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

import msgspec
from OpenSSL import SSL

from icefloe.doors import Entropy
from icefloe.lab.asking import ParentAddress, ask
from icefloe.lab.crowd import Agent
from icefloe.lab.figures import Spread, counts_text, seconds_text
from icefloe.lab.outcomes import Outcome
from icefloe.node.errors import ConnectionLost, TransportError
from icefloe.node.tls.connecting import connect

SLOW_SECONDS: Final = 1.0
"""Between two bytes of a slow one."""

AGAIN_SECONDS: Final = 0.5
OPENING_AT_ONCE: Final = 20
ATTEMPT_SECONDS_MAX: Final = 30.0

_MESSAGE: Final = b"100000:" + b" " * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class IdlersPlan:
    """Who idles.

    Attributes:
        parent: Where.
        idle: Connections that say nothing.
        slow: Connections that say a byte a second: half of them in the handshake, half
            inside TLS.
        sources: Addresses they come from, in turn.
    """

    parent: ParentAddress
    idle: int = 2000
    slow: int = 200
    sources: tuple[str, ...] = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")


@dataclass(slots=True)
class IdlersCounts:
    """What became of them, by kind.

    Attributes:
        opened: Connections made.
        closed: Connections that the node ended.
        failed: Connections that did not come about.
        open: Those that stand at this moment.
    """

    opened: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    open: Counter[str] = field(default_factory=Counter)


class _Silence:
    """Says nothing and hears nothing; a `StreamHandler`."""

    def data_received(self, data: bytes) -> None:
        del data

    def peer_finished(self) -> None:
        """The stream closes by itself."""

    def connection_lost(self, error: ConnectionLost | None) -> None:
        del error


class Idlers:
    """Keeps all of them up.

    Attributes:
        plan: Who idles.
        counts: What became of them so far.
    """

    def __init__(self, plan: IdlersPlan, agent: Agent) -> None:
        """Stand ready; the agent's key and certificate are shown by all."""
        self.counts = IdlersCounts()
        self.plan = plan
        self._context = agent.context
        self._news = asyncio.Event()
        self._opening = asyncio.Semaphore(OPENING_AT_ONCE)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[IdlersCounts]:
        """Keep them up during the block; it begins when they stand for the first time.

        Where not all of them find a place it begins after a while.
        """
        plan = self.plan
        kinds: list[tuple[str, Callable[[str], Awaitable[None]], int]] = [
            ("idle", self._idle, plan.idle),
            ("slow handshake", self._slow_handshake, plan.slow // 2),
            ("slow message", self._slow_message, plan.slow - plan.slow // 2),
        ]
        wanted = plan.idle + plan.slow
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    self._keep(kind, work, plan.sources[number % len(plan.sources)])
                )
                for kind, work, count in kinds
                for number in range(count)
            ]
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(10 + wanted / 50):
                        await self._until_opened(wanted)
                yield self.counts
            finally:
                for task in tasks:
                    task.cancel()

    async def _until_opened(self, wanted: int) -> None:
        while self.counts.opened.total() < wanted:
            self._news.clear()
            await self._news.wait()

    async def _keep(
        self, kind: str, work: Callable[[str], Awaitable[None]], source: str
    ) -> None:
        while True:
            try:
                await work(source)
                self.counts.closed[kind] += 1
            except (TransportError, OSError):
                self.counts.failed[kind] += 1
            await asyncio.sleep(AGAIN_SECONDS)

    async def _idle(self, source: str) -> None:
        await self._inside("idle", source, b"")

    async def _slow_message(self, source: str) -> None:
        await self._inside("slow message", source, _MESSAGE)

    async def _inside(self, kind: str, source: str, words: bytes) -> None:
        """Say words byte by byte inside TLS, until the node closes."""
        async with self._opening:
            stream = await connect(
                self.plan.parent.host,
                self.plan.parent.port,
                context=self._context,
                source=source,
            )
        try:
            stream.start(_Silence())
            with self._is_open(kind):
                for byte in words:
                    if not stream.write(bytes([byte])):
                        break
                    await asyncio.sleep(SLOW_SECONDS)
                await stream.wait_closed()
        finally:
            stream.abort()

    async def _slow_handshake(self, source: str) -> None:
        """Send a ClientHello byte by byte, until the node closes."""
        loop = asyncio.get_running_loop()
        parent = self.plan.parent
        with socket.socket() as sock:
            sock.settimeout(0)  # non-blocking
            sock.bind((source, 0))
            await loop.sock_connect(sock, (parent.host, parent.port))
            with self._is_open("slow handshake"):
                for byte in _client_hello(self._context):
                    try:
                        await loop.sock_sendall(sock, bytes([byte]))
                        async with asyncio.timeout(SLOW_SECONDS):
                            if not await loop.sock_recv(sock, 4096):
                                return
                    except TimeoutError:
                        continue
                    except ConnectionError:
                        return

    @contextlib.contextmanager
    def _is_open(self, kind: str) -> Iterator[None]:
        self.counts.opened[kind] += 1
        self.counts.open[kind] += 1
        self._news.set()
        try:
            yield
        finally:
            self.counts.open[kind] -= 1


def _client_hello(context: SSL.Context) -> bytes:
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    with contextlib.suppress(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(65_536)


@dataclass(slots=True)
class IdlersReport:
    """What good agents felt beside idlers.

    Attributes:
        plan: Who idled.
        counts: What became of them.
        seconds: How long each enrollment took that ended signed.
        outcomes: Of all of them.
    """

    plan: IdlersPlan
    counts: IdlersCounts
    seconds: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def complaints(self) -> list[str]:
        """What must not be: good agents that were not signed."""
        signed = self.outcomes[Outcome.SIGNED.value]
        if signed and signed == self.outcomes.total():
            return []
        return [f"good agents: {counts_text(self.outcomes, none='nobody enrolled')}"]

    def to_json(self) -> str:
        """Return all of it as one JSON object."""
        told = {**asdict(self), "spread": Spread.of(self.seconds)}
        return msgspec.json.encode({**told, "complaints": self.complaints}).decode()

    def text(self) -> str:
        """Return it for people."""
        spread = Spread.of(self.seconds)
        p50, p99 = (spread.p50, spread.p99) if spread else (None, None)
        lines = [
            f"{kind:>14}: {self.counts.opened[kind]} opened, "
            f"{self.counts.closed[kind]} closed by the node, "
            f"{self.counts.failed[kind]} failed"
            for kind in sorted(self.counts.opened | self.counts.failed)
        ]
        good = f"p50 {seconds_text(p50)}, p99 {seconds_text(p99)}"
        return "\n".join(
            [*lines, f"   good agents: {good}; {counts_text(self.outcomes)}"]
        )


async def enroll_beside_idlers(
    idlers: Idlers, agents: Sequence[Agent], *, entropy: Entropy
) -> IdlersReport:
    """Let good agents enroll one after the other while others idle."""
    report = IdlersReport(idlers.plan, idlers.counts)
    async with idlers.running():
        for agent in agents:
            attempt = await ask(
                agent,
                idlers.plan.parent,
                entropy=entropy,
                seconds_max=ATTEMPT_SECONDS_MAX,
            )
            report.outcomes[attempt.outcome.value] += 1
            if attempt.outcome is Outcome.SIGNED:
                report.seconds.append(attempt.seconds)
    return report
