"""A way to a parent on which every answer is lost, and no request.

TLS 1.3 is done for the client when the server's first flight has come; what it says
after that (the rest of the handshake, and its request) passes, and nothing comes back.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from tests.peers.layout import Address

ENOUGH_SECONDS = 1.0
"""How long the parent has to take the request before the connection is closed."""


class LosingProxy:
    """Leads connections to a parent.

    Attributes:
        losing: Whether answers are lost on connections that are taken from now on.
        lost: On how many they were.
    """

    def __init__(self, to: Address) -> None:
        """Listen on a port of its own."""
        self.losing = True
        self.lost = 0
        self._to = to
        self._door = socket.create_server(("127.0.0.1", 0))
        self.address = Address(*self._door.getsockname()[:2])
        self._thread = threading.Thread(target=self._take, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self._thread.join(10)

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                child, _ = self._door.accept()
                threading.Thread(target=self._lead, args=(child,), daemon=True).start()

    def _lead(self, child: socket.socket) -> None:
        with (
            child,
            contextlib.suppress(OSError),
            socket.create_connection(self._to, timeout=10) as parent,
        ):
            parent.settimeout(None)
            _Way(self, child, parent).run()


class _Way:
    """One connection."""

    def __init__(
        self, proxy: LosingProxy, child: socket.socket, parent: socket.socket
    ) -> None:
        self._proxy = proxy
        self._losing = proxy.losing
        self._child = child
        self._parent = parent
        self._answered = threading.Event()
        self._swallowing = threading.Event()

    def run(self) -> None:
        down = threading.Thread(target=self._down, daemon=True)
        down.start()
        with contextlib.suppress(OSError):
            while data := self._child.recv(65536):
                if self._losing and self._answered.is_set():
                    self._swallow()
                self._parent.sendall(data)
            self._parent.shutdown(socket.SHUT_WR)
        down.join()

    def _swallow(self) -> None:
        if not self._swallowing.is_set():
            self._swallowing.set()
            self._proxy.lost += 1
            timer = threading.Timer(ENOUGH_SECONDS, self._end)
            timer.daemon = True
            timer.start()

    def _end(self) -> None:
        for side in (self._child, self._parent):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _down(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._parent.recv(65536):
                if not self._swallowing.is_set():
                    self._answered.set()
                    self._child.sendall(data)
            if not self._swallowing.is_set():
                self._child.shutdown(socket.SHUT_WR)
