"""The runner: what must go on whatever the ledger, the load or a command does."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import pytest
from tests.enrollment import playbook
from tests.node.cluster import until
from tests.node.tls.joined import in_loop

from icefloe.cluster.peer import Peer, Standing
from icefloe.doors import MonotonicTime
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.core import TurnResult
from icefloe.enrollment.ledger import LedgerUnavailableError
from icefloe.node import runner as module
from icefloe.node.askings import AskingLimits
from icefloe.node.doors import RealClock, RealEntropy
from icefloe.node.runner import TurnRunner, without_visits
from icefloe.wire.catalogue import RequestCertificate

STRANGER = Peer(standing=Standing.ANONYMOUS, common_name=None)
MEMBER = Peer(standing=Standing.MEMBER, common_name="s1")


class Core:
    """Writes down its events, and orders what it is told to."""

    def __init__(self) -> None:
        self.next_deadline: MonotonicTime | None = None
        self.seen: list[ev.Event] = []
        self.orders: dict[type, tuple[cmd.Command, ...]] = {}

    def handle(self, event: ev.Event, _now: object, _entropy: object) -> TurnResult:
        self.seen.append(event)
        return TurnResult((), self.orders.get(type(event), ()))

    def commit_failed(self, **_: object) -> tuple[cmd.Command, ...]:
        return ()

    def has_seen(self, kind: type) -> bool:
        return any(isinstance(event, kind) for event in self.seen)


class Ledger:
    """Keeps nothing; fails on demand."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.on_apply: Exception | None = None

    def begin(self) -> None:
        if self.failure is not None:
            raise self.failure

    def apply(self, _writes: Iterable[Any]) -> None:
        if self.on_apply is not None:
            raise self.on_apply

    def commit(self) -> None:
        pass

    def rollback(self) -> None:
        pass

    def change_token(self) -> int:
        return 1


class Orders(list[cmd.Command]):
    """The commands that were carried out."""

    def logged(self, event: str) -> list[cmd.Log]:
        return [c for c in self if isinstance(c, cmd.Log) and c.event == event]


@contextlib.asynccontextmanager
async def running(
    core: Any,
    ledger: Any,
    carry_out: Callable[[cmd.Command], None],
    maintain: Callable[[], object] = lambda: None,
) -> AsyncIterator[TurnRunner]:
    runner = TurnRunner(
        core=core,
        ledger=ledger,
        clock=RealClock(),
        entropy=RealEntropy(),
        carry_out=carry_out,
        maintain=maintain,
    )
    task = asyncio.create_task(runner.run())
    try:
        assert await runner.wait_idle(10)
        yield runner
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.wait([task])
        runner.close()


def asked(link: int, call: str | None = "me") -> ev.CertificateAsked:
    given = ev.CallId(call) if call is not None else None
    return ev.CertificateAsked(ev.LinkId(link), given, RequestCertificate())


# --- Deadlines ------------------------------------------------------------------------


@in_loop
async def test_deadlines_are_kept_while_there_is_always_another_event() -> None:
    core = Core()
    core.orders[ev.PeerIsIcefloe] = (cmd.Hold(ev.LinkId(1)),)
    submit: list[Callable[[ev.Event], bool]] = []

    def carry_out(_command: cmd.Command) -> None:
        if not core.has_seen(ev.DeadlineReached):
            submit[0](ev.PeerIsIcefloe(ev.LinkId(1)))

    async with running(core, Ledger(), carry_out) as runner:
        submit.append(runner.submit)
        core.next_deadline = MonotonicTime(RealClock().now().mono + 0.05)
        runner.submit(ev.PeerIsIcefloe(ev.LinkId(1)))
        await until(lambda: core.has_seen(ev.DeadlineReached), "kept", 10)
        core.next_deadline = None


# --- Commands that fail ---------------------------------------------------------------


@in_loop
async def test_a_command_that_fails_costs_its_own_link_only() -> None:
    core, orders = Core(), Orders()
    link = ev.LinkId(7)
    core.orders[ev.LinkUp] = (
        cmd.Answer(link, ev.CallId("x"), {}),
        cmd.Hold(ev.LinkId(8)),
    )

    def carry_out(command: cmd.Command) -> None:
        if isinstance(command, cmd.Answer):
            raise OverflowError("not to be written")
        orders.append(command)

    async with running(core, Ledger(), carry_out) as runner:
        runner.submit(ev.LinkUp(link, STRANGER))
        assert await runner.wait_idle()
        (said,) = orders.logged("command failed")
        assert said.level is cmd.Level.CRITICAL
        assert said.fields["command_kind"] == "Answer"
        assert [c for c in orders if not isinstance(c, cmd.Log)] == [
            cmd.Drain(link, "internal-error"),
            cmd.Hold(ev.LinkId(8)),
        ]


@in_loop
async def test_an_ask_that_cannot_be_sent_is_told_and_the_parent_kept() -> None:
    core, orders = Core(), Orders()
    link = ev.LinkId(7)
    core.orders[ev.LinkUp] = (cmd.Ask(link, "call", RequestCertificate()),)

    def carry_out(command: cmd.Command) -> None:
        if isinstance(command, cmd.Ask):
            raise OverflowError("too much in it")
        orders.append(command)

    async with running(core, Ledger(), carry_out) as runner:
        runner.submit(ev.LinkUp(link, MEMBER, upstream=True))
        await until(lambda: core.has_seen(ev.ParentFailed), "told")
        assert not any(isinstance(command, cmd.Drain) for command in orders)


@in_loop
async def test_a_logger_that_fails_changes_nothing() -> None:
    core = Core()
    core.orders[ev.LinkUp] = (cmd.Log(cmd.Level.INFO, "x", {}),)

    def carry_out(_command: cmd.Command) -> None:
        raise OSError("disk full")

    async with running(core, Ledger(), carry_out) as runner:
        runner.submit(ev.LinkUp(ev.LinkId(1), STRANGER))
        assert await runner.wait_idle()


@in_loop
async def test_a_bug_in_the_ledger_costs_its_batch_only() -> None:
    core, orders, ledger = Core(), Orders(), Ledger()
    async with running(core, ledger, orders.append) as runner:
        ledger.on_apply = TypeError("a bug")
        runner.submit(ev.LinkUp(ev.LinkId(1), STRANGER))
        assert await runner.wait_idle()
        assert orders.logged("batch of events failed")
        ledger.on_apply = None
        runner.submit(ev.LinkDown(ev.LinkId(1)))
        await until(lambda: core.has_seen(ev.LinkDown), "went on")


# --- Ledgers that fail ----------------------------------------------------------------


@in_loop
async def test_a_checkpoint_that_fails_is_said_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAINTAIN_SECONDS", 0.0)
    monkeypatch.setattr(module, "LEDGER_WATCH_SECONDS", 0.001)
    orders = Orders()

    def maintain() -> None:
        raise LedgerUnavailableError("disk full")

    async with running(Core(), Ledger(), orders.append, maintain):
        said = "ledger not maintained"
        await until(lambda: len(orders.logged(said)) > 2, "tried again")
        levels = [log.level for log in orders.logged(said)]
        assert levels[:3] == [cmd.Level.ERROR, cmd.Level.DEBUG, cmd.Level.DEBUG]


@in_loop
async def test_a_checkpoint_that_fails_while_the_node_stops_is_nobodys_surprise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`in_loop` fails it for an exception that only the loop's handler hears of."""
    monkeypatch.setattr(module, "MAINTAIN_SECONDS", 0.0)
    monkeypatch.setattr(module, "LEDGER_WATCH_SECONDS", 0.001)
    at_work, may_fail = threading.Event(), threading.Event()

    def maintain() -> None:
        at_work.set()
        may_fail.wait(5)
        raise LedgerUnavailableError("disk full")

    async with running(Core(), Ledger(), lambda _command: None, maintain):
        await until(at_work.is_set, "at work")
        asyncio.get_running_loop().call_later(0.05, may_fail.set)
    gc.collect()


@in_loop
async def test_waiting_for_idleness_ends_although_the_ledger_is_stuck() -> None:
    ledger = Ledger()
    async with running(Core(), ledger, lambda _command: None) as runner:
        ledger.failure = LedgerUnavailableError("locked")
        runner.submit(ev.LinkDown(ev.LinkId(1)))
        assert not await runner.wait_idle(0.01)


@in_loop
async def test_everybody_in_the_queue_is_told_that_the_ledger_is_locked() -> None:
    orders, ledger = Orders(), Ledger()
    async with running(playbook.relay().core, ledger, orders.append) as runner:
        ledger.failure = LedgerUnavailableError("locked")
        for number in range(2 * module.BATCH_EVENTS_MAX):
            runner.submit(ev.LinkUp(ev.LinkId(1000 + number), STRANGER))
        runner.submit(asked(1100))

        def told() -> Sequence[cmd.Answer]:
            return [c for c in orders if isinstance(c, cmd.Answer)]

        await until(told, "told", 5)
        (answer,) = told()
        assert answer.link == ev.LinkId(1100)
        assert answer.result["icefloe"]["reason"] == "ledger-fault"  # type: ignore[index]


@in_loop
async def test_the_queue_does_not_grow_with_visitors_while_the_ledger_is_locked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FAILING_PAUSE_SECONDS", 0.001)
    core, ledger = Core(), Ledger()
    async with running(core, ledger, lambda _command: None) as runner:
        ledger.failure = LedgerUnavailableError("locked")
        for number in range(1000):
            runner.submit(ev.LinkUp(ev.LinkId(number), STRANGER))
            runner.submit(ev.LinkDown(ev.LinkId(number)))
        runner.submit(ev.LinkUp(ev.LinkId(2000), STRANGER))
        await until(lambda: len(runner._queue) <= 2, "pruned")
        ledger.failure = None
        await until(lambda: core.has_seen(ev.LinkUp), "went on")
        (stays,) = [e for e in core.seen if isinstance(e, ev.LinkUp)]
        assert stays.link == ev.LinkId(2000)


def test_only_links_that_came_went_and_said_nothing_are_visits() -> None:
    here, gone, was, spoke = map(ev.LinkId, range(4))
    kept: list[ev.Event] = [
        ev.LinkUp(here, STRANGER),
        ev.LinkDown(was),
        ev.LinkUp(spoke, MEMBER),
        ev.ParentFailed(spoke, "call", ""),
        ev.LinkDown(spoke),
        ev.LedgerChanged(),
    ]
    visit: list[ev.Event] = [
        ev.LinkUp(gone, MEMBER),
        ev.PeerIsIcefloe(gone),
        ev.LinkDown(gone),
    ]
    assert without_visits([*visit, *kept]) == kept


# --- Askings under way ----------------------------------------------------------------


@in_loop
async def test_a_strangers_pipeline_leaves_the_queue_to_others() -> None:
    async with running(Core(), Ledger(), lambda _command: None) as runner:
        taken = [runner.submit(asked(1, None)) for _ in range(1000)]
        assert taken.count(True) == AskingLimits().per_connection
        assert runner.submit(asked(2))
        assert await runner.wait_idle()
        assert runner.submit(asked(1)), "had their turn"


@in_loop
async def test_a_member_may_send_all_it_has() -> None:
    async with running(Core(), Ledger(), lambda _command: None) as runner:
        runner.submit(ev.LinkUp(ev.LinkId(1), MEMBER))
        assert all(
            runner.submit(asked(1, None)) for _ in range(AskingLimits().per_member)
        )
        assert not runner.submit(asked(1, None))
