"""A batch is one transaction, and one event's bug or fault is not the others'."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.enrollment.playbook import (
    Bench,
    answers,
    asks,
    issued_certificate,
    none_of,
    only,
    relay,
    request_certificate,
    signed_result,
    ticket_for,
)

from icefloe.doors import MonotonicTime
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.batch import BatchResult, BatchRunner
from icefloe.enrollment.ledger import LedgerUnavailableError
from icefloe.enrollment.model import RequestState
from icefloe.wire.catalogue import RequestCertificate

REQUEST = request_certificate()


class Batches:
    """A bench whose events come in batches."""

    def __init__(self) -> None:
        self.bench: Bench = relay()
        self.runner = BatchRunner(core=self.bench.core, ledger=self.bench.ledger)

    def run(self, *events: ev.Event) -> BatchResult:
        return self.runner.run(events, self.bench.now, self.bench.entropy)

    def asking(self, cn: str = "agent", *, call: str | None = "c1") -> ev.Event:
        link = self.bench.stranger(request_certificate(cn))
        params = RequestCertificate(ticket=ticket_for(cn))
        return ev.CertificateAsked(link, ev.CallId(call) if call else None, params)


def test_several_turns_are_one_commit() -> None:
    batches = Batches()
    events = [batches.asking("a"), batches.asking("b")]
    before = batches.bench.ledger.another_process().change_token()
    batches.run(*events)
    after = batches.bench.ledger.another_process().change_token()
    assert after == before + 1
    assert {r.cn for r in batches.bench.ledger.requests()} == {"a", "b"}


def test_an_empty_batch_tells_the_next_deadline() -> None:
    batches = Batches()
    batch = batches.run()
    assert batch.commands == ()
    assert batch.next_deadline == batches.bench.core.next_deadline


def test_nothing_is_said_of_a_batch_that_was_not_kept() -> None:
    batches = Batches()
    batches.bench.parent()
    asking = batches.asking()
    batches.bench.ledger.fail_next("commit")
    batch = batches.run(asking)
    assert asks(batch.commands) == []
    assert [r.reason for r in answers(batch.commands)] == ["ledger-fault"]
    assert batches.bench.ledger.requests() == []


def test_a_failing_ledger_is_told_loudly_once_and_its_end_too() -> None:
    batches = Batches()
    levels = []
    for _ in range(3):
        batches.bench.ledger.fail_next("begin")
        batch = batches.run(ev.LedgerChanged())
        levels.append(only(cmd.Log, batch.commands).level)
    assert levels == [cmd.Level.CRITICAL, cmd.Level.DEBUG, cmd.Level.DEBUG]
    assert batches.run().commands == ()  # nothing was tried
    assert not end_of_alarm(batches.run(ev.LedgerChanged()))  # nothing was recorded
    assert end_of_alarm(batches.run(batches.asking()))
    assert not end_of_alarm(batches.run(batches.asking()))


def test_a_full_disk_that_can_still_be_read_is_one_alarm() -> None:
    """Every batch that only reads succeeds: that is not the end of it."""
    batches = Batches()
    levels = []
    for name in ("a", "b", "c"):
        asking = batches.asking(name)
        batches.bench.ledger.fail_next("commit")
        batch = batches.run(asking)
        told = [log for log in logs(batch) if log.event.startswith("ledger not")]
        levels += [log.level for log in told]
        assert not end_of_alarm(batches.run(ev.LedgerChanged()))
    assert levels == [cmd.Level.CRITICAL, cmd.Level.DEBUG, cmd.Level.DEBUG]
    assert end_of_alarm(batches.run(batches.asking()))


def logs(batch: BatchResult) -> list[cmd.Log]:
    return [each for each in batch.commands if isinstance(each, cmd.Log)]


def end_of_alarm(batch: BatchResult) -> bool:
    return "ledger works again" in [log.event for log in logs(batch)]


def test_events_that_had_no_turn_come_again_and_askers_are_told_at_once() -> None:
    batches = Batches()
    asking = batches.asking()
    down = ev.LinkDown(batches.bench.stranger())
    batches.bench.ledger.fail_next("begin")
    batch = batches.run(down, asking)
    assert batch.unhandled == (down,)
    assert [r.reason for r in answers(batch.commands)] == ["ledger-fault"]


def test_a_daemon_that_cannot_be_told_is_let_go() -> None:
    batches = Batches()
    asking = batches.asking(call=None)
    batches.bench.ledger.fail_next("commit")
    batch = batches.run(asking)
    held, released = only(cmd.Hold, batch.commands), only(cmd.Release, batch.commands)
    assert held.link == released.link
    assert batches.bench.core.census().waiters == 0


def test_a_certificate_that_was_not_recorded_is_not_passed_on() -> None:
    """Its asker is told; the parent is asked again a moment later."""
    batches = Batches()
    bench = batches.bench
    bench.parent()
    ask = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=ticket_for()))
    daemon = bench.stranger(REQUEST)
    bench.ask(daemon, given=ticket_for(), call=None)
    bench.ledger.fail_next("commit")
    result = signed_result(issued_certificate())
    batch = batches.run(ev.ParentAnswered(ask.link, ask.call, result))
    assert none_of(cmd.Push, batch.commands)
    assert [r.reason for r in answers(batch.commands)] == ["ledger-fault"]
    assert bench.request().state is RequestState.FORWARDED
    (again,) = asks(bench.pass_time(2))
    bench.answer_ask(again, result)
    assert bench.request().state is RequestState.ANSWERED


def test_an_asker_is_told_of_one_fault_once() -> None:
    """Its asking and its answer were in the same batch."""
    batches = Batches()
    asking = batches.asking()
    link = batches.bench.stranger()  # shows no certificate: refused in its turn
    nothing = ev.CertificateAsked(link, ev.CallId("c2"), RequestCertificate())
    batches.bench.ledger.fail_next("commit")
    batch = batches.run(asking, nothing)
    told = [c.call.value for c in batch.commands if isinstance(c, cmd.Answer)]
    assert sorted(map(str, told)) == ["c1", "c2"]


def test_a_silent_waiter_whose_time_is_over_ends_with_the_fault() -> None:
    batches = Batches()
    bench = batches.bench
    bench.ask(bench.child("s2"), posting=REQUEST, call=None)
    asking = batches.asking("b")
    bench.now = replace(bench.now, mono=MonotonicTime(bench.now.mono + 601))
    bench.ledger.fail_next("commit")
    batch = batches.run(asking)
    assert len(answers(batch.commands)) == 1
    assert bench.core.census().waiters == 0


@pytest.mark.parametrize("broken", ["bug", "unreadable"])
def test_a_turn_that_cannot_be_taken(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """A bug concerns its own event; an unreadable ledger is everybody's."""
    batches = Batches()
    events = [batches.asking("a"), ev.LedgerChanged(), batches.asking("b", call="c2")]
    handle = batches.bench.core.handle

    def breaking(event: ev.Event, *rest: Any) -> Any:
        if isinstance(event, ev.LedgerChanged):
            if broken == "bug":
                raise KeyError("a bug")
            raise LedgerUnavailableError("planned fault")
        return handle(event, *rest)

    monkeypatch.setattr(batches.bench.core, "handle", breaking)
    batch = batches.run(*events)
    kept = {r.cn for r in batches.bench.ledger.requests()}
    if broken == "bug":
        assert kept == {"a", "b"}
        assert not batches.runner.failing
        log = only(cmd.Log, batch.commands)
        assert log.level is cmd.Level.CRITICAL
        assert log.fields["event_kind"] == "LedgerChanged"
    else:
        assert kept == set()
        assert batches.runner.failing
        assert [r.reason for r in answers(batch.commands)] == ["ledger-fault"] * 2


def test_an_asker_whose_turn_met_a_bug_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = Batches()
    asking = batches.asking()

    def breaking(*_: object) -> Any:
        raise KeyError("a bug")

    monkeypatch.setattr(batches.bench.core, "handle", breaking)
    batch = batches.run(asking)
    assert [r.reason for r in answers(batch.commands)] == ["ledger-fault"]
