"""What must not get stuck, grow or be lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.enrollment.playbook import (
    DAY,
    START,
    WRONG,
    Bench,
    anchor,
    answers,
    asks,
    ca,
    issued_certificate,
    key,
    none_of,
    only,
    own_asks,
    pending_result,
    refused_result,
    relay,
    request_certificate,
    result_of,
    revoking,
    signed_result,
    signer,
    ticket_for,
)

from icefloe.cluster.zones import Relation
from icefloe.enrollment import administration
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.batch import BatchRunner
from icefloe.enrollment.model import AttemptState, DecisionKind, RequestState
from icefloe.enrollment.renewal import RenewalPolicy, window_of
from icefloe.enrollment.settings import EnrollmentLimits, OwnIdentity
from icefloe.pki.certificates import fingerprint, key_id, load_pem, to_pem
from icefloe.pki.profiles import sign_tbs
from icefloe.wire.catalogue import RequestCertificate

TICKET = ticket_for()
REQUEST = request_certificate()
WEEK = 7 * DAY


def ask_once(bench: Bench, given: str = "") -> int:
    """Come, ask, and go; returns the answer's status."""
    link = bench.stranger(REQUEST)
    answer = only(cmd.Answer, bench.ask(link, given=given))
    bench.tell(ev.LinkDown(link))
    return result_of(answer).status_code


def several_through(satellite: ev.LinkId, bench: Bench) -> None:
    """Ten requests without a ticket come up from a satellite."""
    for number in range(10):
        posting = request_certificate(f"a{number}", 200)
        bench.ask(satellite, posting=posting, call=number)


# -- a person's decision --------------------------------------------------------------


def test_an_approval_that_did_not_suffice_can_be_given_again() -> None:
    """Of a revoked key the commands know nothing: the core declines the approval."""
    bench = signer()
    ask_once(bench, TICKET)
    revoked = load_pem(answers(bench.said)[-1].cert)
    settings = replace(bench.settings, anchor=revoking(revoked))
    bench.core.reconfigure(settings, bench.now)
    assert ask_once(bench, TICKET) == 2
    (waiting,) = bench.ledger.requests({RequestState.AWAITING_APPROVAL})
    ordered = bench.approve(waiting)
    assert only(cmd.Log, ordered).level is cmd.Level.ERROR
    (waiting,) = bench.ledger.requests({RequestState.AWAITING_APPROVAL})
    assert "revoked" in waiting.note
    bench.approve(waiting, reserved=True)
    assert bench.ledger.certificate(waiting.request_id) is not None


def test_removals_make_room() -> None:
    bench = signer(limits=EnrollmentLimits(open_requests_max=5))
    for number in range(5):
        bench.ask(bench.stranger(request_certificate(f"junk{number}", 100)))
    for request in bench.ledger.requests():
        bench.remove(request)
    assert ask_once(bench) == 2


def test_an_approval_of_long_ago_is_carried_out_at_the_next_start() -> None:
    bench = signer()
    ask_once(bench)
    writes = administration.approve(
        bench.ledger,
        bench.request(),
        actor="root",
        at=bench.now.wall,
        reserved=False,
        reserved_names=frozenset(),
        node_name="m1",
    )
    bench.ledger.begin()
    bench.ledger.apply(writes)
    bench.ledger.commit()
    bench.pass_time(9 * DAY)
    bench.crash()
    assert bench.request().state is RequestState.ISSUED


def test_a_request_that_a_relay_forwarded_is_decided_once_it_has_the_ca_key() -> None:
    bench = relay()
    bench.parent()
    bench.ask(bench.stranger(REQUEST), given=TICKET)
    settings = replace(bench.settings, issuer=ca(), checks_tickets=True)
    bench.core.reconfigure(settings, bench.now)
    bench.pass_time(1)
    assert bench.request().state is RequestState.ISSUED
    assert answers(bench.said)[-1].status_code == 0


@pytest.mark.parametrize("is_signed", [True, False])
def test_a_decided_request_goes_up_once_its_signer_lost_the_ca_key(
    is_signed: bool,  # noqa: FBT001
) -> None:
    bench = signer()
    bench.hold_work = True
    bench.ask(bench.stranger(REQUEST), given=TICKET, call=None)
    check = only(cmd.CheckTicket, bench.said)
    sign = only(cmd.Sign, bench.work(check))
    bench.core.reconfigure(replace(bench.settings, issuer=None), bench.now)
    if is_signed:
        assert bench.work(sign) == []
    else:
        failed = ev.SigningFailed(sign.request_id, "this node has no CA key")
        assert bench.tell(failed) == []
    bench.parent()
    ask = only(cmd.Ask, bench.pass_time(1))
    ordered = bench.answer_ask(ask, signed_result(issued_certificate()))
    only(cmd.Push, ordered)


@pytest.mark.parametrize("signed_with", [9_000, 9_001])
def test_who_waits_while_the_ca_key_is_replaced_gets_a_certificate_of_the_new_one(
    signed_with: int,
) -> None:
    """The signature was under way when the reload came, with either key."""
    bench = signer()
    bench.hold_work = True
    check = only(cmd.CheckTicket, bench.ask(bench.stranger(REQUEST), given=TICKET))
    sign = only(cmd.Sign, bench.work(check))
    settings = replace(bench.settings, issuer=ca(1), anchor=anchor(1))
    bench.core.reconfigure(settings, bench.now)
    signed = ev.Signed(sign.request_id, sign_tbs(key(signed_with), sign.tbs))
    again = only(cmd.Sign, bench.tell(signed))
    signature = sign_tbs(key(9_001), again.tbs)
    answer = only(cmd.Answer, bench.tell(ev.Signed(again.request_id, signature)))
    assert load_pem(result_of(answer).cert).issuer == ca(1).subject
    assert none_of(cmd.Answer, [c for c in bench.said if c is not answer])


# -- faults of our own ------------------------------------------------------------------


def test_what_was_intended_under_a_wrong_ca_is_signed_after_the_correction() -> None:
    bench = signer(issuer=ca(1))  # ca/ and certs/ca.crt do not fit
    bench.hold_work = True
    check = only(cmd.CheckTicket, bench.ask(bench.stranger(REQUEST), given=TICKET))
    sign = only(cmd.Sign, bench.work(check))
    bench.tell(ev.Signed(sign.request_id, sign_tbs(key(9_001), sign.tbs)))
    bench.hold_work = False
    bench.core.reconfigure(replace(bench.settings, issuer=ca()), bench.now)
    bench.pass_time(5)
    assert ask_once(bench, TICKET) == 0


def test_a_failed_commit_forgets_no_other_asker_of_the_same_link() -> None:
    bench = signer()
    satellite = bench.child("s1")
    bench.ask(satellite, posting=REQUEST, call=None)
    bench.ledger.fail_next("commit")
    other = to_pem(request_certificate("b", 2))
    asking = ev.CertificateAsked(
        satellite, None, RequestCertificate(cert_request=other)
    )
    batches = BatchRunner(core=bench.core, ledger=bench.ledger)
    batches.run([asking], bench.now, bench.entropy)
    bench.pass_time(2)
    assert only(cmd.Push, bench.approve(bench.request())).link == satellite


def test_a_signer_renews_its_own_certificate_and_needs_no_parent_for_it() -> None:
    old = issued_certificate("m1", 5, serial=77, days_left=0.5)
    bench = signer(own=OwnIdentity(certificate=old))
    bench.pass_time(120)
    installs = [c for c in bench.said if isinstance(c, cmd.InstallIdentity)]
    new = load_pem(installs[0].certificate)
    assert new.serial_number != old.serial_number
    assert key_id(new) == key_id(old)
    assert {each.certificate for each in installs} == {installs[0].certificate}
    assert bench.decided("m1") is DecisionKind.RENEWAL


def test_a_signer_takes_its_renewed_certificate_from_its_ledger_in_another_life() -> (
    None
):
    old = issued_certificate("m1", 5, serial=77, days_left=0.5)
    bench = signer(own=OwnIdentity(certificate=old))
    first = only(cmd.InstallIdentity, bench.said)
    bench.crash()
    assert only(cmd.InstallIdentity, bench.said) == first
    assert len(bench.ledger.requests()) == 1


def test_nobody_gives_a_signer_its_own_certificate() -> None:
    old = issued_certificate("m1", 5, serial=77, days_left=0.5)
    bench = signer(own=OwnIdentity(certificate=old))
    bench.said.clear()
    other = bench.member("m2", relation=Relation.SAME_ZONE)
    link = bench.core._links[other]
    link.upstream = True
    forged = issued_certificate("m1", 5, serial=78)
    assert none_of(cmd.InstallIdentity, bench.update(other, forged, request="ab"))


# -- our own certificate ----------------------------------------------------------------


def test_our_certificate_is_renewed_while_the_parents_link_stays_up() -> None:
    own = issued_certificate("s1", 5, serial=77, days_left=31)
    due = window_of(own, RenewalPolicy()).due
    bench = relay(own=OwnIdentity(certificate=own))
    bench.parent()
    assert own_asks(bench.pass_time(due - START - 1)) == []
    assert own_asks(bench.pass_time(2))


def test_our_asking_without_an_answer_is_repeated_and_kept_once() -> None:
    own = OwnIdentity(certificate=request_certificate("s1", 5), ticket="t")
    bench = relay(own=own)
    bench.parent(icefloe=True)
    assert own_asks(bench.pass_time(89)) == []
    (ask,) = own_asks(bench.pass_time(2))
    new = issued_certificate("s1", 5, serial=88)
    only(cmd.InstallIdentity, bench.answer_ask(ask, signed_result(new)))


def test_a_certificate_that_could_not_be_installed_is_installed_later() -> None:
    """The disk was full: the daemon still runs with what it had."""
    own = OwnIdentity(certificate=request_certificate("s1", 5), ticket="t")
    bench = relay(own=own)
    bench.parent(icefloe=True)
    (ask,) = own_asks(bench.said)
    new = signed_result(issued_certificate("s1", 5, serial=88))
    only(cmd.InstallIdentity, bench.answer_ask(ask, new))
    (ask,) = own_asks(bench.pass_time(61))
    only(cmd.InstallIdentity, bench.answer_ask(ask, new))


# -- askers ------------------------------------------------------------------------------


def test_a_connection_is_drained_only_after_its_last_answer() -> None:
    """A gateway asks for many; what comes after the drain would not be sent."""
    bench = relay()
    bench.parent()
    link = bench.stranger()
    for cn in ("agent", "agent2"):
        bench.ask(link, given=TICKET, posting=request_certificate(cn), call=cn)
    first, second = asks(bench.said)
    ordered = bench.answer_ask(first, signed_result(issued_certificate()))
    only(cmd.Answer, ordered)
    assert none_of(cmd.Drain, ordered)
    other = issued_certificate("agent2", serial=501)
    ordered = bench.answer_ask(second, signed_result(other))
    kinds = [type(c) for c in ordered if isinstance(c, cmd.Answer | cmd.Drain)]
    assert kinds == [cmd.Answer, cmd.Drain]
    bench.tell(ev.LinkDown(link, clean=True))
    states = {bench.request(cn).state for cn in ("agent", "agent2")}
    assert states == {RequestState.DELIVERED}


def test_nothing_is_delivered_by_a_connection_that_broke() -> None:
    bench = relay()
    bench.parent()
    link = bench.stranger(REQUEST)
    ask = only(cmd.Ask, bench.ask(link, given=TICKET))
    bench.answer_ask(ask, signed_result(issued_certificate()))
    bench.tell(ev.LinkDown(link, clean=False))
    assert bench.request().state is RequestState.ANSWERED


def test_an_asker_whose_connection_cannot_be_held_is_told_before_it_ends() -> None:
    """A stranger's connection lives 10 s unless it is held."""
    bench = relay(limits=EnrollmentLimits(held_links_max=1))
    bench.parent()
    bench.ask(bench.stranger(REQUEST), given=TICKET)
    unheld = bench.stranger(request_certificate("b", 2))
    assert none_of(cmd.Hold, bench.ask(unheld, given=TICKET))
    told = [c for c in bench.pass_time(9.9) if isinstance(c, cmd.Answer)]
    assert [answer.link for answer in told] == [unheld]


def test_a_daemon_whose_connection_cannot_be_held_is_left_to_its_lifetime() -> None:
    bench = relay(limits=EnrollmentLimits(held_links_max=0))
    bench.parent()
    ordered = bench.ask(bench.stranger(REQUEST), given=TICKET, call=None)
    assert none_of(cmd.Hold, ordered)
    assert asks(ordered)


def test_a_mistyped_ticket_does_not_park_its_owner_behind_a_real_satellite() -> None:
    """A real satellite says "pending" of any ticket; the operator gives it up."""
    bench = relay()
    bench.parent()
    link = bench.stranger(REQUEST)
    ask = only(cmd.Ask, bench.ask(link, given=WRONG))
    bench.answer_ask(ask, pending_result())
    bench.pass_time(20)
    bench.tell(ev.LinkDown(link))
    went_up = asks(bench.ask(bench.stranger(REQUEST), call=None))
    for _ in range(300):
        for ask in asks(bench.pass_time(1.0)):
            went_up.append(ask)
            bench.answer_ask(ask, pending_result())
    assert any(ask.params.ticket == "" for ask in went_up)


def test_a_waiting_daemon_is_asked_for_again_after_a_flap_and_a_refusal() -> None:
    """Another one's ticket goes first after the flap; it must not be the last."""
    bench = relay()
    parent = bench.parent()
    ask = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), call=None))
    bench.answer_ask(ask, pending_result())
    bench.ask(bench.stranger(REQUEST), given=WRONG)
    bench.tell(ev.LinkDown(parent))
    bench.pass_time(0.3)
    bench.parent()
    again = asks(bench.pass_time(0.1))
    (ticketed,) = [ask for ask in again if ask.params.ticket == WRONG]
    ordered = bench.answer_ask(ticketed, refused_result())
    ordered += bench.pass_time(60)
    assert any(ask.params.ticket == "" for ask in asks(ordered))


# -- parents -----------------------------------------------------------------------------


def test_an_unusable_certificate_is_asked_for_rarely() -> None:
    """A real signer signs anew at every ask: hundreds in ten minutes, otherwise."""
    bench = relay()
    bench.parent()
    unusable = signed_result(issued_certificate(ca_number=1))
    waiting = asks(bench.ask(bench.stranger(REQUEST), given=TICKET))
    signed = 0
    for _ in range(600):
        for ask in waiting:
            signed += 1
            assert none_of(cmd.Ask, bench.answer_ask(ask, unusable))
        waiting = asks(bench.pass_time(1.0))
    assert 1 < signed < 9


def test_a_parent_without_an_answer_costs_a_bounded_number_of_calls() -> None:
    bench = relay()
    bench.parent()
    bench.ask(bench.stranger(REQUEST), given=TICKET)
    bench.pass_time(DAY)
    census = bench.core.census()
    assert census.asks <= 3
    assert census.errands == 1
    assert census.reminders < 10


def test_the_answer_to_a_forgotten_call_is_still_of_use() -> None:
    """It is not known by its call any more, but by its fingerprint."""
    bench = relay()
    bench.parent()
    first = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=TICKET, call=None))
    bench.pass_time(120)
    ordered = bench.answer_ask(first, signed_result(issued_certificate()))
    only(cmd.Push, ordered)


def test_the_answer_of_a_removed_attempt_is_of_no_use() -> None:
    bench = relay()
    bench.parent()
    first = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=TICKET))
    bench.remove(bench.request())
    bench.answer_ask(first, signed_result(issued_certificate()))
    assert bench.request().state is RequestState.REMOVED
    assert bench.core.census().errands == 0


def test_a_certificate_for_nobody_we_know_is_logged_and_ignored() -> None:
    bench = relay()
    parent = bench.parent()
    ordered = bench.update(parent, issued_certificate(), request=fingerprint(REQUEST))
    assert only(cmd.Log, ordered).event == "certificate for no request of ours ignored"


# -- growth ------------------------------------------------------------------------------


def test_a_forgotten_request_leaves_nobody_waiting() -> None:
    bench = signer()
    several_through(bench.child("s1"), bench)
    bench.pass_time(2 * WEEK)
    assert bench.ledger.requests() == []
    assert bench.core.census().waiters == 0


def test_a_forgotten_request_leaves_no_errand() -> None:
    bench = relay()
    bench.parent()
    link = bench.stranger(REQUEST)
    bench.ask(link, given=TICKET)
    bench.tell(ev.LinkDown(link))
    bench.pass_time(WEEK + DAY)
    census = bench.core.census()
    assert bench.ledger.requests() == []
    assert (census.waiters, census.errands, census.asks) == (0, 0, 0)


def test_a_daemon_that_asks_again_and_again_on_its_link_waits_once() -> None:
    bench = relay()
    bench.parent()
    link = bench.stranger(REQUEST)
    for _ in range(50):
        bench.ask(link, call=None)
    assert bench.core.census().waiters == 1


def test_a_polling_satellite_leaves_one_waiter_a_request() -> None:
    bench = signer()
    satellite = bench.child("s1", icefloe=True)
    for number in range(50):
        bench.ask(satellite, posting=REQUEST, call=number)
        bench.pass_time(10)
    census = bench.core.census()
    assert census.waiters == 1
    assert census.reminders <= 64
    assert bench.core.waiting == 1


@pytest.mark.parametrize("member", [False, True])
def test_a_connection_that_ends_leaves_nothing_behind(*, member: bool) -> None:
    bench = relay()
    bench.parent()
    link = bench.child("s2") if member else bench.stranger()
    bench.ask(link, given=TICKET, posting=REQUEST)
    before = bench.core.census()
    assert (before.links, before.waiters) == (2, 1)
    bench.tell(ev.LinkDown(link))
    after = bench.core.census()
    assert (after.links, after.waiters) == (1, 0)
    assert bench.attempts()[0].state is AttemptState.FORWARDED
