"""What a preflight sees of parents, and what it says about them."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.node.cluster import (
    Authority,
    Zones,
    free_port,
    running,
    write_node,
)
from tests.node.commands.preflight_world import (
    HOUR,
    agent,
    assert_told,
    directories,
    found,
    setting_for,
    the,
)

from icefloe.config.layout import NodeDirectories
from icefloe.doors import WallTime
from icefloe.enrollment.requester import Parent
from icefloe.node.commands.checks import Check
from icefloe.node.commands.looking import Look, Reached, look_at
from icefloe.node.commands.preflight import preflight
from icefloe.node.commands.preflight_parents import check_clock
from icefloe.node.doors import RealClock
from icefloe.pki.keys import PrivateKey
from icefloe.storage.keys import generate_key

__all__ = ["directories"]


# --- Parents --------------------------------------------------------------------------


def test_a_name_that_does_not_resolve_is_told(directories: NodeDirectories) -> None:
    wanted = agent(Parent("nowhere.invalid", 5665))
    checks = list(preflight(wanted, setting_for(directories)))
    assert_told(checks[-1], "name-not-resolved", "nowhere.invalid")
    assert checks[-1].name == "dns"


def test_a_resolver_that_hangs_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = threading.Event()

    def hang(*_: object, **__: object) -> None:
        over.wait(60)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        look = asyncio.run(
            look_at(Parent("slow", 1), clock=RealClock(), seconds_max=0.05)
        )
    finally:
        over.set()
    assert look.reached is Reached.NOTHING
    assert "did not answer" in look.problem


def test_a_port_that_nobody_listens_on_is_told(directories: NodeDirectories) -> None:
    wanted = agent(Parent("127.0.0.1", free_port()))
    check = the(wanted, setting_for(directories), "port")
    assert_told(check, "unreachable", "refused")


def test_a_peer_that_speaks_no_tls_is_told(directories: NodeDirectories) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak() -> None:
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"SSH-2.0-OpenSSH\r\n" * 10)

        speaker = threading.Thread(target=speak)
        speaker.start()
        wanted = agent(Parent("127.0.0.1", server.getsockname()[1]))
        checks = list(preflight(wanted, setting_for(directories)))
        speaker.join()
    assert checks[-1].name == "tls"
    assert_told(checks[-1], "tls-failed", "does not speak TLS")


def test_a_peer_that_is_silent_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        parent = Parent("127.0.0.1", server.getsockname()[1])
        look = asyncio.run(look_at(parent, clock=RealClock(), seconds_max=0.2))
    assert look.leaf is None
    assert look.problem


def at_a_parent(
    tmp_path: Path, work: Callable[[Parent, Authority], list[Check]]
) -> list[Check]:
    """Run a preflight beside a running Icefloe master."""

    async def story() -> list[Check]:
        zones = Zones({"master": (None, {"master1": free_port()})})
        ca = Authority()
        made = write_node(tmp_path, "master1", zones, dialled=set(), ca=ca, signer=True)
        async with running(made) as (node,):
            parent = Parent("127.0.0.1", node.port)
            return await asyncio.to_thread(work, parent, ca)

    return asyncio.run(story())


def test_an_icefloe_parent_is_seen_trusted_and_its_time_is_compared(
    directories: NodeDirectories, tmp_path: Path
) -> None:
    def work(parent: Parent, ca: Authority) -> list[Check]:
        directories.trusted_ca.write_text(ca.pem)
        return list(preflight(agent(parent), setting_for(directories)))

    checks = at_a_parent(tmp_path, work)
    assert all(each.ok for each in checks), checks
    assert [each.name for each in checks[-4:]] == ["port", "tls", "trust", "clock"]
    assert "'master1'" in checks[-3].detail
    assert "agrees" in checks[-1].detail


@pytest.mark.parametrize(
    "wrong,words", [(2 * HOUR, "2 h ahead of"), (-3 * 24 * HOUR, "3 days behind")]
)
def test_a_clock_that_is_wrong_is_told_by_the_parents(
    directories: NodeDirectories, tmp_path: Path, wrong: float, words: str
) -> None:
    def work(parent: Parent, ca: Authority) -> list[Check]:
        directories.trusted_ca.write_text(ca.pem)
        setting = setting_for(directories, wrong=wrong)
        return list(preflight(agent(parent), setting))

    assert_told(at_a_parent(tmp_path, work)[-1], "clock-wrong", words)


def test_a_parent_that_nothing_vouches_for_is_told(
    directories: NodeDirectories, tmp_path: Path
) -> None:
    def work(parent: Parent, _: Authority) -> list[Check]:
        return found(agent(parent), setting_for(directories), "trust")

    assert_told(at_a_parent(tmp_path, work)[0], "trust-missing")


def test_a_parent_of_another_ca_or_pin_is_told(
    directories: NodeDirectories, tmp_path: Path
) -> None:
    def work(parent: Parent, _: Authority) -> list[Check]:
        other = Authority()
        pinned = agent(parent, pins=(other.issue("master1", generate_key()),))
        first = found(pinned, setting_for(directories), "trust")
        directories.trusted_ca.write_text(other.pem)
        return first + found(agent(parent), setting_for(directories), "trust")

    for check in at_a_parent(tmp_path, work):
        assert_told(check, "trust-mismatch", "not to be trusted")


# --- The clock ------------------------------------------------------------------------


def look(ahead: float | None, *, at: float | None = None) -> Look:
    leaf = Authority().issue("sat1", key())
    return Look(
        parent=Parent("sat1", 5665),
        reached=Reached.TLS,
        leaf=leaf,
        ahead=ahead,
        at=WallTime(time.time() if at is None else at),
    )


def key() -> PrivateKey:
    return generate_key()


@pytest.mark.parametrize("ahead", [0.0, 1.9, -200.0, 299.0])
def test_small_differences_of_clocks_are_well(ahead: float) -> None:
    (check,) = check_clock([look(None), look(ahead)])
    assert check.ok


def test_the_clock_that_is_furthest_off_counts() -> None:
    (check,) = check_clock([look(1.0), look(-HOUR * 5), look(0.0)])
    assert_told(check, "clock-wrong", "5 h ahead of")


@pytest.mark.parametrize(
    "years,word", [(-30, "begins on"), (30, "ended on"), (0, "within the dates")]
)
def test_without_a_time_the_dates_of_the_certificate_have_to_do(
    years: int, word: str
) -> None:
    (check,) = check_clock([look(None, at=time.time() + years * 365 * 24 * HOUR)])
    assert word in check.detail
    assert check.ok is (years == 0)


def test_nobody_seen_tells_nothing_about_the_clock() -> None:
    nothing = Look(parent=Parent("sat1", 1), reached=Reached.NOTHING, at=WallTime(0.0))
    assert list(check_clock([nothing])) == []
