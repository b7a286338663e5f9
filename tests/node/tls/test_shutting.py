"""Nobody new is let in: who is in is served, who comes waits for the next process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest
from tests.node.tls.joined import in_loop

from icefloe.node.tls import shutting


@contextlib.contextmanager
def listening(host: str = "127.0.0.1", port: int = 0) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(16)
        yield sock


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@in_loop
async def test_who_was_in_is_served_and_who_comes_gets_to_the_next_one(
    host: str,
) -> None:
    with listening(host) as first:
        port = first.getsockname()[1]
        with socket.create_connection((host, port)) as early:
            assert shutting.let_nobody_in(first)
            late = asyncio.create_task(asyncio.open_connection(host, port))
            await asyncio.sleep(0.1)
            assert shutting.someone_waits(first)
            served, _ = first.accept()
            with served:
                served.sendall(b"hello")
                assert early.recv(5) == b"hello"
            assert not shutting.someone_waits(first), "the late one was not let in"
            assert not late.done()
    with listening(host, port) as second:
        _, writer = await late  # its kernel tried again, a second later
        served, _ = second.accept()
        served.close()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def test_where_it_can_not_be_done_the_caller_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutting, "_SO_ATTACH_FILTER", 9999)
    with listening() as sock:
        assert not shutting.let_nobody_in(sock)
        with socket.create_connection(sock.getsockname()):
            assert shutting.someone_waits(sock)
