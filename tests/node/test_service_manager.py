"""What systemd is told, and that it is told nothing where it does not ask."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from icefloe.node.service_manager import READY, STOPPING, notify, reloading

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
