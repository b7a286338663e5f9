"""What a stranger, a child or a satellite must not achieve."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from tests.enrollment.playbook import (
    DAY,
    START,
    WRONG,
    Bench,
    answers,
    asks,
    ca,
    expiring_ca,
    issued_certificate,
    key,
    none_of,
    only,
    own_asks,
    pending_result,
    relay,
    renewed_ca,
    request_certificate,
    result_of,
    revoking,
    signed_result,
    signer,
    ticket_for,
)

from icefloe.cluster.zones import Relation
from icefloe.doors import WallTime
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.batch import BatchRunner
from icefloe.enrollment.model import DecisionKind, Origin, RequestState
from icefloe.enrollment.settings import EnrollmentLimits, OwnIdentity
from icefloe.pki.certificates import key_id, load_pem, to_pem
from icefloe.pki.profiles import ca_certificate
from icefloe.pki.trust import TrustAnchor
from icefloe.wire.catalogue import CertificateResult, RequestCertificate

TICKET = ticket_for()
REQUEST = request_certificate()


def ask_once(
    bench: Bench, certificate: x509.Certificate, *, given: str = ""
) -> CertificateResult:
    """Come with a certificate, ask, take the answer, and go."""
    link = bench.stranger(certificate)
    answer = only(cmd.Answer, bench.ask(link, given=given))
    bench.tell(ev.LinkDown(link))
    return result_of(answer)


def crowd(
    bench: Bench, count: int, *, given: str = "", posting: bool = False
) -> list[cmd.Command]:
    """Strangers ask for as many names, each its own, and go."""
    ordered: list[cmd.Command] = []
    for number in range(count):
        certificate = request_certificate(f"junk{number}", 100)
        link = bench.stranger(None if posting else certificate)
        ordered += bench.ask(
            link, given=given, posting=certificate if posting else None
        )
        bench.tell(ev.LinkDown(link))
    return ordered


# -- names and keys ----------------------------------------------------------------


def test_one_ticket_does_not_sign_two_keys_of_a_reserved_name_at_once() -> None:
    """Both tickets are compared before either certificate exists."""
    bench = signer()
    bench.hold_work = True
    checks = [
        only(
            cmd.CheckTicket,
            bench.ask(
                bench.stranger(request_certificate("m2", number)),
                given=ticket_for("m2"),
            ),
        )
        for number in (1, 2)
    ]
    only(cmd.Sign, bench.work(checks[0]))
    assert none_of(cmd.Sign, bench.work(checks[1]))
    second = bench.request_for(request_certificate("m2", 2))
    assert second.state is RequestState.AWAITING_APPROVAL


def test_a_replaced_key_of_a_reserved_name_is_no_longer_the_first() -> None:
    """It may have been stolen: that is why the node has another one."""
    stolen, new = request_certificate("m2", 1), request_certificate("m2", 2)
    bench = signer()
    ask_once(bench, stolen, given=ticket_for("m2"))
    ask_once(bench, new, given=ticket_for("m2"))
    bench.approve(bench.request_for(new), reserved=True)
    known = bench.ledger.known_key("m2")
    assert known is not None
    assert known.key_id == key_id(new)
    bench.pass_time(380 * DAY)  # the stolen key's certificate is due
    result = ask_once(bench, stolen, given=ticket_for("m2"))
    assert (result.status_code, result.reason) == (2, "reserved-name")


def test_a_relay_remembers_the_first_keys_should_it_become_a_signer() -> None:
    bench = relay(reserved_names=frozenset({"api-user"}))
    bench.parent()
    request = request_certificate("api-user", 1)
    given = ticket_for("api-user")
    ask = only(cmd.Ask, bench.ask(bench.stranger(request), given=given))
    certificate = issued_certificate("api-user", 1)
    bench.answer_ask(ask, signed_result(certificate, request=request))
    known = bench.ledger.known_key("api-user")
    assert known is not None
    assert known.key_id == key_id(request)


def test_every_key_that_one_ticket_signs_has_its_decision_on_record() -> None:
    """A ticket is for a name, not for a key, and how often is not limited here."""
    bench = signer()
    for number in range(5):
        request = request_certificate("agent", 300 + number)
        assert ask_once(bench, request, given=TICKET).status_code == 0
        recorded = bench.request_for(request).request_id
        decision = bench.ledger.decision(recorded)
        assert decision is not None
        assert decision.kind is DecisionKind.TICKET
        assert bench.ledger.attempt(decision.attempt_id) is not None


def test_a_presented_certificate_that_is_revoked_needs_a_person() -> None:
    """It was issued before there was a ledger; the ticket is valid."""
    revoked = issued_certificate(serial=4_321)
    bench = signer(anchor=revoking(revoked))
    result = ask_once(bench, revoked, given=TICKET)
    assert (result.status_code, result.reason) == (2, "revoked-key")


def test_a_revoked_key_gets_no_new_certificate_by_its_ticket() -> None:
    bench = signer()
    revoked = load_pem(ask_once(bench, REQUEST, given=TICKET).cert)
    settings = replace(bench.settings, anchor=revoking(revoked))
    bench.core.reconfigure(settings, bench.now)
    result = ask_once(bench, REQUEST, given=TICKET)
    assert (result.status_code, result.reason) == (2, "revoked-key")


def test_another_certificate_on_the_revocation_list_hinders_nobody() -> None:
    bench = signer(anchor=revoking(issued_certificate(serial=4_321)))
    assert ask_once(bench, REQUEST, given=TICKET).status_code == 0


def test_a_made_up_root_renews_nothing() -> None:
    """It says that its owner's CA certificate is due, again and again."""
    root = ca_certificate(
        key(4_242),
        serial=5,
        not_before=WallTime(START - 100 * DAY),
        not_after=WallTime(START + 10 * DAY),
    )
    bench = signer()
    link = bench.stranger(issued_certificate(), verified=True)
    answer = only(cmd.Answer, bench.ask(link, requestor_ca=to_pem(root)))
    assert result_of(answer).reason == "nothing-to-do"
    assert bench.ledger.requests() == []


def test_an_expiring_root_renews_a_certificate_once() -> None:
    """What is issued under the new CA certificate came together with it."""
    both = TrustAnchor.from_pem(to_pem(renewed_ca()) + to_pem(expiring_ca()))
    bench = signer(issuer=renewed_ca(), anchor=both)
    held = issued_certificate()
    results = []
    for _ in range(3):
        link = bench.stranger(held, verified=True)
        answer = only(cmd.Answer, bench.ask(link, requestor_ca=to_pem(expiring_ca())))
        bench.tell(ev.LinkDown(link))
        results.append(result_of(answer))
        if results[-1].cert:
            held = load_pem(results[-1].cert)
    assert [r.status_code for r in results] == [0, 1, 1]
    assert results[-1].reason == "nothing-to-do"


# -- subtrees -----------------------------------------------------------------------


def test_a_forwarder_that_disconnects_does_not_escape_its_subtree() -> None:
    bench = signer()
    bench.hold_work = True
    other = bench.child("o1")
    check = only(cmd.CheckTicket, bench.ask(other, given=TICKET, posting=REQUEST))
    bench.tell(ev.LinkDown(other))
    assert none_of(cmd.Sign, bench.work(check))
    assert bench.request().state is RequestState.AWAITING_APPROVAL


def test_a_second_key_from_outside_the_subtree_is_no_easier_than_the_first() -> None:
    bench = signer()
    ask_once(bench, REQUEST, given=TICKET)
    second = request_certificate(number=2)
    ordered = bench.ask(bench.child("o1"), given=TICKET, posting=second)
    (result,) = answers(ordered)
    assert (result.status_code, result.reason) == (2, "outside-subtree")


# -- an administrator's word ------------------------------------------------------------


def test_a_removed_request_is_not_signed_after_weeks_of_asking() -> None:
    bench = signer()
    ask_once(bench, REQUEST)
    bench.remove(bench.request())
    for _ in range(9):
        bench.pass_time(DAY)
        ask_once(bench, REQUEST)
    bench.pass_time(30 * DAY)
    bench.crash()
    assert ask_once(bench, REQUEST, given=TICKET).reason == "declined"


# -- other people's requests -------------------------------------------------------------


def test_a_stranger_does_not_take_a_forwarded_attempt_over() -> None:
    bench = relay()
    bench.parent()
    request = request_certificate("deep", 3)
    child = bench.member("agent", relation=Relation.CHILD, number=55)
    bench.ask(child, posting=request)
    bench.ask(bench.stranger(), posting=request)
    (attempt,) = bench.attempts("deep")
    assert (attempt.origin, attempt.via) == (Origin.RELAYED, "agent")


@pytest.mark.parametrize("asker", ["gateway", "satellite"])
def test_strangers_tickets_do_not_push_an_attempt_out_that_is_waited_for(
    asker: str,
) -> None:
    bench = relay()
    bench.parent()
    link = bench.stranger() if asker == "gateway" else bench.child("s2")
    ask = only(cmd.Ask, bench.ask(link, given=TICKET, posting=REQUEST, call="g"))
    bench.pass_time(0.1)
    for number in range(20):
        bench.ask(bench.stranger(), given=f"{number:040x}", posting=REQUEST)
    ordered = bench.answer_ask(ask, signed_result(issued_certificate()))
    told = [c for c in ordered if isinstance(c, cmd.Answer) and c.link == link]
    assert [result_of(answer).status_code for answer in told] == [0]


def test_nobody_is_pushed_out_when_somebody_waits_for_every_attempt() -> None:
    bench = relay(limits=EnrollmentLimits(attempts_max=2))
    bench.parent()
    for number in range(2):
        bench.ask(bench.stranger(REQUEST), given=f"{number:040x}")
    ordered = bench.ask(bench.stranger(REQUEST), given=TICKET)
    (result,) = answers(ordered)
    assert (result.reason, result.retry_after) == ("limit", 60)
    assert len(bench.attempts()) == 2


def test_a_strangers_made_up_ticket_does_not_park_a_gateways_client() -> None:
    """A gateway without a membership is a stranger too; a real parent only "waits"."""
    bench = relay()
    bench.parent()
    link = bench.stranger()
    ask = only(cmd.Ask, bench.ask(link, given="f" * 40, posting=REQUEST))
    bench.answer_ask(ask, pending_result())
    bench.tell(ev.LinkDown(link))
    went_up = asks(bench.ask(bench.stranger(), posting=REQUEST, call="g"))
    for _ in range(600):
        for ask in asks(bench.pass_time(1.0)):
            went_up.append(ask)
            bench.answer_ask(ask, pending_result())
    assert any(ask.params.ticket == "" for ask in went_up)


@pytest.mark.parametrize("told", ["failed", "refused"])
def test_a_child_does_not_answer_our_own_asking(told: str) -> None:
    own = OwnIdentity(certificate=request_certificate("s1", 5), ticket="t")
    bench = relay(own=own)
    bench.parent(icefloe=True)
    (ask,) = own_asks(bench.said)
    child = bench.member("agent", relation=Relation.CHILD, number=55)
    if told == "failed":
        bench.tell(ev.ParentFailed(child, ask.call, "ha"))
    else:
        result = CertificateResult(status_code=1, error="ha")
        bench.tell(ev.ParentAnswered(child, ask.call, result))
    new = issued_certificate("s1", 5, serial=88)
    ordered = bench.answer_ask(ask, signed_result(new))
    assert load_pem(only(cmd.InstallIdentity, ordered).certificate) == new


def test_a_child_does_not_answer_for_a_parent() -> None:
    bench = relay()
    bench.parent()
    ask = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=TICKET))
    child = bench.child("s2")
    result = signed_result(issued_certificate())
    assert bench.tell(ev.ParentAnswered(child, ask.call, result)) == []
    assert bench.tell(ev.ParentFailed(child, ask.call, "ha")) == []
    assert answers(bench.answer_ask(ask, result))


def test_one_parent_does_not_answer_for_another() -> None:
    bench = relay()
    bench.parent("m1")
    ask = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=TICKET))
    other = bench.parent("m2")
    refused = CertificateResult(status_code=1, error="no")
    assert none_of(cmd.Answer, bench.tell(ev.ParentAnswered(other, ask.call, refused)))
    assert bench.tell(ev.ParentFailed(other, ask.call, "no")) == []


def test_a_serial_number_given_twice_harms_no_other_request() -> None:
    """The ledger would refuse it, and with it everything of the same batch."""
    bench = relay()
    bench.parent()
    short = issued_certificate(serial=99, days_left=30.001)
    ask = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=TICKET))
    bench.answer_ask(ask, signed_result(short))
    bench.pass_time(120)  # due by our clock now, and not yet by the parent's
    ask = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=TICKET))
    other = bench.stranger(request_certificate("other", 9))
    batches = BatchRunner(core=bench.core, ledger=bench.ledger)
    params = RequestCertificate(ticket=ticket_for("other"))
    batch = batches.run(
        [
            ev.CertificateAsked(other, ev.CallId("innocent"), params),
            ev.ParentAnswered(ask.link, ask.call, signed_result(short)),
        ],
        bench.now,
        bench.entropy,
    )
    assert not batches.failing
    assert bench.request("other").state is RequestState.FORWARDED
    assert answers(batch.commands) == []
    assert any(
        isinstance(c, cmd.Log) and "another request" in str(c.fields.get("detail"))
        for c in batch.commands
    )


# -- floods ---------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["", WRONG])
def test_a_crowd_of_strangers_does_not_lock_out_who_has_a_ticket(given: str) -> None:
    bench = signer(limits=EnrollmentLimits(open_requests_max=20))
    crowd(bench, 20, given=given)
    assert ask_once(bench, REQUEST, given=TICKET).status_code == 0


def test_a_crowd_with_wrong_tickets_leaves_little_behind() -> None:
    """Refusals are kept for whoever asks why, while there is room."""
    bench = signer(limits=EnrollmentLimits(open_requests_max=20))
    crowd(bench, 40, given=WRONG)
    assert len(bench.ledger.requests()) <= 6


def test_a_crowd_does_not_make_a_relay_forget_who_is_waited_for() -> None:
    """One attempt was refused; for another one somebody still waits."""
    bench = relay(limits=EnrollmentLimits(open_requests_max=1))
    bench.parent()
    refused = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=WRONG))
    kept = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=TICKET))
    bench.answer_ask(refused, CertificateResult(status_code=1, error="no"))
    assert answers(bench.answer_ask(kept, signed_result(issued_certificate())))


def test_a_crowd_does_not_make_a_relay_forget_what_is_undecided() -> None:
    """Nobody waits at this moment; its asker comes again for the decision."""
    bench = relay(limits=EnrollmentLimits(open_requests_max=1))
    bench.parent()
    links = [bench.stranger(REQUEST) for _ in range(2)]
    kept = only(cmd.Ask, bench.ask(links[0], given=TICKET))
    refused = only(cmd.Ask, bench.ask(links[1], given=WRONG))
    bench.tell(ev.LinkDown(links[0]))
    bench.answer_ask(refused, CertificateResult(status_code=1, error="no"))
    bench.answer_ask(kept, signed_result(issued_certificate()))
    assert bench.request().state is RequestState.ANSWERED


def test_a_member_finds_room_when_strangers_do_not() -> None:
    bench = signer(limits=EnrollmentLimits(open_requests_max=4))
    crowd(bench, 4)
    ordered = bench.ask(bench.child("s1"), posting=REQUEST)
    assert [r.status_code for r in answers(ordered)] == [2]


def test_asking_without_a_ticket_does_not_use_up_a_satellites_waiters() -> None:
    """Each leaves somebody behind who may be pushed to: they are not counted."""
    bench = signer(limits=EnrollmentLimits(waiters_member_max=10))
    satellite = bench.child("s1")
    for number in range(10):
        posting = request_certificate(f"a{number}", 200 + number)
        bench.ask(satellite, posting=posting, call=number)
    ordered = bench.ask(satellite, posting=REQUEST, given=TICKET, call="t")
    assert [r.status_code for r in answers(ordered)] == [0]


def test_what_strangers_left_behind_does_not_delay_who_waits() -> None:
    """Nobody waits for what they posted: it has its own, smaller share of the asks."""
    limits = EnrollmentLimits(polls_per_second=10, polls_unwaited_per_second=2)
    bench = relay(limits=limits)
    bench.parent()
    for ask in asks(crowd(bench, 100, posting=True)):
        bench.answer_ask(ask, pending_result())
    for _ in range(20):
        for ask in asks(bench.pass_time(0.5)):
            bench.answer_ask(ask, pending_result())
    first = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=TICKET))
    bench.answer_ask(first, pending_result())
    later = asks(bench.pass_time(0.5))
    assert TICKET in {ask.params.ticket for ask in later}
    assert len(later) <= 4


def test_asking_again_and_again_is_not_passed_on_to_the_parent() -> None:
    """Each asking of one request becomes no ask of its own: these have their turns."""
    limits = EnrollmentLimits(polls_per_second=10, polls_unwaited_per_second=2)
    bench = relay(limits=limits)
    bench.parent()
    link = bench.stranger(REQUEST)
    (first,) = asks(bench.ask(link))
    bench.answer_ask(first, pending_result())
    passed_on = 0
    for call in range(50):
        for ask in asks(bench.ask(link, call=call)):
            passed_on += 1
            bench.answer_ask(ask, pending_result())
    assert passed_on <= 2
    again = asks(bench.pass_time(1.0))
    assert len(again) == 1
    signed = bench.answer_ask(again[0], signed_result(issued_certificate()))
    assert {
        result_of(answer).status_code
        for answer in [c for c in signed if isinstance(c, cmd.Answer)]
    } == {0}


def test_tickets_are_compared_a_few_at_a_time_and_the_others_wait() -> None:
    bench = signer(limits=EnrollmentLimits(waiters_anonymous_max=100))
    bench.hold_work = True
    link = bench.stranger()
    ordered: list[cmd.Command] = []
    for number in range(20):
        posting = request_certificate(f"a{number}", 200)
        ordered += bench.ask(link, given=WRONG, posting=posting, call=number)
    assert len([c for c in ordered if isinstance(c, cmd.CheckTicket)]) == 8
    assert answers(ordered) == []


def test_the_same_attempt_asked_twice_is_compared_once() -> None:
    bench = signer()
    bench.hold_work = True
    only(cmd.CheckTicket, bench.ask(bench.stranger(REQUEST), given=TICKET))
    assert none_of(cmd.CheckTicket, bench.ask(bench.stranger(REQUEST), given=TICKET))


# -- sizes ------------------------------------------------------------------------------


def test_a_ticket_that_no_ticket_can_be_is_refused_and_not_stored() -> None:
    bench = relay()
    bench.parent()
    ordered = bench.ask(bench.stranger(REQUEST), given="x" * 900_000)
    (result,) = answers(ordered)
    assert (result.status_code, result.reason) == (1, "wrong-ticket")
    assert "xxx" not in repr(ordered)
    assert bench.ledger.requests() == []


@pytest.mark.parametrize(
    "root", ["y" * 100_000, to_pem(ca(1)), to_pem(REQUEST)], ids=["junk", "ca", "leaf"]
)
def test_only_a_root_that_we_trust_too_is_stored(root: str) -> None:
    bench = relay()
    bench.ask(bench.stranger(REQUEST), given=TICKET, requestor_ca=root)
    assert bench.attempts()[0].requestor_ca == ""


def test_a_trusted_root_goes_up_with_the_request() -> None:
    bench = relay()
    bench.parent()
    link = bench.stranger(REQUEST)
    ordered = bench.ask(link, given=TICKET, requestor_ca=to_pem(ca()))
    assert only(cmd.Ask, ordered).params.requestor_ca == to_pem(ca())


def test_the_words_of_a_parent_are_bounded() -> None:
    bench = relay()
    bench.parent()
    ask = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=WRONG))
    refused = CertificateResult(status_code=1, error="w" * 100_000)
    (result,) = answers(bench.answer_ask(ask, refused))
    assert len(result.error) == 2_000


@pytest.mark.parametrize(
    "hop",
    [
        {"node": "m1", "did": "bribed", "at": 1.0},
        {"node": "m1", "did": "signed", "at": float("inf")},
        {"node": "m1", "did": "signed", "at": True},
        {"node": "m1", "did": "signed", "at": "now"},
        {"node": ["m1"], "did": "signed", "at": 1.0},
    ],
)
def test_hops_of_the_wrong_form_are_not_believed(hop: dict[str, object]) -> None:
    bench = relay()
    bench.parent(icefloe=True)
    ask = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=TICKET))
    result = signed_result(issued_certificate())
    bench.answer_ask(ask, replace(result, icefloe={"hop": "m1", "hops": [hop]}))
    nodes = {h.node for h in bench.ledger.hops(bench.request().request_id)}
    assert nodes == {"s1"}


def test_the_hops_of_a_parent_are_bounded() -> None:
    bench = relay()
    bench.parent(icefloe=True)
    ask = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=TICKET))
    hops = [{"node": f"m{n}", "did": "signed", "at": 1.0} for n in range(1_000)]
    result = replace(signed_result(issued_certificate()), icefloe={"hops": hops})
    bench.answer_ask(ask, result)
    assert len(bench.ledger.hops(bench.request().request_id)) < 40
