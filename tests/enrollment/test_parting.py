"""What those get who wait when the node stops, or when a parent goes."""

from __future__ import annotations

from tests.enrollment.playbook import (
    Bench,
    answers,
    asks,
    issued_certificate,
    none_of,
    only,
    own_asks,
    relay,
    request_certificate,
    signed_result,
    signer,
    ticket_for,
)

from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.batch import BatchRunner
from icefloe.enrollment.model import AttemptState, RequestState
from icefloe.enrollment.reasons import Reason
from icefloe.enrollment.requester import ASK_TIMEOUT
from icefloe.enrollment.settings import EnrollmentLimits, OwnIdentity
from icefloe.wire.catalogue import RequestCertificate

REQUEST = request_certificate()
ISSUED = issued_certificate()


def stop(bench: Bench) -> list[cmd.Command]:
    return bench.tell(ev.Stopping())


def held_agent(bench: Bench) -> ev.LinkId:
    """An agent with a ticket waits for an answer that does not come."""
    link = bench.stranger(REQUEST)
    bench.ask(link, given=ticket_for())
    return link


# --- The node stops -------------------------------------------------------------------


def test_who_waits_is_told_that_the_request_is_kept_and_the_node_stops() -> None:
    bench = relay()
    link = held_agent(bench)
    said = stop(bench)
    (told,) = answers(said)
    assert told.status_code == 2
    assert told.ca
    assert told.reason == Reason.NODE_STOPS.value
    assert "s1" in told.error
    assert only(cmd.Drain, said).link == link


def test_what_was_parked_goes_on_in_the_next_life() -> None:
    bench = relay()
    held_agent(bench)
    stop(bench)
    bench.crash()
    bench.parent()
    bench.pass_time(1)
    ask = asks(bench.said)[-1]
    assert ask.params.ticket == ticket_for()
    bench.answer_ask(ask, signed_result(ISSUED, request=REQUEST))
    assert bench.request().state is RequestState.ANSWERED


def test_who_asks_while_the_node_stops_is_recorded_and_told_at_once() -> None:
    bench = relay()
    bench.parent()
    stop(bench)
    link = bench.stranger(REQUEST)
    said = bench.ask(link, given=ticket_for())
    (told,) = answers(said)
    assert told.reason == Reason.NODE_STOPS.value
    assert only(cmd.Drain, said).link == link
    assert none_of(cmd.Hold, said)
    assert not asks(said), "nothing is begun that this life would not see end"
    assert bench.attempts()[0].state is AttemptState.RECEIVED


def test_a_signer_that_stops_checks_no_ticket_and_its_next_life_does() -> None:
    bench = signer()
    stop(bench)
    said = bench.ask(bench.stranger(REQUEST), given=ticket_for())
    assert none_of(cmd.CheckTicket, said)
    assert answers(said)[0].status_code == 2
    bench.crash()
    assert bench.request().state is RequestState.ISSUED


def test_a_certificate_that_is_there_is_given_while_the_node_stops() -> None:
    bench = signer()
    bench.ask(bench.stranger(REQUEST), given=ticket_for())
    stop(bench)
    (told,) = answers(bench.ask(bench.stranger(REQUEST), given=ticket_for()))
    assert told.status_code == 0


def test_a_member_that_waits_has_an_answer_and_is_pushed_to_no_more() -> None:
    bench = signer()
    below = bench.child()
    bench.hold_work = True
    bench.ask(below, given=ticket_for(), posting=REQUEST)
    said = stop(bench)
    assert answers(said)[0].reason == Reason.NODE_STOPS.value
    assert none_of(cmd.Drain, said), "its connection is closed with the others"
    assert len(bench.core._waiters) == 0


def test_a_daemon_that_asked_without_an_id_is_let_go() -> None:
    bench = relay()
    link = bench.stranger(REQUEST)
    bench.ask(link, call=None)
    said = stop(bench)
    assert not answers(said)
    assert only(cmd.Drain, said).link == link


def test_who_waits_has_an_answer_although_the_ledger_can_not_even_be_begun() -> None:
    bench = relay()
    held_agent(bench)
    bench.ledger.fail_next("begin")
    batch = runner(bench).run([ev.Stopping()], bench.now, bench.entropy)
    (told,) = answers(batch.commands)
    assert told.reason == Reason.NODE_STOPS.value, "it was recorded, before"
    assert batch.unhandled == ()


def test_in_a_batch_that_fails_each_hears_what_is_true_of_its_own_request() -> None:
    bench = relay()
    kept = held_agent(bench)
    other = request_certificate("other", number=2)
    late = bench.stranger(other)
    asking = ev.CertificateAsked(
        late, ev.CallId("late"), RequestCertificate(ticket=ticket_for("other"))
    )
    bench.ledger.fail_next("commit")
    batch = runner(bench).run([asking, ev.Stopping()], bench.now, bench.entropy)
    told = {
        command.link: result
        for command, result in zip(
            (c for c in batch.commands if isinstance(c, cmd.Answer)),
            answers(batch.commands),
            strict=True,
        )
    }
    assert told[kept].reason == Reason.NODE_STOPS.value
    assert told[late].reason == Reason.LEDGER_FAULT.value
    assert set(told) == {kept, late}


def runner(bench: Bench) -> BatchRunner:
    return BatchRunner(core=bench.core, ledger=bench.ledger)


# --- A parent goes --------------------------------------------------------------------


def test_what_was_asked_on_a_closing_connection_is_asked_of_another_parent() -> None:
    bench = relay()
    first, second = bench.parent("m1"), bench.parent("m2")
    bench.ask(bench.stranger(REQUEST), given=ticket_for())
    (ask,) = asks(bench.said)
    assert ask.link == first
    bench.tell(ev.LinkEnding(first))
    bench.pass_time(0.5)
    again = asks(bench.said)[-1]
    assert again is not ask
    assert again.link == second


def test_nothing_is_asked_on_a_connection_that_closes() -> None:
    bench = relay()
    going = bench.parent("m1")
    bench.tell(ev.LinkEnding(going))
    bench.ask(bench.stranger(REQUEST), given=ticket_for())
    bench.pass_time(1)
    assert not asks(bench.said)
    bench.tell(ev.LinkDown(going, clean=True))
    back = bench.parent("m1")
    bench.pass_time(1)
    assert asks(bench.said)[-1].link == back


def test_our_own_request_is_asked_of_another_parent_too() -> None:
    bench = relay(own=OwnIdentity(certificate=request_certificate("s1", number=9)))
    first, second = bench.parent("m1"), bench.parent("m2")
    assert [ask.link for ask in own_asks(bench.said)] == [first]
    bench.tell(ev.LinkEnding(first))
    bench.pass_time(0.5)
    assert own_asks(bench.said)[-1].link == second


def test_the_end_of_a_connection_that_is_none_of_a_parent_changes_nothing() -> None:
    bench = relay()
    link = held_agent(bench)
    assert bench.tell(ev.LinkEnding(link)) == []
    assert bench.tell(ev.LinkEnding(ev.LinkId(999))) == []
    assert len(bench.core._waiters) == 1


def test_a_member_is_answered_before_a_command_of_its_machine_gives_up() -> None:
    assert EnrollmentLimits().hold_member < ASK_TIMEOUT
