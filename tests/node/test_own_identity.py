"""A node whose new certificate is refused is back on its old one; else it is confirmed.

Whole nodes, real files, real TLS.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

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

from icefloe.config.layout import NodeDirectories
from icefloe.config.loading import load
from icefloe.doors import WallTime
from icefloe.enrollment import confirming
from icefloe.enrollment.commands import Level, RollBackIdentity
from icefloe.node.doors import RealClock
from icefloe.node.material import read_material
from icefloe.node.own_identity import OwnIdentityFiles, RollBackImpossible
from icefloe.pki.certificates import load_pem, to_pem
from icefloe.storage.identity import install_certificate
from icefloe.storage.keys import generate_key
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
def refusing_parent(world: World, version: ssl.TLSVersion) -> Iterator[None]:
    """A listener in the master's place that refuses our new certificate in TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    own = (world.m1.node_certificate("m1"), world.m1.node_key("m1"))
    context.load_cert_chain(*own)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=world.ca.pem)
    port = load(world.m1.config_dir, world.m1.data_dir).listener.bind_port
    with socket.create_server(("127.0.0.1", port)) as listening:
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                connection, _ = listening.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(10)
                    context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
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


def test_what_cannot_be_rolled_back_is_said_to_be_impossible(tmp_path: Path) -> None:
    world = World(tmp_path, accepted=False, older=False)
    with pytest.raises(RollBackImpossible):
        files_of(world).roll_back(RollBackIdentity("m1 refuses"))
    assert world.in_place() == world.new


def test_a_roll_back_that_was_done_before_is_done(tmp_path: Path) -> None:
    world = World(tmp_path, accepted=False)
    files_of(world).roll_back(RollBackIdentity("m1 refuses"))
    files_of(world).roll_back(RollBackIdentity("m1 refuses"))
    assert world.in_place() == world.old


def test_a_confirmed_identity_has_nothing_to_go_back_to(tmp_path: Path) -> None:
    world = World(tmp_path, accepted=True)
    files_of(world).confirm()
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
