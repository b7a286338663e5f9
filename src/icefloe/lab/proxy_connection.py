"""One connection through the fault proxy: two sockets, two directions, its faults."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Final

from icefloe.lab.asking import ParentAddress
from icefloe.lab.proxy_faults import Fault, FaultKind, Way

PIECE_BYTES: Final = 16 * 1024
"""What is held of a direction, at most."""

CONNECT_SECONDS_MAX: Final = 15.0
_THROTTLE_STEPS: Final = 20
"""So many pieces a second."""

_UNREAD_PIECES_MAX: Final = 64
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 s: closing sends a reset."""


class ProxyConnection:
    """Leads one connection on.

    Attributes:
        passed: Bytes passed on, by direction.
    """

    def __init__(
        self,
        taken: socket.socket,
        *,
        to: ParentAddress,
        faults: Sequence[Fault],
        flowing: asyncio.Event,
        on_fault: Callable[[Fault, Way], None],
    ) -> None:
        """Own the accepted socket from here on.

        Args:
            taken: Non-blocking.
            to: Where it is led.
            faults: What is done to it; none of them refuses it.
            flowing: While it is not set, nothing passes.
            on_fault: Told when a fault begins.
        """
        self.passed = {Way.UP: 0, Way.DOWN: 0}
        self._taken = taken
        self._led: socket.socket | None = None
        self._to = to
        self._waiting = {
            way: sorted((f for f in faults if f.concerns(way)), key=lambda f: f.at)
            for way in Way
        }
        self._lasting: dict[Way, list[Fault]] = {way: [] for way in Way}
        self._flowing = flowing
        self._on_fault = on_fault
        self._reset = False
        self._pumps: list[asyncio.Task[None]] = []

    async def connect(self) -> str:
        """Connect to where it leads.

        Returns:
            What went wrong; then the accepted side was reset.  Empty: `serve` may begin.
        """
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in self._to.host else socket.AF_INET
        led = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                await loop.sock_connect(led, (self._to.host, self._to.port))
        except (OSError, TimeoutError) as error:
            led.close()
            close_socket(self._taken, reset=True)
            number = getattr(error, "errno", None)
            return os.strerror(number) if number else str(error) or "timed out"
        except BaseException:
            led.close()
            close_socket(self._taken, reset=True)
            raise
        self._led = led
        return ""

    async def serve(self) -> None:
        """Pass bytes on until both directions have ended, or a fault ends both."""
        assert self._led is not None
        for each in (self._taken, self._led):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = {Way.UP: (self._taken, self._led), Way.DOWN: (self._led, self._taken)}
        try:
            async with asyncio.TaskGroup() as group:
                self._pumps = [
                    group.create_task(self._pump(way, *sockets))
                    for way, sockets in ways.items()
                ]
        except asyncio.CancelledError:
            self._reset = True
            raise
        finally:
            for each in (self._taken, self._led):
                close_socket(each, reset=self._reset)

    def end(self, *, reset: bool) -> None:
        """End both directions."""
        self._reset = self._reset or reset
        for pump in self._pumps:
            pump.cancel()

    # One direction.

    async def _pump(self, way: Way, source: socket.socket, sink: socket.socket) -> None:
        """Pass one direction on, to its end."""
        loop = asyncio.get_running_loop()
        try:
            while await self._faults_due(way, sink):
                await self._flowing.wait()
                data = await loop.sock_recv(source, PIECE_BYTES)
                await self._flowing.wait()
                if not data:
                    if not self._is_swallowed(way):
                        sink.shutdown(socket.SHUT_WR)
                    return
                if not await self._pass_on(way, sink, data):
                    return
        except OSError as error:
            # What one side did to its connection, the other side is to see.
            self.end(reset=not isinstance(error, BrokenPipeError))

    async def _pass_on(self, way: Way, sink: socket.socket, data: bytes) -> bool:
        """Pass a piece on, stopping where a fault is due; False when all is over."""
        rest = memoryview(data)
        while rest:
            waiting = self._waiting[way]
            until = waiting[0].at - self.passed[way] if waiting else len(rest)
            await self._send(way, sink, rest[:until])
            rest = rest[until:]
            if not await self._faults_due(way, sink):
                return False
        return True

    async def _send(self, way: Way, sink: socket.socket, piece: memoryview) -> None:
        loop = asyncio.get_running_loop()
        if self._is_swallowed(way):
            self.passed[way] += len(piece)
            return
        delay = sum(f.amount for f in self._under(way, FaultKind.DELAY))
        if delay:
            await asyncio.sleep(delay)
        rate = min((f.amount for f in self._under(way, FaultKind.THROTTLE)), default=0)
        step = max(1, int(rate / _THROTTLE_STEPS)) if rate else len(piece)
        while piece:
            await loop.sock_sendall(sink, piece[:step])
            self.passed[way] += len(piece[:step])
            if rate:
                await asyncio.sleep(len(piece[:step]) / rate)
            piece = piece[step:]

    # Faults.

    async def _faults_due(self, way: Way, sink: socket.socket) -> bool:
        """Do what is due at this byte; False when the direction is over."""
        waiting = self._waiting[way]
        while waiting and waiting[0].at <= self.passed[way]:
            fault = waiting.pop(0)
            self._on_fault(fault, way)
            match fault.kind:
                case FaultKind.CUT | FaultKind.RESET:
                    self.end(reset=fault.kind is FaultKind.RESET)
                    return False
                case FaultKind.STALL:
                    await asyncio.sleep(fault.amount)
                case FaultKind.HALF_CLOSE:
                    sink.shutdown(socket.SHUT_WR)
                    self._lasting[way].append(fault)
                case _:
                    self._lasting[way].append(fault)
        return True

    def _under(self, way: Way, *kinds: FaultKind) -> list[Fault]:
        return [fault for fault in self._lasting[way] if fault.kind in kinds]

    def _is_swallowed(self, way: Way) -> bool:
        """Whether what comes is thrown away: its writer must not notice."""
        return bool(self._under(way, FaultKind.BLACK_HOLE, FaultKind.HALF_CLOSE))


def close_socket(each: socket.socket, *, reset: bool) -> None:
    """Close a socket: in order, or with a reset.

    A socket whose bytes were not all read is reset by the kernel in any case; so what
    has come is read first, and thrown away.
    """
    with contextlib.suppress(OSError):
        if reset:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        else:
            each.shutdown(socket.SHUT_WR)
            for _ in range(_UNREAD_PIECES_MAX):
                if not each.recv(PIECE_BYTES):
                    break
    each.close()
