"""Looking at nodes on loopback: what is seen, and what is sent."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.node.fleet.rig import KINDS, Rig, Shows, Silent, rig_of
from tests.node.slow_names import SLOW_NAMES

from icefloe.node.errors import ConnectAttempt, ConnectFailed
from icefloe.node.fleet.greeting import our_greeting
from icefloe.node.fleet.sightings import Cause, Greeting, Look, Presented, Unreached
from icefloe.node.fleet.states import State
from icefloe.node.fleet.survey import Survey, _unreached, look_at_all
from icefloe.node.fleet.targets import parse_target
from icefloe.node.tls.contexts import server_context
from icefloe.wire import jsonrpc
from icefloe.wire.netstring import NetstringReader, Payload

SHORT = 2.0
"""Deadline of a host that is silent on purpose."""


@pytest.fixture
def rig() -> Iterator[Rig]:
    with rig_of() as made:
        yield made


def looks_at(*words: str, **options: Any) -> list[Look]:
    looks: list[Look] = []
    survey = Survey(**{"seconds": 30.0, **options})
    targets = [parse_target(word) for word in words]
    asyncio.run(look_at_all(targets, survey, seen=looks.append))
    return looks


def look_at(word: str, **options: Any) -> Presented | Unreached:
    (look,) = looks_at(word, **options)
    return look.sighting


def test_a_nodes_certificate_and_chain_are_seen(rig: Rig) -> None:
    seat = rig.add("good", "web1")
    seen = look_at(seat.target)
    assert isinstance(seen, Presented)
    assert seen.leaf is not None
    assert seen.greeting is None
    assert len(seen.chain) >= 1


def test_nothing_is_said_unless_a_greeting_is_wanted(rig: Rig) -> None:
    """An audit is a TLS handshake and a close."""
    seat = rig.add("good", "web1")
    look_at(seat.target)
    assert rig.first_bytes == []


def test_for_a_greeting_our_hello_is_all_that_is_said(rig: Rig) -> None:
    seat = rig.add("good", "web1")
    seen = look_at(seat.target, greeting=True)
    assert isinstance(seen, Presented)
    assert seen.greeting == Greeting(version=21605)
    said = b"".join(rig.first_bytes)
    assert said == our_greeting()
    (frame,) = NetstringReader(len(said)).feed(said)
    assert isinstance(frame, Payload)
    message = jsonrpc.decode(frame.data)
    assert isinstance(message, jsonrpc.Notification)
    assert message.method == "icinga::Hello"


def test_a_hello_without_a_version_tells_none() -> None:
    with rig_of(version=None) as rig:
        seat = rig.add("good", "web1")
        seen = look_at(seat.target, greeting=True)
    assert isinstance(seen, Presented)
    assert seen.greeting == Greeting(version=None)


def test_an_icefloe_node_is_known_by_its_hello(rig: Rig) -> None:
    node = rig.materials.issue("web1")
    context = server_context(rig.materials.identity(node, None))
    rig.says = our_greeting()
    seen = look_at(rig.serve_tls(context), greeting=True)
    assert isinstance(seen, Presented)
    assert seen.greeting is not None
    assert seen.greeting.icefloe


@pytest.mark.parametrize(
    "hello, why",
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is no message"),
        (b"2:{},", "is no message"),
        (b'13:{"method":"x"' + b",", "is no message"),
    ],
)
def test_what_is_no_hello_is_told(rig: Rig, hello: bytes, why: str) -> None:
    node = rig.materials.issue("web1")
    context = server_context(rig.materials.identity(node, None))
    rig.says = hello
    seen = look_at(rig.serve_tls(context), greeting=True, seconds=SHORT)
    assert isinstance(seen, Presented)
    assert seen.greeting is None
    assert why in seen.no_greeting


def test_a_node_that_says_nothing_is_told_and_its_certificate_kept(rig: Rig) -> None:
    node = rig.materials.issue("web1")
    context = server_context(rig.materials.identity(node, None))
    rig.says = b""
    seen = look_at(rig.serve_tls(context), greeting=True, seconds=SHORT)
    assert isinstance(seen, Presented)
    assert seen.leaf is not None
    assert "says no Hello in time" in seen.no_greeting


@pytest.mark.parametrize(
    "kind", [name for name, row in KINDS.items() if isinstance(row, Silent)]
)
def test_each_kind_of_silence_has_its_cause(rig: Rig, kind: str) -> None:
    seat = rig.add(kind, "web1")
    seen = look_at(seat.target, seconds=SHORT)
    assert isinstance(seen, Unreached)
    assert seen.cause is seat.cause
    assert seen.detail


@pytest.mark.parametrize(
    "host", ["a..b", "x" * 200, "zürich.invalid", "-", "web1.invalid."]
)
def test_a_name_that_is_none_does_not_resolve(host: str) -> None:
    seen = look_at(host, seconds=20.0)
    assert isinstance(seen, Unreached)
    assert seen.cause is Cause.NOT_RESOLVED


def test_no_host_waits_for_the_names_of_others(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A silent name server keeps more threads than there are hosts at once."""
    real, released = socket.getaddrinfo, threading.Event()

    def slow(host: Any, *words: Any, **options: Any) -> Any:
        if options.get("flags", 0) & socket.AI_NUMERICHOST or host == "localhost":
            return real(host, *words, **options)
        released.wait(30.0)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    good = rig.add("good", "web1")
    port = good.place.rpartition(":")[2]
    words = [f"silent{number}" for number in range(70)]
    try:
        looks = looks_at(*words, f"web1=localhost:{port}", seconds=SHORT)
    finally:
        released.set()
    (web1,) = (each for each in looks if each.target.label == "web1")
    assert isinstance(web1.sighting, Presented)


def test_a_name_server_that_is_silent_keeps_no_process_from_ending() -> None:
    program = f"""{SLOW_NAMES}
import asyncio
from icefloe.node.fleet.survey import Survey, look_at_all
from icefloe.node.fleet.targets import parse_target
asyncio.run(look_at_all([parse_target("a")], Survey(seconds=0.2), seen=print))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_one_at_a_time_sees_the_same_as_many_at_once(rig: Rig) -> None:
    seats = [rig.add("good", f"web{number}") for number in range(6)]
    words = [seat.target for seat in seats]
    one, many = looks_at(*words, at_once=1), looks_at(*words, at_once=6)
    assert [look.target.label for look in one] == [seat.name for seat in seats]
    key = {look.target.label: look.sighting for look in many}
    assert all(key[look.target.label] == look.sighting for look in one)


def test_kinds_of_the_rig_cover_every_state() -> None:
    """The audit's test of hundreds can miss no state."""
    shown = {row.state for row in KINDS.values() if isinstance(row, Shows)}
    assert shown | {State.UNREACHABLE, State.UNJUDGED} == set(State)
    causes = {row.cause for row in KINDS.values() if isinstance(row, Silent)}
    # No route cannot be had on loopback without rights; `test_verdicts` has it.
    assert causes | {Cause.NETWORK} == set(Cause)


def test_tcp_that_answers_without_tls_is_told_from_silence(rig: Rig) -> None:
    mute = look_at(rig.add("mute", "mute").target, seconds=SHORT)
    dropping = look_at(rig.add("dropping", "dropping").target, seconds=SHORT)
    assert isinstance(mute, Unreached)
    assert isinstance(dropping, Unreached)
    assert "TCP answers" in mute.detail
    assert "TCP answers" not in dropping.detail


@pytest.mark.parametrize(
    "reasons, resolved, cause",
    [
        (["No route to host"], True, Cause.NETWORK),
        (["Network is unreachable", "Connection refused"], True, Cause.NETWORK),
        (["Connection refused", "Connection refused"], True, Cause.REFUSED),
        (["Connection refused", "no answer"], True, Cause.TIMEOUT),
        (["Connection timed out"], True, Cause.TIMEOUT),
        (["no answer", "given up after 10 s"], True, Cause.TIMEOUT),
        (["given up after 10 s"], False, Cause.NOT_RESOLVED),
        (["Name or service not known"], False, Cause.NOT_RESOLVED),
    ],
)
def test_what_became_of_each_address_makes_the_cause(
    reasons: list[str], *, resolved: bool, cause: Cause
) -> None:
    attempts = tuple(ConnectAttempt("10.0.0.1", reason) for reason in reasons)
    error = ConnectFailed(host="x", port=1, attempts=attempts, resolved=resolved)
    seen = _unreached(error)
    assert seen.cause is cause
    assert all(reason in seen.detail for reason in reasons)
