"""The workers: every command comes to an event."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.node.cluster import Logs, until
from tests.node.tls.joined import in_loop

from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.node import workers as module
from icefloe.node.workers import SigningSecrets, Workers
from icefloe.pki.keys import PrivateKey
from icefloe.storage.keys import generate_key


def signing() -> SigningSecrets:
    return SigningSecrets(ca_key=generate_key(), ticket_salt="salt")


def keep(got: list[ev.Event]) -> Callable[[ev.Event], bool]:
    def submit(event: ev.Event) -> bool:
        got.append(event)
        return True

    return submit


def boom(*_: object) -> bytes:
    raise ValueError("unexpected")


@in_loop
async def test_a_bug_while_signing_is_a_failed_signature_and_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "sign_tbs", boom)
    got: list[ev.Event] = []
    logs = Logs("m1")
    workers = Workers(signing(), submit=keep(got), log=logs)
    workers.carry_out(cmd.Sign("r", b""))
    await until(lambda: got, "told")
    workers.close()
    assert got == [ev.SigningFailed("r", "internal error: ValueError")]
    assert logs.seen("command failed")


@in_loop
async def test_a_bug_while_comparing_does_not_make_the_ticket_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ticket_matches", boom)
    got: list[ev.Event] = []
    workers = Workers(signing(), submit=keep(got))
    workers.carry_out(cmd.CheckTicket("a", "agent", "0" * 40))
    await until(lambda: got, "told")
    workers.close()
    assert got == [ev.TicketCheckFailed("a")]


@in_loop
async def test_a_signature_does_not_wait_behind_ticket_checks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on = threading.Event()

    def slow(*_: Any) -> bool:
        return go_on.wait(20)

    def sign(_key: PrivateKey, tbs: bytes) -> bytes:
        return tbs

    monkeypatch.setattr(module, "ticket_matches", slow)
    monkeypatch.setattr(module, "sign_tbs", sign)
    got: list[ev.Event] = []
    workers = Workers(signing(), submit=keep(got))
    for number in range(100):
        workers.carry_out(cmd.CheckTicket(f"a{number}", "agent", "0" * 40))
    workers.carry_out(cmd.Sign("r", b"signature"))
    try:
        await until(lambda: got, "signed", 10)
        assert got == [ev.Signed("r", b"signature")]
    finally:
        go_on.set()
        workers.close()
