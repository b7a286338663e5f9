"""A node goes on: hostile messages, edits gone wrong, stuck parts, orderly ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.node.cluster import (
    Authority,
    Running,
    Zones,
    free_port,
    start_node,
    until,
    write_node,
)
from tests.node.test_node import Agent, check
from tests.node.tls.joined import Recorder, in_loop, started

from icefloe.config.host import DaemonUser
from icefloe.config.layout import NodeDirectories
from icefloe.enrollment import commands as cmd
from icefloe.enrollment.ledger import LedgerUnavailableError
from icefloe.node import dialer as dialer_module
from icefloe.node import node as node_module
from icefloe.node import stopping
from icefloe.node.becoming import CannotBecomeUser, become
from icefloe.node.material import MaterialError, read_material
from icefloe.node.node import NodeFailed
from icefloe.node.tls.connecting import connect
from icefloe.node.tls.contexts import client_context
from icefloe.node.tls.transport import TLSStream
from icefloe.pki.certificates import load_pem, to_pem
from icefloe.storage.keys import generate_key
from icefloe.wire.netstring import encode

LISTS = b"[" + b",".join([b"[]"] * 99_990) + b"]"
UNUSABLE_IDS = {
    "lists": LISTS,
    "an object": b"{}",
    "a long text": json.dumps("x" * 1000).encode(),
    "a long number": b"1" * 4000,
}


def write_signer(root: Path, ca: Authority) -> NodeDirectories:
    tree = Zones({"z0": (None, {"m1": free_port()}), "agent": ("z0", {"agent": None})})
    return write_node(root, "m1", tree, dialled=set(), ca=ca, signer=True)


@contextlib.asynccontextmanager
async def signer(root: Path) -> AsyncIterator[Running]:
    node = await start_node(write_signer(root, Authority()))
    try:
        yield node
    finally:
        if not node.task.done():
            await node.stop()
        node.ledger.close()


async def dial(port: int) -> tuple[TLSStream, Recorder]:
    stream = await connect("127.0.0.1", port, context=client_context(None))
    return stream, started(stream)


async def still_signs(node: Running) -> None:
    agent = Agent()
    check(await agent.ask(node.port), agent)


def asking(call: bytes | None = None) -> bytes:
    given = b'"id":' + call + b"," if call is not None else b""
    return encode(b"{" + given + b'"method":"pki::RequestCertificate","params":{}}')


# --- Messages -------------------------------------------------------------------------


@pytest.mark.parametrize("call", UNUSABLE_IDS.values(), ids=UNUSABLE_IDS.keys())
@in_loop
async def test_a_stranger_with_an_id_that_cannot_go_back_is_let_go(
    tmp_path: Path, call: bytes
) -> None:
    async with signer(tmp_path) as node:
        stream, heard = await dial(node.port)
        stream.write(asking(call))
        report = await stream.wait_closed()
        assert report.clean
        assert b"result" not in heard.data
        assert node.logs.seen("call with an unusable id ignored")
        await still_signs(node)


@in_loop
async def test_a_stranger_that_pipelines_its_askings_is_turned_away_once(
    tmp_path: Path,
) -> None:
    async with signer(tmp_path) as node:
        stream, _ = await dial(node.port)
        stream.write(asking() * 5000)
        await stream.wait_closed()
        events = [event for _, event, _ in node.logs.events]
        assert events.count("too many requests wait") == 1
        await still_signs(node)


@in_loop
async def test_a_stranger_that_asked_stays_while_the_ledger_takes_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with signer(tmp_path) as node:
        hub = node.node._hub
        brief = replace(hub.settings.session, anonymous_seconds=0.05)
        hub.settings = replace(hub.settings, session=brief)
        begin, written = node.ledger.begin, threading.Event()

        def slowly() -> None:
            written.wait(10)
            begin()

        monkeypatch.setattr(node.ledger, "begin", slowly)
        agent = Agent()
        answer = asyncio.create_task(agent.ask(node.port))
        loop = asyncio.get_running_loop()
        late = loop.time() + 0.3
        await until(lambda: loop.time() > late, "its lifetime is long over")
        written.set()
        check(await answer, agent)


@in_loop
async def test_a_bug_in_one_dial_does_not_end_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect(*_: object, **__: object) -> None:
        raise UnicodeError("label too long")

    monkeypatch.setattr(dialer_module, "connect", connect)
    tree = Zones({"z0": (None, {"m1": free_port()}), "z1": ("z0", {"s1": free_port()})})
    node = await start_node(
        write_node(tmp_path, "m1", tree, dialled={"s1"}, ca=Authority(), signer=True)
    )
    try:
        await until(lambda: node.logs.seen("dialling failed"), "dialled")
        await still_signs(node)
    finally:
        await node.stop()


# --- Reloads --------------------------------------------------------------------------


async def refused(node: Running) -> str:
    """Reload, which must be refused and change nothing; returns the reason."""
    before = node.node._material
    node.node.reload()
    event = "reload refused, running on as before"
    await until(lambda: node.logs.seen(event), "refused")
    assert node.node._material is before
    (detail,) = (
        fields["detail"]
        for _, event, fields in node.logs.events
        if event == "reload refused, running on as before"
    )
    return str(detail)


def spoil_ciphers(directories: NodeDirectories) -> None:
    api = directories.feature_enabled("api")
    wrong = 'cipher_list = "NONSENSE"\n  ticket_salt'
    api.write_text(api.read_text().replace("ticket_salt", wrong))


@in_loop
async def test_a_reload_does_not_take_a_monitoring_seat(tmp_path: Path) -> None:
    async with signer(tmp_path) as node:
        zones = node.directories.zones_conf
        shared = zones.read_text().replace('[ "m1" ]', '[ "m1", "m2" ]')
        zones.write_text(shared + 'object Endpoint "m2" {}\n')
        assert "IcefloeEndpoints" in await refused(node)
        await still_signs(node)


@in_loop
async def test_a_reload_with_unusable_ciphers_changes_nothing(tmp_path: Path) -> None:
    async with signer(tmp_path) as node:
        spoil_ciphers(node.directories)
        assert "cipher_list" in await refused(node)
        await still_signs(node)


@in_loop
async def test_a_reload_that_may_not_look_for_the_ca_key_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with signer(tmp_path) as node:
        hide_ca(monkeypatch)
        detail = await refused(node)
        monkeypatch.undo()
        assert str(node.directories.ca_key) in detail
        assert "chown" in detail


def hide_ca(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a look into `ca/` end as for a user who may not."""
    real = os.stat

    def stat(path: Any, *args: Any, **options: Any) -> os.stat_result:
        if str(path).endswith("ca/ca.key"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(os, "stat", stat)


@in_loop
async def test_a_bug_in_a_reload_is_logged_and_the_node_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with signer(tmp_path) as node:

        def boom(*_: object, **__: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(node_module, "read_material", boom)
        node.node.reload()
        await until(lambda: node.logs.seen("reload failed"), "failed")
        await still_signs(node)


@in_loop
async def test_a_certificate_is_installed_beside_an_edit_that_is_wrong(
    tmp_path: Path,
) -> None:
    ca = Authority()
    tree = Zones({"z0": (None, {"m1": free_port()}), "z1": ("z0", {"s1": free_port()})})
    key = generate_key()
    directories = write_node(
        tmp_path,
        "s1",
        tree,
        dialled=set(),
        ca=ca,
        certificate=ca.issue("s1", key),
        key=key,
    )
    node = await start_node(directories)
    try:
        spoil_ciphers(directories)
        new = ca.issue("s1", key)
        node.node._carry_out(cmd.InstallIdentity(certificate=to_pem(new), ca=ca.pem))
        await until(
            lambda: node.logs.seen("reload refused, running on as before"), "refused"
        )
        assert load_pem(directories.node_certificate("s1").read_text()) == new
        assert not node.task.done()
    finally:
        await node.stop()


# --- The end --------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["_dialer", "_listener", "_runner", "_installer"])
@in_loop
async def test_a_part_that_fails_ends_the_node_in_order_and_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    fail = asyncio.Event()

    async def failing(_self: object) -> None:
        await fail.wait()
        raise ZeroDivisionError

    owner = getattr(node_module, {"_runner": "TurnRunner"}.get(part, part[1:].title()))
    method = "serve" if part == "_listener" else "run"
    monkeypatch.setattr(owner, method, failing)
    for seconds in ("ENTER", "ANSWER", "PARK", "LAST"):
        monkeypatch.setattr(stopping, f"{seconds}_SECONDS", 0.01)
    node = await start_node(write_signer(tmp_path, Authority()))
    fail.set()
    with pytest.raises(NodeFailed, match=part[1:]):
        await node.task
    node.ledger.close()
    if part == "_listener":
        node.node._listener._socket.close()  # type: ignore[union-attr]
    (said,) = [e for e in node.logs.events if e[1] == "internal error, stopping"]
    assert said[0] == cmd.Level.CRITICAL


@in_loop
async def test_an_end_does_not_wait_for_a_peer_that_does_not_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "DRAIN_SECONDS", 0.05)
    async with signer(tmp_path) as node:
        stream, heard = await dial(node.port)
        stream.write(encode(b'{"method":"icinga::Hello","params":{}}'))
        await heard.received(1)
        stream.pause_reading()  # it will not see our close
        await node.stop()
        stream.abort()


@in_loop
async def test_an_end_does_not_wait_for_a_ledger_that_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds in ("ANSWER", "PARK", "LAST"):
        monkeypatch.setattr(stopping, f"{seconds}_SECONDS", 0.05)
    async with signer(tmp_path) as node:

        def locked() -> None:
            raise LedgerUnavailableError("locked")

        monkeypatch.setattr(node.ledger, "begin", locked)
        await node.stop()


# --- What it stands on ----------------------------------------------------------------


def test_a_ca_that_the_node_does_not_trust_itself_is_refused(tmp_path: Path) -> None:
    directories = write_signer(tmp_path, Authority())
    directories.trusted_ca.write_text(Authority().pem)
    certificate = directories.node_certificate("m1")
    with pytest.raises(MaterialError) as caught:
        read_material(directories)
    assert str(directories.ca_certificate) in str(caught.value)
    assert str(directories.trusted_ca) in str(caught.value)
    assert certificate.exists()


def test_a_ca_among_several_trusted_ones_will_do(tmp_path: Path) -> None:
    ca = Authority()
    directories = write_signer(tmp_path, ca)
    directories.trusted_ca.write_text(Authority().pem + ca.pem)
    assert read_material(directories).signs


def test_an_owner_without_a_name_is_said_with_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    unknown = DaemonUser(uid=2**31 - 77, gid=0)
    with pytest.raises(CannotBecomeUser, match="chown") as caught:
        become(unknown, directory=tmp_path)
    assert str(tmp_path) in str(caught.value)
