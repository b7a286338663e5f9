"""What systemd is told, and that it is told nothing where it does not ask."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.node.cluster import (
    Authority,
    Zones,
    free_port,
    start_node,
    until,
    write_node,
)
from tests.node.tls.joined import in_loop

from icefloe.enrollment.ledger import LedgerUnavailableError
from icefloe.node.service_manager import (
    ALIVE,
    READY,
    STOPPING,
    notify,
    reloading,
    tell_of_life,
    watchdog_seconds,
)

VARIABLE = "NOTIFY_SOCKET"


def listening(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.settimeout(5)
    sock.bind(address)
    return sock


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    name = str(tmp_path / "n") if request.param == "path" else ""
    shown = name or f"@icefloe-test-{os.getpid()}"
    monkeypatch.setenv(VARIABLE, shown)
    with listening(name or "\0" + shown[1:]) as sock:
        yield sock


def test_each_word_arrives_as_one_datagram(manager: socket.socket) -> None:
    for words in (READY, reloading(), STOPPING):
        notify(words)
    assert manager.recv(1000) == b"READY=1"
    kind, _, since = manager.recv(1000).decode().partition("\n")
    assert kind == "RELOADING=1"
    name, _, microseconds = since.partition("=")
    assert name == "MONOTONIC_USEC"
    assert int(microseconds) > 0
    assert manager.recv(1000) == b"STOPPING=1"


@pytest.mark.parametrize("address", ["", "/no/such/socket", "vsock:2:1234", "@gone"])
def test_nobody_to_tell_is_no_error(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, address)
    notify(READY)
    monkeypatch.delenv(VARIABLE)
    notify(READY)


def test_a_manager_that_does_not_listen_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = str(tmp_path / "n")
    monkeypatch.setenv(VARIABLE, address)
    with listening(address):
        for _ in range(2000):  # more than a queue holds
            notify(READY)


# --- The watchdog ---------------------------------------------------------------------


@pytest.fixture
def quick_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)


@pytest.mark.parametrize(
    "environment, seconds",
    [
        ({}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-3"}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_the_watchdog_is_the_one_that_asks_this_process(
    environment: dict[str, str], seconds: float | None
) -> None:
    assert watchdog_seconds(environment) == seconds


@in_loop
async def test_without_a_watchdog_nothing_is_proved_or_told() -> None:
    async def prove() -> None:
        raise AssertionError("not wanted")

    told: list[str] = []
    assert "WATCHDOG_USEC" not in os.environ
    await tell_of_life(prove, told.append)
    assert told == []


@pytest.mark.usefixtures("quick_watchdog")
@in_loop
async def test_each_word_of_life_follows_a_proof() -> None:
    happened: list[str] = []
    hang = asyncio.Event()

    async def prove() -> None:
        happened.append("proof")
        if happened.count("proof") > 3:
            await hang.wait()

    task = asyncio.create_task(tell_of_life(prove, happened.append))
    await until(lambda: happened.count("proof") == 4, "the proof that hangs")
    await asyncio.sleep(0.1)  # three spans
    assert happened == ["proof", ALIVE] * 3 + ["proof"]
    task.cancel()
    await asyncio.wait([task])


class Stuck:
    """A place in the ledger's thread that does not come back until it is freed."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._free = threading.Event()

    def wait(self) -> None:
        self.reached.set()
        self._free.wait(60)

    def free(self) -> None:
        self._free.set()


@pytest.mark.usefixtures("quick_watchdog")
@pytest.mark.parametrize("where", ["ledger", "core"])
@in_loop
async def test_a_node_that_hangs_says_no_word_of_life(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop turns all the while, and a timer would tick."""
    zones = Zones({"master": (None, {"m1": free_port()})})
    files = write_node(tmp_path, "m1", zones, dialled=set(), ca=Authority())
    told: list[str] = []
    node = await start_node(files, notify=told.append)
    stuck = Stuck()
    place, name = {
        "ledger": (node.ledger, "begin"),
        "core": (node.node._runner._core, "handle"),
    }[where]
    proper = getattr(place, name)

    def held(*arguments: object) -> object:
        stuck.wait()
        return proper(*arguments)

    try:
        await until(lambda: told.count(ALIVE) > 3, "alive")
        monkeypatch.setattr(place, name, held)
        assert await asyncio.to_thread(stuck.reached.wait, 30)
        before = told.count(ALIVE)
        await asyncio.sleep(0.3)  # ten spans
        assert told.count(ALIVE) == before
        stuck.free()
        await until(lambda: told.count(ALIVE) > before, "alive again")
    finally:
        stuck.free()
        await node.stop()
    assert STOPPING in told


@pytest.mark.usefixtures("quick_watchdog")
@in_loop
async def test_a_ledger_that_fails_does_not_count_as_one_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is told to everyone who asks; a new start would not mend it."""
    zones = Zones({"master": (None, {"m1": free_port()})})
    files = write_node(tmp_path, "m1", zones, dialled=set(), ca=Authority())
    told: list[str] = []
    node = await start_node(files, notify=told.append)

    def full() -> None:
        raise LedgerUnavailableError("the disk is full")

    try:
        monkeypatch.setattr(node.ledger, "begin", full)
        failed = "ledger not writable, nothing was recorded"
        await until(lambda: node.logs.seen(failed), "the failure")
        before = told.count(ALIVE)
        await until(lambda: told.count(ALIVE) > before + 2, "alive all the same")
        monkeypatch.undo()
    finally:
        await node.stop()
