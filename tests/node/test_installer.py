"""The installer: a certificate that was signed for this node is not lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.node.cluster import Logs, until
from tests.node.tls.joined import in_loop

from icefloe.enrollment.commands import (
    ConfirmIdentity,
    InstallIdentity,
    Level,
    RollBackIdentity,
)
from icefloe.errors import IcefloeError
from icefloe.node import installer as module
from icefloe.node.installer import Installer
from icefloe.node.own_identity import OrderOutdated, RollBackImpossible
from icefloe.storage.identity_files import IdentityProblem

OLD = InstallIdentity(certificate="old", ca="ca")
NEW = InstallIdentity(certificate="new", ca="ca")


@contextlib.asynccontextmanager
async def running(
    install: Callable[[InstallIdentity], object],
    logs: Logs,
    done: list[str],
    **more: Callable[..., object],
) -> AsyncIterator[Installer]:
    installer = Installer(
        install=install,
        installed=lambda: done.append("done"),
        log=logs,
        **more,
    )
    task = asyncio.create_task(installer.run())
    try:
        yield installer
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("error", [IcefloeError("disk full"), ValueError("a bug")])
@in_loop
async def test_what_fails_is_said_loudly_once_and_tried_until_it_works(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS_FIRST", 0.001)
    tries: list[InstallIdentity] = []

    def install(command: InstallIdentity) -> None:
        tries.append(command)
        if len(tries) < 4:
            raise error

    logs, done = Logs("s1"), list[str]()
    async with running(install, logs, done) as installer:
        installer.take(OLD)
        await until(lambda: done, "installed")
    assert tries == [OLD] * 4
    assert [level for level, _, _ in logs.events] == [
        Level.ERROR,
        Level.WARNING,
        Level.WARNING,
        Level.INFO,
    ]


@in_loop
async def test_a_newer_certificate_takes_the_place_of_one_that_did_not_work() -> None:
    tries: list[InstallIdentity] = []

    def install(command: InstallIdentity) -> None:
        tries.append(command)
        if command is OLD:
            raise IcefloeError("does not fit")

    logs, done = Logs("s1"), list[str]()
    async with running(install, logs, done) as installer:
        installer.take(OLD)
        await until(lambda: logs.events, "failed")
        installer.take(NEW)
        await until(lambda: done, "installed")
    assert tries == [OLD, NEW]


@in_loop
async def test_one_that_does_not_work_keeps_no_other_and_a_confirmation_reloads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS_FIRST", 0.001)
    did: list[str] = []

    def confirm(_order: ConfirmIdentity) -> None:
        did.append("confirm")
        if len(did) < 4:
            raise IcefloeError("disk full")

    logs, done = Logs("s1"), list[str]()
    async with running(
        lambda order: did.append(order.certificate),
        logs,
        done,
        confirm=confirm,
        roll_back=lambda order: did.append(order.reason),
    ) as installer:
        installer.take(NEW)
        installer.take(ConfirmIdentity("ab"))
        installer.take(RollBackIdentity("m1 refuses", "ab"))
        await until(lambda: len(did) == 4, "done")
        await until(lambda: logs.seen("own certificate is noted as confirmed"), "said")
    assert did == ["new", "confirm", "m1 refuses", "confirm"]
    assert len(done) == 2
    assert (
        Level.ERROR,
        "own certificate rolled back to the older one",
        {"reason": "m1 refuses"},
    ) in logs.events


@pytest.mark.parametrize(
    "error, level",
    [
        (
            IdentityProblem(Path("s1.crt"), problem="does not fit", remedy=""),
            Level.ERROR,
        ),
        (OrderOutdated("another one is in place"), Level.INFO),
    ],
    ids=["never works", "outdated"],
)
@in_loop
async def test_what_can_never_work_is_given_up_and_the_files_are_read_again(
    error: IcefloeError, level: Level
) -> None:
    tries: list[InstallIdentity] = []
    confirmed: list[ConfirmIdentity] = []

    def install(command: InstallIdentity) -> None:
        tries.append(command)
        raise error

    logs, done = Logs("s1"), list[str]()
    async with running(install, logs, done, confirm=confirmed.append) as installer:
        installer.take(NEW)
        installer.take(ConfirmIdentity("ab"))
        await until(lambda: confirmed, "confirmed")
    assert tries == [NEW]
    assert done == ["done"]
    assert logs.events[0][0] is level


@in_loop
async def test_what_cannot_be_rolled_back_is_said_and_not_tried_again() -> None:
    tries: list[str] = []

    def roll_back(order: RollBackIdentity) -> None:
        tries.append(order.reason)
        raise RollBackImpossible("nothing older")

    logs, done = Logs("s1"), list[str]()
    async with running(lambda _: None, logs, done, roll_back=roll_back) as installer:
        installer.take(RollBackIdentity("m1 refuses", "ab"))
        await until(lambda: done, "read anew")
        installer.take(NEW)
        await until(lambda: len(done) == 2, "went on")
    assert tries == ["m1 refuses"]
    assert logs.events[0][:2] == (Level.ERROR, "own certificate not rolled back")
