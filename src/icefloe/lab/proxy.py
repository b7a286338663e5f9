"""A TCP proxy that does to connections what networks do, at chosen bytes.

It knows nothing of what passes through it: TLS, Icinga, Icefloe.  Of a direction it
holds one piece at a time, so that a slow reader slows its writer down, as in a network.
The faults are those of `proxy_faults`; besides them, the whole network can be silenced
or refused for a while (`silence`, `refuse`) and every open connection be ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from icefloe.lab.asking import ParentAddress
from icefloe.lab.errors import LabError
from icefloe.lab.proxy_connection import ProxyConnection, close_socket
from icefloe.lab.proxy_faults import EveryConnection, Fault, FaultKind, FaultSource, Way

CONNECTIONS_MAX: Final = 1000
"""Then a new one is reset; each holds two sockets and two pieces."""

_BACKLOG: Final = 512
_PAUSE_SECONDS: Final = 0.05
"""After a connection could not be taken: too many files are open."""


class CannotListen(LabError):
    """The proxy's address cannot be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyEvent:
    """Something that happened.

    Attributes:
        seconds: Since the proxy was bound.
        event: `connected`, `fault`, `ended`, `unreachable`, `refused`.
        connection: Its number, counted from 1.
        fault: Which, with `fault` and `refused`.
        way: The direction, with `fault`.
        up: Bytes passed on upwards, with `ended`.
        down: Bytes passed on downwards, with `ended`.
        detail: Why, where there is more to say.
    """

    seconds: float
    event: str
    connection: int
    fault: str = ""
    way: str = ""
    up: int = 0
    down: int = 0
    detail: str = ""


@dataclass(slots=True)
class ProxyCounts:
    """What has happened so far.

    Attributes:
        connections: Taken, whatever became of them.
        open: Of those, not ended.
        refused: Reset at once: by a fault, or because there were too many.
        unreachable: The other side could not be connected to.
        up: Bytes passed on upwards.
        down: Bytes passed on downwards.
        faults: How often each kind was done.
    """

    connections: int = 0
    open: int = 0
    refused: int = 0
    unreachable: int = 0
    up: int = 0
    down: int = 0
    faults: Counter[str] = field(default_factory=Counter)


class FaultProxy:
    """Listens, and leads every connection to one place.

    Attributes:
        plan: What is done to connections that are taken from now on.
        counts: What has happened.
    """

    def __init__(
        self,
        *,
        to: ParentAddress,
        listen: ParentAddress | None = None,
        plan: FaultSource | None = None,
        on_event: Callable[[ProxyEvent], None] = lambda _: None,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        """Make a proxy that does not listen yet.

        Args:
            to: Where connections are led.
            listen: Where to listen; None for any free port of 127.0.0.1.
            plan: What is done to them; None for nothing.
            on_event: Told of what happens.
            connections_max: How many at a time; further ones are reset.
        """
        self.plan: FaultSource = plan or EveryConnection()
        self.counts = ProxyCounts()
        self._to = to
        self._listen = listen or ParentAddress(host="127.0.0.1", port=0)
        self._on_event = on_event
        self._connections_max = connections_max
        self._began = 0.0
        self._door: socket.socket | None = None
        self._opened = asyncio.Event()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._open: dict[int, ProxyConnection] = {}
        self._watched: socket.socket | None = None

    # Life.

    def bind(self) -> ParentAddress:
        """Listen; connections are taken once `run` runs.

        Returns:
            The address, with the port that was found.

        Raises:
            CannotListen: It cannot be had.
        """
        try:
            self._door = _listening(self._listen)
        except OSError as error:
            raise CannotListen(
                f"cannot listen on {self._listen}: {error.strerror or error}"
            ) from None
        if not self._began:
            self._began = asyncio.get_running_loop().time()
        host, port = self._door.getsockname()[:2]
        self._listen = ParentAddress(host=host, port=port)
        self._opened.set()
        return self._listen

    @property
    def address(self) -> ParentAddress:
        """Where it listens, or did."""
        return self._listen

    async def run(self) -> None:
        """Take connections until cancelled; then all are reset."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._opened.wait()
                    await self._take_from(self._door, group)
        finally:
            self._door = None
            self._opened.clear()

    # The network as a whole.

    def silence(self) -> None:
        """Let nothing through, in either direction, until `restore`.

        New connections are taken and meet the same silence.
        """
        self._flowing.clear()

    def refuse(self) -> None:
        """Refuse new connections until `restore`."""
        door, self._door = self._door, None
        self._opened.clear()
        if door is None:
            return
        if door is not self._watched:
            door.close()
            return
        # Wakes the pending accept, which then closes it: the loop still watches it.
        with contextlib.suppress(OSError):
            door.shutdown(socket.SHUT_RDWR)

    def restore(self) -> None:
        """End `silence` and `refuse`: what was held goes on where it stood.

        Raises:
            CannotListen: Somebody has taken the port meanwhile.
        """
        if self._door is None:
            self.bind()
        self._flowing.set()

    def end_all(self, *, reset: bool = False) -> int:
        """End every open connection; return how many there were.

        Args:
            reset: Break them; else they are closed in order.
        """
        ended = list(self._open.values())
        for connection in ended:
            connection.end(reset=reset)
        return len(ended)

    # Inside.

    async def _take_from(
        self, door: socket.socket | None, group: asyncio.TaskGroup
    ) -> None:
        """Take connections until the door is closed."""
        if door is None:
            return
        loop = asyncio.get_running_loop()
        self._watched = door
        try:
            while self._door is door:
                try:
                    taken, _ = await loop.sock_accept(door)
                except OSError:
                    await asyncio.sleep(_PAUSE_SECONDS if self._door is door else 0)
                    continue
                self._admit(taken, group)
        finally:
            self._watched = None
            door.close()

    def _admit(self, taken: socket.socket, group: asyncio.TaskGroup) -> None:
        self.counts.connections += 1
        number = self.counts.connections
        faults = tuple(self.plan.faults_for(number))
        refusing = next((f for f in faults if f.kind is FaultKind.REFUSE), None)
        full = len(self._open) >= self._connections_max
        if refusing is None and not full:
            connection = ProxyConnection(
                taken,
                to=self._to,
                faults=faults,
                flowing=self._flowing,
                on_fault=lambda fault, way: self._did(number, fault, way),
            )
            self._open[number] = connection
            self.counts.open = len(self._open)
            group.create_task(self._serve(number, connection))
            return
        close_socket(taken, reset=True)
        self.counts.refused += 1
        why = "" if refusing is not None else "too many connections"
        if refusing is not None:
            self.counts.faults[refusing.kind.value] += 1
        self._tell("refused", number, fault=str(refusing or ""), detail=why)

    async def _serve(self, number: int, connection: ProxyConnection) -> None:
        try:
            problem = await connection.connect()
            if problem:
                self.counts.unreachable += 1
                self._tell("unreachable", number, detail=problem)
                return
            self._tell("connected", number)
            await connection.serve()
            passed = connection.passed
            self._tell("ended", number, up=passed[Way.UP], down=passed[Way.DOWN])
        finally:
            self.counts.up += connection.passed[Way.UP]
            self.counts.down += connection.passed[Way.DOWN]
            del self._open[number]
            self.counts.open = len(self._open)

    def _did(self, number: int, fault: Fault, way: Way) -> None:
        self.counts.faults[fault.kind.value] += 1
        self._tell("fault", number, fault=str(fault), way=way.value)

    def _tell(
        self,
        event: str,
        number: int,
        *,
        fault: str = "",
        way: str = "",
        up: int = 0,
        down: int = 0,
        detail: str = "",
    ) -> None:
        seconds = round(asyncio.get_running_loop().time() - self._began, 3)
        self._on_event(
            ProxyEvent(
                seconds=seconds,
                event=event,
                connection=number,
                fault=fault,
                way=way,
                up=up,
                down=down,
                detail=detail,
            )
        )


def _listening(address: ParentAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    door = socket.create_server(
        (address.host, address.port), family=family, backlog=_BACKLOG
    )
    door.setblocking(False)  # noqa: FBT003 - the method's only argument
    return door
