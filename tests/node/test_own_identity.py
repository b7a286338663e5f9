"""A node whose new certificate is refused is back on its old one; else it is confirmed.

Whole nodes, real files, real TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import pytest
from cryptography import x509
from tests.node.cluster import (
    Authority,
    Running,
    Zones,
    free_port,
    running,
    unsigned,
    until,
    write_node,
)
from tests.node.tls.joined import in_loop

from icefloe.cluster.settings import SessionSettings
from icefloe.cluster.states import Role
from icefloe.config.layout import NodeDirectories
from icefloe.config.loading import load
from icefloe.doors import MonotonicTime, Now, WallTime
from icefloe.enrollment import confirming
from icefloe.enrollment.commands import ConfirmIdentity, Level, RollBackIdentity
from icefloe.enrollment.events import LinkId
from icefloe.node import material
from icefloe.node.doors import RealClock
from icefloe.node.errors import TLSViolated
from icefloe.node.link import Link
from icefloe.node.material import read_material
from icefloe.node.own_identity import (
    OrderOutdated,
    OwnIdentityFiles,
    RollBackImpossible,
)
from icefloe.node.tls.stream_interface import CloseReport
from icefloe.pki.certificates import fingerprint, load_pem, to_pem
from icefloe.storage.identity import install_certificate
from icefloe.storage.keys import decode_private_key, generate_key
from icefloe.storage.switching import IdentityJournal, Phase


def zones() -> Zones:
    return Zones(
        {
            "master": (None, {"m1": free_port()}),
            "sat": ("master", {"s1": free_port()}),
        },
        icefloe=("m1", "s1"),
    )


class World:
    """A master, and a satellite with a second certificate in its place."""

    def __init__(self, root: Path, *, accepted: bool, older: bool = True) -> None:
        tree, self.ca, self.strange = zones(), Authority(), Authority()
        self.m1 = write_node(root, "m1", tree, dialled=set(), ca=self.ca, signer=True)
        constants = self.m1.constants_conf
        constants.write_text(
            constants.read_text() + "const IcefloeLimits = { anonymous_seconds = 1 }\n"
        )
        key = generate_key()
        self.old = self.ca.issue("s1", key) if older else unsigned("s1", key)
        self.s1 = write_node(
            root, "s1", tree, dialled={"m1"}, ca=self.ca, certificate=self.old, key=key
        )
        # The satellite trusts both CAs, the master the first one.
        self.s1.trusted_ca.write_text(self.ca.pem + self.strange.pem)
        self.new = (self.ca if accepted else self.strange).issue("s1", key)
        install_certificate(
            self.s1.certs,
            "s1",
            certificate_pem=to_pem(self.new),
            ca_pem=None,
            owner=None,
            at=WallTime(time.time()),
            journal=self.journal,
        )

    @property
    def journal(self) -> IdentityJournal:
        return IdentityJournal.of_node(self.s1, owner=None)

    def phase(self) -> Phase | None:
        state = self.journal.state()
        return None if state is None else state.state

    def in_place(self) -> x509.Certificate:
        return load_pem(self.s1.node_certificate("s1").read_bytes())


def status_in(directories: NodeDirectories) -> tuple[str, str]:
    try:
        told = json.loads((directories.own_dir / "own-status.json").read_text())
    except OSError:
        return "", ""
    return told["state"], told["code"]


def is_member_at(parent: Running, name: str) -> bool:
    return name in parent.node._hub.connected


@in_loop
async def test_a_refused_node_is_back_on_its_old_certificate_and_connected(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, accepted=False)
    assert world.phase() is Phase.UNCONFIRMED
    began = time.monotonic()
    async with running(world.m1, world.s1) as (m1, s1):
        await until(lambda: is_member_at(m1, "s1"), "connected", 60)
        assert time.monotonic() - began < 60
        assert world.in_place() == world.old
        assert world.phase() is Phase.ROLLED_BACK
        errors = [event for level, event, _ in s1.logs.events if level == Level.ERROR]
        assert "own certificate rolled back to the older one" in errors
        await until(
            lambda: status_in(world.s1) == ("rolled-back", "rolled-back"), "said"
        )
    # Another life knows of it.
    refused = read_material(world.s1).own.refused
    assert refused is not None
    assert "m1 does not accept it" in refused.reason


@in_loop
async def test_an_accepted_certificate_is_confirmed_by_connecting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirming, "CONFIRMED_AFTER_SECONDS", 2.0)
    soon = partial(SessionSettings, heartbeat_seconds=1.0)
    monkeypatch.setattr(material, "SessionSettings", soon)
    world = World(tmp_path, accepted=True)
    async with running(world.m1, world.s1) as (m1, _):
        await until(lambda: world.phase() is Phase.CONFIRMED, "confirmed", 60)
        assert is_member_at(m1, "s1")
        await until(lambda: status_in(world.s1) == ("healthy", ""), "said")
    assert world.in_place() == world.new


@in_loop
async def test_a_node_without_an_older_one_stays_and_says_that_it_is_refused(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, accepted=False, older=False)
    async with running(world.m1, world.s1):
        said = ("refused", "certificate-refused")
        await until(lambda: status_in(world.s1) == said, "said", 60)
    assert world.in_place() == world.new
    assert world.phase() is Phase.UNCONFIRMED


@in_loop
async def test_while_its_parent_is_down_it_stays_unconfirmed(tmp_path: Path) -> None:
    world = World(tmp_path, accepted=True)
    async with running(world.s1) as (s1,):
        await until(lambda: s1.logs.seen("cannot connect"), "dialled")
        said = ("unconfirmed", "unconfirmed")
        await until(lambda: status_in(world.s1) == said, "said")
    assert world.phase() is Phase.UNCONFIRMED
    own = read_material(world.s1).own
    assert own.unconfirmed
    assert own.older == world.old


@contextlib.contextmanager
def refusing_parent(
    world: World, version: ssl.TLSVersion, *, impostor: Authority | None = None
) -> Iterator[list[int]]:
    """A listener in the master's place that refuses our new certificate in TLS.

    Yields how many connections it has refused, as the length of a list.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    certificate, private = world.m1.node_certificate("m1"), world.m1.node_key("m1")
    if impostor is not None:
        issued = impostor.issue("m1", decode_private_key(private.read_bytes()))
        certificate.write_text(to_pem(issued))
    context.load_cert_chain(certificate, private)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=world.ca.pem)
    port = load(world.m1.config_dir, world.m1.data_dir).listener.bind_port
    with socket.create_server(("127.0.0.1", port)) as listening:
        ended, refused = threading.Event(), list[int]()

        def serve() -> None:
            while not ended.is_set():
                connection, _ = listening.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(10)
                    try:
                        context.wrap_socket(connection, server_side=True).close()
                    finally:
                        refused.append(1)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield refused
        finally:
            ended.set()
            socket.create_connection(("127.0.0.1", port)).close()
            thread.join(30)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@in_loop
async def test_a_parent_that_refuses_it_in_tls_refuses_it(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """In TLS 1.3 our side has a connection for a moment, in 1.2 it has none."""
    world = World(tmp_path, accepted=False)
    with refusing_parent(world, version):
        async with running(world.s1):
            await until(lambda: world.phase() is Phase.ROLLED_BACK, "put back", 60)
    state = world.journal.state()
    assert state is not None
    assert "unknown ca" in state.reason


def files_of(world: World) -> OwnIdentityFiles:
    return OwnIdentityFiles(world.s1, "s1", owner=None, clock=RealClock())


class StoppedClock:
    """Stands where it is put."""

    mono = 1_000.0

    def now(self) -> Now:
        return Now(wall=WallTime(0.0), mono=MonotonicTime(self.mono))


class UnreadStream:
    """Has one more thing to tell when it is asked: perhaps that it was closed."""

    def __init__(self, closed: TLSViolated | None) -> None:
        self._error = closed
        self.polled = False

    def poll(self) -> None:
        self.polled = True
        if self._error is not None:
            report = CloseReport(flushed=False, clean=False, error=self._error)
            asyncio.get_running_loop().call_soon(self.told, report)

    def on_closed(self, callback: Callable[[CloseReport], None]) -> None:
        self.told = callback


@pytest.mark.parametrize(
    "seconds, closed, stays",
    [
        (14.9, None, False),
        (15.0, None, True),
        (15.0, TLSViolated(reason="", alert="unknown ca"), False),
    ],
    ids=["early", "late", "late, and closed behind it"],
)
@in_loop
async def test_a_parent_that_is_heard_late_stays_unless_its_close_came_behind(
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    closed: TLSViolated | None,
    stays: bool,  # noqa: FBT001
) -> None:
    """A process that was stopped finds the Hello and the close of long ago together."""
    monkeypatch.setattr(confirming, "STILL_THERE_SECONDS", 0.0)
    clock, stream, session, heard = StoppedClock(), UnreadStream(closed), Mock(), Mock()
    session.receive.return_value, session.next_deadline = (), None
    link = Link(
        link_id=LinkId(1),
        stream=cast("Any", stream),
        session=session,
        peer=Mock(),
        role=Role.DIALLER,
        owner=Mock(),
        clock=clock,
        log=Mock(),
    )
    stream.on_closed(link._closed)
    link.on_stays = heard
    clock.mono += seconds
    for _ in range(3):
        link.data_received(b"x")
    await asyncio.sleep(0.05)
    assert heard.call_count == (1 if stays else 0)
    assert stream.polled == (seconds >= 15)
    assert bool(link.alert) == (closed is not None)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@in_loop
async def test_a_stranger_at_the_parents_address_refuses_nothing(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    world = World(tmp_path, accepted=False)
    with refusing_parent(world, version, impostor=Authority()) as refused:
        async with running(world.s1) as (s1,):
            await until(lambda: len(refused) > 3, "refused again and again", 60)
            assert s1.logs.seen("cannot connect") or s1.logs.seen(NOT_VERIFIED)
    assert world.phase() is Phase.UNCONFIRMED
    assert world.in_place() == world.new


NOT_VERIFIED = "parent or child not verified, treated as a stranger"


def refusal(world: World) -> RollBackIdentity:
    return RollBackIdentity("m1 refuses", fingerprint(world.new))


def test_an_order_about_one_certificate_does_nothing_to_the_next(
    tmp_path: Path,
) -> None:
    """A person put another one in place while the order was on its way."""
    world = World(tmp_path, accepted=True)
    key = world.s1.node_key("s1").read_bytes()
    other = world.ca.issue("s1", decode_private_key(key))
    install_certificate(
        world.s1.certs,
        "s1",
        certificate_pem=to_pem(other),
        ca_pem=None,
        owner=None,
        at=WallTime(time.time()),
        journal=world.journal,
    )
    with pytest.raises(OrderOutdated):
        files_of(world).confirm(ConfirmIdentity(fingerprint(world.new)))
    with pytest.raises(OrderOutdated):
        files_of(world).roll_back(refusal(world))
    assert world.phase() is Phase.UNCONFIRMED
    assert world.in_place() == other


def test_a_certificate_that_a_person_put_there_is_not_confirmed_for_the_new_one(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, accepted=True)
    world.s1.node_certificate("s1").write_text(to_pem(world.old))
    new = fingerprint(world.new)
    assert not world.journal.confirm(WallTime(time.time()), new=new)
    assert not world.journal.roll_back("m1 refuses", WallTime(time.time()), new=new)
    assert world.phase() is Phase.UNCONFIRMED


def test_what_cannot_be_rolled_back_is_said_to_be_impossible(tmp_path: Path) -> None:
    world = World(tmp_path, accepted=False, older=False)
    with pytest.raises(RollBackImpossible):
        files_of(world).roll_back(refusal(world))
    assert world.in_place() == world.new


def test_a_roll_back_that_was_done_before_is_done(tmp_path: Path) -> None:
    world = World(tmp_path, accepted=False)
    files_of(world).roll_back(refusal(world))
    files_of(world).roll_back(refusal(world))
    assert world.in_place() == world.old


def test_a_confirmed_identity_has_nothing_to_go_back_to(tmp_path: Path) -> None:
    world = World(tmp_path, accepted=True)
    files_of(world).confirm(ConfirmIdentity(fingerprint(world.new)))
    # Again, as when the disk had failed late.
    files_of(world).confirm(ConfirmIdentity(fingerprint(world.new)))
    own = read_material(world.s1).own
    assert not own.unconfirmed
    assert own.older is None


def test_a_certificate_that_a_person_put_there_is_not_what_the_journal_means(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, accepted=True)
    world.s1.node_certificate("s1").write_text(to_pem(world.old))
    own = read_material(world.s1).own
    assert not own.unconfirmed
    assert own.refused is None
