"""Wrong tickets at a real node: turned away, told when to come again."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from tests.node.cluster import Authority, Running, start_node, until
from tests.node.test_node import Agent, check
from tests.node.test_node_faults import dial, signer, write_signer
from tests.node.test_reloading import reload
from tests.node.tls.joined import in_loop

from icefloe.config.layout import NodeDirectories
from icefloe.node import shunning
from icefloe.wire.jsonrpc import encode_request
from icefloe.wire.netstring import encode

WRONG = "0" * 40
TOO_MANY = "too-many-wrong-tickets"


def limit(directories: NodeDirectories, **limits: int) -> None:
    """Write limits in place of those that are there."""
    constants = directories.constants_conf
    kept = [
        line
        for line in constants.read_text().splitlines()
        if not line.startswith("const IcefloeLimits")
    ]
    entries = "; ".join(f"{name} = {number}" for name, number in limits.items())
    kept.append(f"const IcefloeLimits = {{ {entries} }}")
    constants.write_text("\n".join(kept) + "\n")


async def refused(node: Running, cn: str) -> dict[str, Any]:
    answer = await Agent(cn).ask(node.port, given=WRONG)
    assert answer is not None
    facts: dict[str, Any] = answer["icefloe"]
    return facts


@in_loop
async def test_over_its_rate_a_source_is_refused_and_told_when_to_come_again(
    tmp_path: Path,
) -> None:
    directories = write_signer(tmp_path, Authority())
    limit(directories, wrong_tickets_per_minute=2)
    node = await start_node(directories)
    try:
        reasons = [(await refused(node, f"a{n}"))["reason"] for n in range(3)]
        assert reasons == ["wrong-ticket", "wrong-ticket", TOO_MANY]
        assert 0 < (await refused(node, "b"))["retry_after"] <= 30
        assert node.node._hub.shunning.refused == 2
        assert [r.cn for r in node.ledger.requests()] == ["a0", "a1"], "no more is kept"
    finally:
        await node.stop()


@in_loop
async def test_a_connection_that_is_refused_is_answered_each_time_and_stays(
    tmp_path: Path,
) -> None:
    directories = write_signer(tmp_path, Authority())
    limit(directories, wrong_tickets_per_minute=1)
    node = await start_node(directories)
    try:
        await refused(node, "a")
        stream, heard = await dial(node.port)
        message = (
            b'{"id":"x","method":"pki::RequestCertificate",'
            b'"params":{"ticket":"' + WRONG.encode() + b'"}}'
        )
        for _ in range(50):
            stream.write(encode(message))
        await until(lambda: heard.data.count(TOO_MANY.encode()) == 50, "answered")
        assert stream.is_open
        report = await stream.wait_closed()
        assert report.clean, "a moment later it is closed in order"
    finally:
        await node.stop()


@in_loop
async def test_who_is_owed_an_answer_on_a_refused_connection_gets_it_before_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shunning, "STAYS_SECONDS", 0.1)
    directories = write_signer(tmp_path, Authority())
    limit(directories, wrong_tickets_per_minute=1)
    node = await start_node(directories)
    works_again = threading.Event()
    try:
        await refused(node, "a")
        stream, heard = await dial(node.port)
        begin = node.ledger.begin

        def stuck() -> None:
            works_again.wait(15)
            begin()

        monkeypatch.setattr(node.ledger, "begin", stuck)
        stream.write(encode(encode_request("pki::RequestCertificate", {}, "owed")))
        await until(lambda: node.node._hub.owed, "it waits")
        ticketed = {"ticket": WRONG}
        stream.write(encode(encode_request("pki::RequestCertificate", ticketed, "x")))
        await until(lambda: TOO_MANY.encode() in heard.data, "turned away")
        await until(lambda: node.node._hub._leaving, "its time is over")
        assert b'"owed"' not in heard.data
        works_again.set()
        await until(lambda: b'"owed"' in heard.data, "answered")
        report = await stream.wait_closed()
        assert report.clean
    finally:
        works_again.set()
        await node.stop()


@in_loop
async def test_a_reload_takes_new_limits(tmp_path: Path) -> None:
    async with signer(tmp_path) as node:
        await refused(node, "a")
        await refused(node, "b")
        limit(node.directories, wrong_tickets_per_minute=1, anonymous_connections=77)
        await reload(node)
        assert node.node._listener._limits.strangers_max == 77
        assert (await refused(node, "c"))["reason"] == TOO_MANY


@in_loop
async def test_a_limit_that_is_wrong_leaves_a_running_node_as_it_was(
    tmp_path: Path,
) -> None:
    async with signer(tmp_path) as node:
        limit(node.directories, wrong_tickets=1)
        await reload(node, "reload refused, running on as before")
        agent = Agent()
        check(await agent.ask(node.port), agent)
