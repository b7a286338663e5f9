"""Dials the endpoints that this node is to keep a connection to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from OpenSSL import SSL

from icefloe.cluster.pacing import DialPacer
from icefloe.cluster.states import Role
from icefloe.cluster.zones import Endpoint
from icefloe.doors import Clock, Entropy
from icefloe.enrollment.commands import Level
from icefloe.enrollment.events import DialFailed
from icefloe.node.errors import HandshakeFailed, TransportError
from icefloe.node.hub import Hub
from icefloe.node.logs import Logger
from icefloe.node.tls.connecting import connect
from icefloe.node.tls.stream_interface import TransportLimits
from icefloe.node.tls.verdict import EndpointExpected

# A dial that keeps failing is said again this often, not at every try.
REPORT_EVERY_FAILURES = 20


class Dialer:
    """Keeps connections to the endpoints of the zone tree that have a host.

    Attributes:
        limits: times of a dial; may be replaced.
    """

    def __init__(
        self,
        *,
        hub: Hub,
        clock: Clock,
        entropy: Entropy,
        log: Logger,
        context: Callable[[], SSL.Context],
        limits: TransportLimits,
        submit: Callable[[DialFailed], object] = lambda _event: None,
    ) -> None:
        """Dial nothing until `run`.

        Args:
            hub: takes the streams; tells `connected` and `disconnected`.
            clock: the real one.
            entropy: for the jitter between retries.
            log: where log events go.
            context: the TLS context of this moment.
            limits: times of a dial.
            submit: told of each endpoint that was dialled in vain.
        """
        self._submit = submit
        self._hub = hub
        self._clock = clock
        self._log = log
        self._context = context
        self.limits = limits
        self._pacer = DialPacer(entropy=entropy)
        self._endpoints: dict[str, Endpoint] = {}
        self._failures: dict[str, int] = {}
        self._news = asyncio.Event()

    def set_targets(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Say whom to keep connected to."""
        self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._pacer.set_targets(self._endpoints, self._clock.now().mono)
        for name in self._endpoints:
            if self._hub.is_connected(name):
                self._pacer.connected(name, self._clock.now().mono)
        self._news.set()

    def connected(self, endpoint: str) -> None:
        """An endpoint is connected, whoever dialled."""
        self._failures.pop(endpoint, None)
        self._pacer.connected(endpoint, self._clock.now().mono)

    def disconnected(self, endpoint: str) -> None:
        """An endpoint's connection ended."""
        self._pacer.disconnected(endpoint, self._clock.now().mono)
        self._news.set()

    async def run(self) -> None:
        """Dial until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                for name in self._pacer.due(self._clock.now().mono):
                    self._pacer.dialling(name)
                    endpoint = self._endpoints[name]
                    group.create_task(self._dial(endpoint), name=f"dial {name}")
                await self._wait()

    async def _wait(self) -> None:
        self._news.clear()
        due = self._pacer.next_deadline
        pause = None if due is None else max(0.0, due - self._clock.now().mono)
        try:
            async with asyncio.timeout(pause):
                await self._news.wait()
        except TimeoutError:
            return

    async def _dial(self, endpoint: Endpoint) -> None:
        name = endpoint.name
        # A reload may come before somebody answers: the context is of this moment.
        began = self._clock.now().mono
        try:
            stream = await connect(
                endpoint.host or "",
                endpoint.port,
                context=self._context(),
                expectation=EndpointExpected(name),
                limits=self.limits,
            )
        except TransportError as error:
            self._failed(name, error)
            return
        except Exception as error:  # noqa: BLE001 - must not end dialling the others
            self._log.log(
                Level.CRITICAL, "dialling failed", endpoint=name, exc_info=error
            )
            self._failed(name, error)
            return
        link = self._hub.take_stream(
            stream, role=Role.DIALLER, expected=name, judged_since=began
        )
        if link is not None and link.peer.is_member:
            return  # the hub tells how it goes on
        if link is not None:
            await link.wait_closed()
        self._pacer.failed(name, self._clock.now().mono)
        self._news.set()

    def _failed(self, name: str, error: Exception) -> None:
        count = self._failures.get(name, 0)
        self._failures[name] = count + 1
        loud = count % REPORT_EVERY_FAILURES == 0
        self._log.log(
            Level.WARNING if loud else Level.DEBUG,
            "cannot connect",
            endpoint=name,
            failures=count + 1,
            detail=str(error),
        )
        # Who else than the endpoint says something about our certificate is a stranger.
        broken = error if isinstance(error, HandshakeFailed) else None
        self._submit(
            DialFailed(
                name,
                refused=broken is not None and broken.refuses_certificate,
                detail=str(error),
                tls_failed=broken is not None and broken.alert is not None,
            )
        )
        self._pacer.failed(name, self._clock.now().mono)
        self._news.set()
