"""The daemon's own process, and what it tells a service manager at each turn of its life.

The manager is a socket of this test's: what systemd would hear, in that order.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.node.cluster import Authority, Zones, write_node
from tests.peers.waiting import free_port, wait_until

from icefloe.config.layout import NodeDirectories

SPAN_SECONDS = 0.6


class Manager:
    """Hears what a daemon says, and runs it."""

    def __init__(self, root: Path, *words: object) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(root / "notify"))
        self._socket.settimeout(40)
        self.log = root / "daemon.log"
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("icefloe"), *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "NOTIFY_SOCKET": str(root / "notify"),
                    "WATCHDOG_USEC": str(int(SPAN_SECONDS * 1_000_000)),
                },
            )

    def hear(self, wanted: str) -> list[str]:
        """Return what was said until `wanted`, included."""
        heard: list[str] = []
        while not (heard and heard[-1].startswith(wanted)):
            try:
                heard.append(self._socket.recv(1000).decode())
            except TimeoutError:
                text = self.log.read_text()
                raise AssertionError(f"no {wanted}; {heard}; {text}") from None
        return heard

    def forget(self) -> None:
        """Drop what was said so far."""
        self._socket.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(1000)
        self._socket.settimeout(40)

    def is_silent(self, seconds: float) -> bool:
        self._socket.settimeout(seconds)
        try:
            self._socket.recv(1000)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(40)
        return False

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        self._socket.close()


def signer(root: Path) -> tuple[NodeDirectories, Authority, int]:
    port, authority = free_port(), Authority()
    zones = Zones({"master": (None, {"m1": port})})
    files = write_node(root, "m1", zones, dialled=set(), ca=authority, signer=True)
    return files, authority, port


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    files, _, _ = signer(tmp_path)
    places = ("--config-dir", files.config_dir, "--data-dir", files.data_dir)
    running = Manager(tmp_path, *places, "daemon")
    try:
        running.hear("READY=1")
        yield running
    finally:
        running.end()


def test_a_life_is_told_from_its_beginning_to_its_end(manager: Manager) -> None:
    manager.hear("WATCHDOG=1")
    manager.process.send_signal(signal.SIGHUP)
    begins = manager.hear("RELOADING=1")[-1]
    assert int(begins.partition("MONOTONIC_USEC=")[2]) > 0
    manager.hear("READY=1")
    manager.hear("WATCHDOG=1")
    manager.process.send_signal(signal.SIGTERM)
    manager.hear("STOPPING=1")
    assert manager.process.wait(40) == 0


def test_a_process_that_stands_still_says_nothing_and_goes_on_later(
    manager: Manager,
) -> None:
    manager.hear("WATCHDOG=1")
    manager.process.send_signal(signal.SIGSTOP)
    stat = Path(f"/proc/{manager.process.pid}/stat")
    wait_until(
        lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", what="a stop"
    )
    manager.forget()
    assert manager.is_silent(3 * SPAN_SECONDS)
    manager.process.send_signal(signal.SIGCONT)
    manager.hear("WATCHDOG=1")


def test_what_the_watchdog_ends_shows_in_the_log_where_it_hung(
    manager: Manager,
) -> None:
    manager.process.send_signal(signal.SIGABRT)  # systemd's WatchdogSignal=
    assert manager.process.wait(40) == -signal.SIGABRT
    text = manager.log.read_text()
    assert "Fatal Python error: Aborted" in text
    assert "run_forever" in text


def test_a_gateway_tells_the_same(tmp_path: Path) -> None:
    """Its upstream is down: the gateway is ready all the same, and alive."""
    _, authority, port = signer(tmp_path)
    ca = tmp_path / "ca.crt"
    ca.write_text(authority.pem)
    running = Manager(
        tmp_path,
        *("gateway", "--upstream", f"127.0.0.1,{port}", "--ca", ca),
        *("--listen", f"127.0.0.1,{free_port()}", "--data-dir", tmp_path / "gateway"),
    )
    try:
        running.hear("READY=1")
        running.hear("WATCHDOG=1")
        running.process.send_signal(signal.SIGTERM)
        running.hear("STOPPING=1")
        assert running.process.wait(60) == 0
    finally:
        running.end()
