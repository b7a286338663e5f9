"""What the container runs, as real processes: first starts, half ones, later ones.

No image is built here; the entry point is a script, and needs no container.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.node.cluster import SALT, Authority, Zones, write_node
from tests.peers.waiting import free_port, wait_until
from tests.source_tree import ROOT

from icefloe.node.commands.questions import QUESTIONS
from icefloe.pki.tickets import ticket

pytestmark = pytest.mark.timeout(240)

ENTRY = ROOT / "packaging" / "container" / "icefloe-container"
PROGRAMS = Path(sys.executable).parent


@dataclass
class Container:
    """A container's directory and environment, without the container."""

    root: Path
    variables: dict[str, str]
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def log(self) -> str:
        return (self.root / "log").read_text()

    @property
    def key(self) -> Path:
        return self.root / "data" / "certs" / "agent1.key"

    def start(self, *words: str, **variables: str) -> subprocess.Popen[bytes]:
        kept = {k: v for k, v in os.environ.items() if "ICINGA" not in k}
        with (self.root / "log").open("wb") as sink:
            process = subprocess.Popen(
                [ENTRY, *words],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    **kept,
                    "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
                    "ICEFLOE_CONFIG_DIR": str(self.root / "etc"),
                    "ICEFLOE_DATA_DIR": str(self.root / "data"),
                    "NO_COLOR": "1",
                    **self.variables,
                    **variables,
                },
            )
        self.running.append(process)
        return process

    def run(self, *words: str, **variables: str) -> int:
        return self.start(*words, **variables).wait(120)

    def up(self, *words: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start it and wait until its daemon is ready."""
        process = self.start(*words, **variables)

        def is_ready() -> bool:
            assert process.poll() is None, self.log
            return " ready " in self.log

        wait_until(is_ready, what="the daemon to be ready", timeout_seconds=120)
        return process

    def down(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0, self.log

    def end(self) -> None:
        for process in self.running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)


@dataclass
class Master:
    """A signer, which can be away."""

    root: Path
    port: int
    words: list[str]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = self.root / "master.log"
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                [PROGRAMS / "icefloe", *self.words, "daemon"],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        wait_until(lambda: " ready " in log.read_text(), what="the master")

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    port = free_port()
    tree: dict[str, tuple[str | None, dict[str, int | None]]] = {
        "master": (None, {"m1": port}),
        "agent1": ("master", {"agent1": None}),
    }
    files = write_node(
        tmp_path,
        "m1",
        Zones(tree, icefloe=("m1", "agent1")),
        dialled=set(),
        ca=Authority(),
        signer=True,
    )
    words = ["--config-dir", str(files.config_dir), "--data-dir", str(files.data_dir)]
    found = Master(tmp_path, port, words)
    try:
        yield found
    finally:
        found.end()


@pytest.fixture
def container(master: Master, tmp_path: Path) -> Iterator[Container]:
    """An agent's, as Icinga's container is told of one; the ticket is in a file."""
    root = tmp_path / "container"
    root.mkdir()
    (root / "ticket").write_text(ticket("agent1", SALT) + "\n")
    found = Container(
        root,
        {
            "ICINGA_CN": "agent1",
            "ICINGA_ZONE": "agent1",
            "ICINGA_PARENT_ZONE": "master",
            "ICINGA_PARENT_HOST": f"127.0.0.1,{master.port}",
            "ICINGA_ENDPOINT": f"m1,127.0.0.1,{master.port}",
            "ICINGA_LISTEN": f"127.0.0.1,{free_port()}",
            "ICINGA_TICKET_FILE": str(root / "ticket"),
            "ICINGA_CACERT": str(tmp_path / "m1" / "lib" / "certs" / "ca.crt"),
            "ICEFLOE_ICEFLOE_ENDPOINT": "m1\nagent1",
            "ICEFLOE_WAIT": "5",
        },
    )
    try:
        yield found
    finally:
        found.end()


def test_first_start_enrolls_and_becomes_the_daemon_and_the_next_asks_nobody(
    master: Master, container: Container
) -> None:
    master.start()
    assert container.run("health") == 1  # nothing is set up
    daemon = container.up()
    words = Path(f"/proc/{daemon.pid}/cmdline").read_bytes().split(b"\0")
    assert words[-2:-1] == [b"daemon"]  # the same process: signals reach it
    environment = Path(f"/proc/{daemon.pid}/environ").read_bytes()
    assert b"TICKET" not in environment
    assert ticket("agent1", SALT) not in container.log
    probe = Container(container.root.parent / "probe", container.variables)
    probe.root.mkdir()
    health = {
        "ICEFLOE_CONFIG_DIR": str(container.root / "etc"),
        "ICEFLOE_DATA_DIR": str(container.root / "data"),
        "ICEFLOE_MAIN_PID": str(daemon.pid),
    }
    assert probe.run("health", **health) == 0, probe.log
    container.down(daemon)

    key = container.key.read_bytes()
    master.end()  # nobody is there to be asked
    again = container.up()
    assert "Nothing to do" in container.log
    assert container.key.read_bytes() == key
    container.down(again)


def test_half_a_first_start_is_taken_up_by_the_next_one_with_the_same_key(
    master: Master, container: Container
) -> None:
    """Its parent is away, and it is killed while it goes on asking."""
    first = container.start()
    wait_until(lambda: "unreachable" in container.log, what="an attempt")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(120)
    key = container.key.read_bytes()
    master.start()
    container.down(container.up())
    assert container.key.read_bytes() == key


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name
)
def test_a_stop_ends_the_set_up_and_no_daemon_is_started(
    container: Container, number: signal.Signals
) -> None:
    """Nobody is there to be asked, and the set-up goes on asking for 100 s."""
    process = container.start(ICEFLOE_WAIT="100")
    wait_until(lambda: "unreachable" in container.log, what="an attempt")
    process.send_signal(number)
    assert process.wait(30) == 128 + number, container.log
    assert "stopped before the daemon was started" in container.log
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # the set-up has ended as well


def test_a_stop_after_the_set_up_starts_no_daemon_either(
    master: Master, container: Container
) -> None:
    """It comes while a node that is set up already is looked at."""
    master.start()
    container.down(container.up())
    programs = container.root / "programs"
    programs.mkdir()
    wrapped, asked = programs / "icefloe", container.root / "asked"
    asked.touch()
    wrapped.write_text(
        f'#!/bin/sh\necho "$*" >> {asked}\n[ "$2" != --validate ] || sleep 1\n'
        f'exec {PROGRAMS}/icefloe "$@"\n'
    )
    wrapped.chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    process = container.start(ICEFLOE_WAIT="soon", PATH=path)
    wait_until(lambda: "--validate" in asked.read_text(), what="the look at the node")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM, container.log
    assert asked.read_text().splitlines() == ["node setup", "daemon --validate"]


def test_a_first_start_that_cannot_be_ends_and_says_so(container: Container) -> None:
    assert container.run(ICEFLOE_WAIT="soon") == 1
    assert "ICEFLOE_WAIT" in container.log
    assert "not set up yet" in container.log


def test_lost_configuration_is_made_anew_and_the_identity_kept(
    master: Master, container: Container
) -> None:
    """Only the data is on a volume, say."""
    master.start()
    container.down(container.up())
    key = container.key.read_bytes()
    (container.root / "etc").rename(container.root / "lost")
    container.down(container.up())
    assert container.key.read_bytes() == key


def test_a_node_that_is_set_up_goes_on_when_what_is_asked_now_cannot_be_done(
    master: Master, container: Container
) -> None:
    master.start()
    container.down(container.up())
    daemon = container.up(ICINGA_ZONE="")  # and its parent is no longer said
    container.down(daemon)
    daemon = container.up(ICEFLOE_WAIT="soon")
    assert "goes on as it was set up before" in container.log
    container.down(daemon)
    # The ticket was a secret of the first start alone.
    daemon = container.up(ICINGA_TICKET_FILE="/no/such/secret")
    assert "cannot be read here" in container.log
    assert "goes on as it was set up before" in container.log
    container.down(daemon)


@pytest.mark.parametrize(
    "variables, said",
    [
        ({"ICINGA_TICKET": "x"}, "both set"),
        ({"ICINGA_TICKET_FILE": "/no/such/secret"}, "cannot be read"),
        ({"ICINGA_TICKET_FILE": "/dev/null"}, "is empty"),
    ],
)
def test_a_secret_that_cannot_be_had_ends_the_start_before_anything_is_made(
    container: Container, variables: dict[str, str], said: str
) -> None:
    assert container.run(**variables) == 1
    assert said in container.log
    assert not (container.root / "data").exists()


def test_a_gateway_whose_secret_cannot_be_had_does_not_start(
    container: Container,
) -> None:
    words = ("gateway", "--upstream", "127.0.0.1,1", "--listen", "127.0.0.1,0")
    assert container.run(*words, ICEFLOE_TICKET_FILE="/no/such/secret") == 1
    assert "cannot read the ticket in '/no/such/secret'" in container.log


def test_a_gateway_is_healthy_while_it_answers(
    master: Master, container: Container, tmp_path: Path
) -> None:
    """Its own certificate need not be signed, and its upstream need not be there."""
    port = free_port()
    gateway = container.up(
        *("gateway", "--upstream", f"127.0.0.1,{master.port}"),
        *("--listen", f"0.0.0.0,{port}", "--ca", container.variables["ICINGA_CACERT"]),
        ICEFLOE_TICKET_FILE=container.variables["ICINGA_TICKET_FILE"],
        ICEFLOE_GATEWAY_DIR=str(container.root / "gateway"),
    )
    probe = Container(tmp_path / "probe", {"ICEFLOE_MAIN_PID": str(gateway.pid)})
    probe.root.mkdir()
    assert probe.run("health") == 0, probe.log
    assert "the gateway answers" in probe.log

    # As `docker run --init` has it: another process holds the gateway's words.
    code = "import time; time.sleep(200)"
    words = ("--", "icefloe-container", "gateway", f"--listen=127.0.0.1,{port}")
    first = subprocess.Popen([sys.executable, "-c", code, *words])
    try:
        probe.variables["ICEFLOE_MAIN_PID"] = str(first.pid)
        assert probe.run("health") == 0, probe.log
        container.down(gateway)
        assert probe.run("health") == 1
        assert f"does not answer at 127.0.0.1 port {port}" in probe.log
        assert "Traceback" not in probe.log
    finally:
        first.kill()
        first.wait(30)


def test_without_a_node_and_without_variables_the_start_says_what_is_missing(
    container: Container,
) -> None:
    container.variables.clear()
    assert container.run() == 1
    assert "docs/install.md" in container.log


def test_other_words_are_a_command(container: Container) -> None:
    assert container.run("--version") == 0
    assert container.log.startswith("icinga2 - ")


def test_every_question_of_the_set_up_can_come_from_the_environment() -> None:
    text = ENTRY.read_text()
    names = text.partition("answers='")[2].partition("'")[0].split()
    # A ticket's file is the ticket, from a file.
    assert set(names) == {name.upper() for name in QUESTIONS} - {"TICKET_FILE"}
