"""Bugs of the enrollment core that a seed of the simulator found, as small scripts."""

from __future__ import annotations

from dataclasses import replace

from tests.enrollment.playbook import (
    DAY,
    WRONG,
    Bench,
    issued_certificate,
    none_of,
    only,
    pending_result,
    refused_result,
    relay,
    request_certificate,
    result_of,
    signed_result,
    signer,
    ticket_for,
)

from icefloe.cluster.zones import Relation
from icefloe.doors import MonotonicTime, WallTime
from icefloe.enrollment import administration
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.batch import BatchRunner
from icefloe.enrollment.core import EnrollmentCore
from icefloe.enrollment.events import CallId, LinkId
from icefloe.enrollment.ledger import LedgerUnavailableError
from icefloe.enrollment.model import RequestState
from icefloe.enrollment.reasons import Reason
from icefloe.enrollment.settings import OwnIdentity
from icefloe.enrollment.waiters import Waiter, Waiters
from icefloe.pki.certificates import fingerprint, to_pem
from icefloe.wire.catalogue import RequestCertificate

REQUEST = request_certificate()


def waiter(*, until: float) -> Waiter:
    return Waiter(
        link=LinkId(1),
        call=CallId("c"),
        request_id="r",
        attempt_id="a",
        fingerprint="f",
        member=False,
        ticketed=True,
        until=MonotonicTime(until),
    )


def fail_batch(bench: Bench, *events: ev.Event) -> list[cmd.Command]:
    """Run events as a batch whose commit fails."""
    bench.ledger.fail_next("commit")
    batches = BatchRunner(core=bench.core, ledger=bench.ledger)
    batch = batches.run(events, bench.now, bench.entropy)
    assert batches.failing
    return list(batch.commands)


def asking(link: ev.LinkId, *, call: str | None, given: str = "") -> ev.Event:
    params = RequestCertificate(ticket=given)
    return ev.CertificateAsked(link, CallId(call) if call else None, params)


def test_a_waiter_whose_hold_was_shortened_is_due_once() -> None:
    """Seed 231: after a slow disk it was answered twice."""
    waiters = Waiters()
    one = waiter(until=15.0)
    waiters.add(one)
    waiters.shorten(one, MonotonicTime(2.0))
    assert waiters.expired(MonotonicTime(20.0)) == [one]


def test_reminders_that_came_to_nothing_are_made_again() -> None:
    """Seed 128: the turn that was to say "pending" could not read the ledger."""
    waiters = Waiters()
    one = waiter(until=15.0)
    waiters.add(one)
    assert waiters.expired(MonotonicTime(16.0)) == [one]
    assert waiters.next_deadline is None
    waiters.remind_again()
    assert waiters.next_deadline == 15.0


def test_reminders_of_those_who_are_gone_do_not_pile_up() -> None:
    """Seed 75: each poll of a relay left one behind for ten minutes."""
    waiters = Waiters()
    for second in range(1_000):
        one = waiter(until=600.0 + second)
        waiters.add(one)
        waiters.remove(one)
    assert waiters.reminders <= 64
    stays = [waiter(until=10.0 + n) for n in range(1_000)]
    for one in stays:
        waiters.add(one)
    assert waiters.reminders == 1_000
    assert waiters.expired(MonotonicTime(2_000.0)) == stays


def test_moments_to_act_at_do_not_pile_up_while_a_parent_is_polled() -> None:
    """Seed 461: each ask left the end of its patience behind, sixteen for an attempt."""
    bench = relay()
    parent = bench.parent()
    for number in range(20):
        asker = bench.stranger(request_certificate(f"agent-{number}", 10 + number))
        bench.ask(asker, given=ticket_for(f"agent-{number}"), call=None)
    for _ in range(60):
        asks = [command for command in bench.said if isinstance(command, cmd.Ask)]
        bench.said.clear()
        for ask in asks:
            bench.tell(ev.ParentAnswered(parent, ask.call, pending_result()))
        bench.pass_time(0.5)
        assert bench.core.census().reminders <= 100


def test_whoever_was_held_long_enough_hears_of_a_failing_ledger() -> None:
    """Seed 128: it waited on for as long as the disk was full."""
    bench = relay()
    bench.ask(bench.stranger(REQUEST), given=ticket_for())
    bench.now = replace(bench.now, mono=MonotonicTime(bench.now.mono + 20))
    other = request_certificate("other", 2)
    told = fail_batch(bench, asking(bench.stranger(other), call="c2"))
    calls = {c.call.value for c in told if isinstance(c, cmd.Answer)}
    assert calls == {"c1", "c2"}
    assert none_of(cmd.Answer, bench.pass_time(30))


def test_an_asker_behind_an_abandoned_ticket_is_not_kept_back_for_ever() -> None:
    """Seed 82: it stood back for an attempt that nobody took to a parent any more."""
    bench = relay()
    parent = bench.parent()
    child = bench.child()
    bench.ask(child, given=WRONG, posting=REQUEST, call="c1")
    first = only(cmd.Ask, bench.said)
    bench.tell(ev.ParentAnswered(parent, first.call, pending_result()))
    # Its asker goes, another attempt speaks for the request, and is refused.
    bench.tell(ev.LinkDown(child))
    child = bench.child()
    newer = only(cmd.Ask, bench.ask(child, given="1" * 40, posting=REQUEST, call="c2"))
    polled = only(cmd.Ask, bench.pass_time(0.3))
    assert polled.params.ticket == WRONG
    bench.answer_ask(polled, pending_result())
    bench.answer_ask(newer, refused_result())
    again = only(cmd.Ask, bench.ask(child, posting=REQUEST, call="c3"))
    assert again.params.ticket == WRONG
    ordered = bench.answer_ask(again, refused_result())
    assert only(cmd.Ask, ordered).params.ticket == ""


def test_a_strangers_ticket_does_not_keep_the_owner_back() -> None:
    """A posted certificate proves no possession: it changes no other attempt."""
    bench = relay()
    bench.parent()
    stranger = bench.stranger(request_certificate("stranger", 3))
    bench.ask(stranger, given=WRONG, posting=REQUEST)
    ordered = bench.ask(bench.stranger(REQUEST), call="c2")
    assert only(cmd.Ask, ordered).params.ticket == ""


def test_a_stranger_whose_place_the_owner_takes_is_not_told_that_it_is_kept() -> None:
    """It heard "pending" about an attempt that the ledger had forgotten."""
    bench = relay()
    bench.parent()
    for number in range(bench.settings.limits.attempts_per_source):
        stranger = bench.stranger(request_certificate("stranger", 3 + number))
        bench.ask(stranger, given=str(number) * 40, posting=REQUEST, call=number)
        bench.pass_time(1)
    before = bench.attempts()
    ordered = bench.ask(bench.stranger(REQUEST), given=ticket_for(), call="owner")
    told = only(cmd.Answer, ordered)
    assert (told.call.value, result_of(told).reason) == (0, "limit")
    assert [a for a in before if a not in bench.attempts()] == before[:1]
    later = [c for c in bench.pass_time(60) if isinstance(c, cmd.Answer)]
    assert [c.call.value for c in later] == [1, 2, 3, "owner"]


def test_a_clock_that_is_set_back_keeps_nobody_back() -> None:
    """A ticket from the future counted as fresh until that time had come."""
    bench = relay()
    parent = bench.parent()
    link = bench.stranger(REQUEST)
    first = only(cmd.Ask, bench.ask(link, given=WRONG))
    bench.tell(ev.ParentAnswered(parent, first.call, pending_result()))
    bench.tell(ev.LinkDown(link))
    bench.now = replace(bench.now, wall=WallTime(bench.now.wall - 3 * 3600.0))
    bench.pass_time(121)
    ordered = bench.ask(bench.stranger(REQUEST), call="c2")
    assert only(cmd.Ask, ordered).params.ticket == ""


def test_what_was_intended_by_a_wrong_clock_is_intended_anew() -> None:
    """Seed 233: a crash before the signature, then the clock was set back by hours.

    The certificate was refused by its own signer until its time had come.
    """
    bench = signer()
    bench.hold_work = True
    check = only(
        cmd.CheckTicket, bench.ask(bench.stranger(REQUEST), given=ticket_for())
    )
    first = only(cmd.Sign, bench.work(check))
    bench.now = replace(bench.now, wall=WallTime(bench.now.wall - 3 * 3600.0))
    bench.crash()
    again = only(cmd.Sign, bench.said)
    assert again.tbs != first.tbs
    bench.work(again)
    assert bench.request().state is RequestState.ISSUED


def test_a_clock_set_back_while_the_key_signs_costs_no_refusal() -> None:
    bench = signer()
    bench.hold_work = True
    check = only(
        cmd.CheckTicket, bench.ask(bench.stranger(REQUEST), given=ticket_for())
    )
    order = only(cmd.Sign, bench.work(check))
    bench.now = replace(bench.now, wall=WallTime(bench.now.wall - 3 * 3600.0))
    again = only(cmd.Sign, bench.work(order))
    assert result_of(only(cmd.Answer, bench.work(again))).status_code == 0


def test_a_request_removed_at_the_relay_stays_removed_when_its_parent_signs() -> None:
    """Seed 14: the parent's certificate came before the removal was seen."""
    bench = relay()
    bench.parent()
    ask = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=ticket_for()))
    writes = administration.remove(bench.request(), actor="me", at=bench.now.wall)
    operator = bench.ledger.another_process()
    operator.begin()
    operator.apply(writes)
    operator.commit()
    ordered = bench.answer_ask(ask, signed_result(issued_certificate()))
    assert none_of(cmd.Answer, ordered)
    assert bench.request().state is RequestState.REMOVED
    told = only(cmd.Answer, bench.tell(ev.LedgerChanged()))
    assert result_of(told).reason == "declined"
    assert none_of(cmd.Ask, bench.pass_time(60))


def test_a_removed_request_that_waits_for_a_parent_is_not_forwarded() -> None:
    bench = relay()
    bench.ask(bench.stranger(REQUEST), given=ticket_for(), call=None)
    writes = administration.remove(bench.request(), actor="me", at=bench.now.wall)
    bench.parent()  # what waits is taken up in a moment
    bench.ledger.begin()
    bench.ledger.apply(writes)
    bench.ledger.commit()
    assert none_of(cmd.Ask, bench.pass_time(60))
    assert bench.request().state is RequestState.REMOVED


def test_a_request_somebody_waits_for_is_not_forgotten() -> None:
    """A daemon asks once, then waits on its connection."""
    bench = relay()
    link = bench.stranger(REQUEST)
    bench.ask(link, call=None)
    bench.pass_time(20 * 86_400)
    assert bench.request().state is RequestState.RECEIVED
    bench.tell(ev.LinkDown(link))
    bench.pass_time(20 * 86_400)
    assert not bench.ledger.requests()


def test_an_attempt_that_was_evicted_is_not_on_its_way_any_more() -> None:
    """Seed 517: its errand was kept for ever, one for each wrong ticket."""
    bench = relay()
    for number in range(100):
        # One after the other, so that nobody waits for the earlier ones.
        stranger = bench.stranger(request_certificate("stranger", 3))
        bench.ask(stranger, given=f"{number:040d}", posting=REQUEST, call=None)
        bench.tell(ev.LinkDown(stranger))
    assert len(bench.attempts()) <= 16
    assert bench.core.census().errands <= 16


def test_a_member_waits_for_nothing_that_was_not_recorded() -> None:
    """Seed 15668: told "pending" in a turn that failed, it stayed on the list."""
    bench = signer()
    params = RequestCertificate(cert_request=to_pem(REQUEST))
    event = ev.CertificateAsked(bench.child(), CallId("c1"), params)
    told = fail_batch(bench, event)
    assert result_of(only(cmd.Answer, told)).reason == "ledger-fault"
    assert bench.core.census().waiters == 0


def test_our_own_asking_survives_a_failed_commit() -> None:
    """Otherwise the call stays open and this parent is never asked again."""
    own = OwnIdentity(certificate=request_certificate("s1", 4), ticket=ticket_for("s1"))
    bench = relay(own=own)
    link_up = ev.LinkUp(LinkId(9), _parent_peer(), upstream=True)
    told = fail_batch(bench, link_up)
    assert only(cmd.Ask, told).link == LinkId(9)


def test_a_members_first_key_is_remembered_after_a_failed_commit() -> None:
    """Otherwise a ticket could sign another key of a reserved name."""
    bench = signer()
    fail_batch(bench, ev.LinkUp(LinkId(9), _child_peer()))
    assert bench.ledger.known_key("s1") is None
    bench.pass_time(2)
    known = bench.ledger.known_key("s1")
    assert known is not None
    assert known.how == "member"


def test_a_ledger_that_cannot_be_read_at_the_start_does_not_end_expiry(
    monkeypatch,
) -> None:
    bench = relay()
    core = EnrollmentCore(settings=bench.settings, ledger=bench.ledger)
    batches = BatchRunner(core=core, ledger=bench.ledger)

    def unreadable(**_: object) -> list[str]:
        raise LedgerUnavailableError("planned fault")

    with monkeypatch.context() as broken:
        broken.setattr(bench.ledger, "stale_requests", unreadable)
        batches.run([ev.Started()], bench.now, bench.entropy)
    bench.core = core
    bench.pass_time(2)
    assert core.next_deadline is not None
    assert core.next_deadline > bench.now.mono + 3_000


def _parent_peer():
    bench = relay()
    bench.member("m1", relation=Relation.PARENT, number=60)
    return bench.core._links[LinkId(1)].peer


def _child_peer():
    bench = signer()
    bench.member("s1", relation=Relation.CHILD, number=70)
    return bench.core._links[LinkId(1)].peer


def test_a_certificate_of_a_signer_whose_clock_is_ahead_is_passed_on() -> None:
    """Harmless seed 26 with a real signer: it dates from now, and signs anew each time."""
    bench = relay()
    bench.parent()
    ordered = bench.ask(bench.stranger(REQUEST), given=ticket_for())
    ask = only(cmd.Ask, ordered)
    bench.now = replace(bench.now, wall=WallTime(bench.now.wall - 200.0 - 30 * DAY))
    issued = issued_certificate()
    assert issued.not_valid_before_utc.timestamp() > bench.now.wall
    answer = only(cmd.Answer, bench.answer_ask(ask, signed_result(issued)))
    assert result_of(answer).status_code == 0


def test_a_certificate_that_has_not_begun_by_our_clock_is_given_to_who_asks_again() -> (
    None
):
    """Harmless seed 118: it counted as expired, and a renewal of it was asked for."""
    bench = relay()
    bench.parent()
    ask = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=ticket_for()))
    bench.now = replace(bench.now, wall=WallTime(bench.now.wall - 200.0 - 30 * DAY))
    bench.answer_ask(ask, signed_result(issued_certificate()))
    again = bench.ask(bench.stranger(REQUEST), given=ticket_for(), call="c2")
    assert result_of(only(cmd.Answer, again)).status_code == 0
    assert none_of(cmd.Ask, again)


def test_a_surplus_certificate_serves_when_the_first_one_cannot_be_given_any_more() -> (
    None
):
    """Seed 40194: it had come too early, and was refused as another request's."""
    bench = relay()
    parent = bench.parent()
    ask = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=ticket_for()))
    ending = issued_certificate(serial=501, days_left=31)
    bench.answer_ask(ask, signed_result(ending))
    other = issued_certificate(serial=502)
    bench.update(parent, other, request=fingerprint(REQUEST))
    bench.now = replace(bench.now, wall=WallTime(bench.now.wall + 2 * DAY))
    again = bench.ask(bench.stranger(REQUEST), given=ticket_for(), call="c2")
    ordered = bench.answer_ask(only(cmd.Ask, again), signed_result(other))
    answer = result_of(only(cmd.Answer, ordered))
    assert (answer.status_code, answer.cert) == (0, to_pem(other))
    assert not len(bench.core._upstream)


def test_another_certificate_of_a_known_serial_number_gives_nothing_out() -> None:
    """Only what comes now is verified; what is kept may be of a former CA."""
    bench = relay()
    parent = bench.parent()
    ask = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=ticket_for()))
    ending = issued_certificate(serial=501, days_left=31)
    bench.answer_ask(ask, signed_result(ending))
    kept = issued_certificate(serial=502)
    bench.update(parent, kept, request=fingerprint(REQUEST))
    bench.now = replace(bench.now, wall=WallTime(bench.now.wall + 2 * DAY))
    again = bench.ask(bench.stranger(REQUEST), given=ticket_for(), call="c2")
    twin = issued_certificate(serial=502, days_left=390)
    ordered = bench.answer_ask(only(cmd.Ask, again), signed_result(twin))
    assert none_of(cmd.Answer, ordered)


def test_nobody_is_pushed_the_certificate_that_it_shows_already() -> None:
    """Seed 6774: by the relay's clock it had not begun; then the clock was set right."""
    bench = relay()
    parent = bench.parent()
    right, issued = bench.now, issued_certificate()
    bench.now = replace(right, wall=WallTime(right.wall - 31 * DAY))
    daemon = bench.stranger(issued)
    bench.ask(daemon, call=None)
    waiting = bench.stranger(REQUEST)
    bench.ask(waiting, call=None)
    bench.now = right
    ordered = bench.update(parent, issued, request=fingerprint(REQUEST))
    assert only(cmd.Push, ordered).link == waiting
    # It comes again, and is told that there is nothing to do.
    assert only(cmd.Drain, ordered).link == daemon


def test_what_a_stranger_left_behind_is_not_asked_for_ever() -> None:
    """Seed 2605: the parent held each ask longer than the relay bears its silence.

    One call was always under way, so "pending" never counted, and the stranger's wrong
    ticket stayed fresh at the parent, where the owner's asking stood back behind it.
    """
    bench = relay()
    parent = bench.parent(icefloe=True)
    owner = bench.stranger(REQUEST)
    own = only(cmd.Ask, bench.ask(owner))
    bench.answer_ask(own, pending_result())
    stranger = bench.stranger(request_certificate("stranger", 2))
    posted = bench.ask(stranger, given=WRONG, posting=REQUEST, call="c2")
    first = only(cmd.Ask, posted)
    bench.tell(ev.LinkDown(stranger, clean=True))
    again = [
        command
        for command in bench.pass_time(16)
        if isinstance(command, cmd.Ask) and command.params.ticket
    ]
    assert [ask.link for ask in again] == [parent]
    bench.answer_ask(first, pending_result())
    later = [c for c in bench.pass_time(60) if isinstance(c, cmd.Ask)]
    assert later
    assert not any(ask.params.ticket for ask in later)


def test_a_relay_that_was_told_pending_keeps_nobody_back() -> None:
    """Seed 2605 anew: a stranger's wrong ticket came up from the owner's relay.

    That relay was told "pending" of it and may be pushed to for ten minutes.  So long
    the ticket was asked about, and the owner's asking without one stood back behind it.
    """
    bench = relay()
    bench.parent()
    child = bench.child("o1", icefloe=True)
    ordered = bench.ask(child, given=WRONG, posting=REQUEST, call="stranger")
    went_up: list[tuple[int, str]] = []
    for second in range(180):
        if second % 10 == 0:
            ordered += bench.ask(child, posting=REQUEST, call=f"owner {second}")
        for command in ordered:
            if isinstance(command, cmd.Ask):
                went_up.append((second, command.params.ticket))
                bench.answer_ask(command, pending_result())
        ordered = bench.pass_time(1.0)
    first = min(second for second, ticket in went_up if not ticket)
    assert 100 < first <= 125
    assert max(second for second, ticket in went_up if ticket) <= first + 1


def test_what_somebody_waits_for_is_asked_on_when_an_overtaken_call_is_answered() -> (
    None
):
    """Beside seed 2605: who waits is not left when the parent's hold has ended."""
    bench = relay()
    bench.parent(icefloe=True)
    bench.ask(bench.stranger(REQUEST), given=ticket_for(), call=None)
    first = only(cmd.Ask, bench.said)
    only(cmd.Ask, bench.pass_time(16))
    bench.answer_ask(first, pending_result())
    assert any(isinstance(each, cmd.Ask) for each in bench.pass_time(60))


def test_two_calls_with_one_id_hear_each_of_its_own_ticket() -> None:
    """Seeds 3410 and 6629: on the wire they look alike, so the objects must not mix."""
    bench = signer()
    bench.hold_work = True
    child = bench.child()
    without, wrong = CallId("one"), CallId("one")
    said = []
    for call, given in ((wrong, WRONG), (without, "")):
        params = RequestCertificate(ticket=given, cert_request=to_pem(REQUEST))
        said += bench.tell(ev.CertificateAsked(child, call, params))
    check = only(cmd.CheckTicket, said)
    pending = only(cmd.Answer, said)
    assert pending.call is without
    verdict = ev.TicketChecked(check.attempt_id, valid=False)
    refused = only(cmd.Answer, bench.tell(verdict))
    assert refused.call is wrong
    assert result_of(refused).reason == Reason.WRONG_TICKET.value
