"""The relay: forwarding, holding, answering, and what it never does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.enrollment.playbook import (
    WRONG,
    Bench,
    answers,
    asks,
    der,
    hops_of,
    issued_certificate,
    none_of,
    only,
    pending_result,
    refused_result,
    relay,
    request_certificate,
    result_of,
    signed_result,
    ticket_for,
)

from icefloe.cluster.peer import Peer, Standing
from icefloe.cluster.zones import Relation
from icefloe.enrollment import administration
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.ledger import StoreCertificate, StoreRequest
from icefloe.enrollment.model import (
    AttemptState,
    CertificateRecord,
    Origin,
    RequestState,
)
from icefloe.enrollment.settings import EnrollmentLimits
from icefloe.pki.certificates import fingerprint, load_pem, to_pem
from icefloe.wire.catalogue import CertificateResult

TICKET = ticket_for()
REQUEST = request_certificate()


def forward(bench: Bench, *, given: str = TICKET, call: object = "c1") -> cmd.Ask:
    """A new agent asks, and the relay asks its parent."""
    link = bench.stranger(REQUEST)
    return only(cmd.Ask, bench.ask(link, given=given, call=call))


def test_a_ticketed_asker_is_held_and_answered_when_the_parent_signed() -> None:
    bench = relay()
    bench.parent()
    ask = forward(bench)
    assert ask.params.ticket == TICKET
    assert load_pem(ask.params.cert_request) == REQUEST
    assert bench.request().state is RequestState.FORWARDED
    ordered = bench.answer_ask(ask, signed_result(issued_certificate()))
    result = result_of(only(cmd.Answer, ordered))
    assert result.status_code == 0
    assert load_pem(result.cert) == issued_certificate()
    assert bench.request().state is RequestState.ANSWERED


def test_a_refusal_travels_with_hop_and_reason_and_without_a_ca() -> None:
    bench = relay()
    bench.parent()
    ask = forward(bench, given=WRONG)
    ordered = bench.answer_ask(ask, refused_result(text="the ticket is wrong"))
    result = result_of(only(cmd.Answer, ordered))
    assert (result.status_code, result.hop, result.reason) == (1, "m1", "wrong-ticket")
    assert result.error == "the ticket is wrong"
    assert not result.ca


@pytest.mark.parametrize(
    "words, reason",
    [
        ("Invalid ticket for CN 'agent'.", "wrong-ticket"),
        ("Ticket for CN agent declined by administrator.", "declined"),
        ("Something else.", "refused-by-parent"),
    ],
)
def test_a_real_parents_refusal_is_passed_on_verbatim_with_a_reason(
    words: str, reason: str
) -> None:
    bench = relay()
    bench.parent()
    ask = forward(bench, given=WRONG)
    ordered = bench.answer_ask(ask, refused_result(reason="", text=words))
    result = result_of(only(cmd.Answer, ordered))
    assert (result.error, result.reason) == (words, reason)
    assert result.hop == "m1"


def test_a_refusal_is_not_replayed_to_another_ticket() -> None:
    bench = relay()
    bench.parent()
    ask = forward(bench, given=WRONG)
    bench.answer_ask(ask, refused_result())
    second = forward(bench, given=TICKET)
    ordered = bench.answer_ask(second, signed_result(issued_certificate()))
    assert result_of(only(cmd.Answer, ordered)).status_code == 0


def test_a_ticket_is_forgotten_after_the_final_answer() -> None:
    bench = relay()
    bench.parent()
    ask = forward(bench)
    assert bench.attempts()[0].ticket == TICKET
    bench.answer_ask(ask, signed_result(issued_certificate()))
    attempt = bench.attempts()[0]
    assert attempt.ticket == ""
    assert attempt.ticket_digest
    assert attempt.state is AttemptState.SIGNED


def test_a_pending_parent_is_asked_again_soon_then_steadily_then_rarely() -> None:
    bench = relay()
    bench.parent()
    ask = forward(bench)
    times = []
    start = bench.now.mono
    while bench.now.mono < start + 640:
        bench.answer_ask(ask, pending_result())
        ordered: list[cmd.Command] = []
        while not asks(ordered):
            ordered = bench.pass_time(0.125)
        ask = only(cmd.Ask, ordered)
        times.append(bench.now.mono - start)
    assert times[:5] == [0.25, 0.75, 1.75, 2.75, 3.75]
    assert times[-1] - times[-2] == 10.0


def test_a_ticketed_asker_is_told_pending_when_its_hold_ends() -> None:
    bench = relay()
    bench.parent()
    ask = forward(bench)
    assert none_of(cmd.Answer, bench.answer_ask(ask, pending_result()))
    ordered = bench.pass_time(15)
    result = result_of(only(cmd.Answer, ordered))
    assert result.status_code == 2
    assert result.ca
    assert "m1" in result.error


def test_an_asker_without_a_ticket_is_told_pending_at_the_parents_first() -> None:
    bench = relay()
    bench.parent()
    ask = forward(bench, given="")
    ordered = bench.answer_ask(ask, pending_result())
    assert result_of(only(cmd.Answer, ordered)).status_code == 2


def test_a_ticketed_asker_does_not_hold_on_for_a_person() -> None:
    bench = relay()
    bench.parent(icefloe=True)
    ask = forward(bench)
    ordered = bench.answer_ask(ask, pending_result(reason="reserved-name"))
    result = result_of(only(cmd.Answer, ordered))
    assert (result.status_code, result.reason) == (2, "reserved-name")


def test_the_next_asking_after_pending_gets_the_stored_certificate_at_once() -> None:
    bench = relay()
    bench.parent()
    ask = forward(bench)
    bench.answer_ask(ask, pending_result())
    bench.pass_time(15)
    (again, *_) = asks(bench.said[-20:])[-1:]
    bench.answer_ask(again, signed_result(issued_certificate()))
    ordered = bench.ask(bench.stranger(REQUEST), given="")
    assert result_of(only(cmd.Answer, ordered)).status_code == 0
    assert none_of(cmd.Ask, ordered)


def test_no_parent_means_pending_after_a_moments_grace_and_forwarding_later() -> None:
    bench = relay()
    link = bench.stranger(REQUEST)
    assert none_of(cmd.Answer, bench.ask(link, given=TICKET))
    result = result_of(only(cmd.Answer, bench.pass_time(2)))
    assert (result.status_code, result.reason) == (2, "parent-unreachable")
    bench.parent()
    ordered = bench.pass_time(0.1)
    assert only(cmd.Ask, ordered).params.ticket == TICKET
    assert bench.request().state is RequestState.FORWARDED


def test_a_parent_that_comes_back_in_time_serves_the_held_asker() -> None:
    bench = relay()
    bench.ask(bench.stranger(REQUEST), given=TICKET)
    bench.parent()
    ask = only(cmd.Ask, bench.pass_time(0.1))
    ordered = bench.answer_ask(ask, signed_result(issued_certificate()))
    assert result_of(only(cmd.Answer, ordered)).status_code == 0


def test_the_next_parent_is_asked_only_after_pending() -> None:
    bench = relay()
    first, second = bench.parent("m1"), bench.parent("m2")
    ask = forward(bench)
    assert ask.link == first
    next_ask = only(cmd.Ask, bench.answer_ask(ask, pending_result()))
    assert next_ask.link == second


def test_the_next_parent_is_asked_after_two_seconds_of_silence() -> None:
    bench = relay()
    bench.parent("m1")
    second = bench.parent("m2")
    forward(bench)
    assert none_of(cmd.Ask, bench.pass_time(1.9))
    assert only(cmd.Ask, bench.pass_time(0.2)).link == second


def test_the_only_parent_is_not_asked_again_for_a_while_when_silent() -> None:
    bench = relay()
    bench.parent("m1")
    forward(bench)
    assert none_of(cmd.Ask, bench.pass_time(14))
    assert asks(bench.pass_time(2))


def test_the_next_parent_is_asked_when_the_first_disconnects() -> None:
    bench = relay()
    first, second = bench.parent("m1"), bench.parent("m2")
    forward(bench)
    bench.tell(ev.LinkDown(first))
    assert only(cmd.Ask, bench.pass_time(0.1)).link == second


def test_the_next_parent_is_asked_when_the_first_answers_with_an_error() -> None:
    bench = relay()
    bench.parent("m1")
    second = bench.parent("m2")
    ask = forward(bench)
    ordered = bench.tell(ev.ParentFailed(ask.link, ask.call, "boom"))
    assert only(cmd.Ask, ordered).link == second


def test_a_late_answer_of_the_first_parent_is_taken() -> None:
    bench = relay()
    bench.parent("m1")
    bench.parent("m2")
    ask = forward(bench)
    bench.pass_time(2.1)
    ordered = bench.answer_ask(ask, signed_result(issued_certificate()))
    assert result_of(only(cmd.Answer, ordered)).status_code == 0


def test_the_first_certificate_wins_and_a_surplus_one_is_recorded() -> None:
    bench = relay()
    bench.parent("m1")
    bench.parent("m2")
    first = forward(bench)
    second = only(cmd.Ask, bench.pass_time(2.1))
    bench.answer_ask(first, signed_result(issued_certificate(serial=501)))
    ordered = bench.answer_ask(second, signed_result(issued_certificate(serial=502)))
    assert none_of(cmd.Answer, ordered)
    given = bench.ledger.certificate(bench.request().request_id)
    surplus = bench.ledger.certificate_by_serial("01f6")
    assert given is not None
    assert given.serial == "01f5"
    assert surplus is not None
    assert surplus.surplus


def test_a_certificate_for_another_key_is_not_passed_on() -> None:
    bench = relay()
    bench.parent()
    ask = forward(bench)
    wrong = issued_certificate(number=2)
    assert none_of(cmd.Answer, bench.answer_ask(ask, signed_result(wrong)))
    assert bench.ledger.certificate(bench.request().request_id) is None


def test_a_certificate_of_another_ca_is_not_passed_on() -> None:
    bench = relay()
    bench.parent()
    ask = forward(bench)
    foreign = issued_certificate(ca_number=1)
    assert none_of(cmd.Answer, bench.answer_ask(ask, signed_result(foreign)))


def test_a_pushed_certificate_answers_a_held_asker() -> None:
    bench = relay()
    parent = bench.parent(icefloe=True)
    forward(bench, call=None)
    ordered = bench.update(parent, issued_certificate(), request=fingerprint(REQUEST))
    push = only(cmd.Push, ordered)
    assert push.params.fingerprint_request == fingerprint(REQUEST)


@pytest.mark.parametrize("sender", ["stranger", "child"])
def test_a_certificate_pushed_by_anyone_but_a_parent_is_ignored(sender: str) -> None:
    bench = relay()
    bench.parent()
    forward(bench)
    link = bench.stranger() if sender == "stranger" else bench.child("s2")
    ordered = bench.update(link, issued_certificate(), request=fingerprint(REQUEST))
    assert none_of(cmd.Answer, ordered)
    assert bench.ledger.certificate(bench.request().request_id) is None


def test_a_pushed_certificate_for_a_request_never_forwarded_is_ignored() -> None:
    bench = relay()
    bench.ask(bench.stranger(REQUEST), given=TICKET)  # no parent yet
    bench.now = replace(bench.now)
    parent = bench.parent()
    ordered = bench.update(parent, issued_certificate(), request=fingerprint(REQUEST))
    assert none_of(cmd.Answer, ordered)


def test_an_empty_ticket_never_replaces_another_upstream() -> None:
    bench = relay()
    bench.parent()
    forward(bench)
    ordered = bench.ask(bench.stranger(REQUEST), given="", call="c2")
    assert none_of(cmd.Ask, ordered)


def test_an_asker_without_a_ticket_shares_the_certificate_of_the_ticketed_one() -> None:
    bench = relay()
    bench.parent()
    ask = forward(bench)
    bench.ask(bench.stranger(REQUEST), given="", call="c2")
    ordered = bench.answer_ask(ask, signed_result(issued_certificate()))
    answers = [c for c in ordered if isinstance(c, cmd.Answer)]
    assert [result_of(a).status_code for a in answers] == [0, 0]


def test_an_asker_that_stood_back_is_forwarded_when_the_ticket_is_refused() -> None:
    bench = relay()
    bench.parent()
    ask = forward(bench, given=WRONG)
    bench.ask(bench.stranger(REQUEST), given="", call="c2")
    ordered = bench.answer_ask(ask, refused_result())
    answer = only(cmd.Answer, ordered)
    assert answer.call == ev.CallId("c1")
    assert only(cmd.Ask, ordered).params.ticket == ""


def test_a_restarted_relay_goes_on_where_it_was() -> None:
    bench = relay()
    bench.parent()
    forward(bench)
    bench.crash()
    bench.parent()
    ask = only(cmd.Ask, bench.pass_time(0.1))
    assert ask.params.ticket == TICKET
    bench.answer_ask(ask, signed_result(issued_certificate()))
    ordered = bench.ask(bench.stranger(REQUEST))
    assert result_of(only(cmd.Answer, ordered)).status_code == 0


def test_a_restarted_relay_asks_once_for_each_request() -> None:
    bench = relay()
    bench.parent()
    for given in ("", WRONG, TICKET):
        bench.ask(bench.stranger(REQUEST), given=given)
    bench.crash()
    bench.parent()
    assert only(cmd.Ask, bench.pass_time(0.1)).params.ticket == TICKET


def test_repeated_asks_to_one_parent_are_spread() -> None:
    bench = relay()
    for number in range(1, 31):
        link = bench.stranger(request_certificate(f"a{number}", number))
        bench.ask(link, given=ticket_for(f"a{number}"), call=None)
    bench.parent()
    assert len(asks(bench.pass_time(0.1))) <= 11
    assert len(asks(bench.pass_time(1.0))) >= 19


def test_an_icefloe_parent_that_pushes_is_asked_rarely() -> None:
    bench = relay()
    bench.parent(icefloe=True)
    ask = forward(bench)
    bench.answer_ask(ask, pending_result())
    assert none_of(cmd.Ask, bench.pass_time(9.9))
    assert asks(bench.pass_time(0.2))


def test_a_member_that_asks_with_an_id_is_held_longer_and_then_pushed_to() -> None:
    bench = relay()
    bench.parent()
    child = bench.child("s2", icefloe=True)
    ordered = bench.ask(child, posting=REQUEST, given=TICKET)
    ask = only(cmd.Ask, ordered)
    bench.answer_ask(ask, pending_result())
    assert none_of(cmd.Answer, bench.pass_time(24))
    ordered = bench.pass_time(2)
    assert result_of(only(cmd.Answer, ordered)).status_code == 2
    pending = asks(bench.said)[-1]
    ordered = bench.answer_ask(pending, signed_result(issued_certificate()))
    assert only(cmd.Push, ordered).link == child


def test_a_parents_temporary_refusal_is_not_the_requests() -> None:
    bench = relay()
    bench.parent(icefloe=True)
    ask = forward(bench)
    ordered = bench.answer_ask(
        ask, refused_result(reason="ledger-fault", retry_after=5)
    )
    assert none_of(cmd.Answer, ordered)
    assert bench.attempts()[0].state is not AttemptState.REFUSED


def test_what_keeps_every_parent_from_deciding_is_told_at_the_end_of_the_hold() -> None:
    """With the node that has the trouble: nobody is sent to look elsewhere."""
    bench = relay()
    bench.parent(icefloe=True)
    ask = forward(bench)
    bench.answer_ask(ask, refused_result(reason="ledger-fault", retry_after=60))
    (answer,) = answers(bench.pass_time(15))
    assert (answer.status_code, answer.reason) == (2, "ledger-fault")
    assert answer.hop == "m1"
    assert "m1 cannot decide now" in answer.error


@pytest.mark.parametrize(
    "healthy", [pending_result(), refused_result(reason="too-many-wrong-tickets")]
)
def test_a_parents_trouble_is_forgotten_with_its_next_answer(
    healthy: CertificateResult,
) -> None:
    bench = relay()
    bench.parent(icefloe=True)
    ask = forward(bench)
    bench.answer_ask(ask, refused_result(reason="ledger-fault", retry_after=5))
    (again,) = asks(bench.pass_time(11))
    bench.answer_ask(again, healthy)
    (answer,) = answers(bench.pass_time(15))
    assert (answer.status_code, answer.reason) == (2, "parent-pending")


def test_an_answer_of_no_known_status_is_not_an_answer() -> None:
    bench = relay()
    bench.parent()
    ask = forward(bench)
    ordered = bench.answer_ask(ask, CertificateResult(status_code=7, error="?"))
    assert none_of(cmd.Answer, ordered)


def test_an_answer_to_no_ask_of_ours_is_ignored() -> None:
    bench = relay()
    parent = bench.parent()
    forward(bench)
    ordered = bench.tell(ev.ParentAnswered(parent, "stolen", refused_result()))
    assert none_of(cmd.Answer, ordered)


def test_hops_of_the_parents_are_passed_down() -> None:
    bench = relay()
    bench.parent(icefloe=True)
    ask = forward(bench)
    hops = [{"node": "m1", "did": "signed", "at": 1.5}, {"node": 3}, "junk", {}]
    result = signed_result(issued_certificate())
    ordered = bench.answer_ask(
        ask, replace(result, icefloe={"hop": "m1", "hops": hops})
    )
    told = hops_of(result_of(only(cmd.Answer, ordered)))
    assert ("m1", "signed") in told
    assert ("s1", "forwarded") in told
    assert ("s1", "answered") in told


def test_the_owners_attempt_speaks_for_the_request_before_a_strangers() -> None:
    bench = relay()
    bench.ask(bench.stranger(REQUEST), given=TICKET, call=None)
    bench.ask(bench.stranger(), posting=REQUEST, given=WRONG, call=None)
    bench.tell(ev.LinkDown(ev.LinkId(1)))
    bench.tell(ev.LinkDown(ev.LinkId(2)))
    origins = {a.origin for a in bench.attempts()}
    assert origins == {Origin.DIRECT, Origin.POSTED}
    bench.parent()
    assert only(cmd.Ask, bench.pass_time(0.1)).params.ticket == TICKET


def test_too_many_attempts_evict_refused_and_strange_ones_never_the_owners() -> None:
    limits = EnrollmentLimits(attempts_max=2)
    bench = relay(limits=limits)
    bench.ask(bench.stranger(REQUEST), given=TICKET, call=None)
    for number in range(3):
        bench.ask(bench.stranger(), posting=REQUEST, given=f"{number}" * 40)
    kept = {a.origin for a in bench.attempts()}
    assert Origin.DIRECT in kept
    assert len(bench.attempts()) == 2


def test_strangers_who_wait_for_their_guesses_do_not_keep_the_owner_out() -> None:
    limits = EnrollmentLimits(attempts_max=4)
    bench = relay(limits=limits)
    for number in range(4):
        given = f"{number}" * 40
        bench.ask(bench.stranger(), posting=REQUEST, given=given, call=None)
    refused = bench.ask(bench.stranger(), posting=REQUEST, given="9" * 40)
    assert result_of(only(cmd.Answer, refused)).reason == "limit"
    assert not answers(bench.ask(bench.stranger(REQUEST), given=TICKET))
    assert len(bench.attempts()) == 4
    bench.parent()
    assert TICKET in {ask.params.ticket for ask in asks(bench.pass_time(0.1))}


def test_too_many_requests_are_turned_away_with_a_time_to_come_back() -> None:
    bench = relay(limits=EnrollmentLimits(open_requests_max=1))
    bench.ask(bench.stranger(REQUEST), given=TICKET)
    other = request_certificate("b", 2)
    ordered = bench.ask(bench.stranger(other), given="")
    result = result_of(only(cmd.Answer, ordered))
    assert (result.reason, result.retry_after) == ("limit", 60)


def test_an_asker_with_a_ticket_finds_room_when_strangers_do_not() -> None:
    bench = relay(limits=EnrollmentLimits(open_requests_max=4))
    bench.parent()
    for number in range(1, 5):
        bench.ask(bench.stranger(request_certificate(f"a{number}", number)))
    other = request_certificate("b", 9)
    assert asks(bench.ask(bench.stranger(other), given=ticket_for("b")))


def test_one_connection_cannot_wait_for_everything() -> None:
    bench = relay(limits=EnrollmentLimits(waiters_anonymous_max=1))
    bench.parent()
    link = bench.stranger(REQUEST)
    bench.ask(link, given=TICKET, call=1)
    ordered = bench.ask(link, given=TICKET, call=2)
    assert result_of(only(cmd.Answer, ordered)).reason == "limit"


def test_requests_nobody_asks_about_are_forgotten_after_a_week() -> None:
    bench = relay()
    bench.ask(bench.stranger(REQUEST), given=TICKET)
    bench.pass_time(8 * 86_400)
    assert bench.ledger.requests() == []


def test_a_removal_at_the_relay_refuses_those_who_wait() -> None:
    bench = relay()
    bench.parent()
    forward(bench)
    bench.ledger.begin()
    bench.ledger.apply(
        administration.remove(bench.request(), actor="root", at=bench.now.wall)
    )
    bench.ledger.commit()
    answer = only(cmd.Answer, bench.tell(ev.LedgerChanged()))
    assert result_of(answer).reason == "declined"
    assert none_of(cmd.Ask, bench.pass_time(60))


def test_a_failed_commit_tells_the_asker_that_nothing_was_kept() -> None:
    bench = relay()
    parent = bench.parent()
    link = bench.stranger(REQUEST)
    event = ev.CertificateAsked(
        link,
        ev.CallId("c1"),
        only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=WRONG)).params,
    )
    bench.ledger.begin()
    result = bench.core.handle(event, bench.now, bench.entropy)
    bench.ledger.rollback()
    told = bench.core.commit_failed(
        events=[event], results=[result], now=bench.now, entropy=bench.entropy
    )
    answer = only(cmd.Answer, list(told))
    assert result_of(answer).reason == "ledger-fault"
    # What was recorded before goes on by itself.
    assert any(a.link == parent for a in asks(bench.pass_time(3)))


def test_a_clean_close_after_the_answer_makes_it_delivered() -> None:
    bench = relay()
    bench.parent()
    link = bench.stranger(REQUEST)
    ask = only(cmd.Ask, bench.ask(link, given=TICKET))
    bench.answer_ask(ask, signed_result(issued_certificate()))
    bench.tell(ev.LinkDown(link, clean=True))
    assert bench.request().state is RequestState.DELIVERED


def test_a_member_that_connects_with_its_certificate_confirms_it() -> None:
    bench = relay()
    bench.parent()
    ask = forward(bench)
    certificate = issued_certificate()
    bench.answer_ask(ask, signed_result(certificate))
    bench.member("agent", relation=Relation.CHILD, certificate=certificate)
    assert bench.request().state is RequestState.CONFIRMED


def test_the_relay_answers_with_its_own_ca() -> None:
    bench = relay()
    bench.parent()
    ask = forward(bench)
    result = replace(signed_result(issued_certificate()), ca="junk")
    answer = only(cmd.Answer, bench.answer_ask(ask, result))
    assert bench.settings.anchor is not None
    assert result_of(answer).ca == to_pem(bench.settings.anchor.ca)


def test_the_only_parents_error_is_a_rest_and_no_answer() -> None:
    bench = relay()
    bench.parent()
    ask = forward(bench)
    ordered = bench.tell(ev.ParentFailed(ask.link, ask.call, "boom"))
    assert none_of(cmd.Answer, ordered)
    assert none_of(cmd.Ask, ordered)
    assert bench.attempts()[0].state is AttemptState.FORWARDED
    assert asks(bench.pass_time(0.3))


def test_a_refused_attempt_is_not_failed_again() -> None:
    bench = relay()
    bench.parent()
    ask = forward(bench, given=WRONG)
    bench.answer_ask(ask, refused_result())
    assert bench.tell(ev.ParentFailed(ask.link, ask.call, "late")) == []


def test_the_same_certificate_from_two_parents_is_one() -> None:
    bench = relay()
    bench.parent("m1")
    bench.parent("m2")
    first = forward(bench)
    second = only(cmd.Ask, bench.pass_time(2.1))
    bench.answer_ask(first, signed_result(issued_certificate()))
    assert bench.answer_ask(second, signed_result(issued_certificate())) == []


def test_without_a_trusted_ca_no_certificate_is_passed_on() -> None:
    """A gateway that has not fetched its CA certificate yet."""
    bench = relay(anchor=None)
    bench.parent()
    ask = forward(bench)
    ordered = bench.answer_ask(ask, signed_result(issued_certificate()))
    assert none_of(cmd.Answer, ordered)
    assert bench.request().state is RequestState.FORWARDED


def test_a_removed_request_is_not_taken_up_when_a_parent_connects() -> None:
    bench = relay()
    bench.ask(bench.stranger(REQUEST), given=TICKET)
    bench.remove(bench.request())
    bench.parent()
    assert none_of(cmd.Ask, bench.pass_time(60))


def test_a_gateway_forwards_on_a_link_where_nobody_is_a_member() -> None:
    """It is no endpoint itself: it has no zones, and so no members."""
    bench = relay(tree=None)
    peer = Peer(standing=Standing.ANONYMOUS, common_name="m1", address="192.0.2.3:5665")
    bench.tell(ev.LinkUp(ev.LinkId(99), peer, upstream=True))
    ask = forward(bench)
    assert ask.link == ev.LinkId(99)
    assert none_of(cmd.Answer, bench.update(ask.link, REQUEST, request="ab"))
    ordered = bench.answer_ask(ask, signed_result(issued_certificate()))
    assert result_of(only(cmd.Answer, ordered)).status_code == 0


def test_a_certificate_that_another_process_recorded_is_given_out() -> None:
    bench = relay()
    bench.parent()
    forward(bench)
    request = bench.request()
    record = CertificateRecord(
        serial="01f4",
        request_id=request.request_id,
        certificate=der(issued_certificate()),
        source="m1",
        at=bench.now.wall,
    )
    answered = replace(request, state=RequestState.ANSWERED)
    ordered = bench.decide([StoreRequest(answered), StoreCertificate(record)])
    assert result_of(only(cmd.Answer, ordered)).status_code == 0


def test_a_change_by_another_process_that_decides_nothing_is_passed_over() -> None:
    bench = relay()
    bench.parent()
    forward(bench)
    assert bench.decide([]) == []


def test_a_parent_that_goes_does_not_end_the_asking_of_the_other() -> None:
    bench = relay()
    first, second = bench.parent("m1"), bench.parent("m2")
    forward(bench)
    ask = only(cmd.Ask, bench.pass_time(2.1))
    assert ask.link == second
    bench.tell(ev.LinkDown(first))
    assert none_of(cmd.Ask, bench.pass_time(1))
    ordered = bench.answer_ask(ask, signed_result(issued_certificate()))
    assert result_of(only(cmd.Answer, ordered)).status_code == 0
