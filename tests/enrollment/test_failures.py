"""Wrong tickets: who is refused before anything is compared, and who never is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.enrollment.playbook import (
    WRONG,
    Bench,
    answers,
    asks,
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

from icefloe.cluster.peer import Peer, Standing
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.model import AttemptState
from icefloe.enrollment.settings import EnrollmentLimits
from icefloe.enrollment.shunned import PROBE_SECONDS, Shunned
from icefloe.pki.certificates import key_id
from icefloe.wire.catalogue import CertificateResult, RequestCertificate

# Three at once and one every 20 s; a member has ten, a name six.
LIMITS = EnrollmentLimits(
    wrong_tickets_per_minute=3,
    wrong_tickets_per_relay=10,
    wrong_tickets_per_name=6,
    wrong_tickets_per_name_and_source=1,
)
TOO_MANY = "too-many-wrong-tickets"


def at_address(bench: Bench, address: str, number: int = 1) -> ev.LinkId:
    """A stranger connects from an address."""
    certificate = request_certificate(number=number)
    bench.links += 1
    link = ev.LinkId(bench.links)
    peer = Peer(
        standing=Standing.ANONYMOUS,
        common_name="agent",
        key_id=key_id(certificate),
        address=f"{address}:{1000 + bench.links}",
    )
    bench.tell(ev.LinkUp(link, peer))
    return link


def tries(
    bench: Bench, address: str, ticket: str, *, cn: str = "agent", number: int = 1
) -> tuple[CertificateResult, list[cmd.Command]]:
    """Ask once from an address; return the answer and all that was ordered."""
    link = at_address(bench, address)
    posting = request_certificate(cn, number)
    ordered = bench.ask(link, given=ticket, posting=posting)
    return result_of(only(cmd.Answer, ordered)), ordered


def wrongs(count: int) -> list[str]:
    return [f"{number:040}" for number in range(count)]


# -- a peer -----------------------------------------------------------------------------


def test_a_peer_over_its_rate_is_refused_before_its_ticket_is_compared() -> None:
    bench = signer(limits=LIMITS)
    for ticket in wrongs(3):
        result, _ = tries(bench, "10.0.0.1", ticket, cn=f"a{ticket[-1]}")
        assert result.reason == "wrong-ticket"
    stored = bench.ledger.requests()
    result, ordered = tries(bench, "10.0.0.1", WRONG, cn="another")
    assert (result.status_code, result.reason) == (1, TOO_MANY)
    assert none_of(cmd.CheckTicket, ordered)
    assert bench.ledger.requests() == stored, "nothing of it is kept"


def test_the_time_that_is_told_is_the_time_from_which_it_is_heard() -> None:
    bench = signer(limits=LIMITS)
    for ticket in wrongs(3):
        tries(bench, "10.0.0.1", ticket)
    result, _ = tries(bench, "10.0.0.1", WRONG)
    assert result.retry_after == 20.0
    assert "try again in 20 s" in result.error
    bench.pass_time(19.9)
    assert tries(bench, "10.0.0.1", WRONG)[0].reason == TOO_MANY
    bench.pass_time(0.1)
    assert tries(bench, "10.0.0.1", WRONG)[0].reason == "wrong-ticket"
    assert tries(bench, "10.0.0.1", WRONG)[0].reason == TOO_MANY


def test_a_right_ticket_is_heard_again_at_that_time() -> None:
    bench = signer(limits=LIMITS)
    for ticket in wrongs(4):
        tries(bench, "10.0.0.1", ticket)
    bench.pass_time(20)
    assert tries(bench, "10.0.0.1", ticket_for())[0].status_code == 0


def test_another_peer_does_not_feel_it() -> None:
    bench = signer(limits=LIMITS)
    for ticket in wrongs(50):
        tries(bench, "10.0.0.1", ticket, cn="another")
    assert tries(bench, "10.0.0.2", ticket_for())[0].status_code == 0


def test_right_tickets_are_not_counted_however_many_come_from_one_address() -> None:
    bench = signer(limits=LIMITS)
    for number in range(40):
        cn = f"a{number}"
        result, _ = tries(bench, "10.0.0.1", ticket_for(cn), cn=cn, number=number + 1)
        assert result.status_code == 0


def test_who_has_no_ticket_is_heard_from_an_address_that_is_over_its_rate() -> None:
    bench = signer(limits=LIMITS)
    for ticket in wrongs(4):
        tries(bench, "10.0.0.1", ticket)
    assert tries(bench, "10.0.0.1", "")[0].reason == "awaiting-approval"


@pytest.mark.parametrize(
    "one, other, reason",
    [
        ("10.0.0.1", "10.0.0.2", None),
        ("2001:db8::1", "2001:db8::ffff:1", TOO_MANY),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", None),
        ("::ffff:10.0.0.1", "10.0.0.1", TOO_MANY),
    ],
)
def test_a_source_is_an_address_or_a_network_that_one_customer_has(
    one: str, other: str, reason: str | None
) -> None:
    bench = signer(limits=LIMITS)
    for ticket in wrongs(4):
        tries(bench, one, ticket)
    result, _ = tries(bench, other, ticket_for())
    assert result.reason == reason


# -- between the admission and the verdict ------------------------------------------------


def test_who_failed_before_is_counted_in_advance_and_gets_it_back_when_right() -> None:
    bench = signer(limits=LIMITS)
    for ticket in wrongs(2):
        tries(bench, "10.0.0.1", ticket)
    bench.hold_work = True
    link = at_address(bench, "10.0.0.1")
    first = bench.ask(link, given=ticket_for(), posting=request_certificate())
    check = only(cmd.CheckTicket, first)
    link = at_address(bench, "10.0.0.1")
    second = bench.ask(link, given=WRONG, posting=request_certificate("b", 2))
    assert result_of(only(cmd.Answer, second)).reason == TOO_MANY
    bench.hold_work = False
    *_, shun = (c for c in bench.work(check) if isinstance(c, cmd.Shun))
    assert shun.until == bench.now.mono, "heard sooner than it was told"
    assert tries(bench, "10.0.0.1", WRONG, cn="c")[0].reason == "wrong-ticket"
    assert tries(bench, "10.0.0.1", WRONG, cn="c")[0].reason == TOO_MANY


def test_what_waits_to_be_compared_when_its_peer_comes_over_its_rate_is_not() -> None:
    """A flood sends many at once: those behind the first few cost nothing."""
    bench = signer(limits=replace(LIMITS, ticket_checks_at_once=1))
    bench.hold_work = True
    ordered: list[cmd.Command] = []
    for number in range(10):
        link = at_address(bench, "10.0.0.1")
        posting = request_certificate(f"a{number}", 1)
        ordered += bench.ask(link, given=WRONG, posting=posting)
    compared = 0
    while checks := [c for c in ordered if isinstance(c, cmd.CheckTicket)]:
        (check,) = checks
        compared += 1
        ordered = bench.work(check)
    assert compared == 3
    reasons = [r.reason for r in answers(bench.said)]
    assert reasons == ["wrong-ticket"] * 3 + [TOO_MANY] * 7


def test_a_good_agent_waits_for_one_ticket_of_a_flood_not_for_all() -> None:
    bench = signer(limits=EnrollmentLimits(ticket_checks_at_once=1))
    bench.hold_work = True
    for number in range(20):
        link = at_address(bench, "10.0.0.1")
        bench.ask(link, given=WRONG, posting=request_certificate(f"a{number}", 1))
    good = at_address(bench, "10.0.0.2")
    bench.ask(good, given=ticket_for(), posting=request_certificate())
    order: list[str] = []
    work = [c for c in bench.said if isinstance(c, cmd.CheckTicket)]
    while work and len(order) < 5:
        check = work.pop(0)
        order.append(check.cn)
        work += [c for c in bench.work(check) if isinstance(c, cmd.CheckTicket)]
    assert order.index("agent") <= 2


# -- a name -----------------------------------------------------------------------------


def over_name(bench: Bench) -> None:
    """Many addresses fail for the name, each once or twice."""
    for number in range(3):
        for ticket in wrongs(2):
            tries(bench, f"10.0.1.{number}", ticket)


def test_a_peer_that_failed_for_a_name_over_its_rate_is_refused_for_it() -> None:
    bench = signer(limits=LIMITS)
    over_name(bench)
    result, ordered = tries(bench, "10.0.1.0", WRONG)
    assert result.reason == TOO_MANY
    assert "'agent'" in result.error
    assert none_of(cmd.CheckTicket, ordered)
    assert result.retry_after == 60.0


def test_strangers_that_fail_for_a_name_do_not_shut_its_owner_out() -> None:
    bench = signer(limits=LIMITS)
    over_name(bench)
    assert tries(bench, "10.0.0.9", ticket_for())[0].status_code == 0


def test_an_owner_that_mistyped_waits_for_its_own_failure_alone() -> None:
    bench = signer(limits=LIMITS)
    over_name(bench)
    assert tries(bench, "10.0.0.9", WRONG)[0].reason == "wrong-ticket"
    waiting, _ = tries(bench, "10.0.0.9", ticket_for())
    assert waiting.reason == TOO_MANY
    for number in range(4, 9):
        bench.pass_time(10)
        tries(bench, f"10.0.1.{number}", WRONG)
    bench.pass_time((waiting.retry_after or 0.0) - 50)
    assert tries(bench, "10.0.0.9", ticket_for())[0].status_code == 0


def test_a_peer_that_failed_for_a_name_may_ask_for_others() -> None:
    bench = signer(limits=LIMITS)
    over_name(bench)
    result, _ = tries(bench, "10.0.1.0", ticket_for("b"), cn="b", number=2)
    assert result.status_code == 0


def test_a_request_that_is_signed_is_answered_whatever_ticket_comes() -> None:
    """Rule 1: nothing is compared, so nothing is refused for the name."""
    bench = signer(limits=LIMITS)
    over_name(bench)
    tries(bench, "10.0.0.9", ticket_for())
    assert tries(bench, "10.0.0.9", WRONG)[0].status_code == 0


# -- a member ---------------------------------------------------------------------------


def test_a_member_has_far_more_and_is_not_refused_for_a_name() -> None:
    bench = signer(limits=LIMITS)
    link = bench.child("s1")
    reasons = []
    for number, ticket in enumerate(wrongs(11)):
        ordered = bench.ask(
            link, given=ticket, posting=request_certificate(), call=f"c{number}"
        )
        reasons.append(result_of(only(cmd.Answer, ordered)).reason)
    assert reasons == ["wrong-ticket"] * 10 + [TOO_MANY]


# -- a relay ----------------------------------------------------------------------------


def refused_above(bench: Bench, ordered: list[cmd.Command]) -> list[cmd.Command]:
    (ask,) = asks(ordered)
    return bench.answer_ask(ask, refused_result())


def test_a_relay_learns_from_its_parents_and_forwards_no_more() -> None:
    bench = relay(limits=LIMITS)
    bench.parent(icefloe=True)
    for ticket in wrongs(3):
        link = at_address(bench, "10.0.0.1")
        ordered = bench.ask(link, given=ticket, posting=request_certificate())
        told = refused_above(bench, ordered)
        assert result_of(only(cmd.Answer, told)).reason == "wrong-ticket"
    result, ordered = tries(bench, "10.0.0.1", WRONG)
    assert result.reason == TOO_MANY
    assert result.hop == "s1"
    assert asks(ordered) == []
    good = at_address(bench, "10.0.0.2")
    assert asks(bench.ask(good, given=ticket_for(), posting=request_certificate()))


def test_a_refusal_for_another_reason_is_no_failure() -> None:
    bench = relay(limits=LIMITS)
    bench.parent(icefloe=True)
    for ticket in wrongs(9):
        link = at_address(bench, "10.0.0.1")
        ordered = bench.ask(link, given=ticket, posting=request_certificate())
        (ask,) = asks(ordered)
        bench.answer_ask(ask, refused_result(reason="declined"))


def test_a_parent_that_will_not_hear_us_is_asked_again_when_it_said() -> None:
    """Its refusal is about this relay: no asker is told, none is refused."""
    bench = relay(limits=LIMITS)
    bench.parent()
    link = at_address(bench, "10.0.0.1")
    ordered = bench.ask(link, given=ticket_for(), posting=request_certificate())
    (ask,) = asks(ordered)
    told = bench.answer_ask(ask, refused_result(reason=TOO_MANY, retry_after=7.0))
    assert answers(told) == []
    assert asks(bench.pass_time(6.9)) == []
    (again,) = asks(bench.pass_time(0.2))
    assert answers(bench.answer_ask(again, pending_result())) == []


def test_who_was_right_behind_a_relay_is_not_counted() -> None:
    bench = relay(limits=LIMITS)
    bench.parent(icefloe=True)
    for number in range(20):
        cn = f"a{number}"
        link = at_address(bench, "10.0.0.1")
        posting = request_certificate(cn, number + 1)
        (ask,) = asks(bench.ask(link, given=ticket_for(cn), posting=posting))
        made = issued_certificate(cn, number + 1, serial=500 + number)
        told = bench.answer_ask(ask, signed_result(made, request=posting))
        assert answers(told)[0].status_code == 0


# -- shunned ----------------------------------------------------------------------------


def asking(ticket: str) -> ev.CertificateAsked:
    params = RequestCertificate(ticket=ticket)
    return ev.CertificateAsked(ev.LinkId(1), ev.CallId(1), params)


def test_who_is_over_its_rate_is_shunned_until_then() -> None:
    bench = signer(limits=LIMITS)
    ordered: Sequence[cmd.Command] = ()
    for ticket in wrongs(3):
        _, ordered = tries(bench, "10.0.0.1", ticket)
    *_, shun = (c for c in ordered if isinstance(c, cmd.Shun))
    shunned = Shunned("m1")
    shunned.heed(shun, bench.now.mono)
    peer = Peer(standing=Standing.ANONYMOUS, common_name=None, address="10.0.0.1:9999")
    refusal = shunned.refusal(asking(WRONG), peer, bench.now.mono)
    assert refusal is not None
    assert (refusal.reason, refusal.retry_after) == (TOO_MANY, 20.0)
    assert shunned.refused == 1
    assert shunned.refusal(asking(""), peer, bench.now.mono) is None
    other = replace(peer, address="10.0.0.2:9999")
    assert shunned.refusal(asking(WRONG), other, bench.now.mono) is None
    assert shunned.refusal(asking(WRONG), peer, shun.until) is None
    # That one speaks for all that come until the core says more.
    refusal = shunned.refusal(asking(WRONG), peer, shun.until)
    assert refusal is not None
    assert refusal.retry_after == PROBE_SECONDS
    shunned.heed(replace(shun, until=shun.until), shun.until)
    assert shunned.refusal(asking(WRONG), peer, shun.until) is None
    assert len(shunned) == 0


def test_a_node_forgets_who_is_heard_again() -> None:
    bench = signer()
    shunned = Shunned("m1")
    for number in range(1000):
        now = type(bench.now.mono)(1000.0 + number)
        until = type(bench.now.mono)(now + 5)
        shunned.heed(cmd.Shun(f"from {number}", str(number), until), now)
        assert shunned.is_shunned(f"from {number}", now)
        assert len(shunned) <= 6


def test_who_failed_once_is_not_shunned() -> None:
    bench = signer(limits=LIMITS)
    shunned = Shunned("m1")
    for ticket in wrongs(2):
        _, ordered = tries(bench, "10.0.0.1", ticket)
        for shun in ordered:
            if isinstance(shun, cmd.Shun):
                shunned.heed(shun, bench.now.mono)
    assert len(shunned) == 0


def test_the_connection_of_a_flood_stays_so_that_it_need_not_shake_hands_again() -> (
    None
):
    bench = signer(limits=LIMITS)
    for ticket in wrongs(3):
        _, ordered = tries(bench, "10.0.0.1", ticket)
        assert not none_of(cmd.Drain, ordered)
    _, ordered = tries(bench, "10.0.0.1", WRONG)
    assert none_of(cmd.Drain, ordered)


# -- bounds -----------------------------------------------------------------------------


def test_what_is_remembered_of_failures_is_bounded() -> None:
    bench = signer(limits=replace(LIMITS, rate_keys_max=10))
    for number in range(100):
        tries(bench, f"10.0.0.{number}", WRONG, cn=f"a{number}")
    assert bench.core.census().failures <= 50


def test_attempts_that_were_not_compared_keep_no_ticket() -> None:
    bench = signer(limits=replace(LIMITS, ticket_checks_at_once=1))
    bench.hold_work = True
    for number in range(6):
        link = at_address(bench, "10.0.0.1")
        posting = request_certificate(f"a{number}", 1)
        bench.ask(link, given=WRONG, posting=posting)
    bench.hold_work = False
    for check in [c for c in bench.said if isinstance(c, cmd.CheckTicket)]:
        bench.work(check)
    for request in bench.ledger.requests():
        (attempt,) = bench.ledger.attempts(request.request_id)
        assert (attempt.state, attempt.ticket) == (AttemptState.REFUSED, "")
