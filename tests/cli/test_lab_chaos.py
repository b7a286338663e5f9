"""`lab proxy`, `lab chaos` and `lab abuse`: options, help, what they say."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest
from tests.cli.command import Command

from icefloe.cli.lab_chaos import again
from icefloe.lab.chaos import ChaosPlan
from icefloe.lab.chaos_schedule import Trouble


@pytest.mark.parametrize(
    "words, told",
    [
        (("--to", "x,y"), "HOST or HOST,PORT"),
        (("--to", "x,0"), "port 0 leads nowhere"),
        (("--to", "x", "--fault", "burn"), "'burn' is no fault"),
        (("--to", "x", "--fault", "cut", "--seed", "1"), "leave out --fault"),
        (("--to", "x", "--share", "0.5"), "--kind and --share need --seed"),
        (("--to", "x", "--kind", "cut"), "--kind and --share need --seed"),
        (("--to", "127.0.0.1", "--listen", "192.0.2.1,1"), "cannot listen on 192"),
        ((), "Missing option '--to'"),
    ],
)
def test_a_proxy_that_makes_no_sense_is_refused(
    icefloe: Command, words: tuple[str, ...], told: str
) -> None:
    done = icefloe.bare("lab", "proxy", *words)
    assert (done.code, told in done.err) == (1, True), done.text


def test_help_of_the_proxy_shows_every_kind_of_fault(icefloe: Command) -> None:
    text = icefloe.bare("lab", "proxy", "--help").out
    for kind in ("cut", "reset", "half-close", "black-hole", "stall", "delay"):
        assert f"\n  {kind}" in text.replace("    ", "  ")
    assert "Examples:" in text


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)
        yield listening


def test_a_proxy_tells_what_it_did_and_counts_at_its_end(
    server: socket.socket,
) -> None:
    port = server.getsockname()[1]
    words = ("lab", "proxy", "--json", "--to", f"127.0.0.1,{port}")
    running = subprocess.Popen(
        [sys.executable, "-P", "-m", "icefloe", *words, "--fault", "cut:down@3"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert running.stdout is not None
    listening = msgspec.json.decode(running.stdout.readline())
    assert listening["event"] == "listening"
    host, _, at = listening["address"].rpartition(":")
    with socket.create_connection((host, int(at)), timeout=30) as client:
        taken, _ = server.accept()
        with taken:
            taken.sendall(b"12345")
            assert client.recv(10) + client.recv(10) == b"123"
    told = [msgspec.json.decode(running.stdout.readline()) for _ in range(3)]
    assert [each["event"] for each in told] == ["connected", "fault", "ended"]
    assert told[1]["fault"] == "cut:down@3"
    assert told[2]["down"] == 3
    running.send_signal(signal.SIGTERM)
    rest, _ = running.communicate(timeout=30)
    summary = msgspec.json.decode(rest)
    assert summary["event"] == "summary"
    assert summary["faults"] == {"cut": 1}
    assert running.returncode == 0


@pytest.mark.parametrize(
    "words, told",
    [
        (("--signer", "nagios"), "'nagios' is none of icefloe, icinga2"),
        (("--trouble", "rain"), "'rain' is not one of"),
        (("--blows", "0"), "0 is not in the range"),
    ],
)
def test_chaos_that_makes_no_sense_is_refused(
    icefloe: Command, words: tuple[str, ...], told: str
) -> None:
    done = icefloe.bare("lab", "chaos", *words)
    assert (done.code, told in done.err) == (1, True), done.text


@pytest.mark.parametrize(
    "words, told",
    [
        (("--idle", "3", "--rate", "1000"), "--idle and --rate do not go together"),
        (("--slow", "3", "--source", "::1"), "--slow and --source do not go together"),
        (("--slow", "3", "--rounds", "1"), "--slow and --rounds do not go together"),
        (("--idle", "3", "--connections", "1"), "--idle and --connections do not"),
        (("--idle", "3"), "the good agents need tickets"),
    ],
)
def test_abuse_that_would_ignore_an_option_is_refused(
    icefloe: Command, words: tuple[str, ...], told: str
) -> None:
    done = icefloe.bare("lab", "abuse", "--parent", "x", *words)
    assert (done.code, told in done.err) == (1, True), done.text


def test_help_of_chaos_explains_every_trouble(icefloe: Command) -> None:
    text = icefloe.bare("lab", "chaos", "--help").out.partition("Troubles:")[2]
    for trouble in Trouble:
        assert f"{trouble} " in text or f"{trouble}," in text


def test_a_failed_run_tells_how_to_repeat_it() -> None:
    plan = ChaosPlan(
        seed=7, blows=5, seconds=60, troubles=(Trouble.KILL,), relay="icinga2"
    )
    words = "icefloe lab chaos --seed 7 --seconds 60 --blows 5 --trouble kill"
    assert again(plan) == f"{words} --relay icinga2"
    other = replace(plan, clients=0, commands=3, daemons=2, icinga2s=1, relay="icefloe")
    assert again(other) == (
        f"{words} --clients 0 --commands 3 --daemons 2 --icinga2s 1"
    )
