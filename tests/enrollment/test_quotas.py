"""Room for requests and attempts: what one peer may take of it."""

from __future__ import annotations

from dataclasses import replace

from tests.enrollment.playbook import (
    DAY,
    WRONG,
    Bench,
    answers,
    issued_certificate,
    only,
    relay,
    request_certificate,
    result_of,
    signed_result,
    signer,
    ticket_for,
)
from tests.enrollment.test_failures import at_address, tries

from icefloe.enrollment import commands as cmd
from icefloe.enrollment.model import AttemptState
from icefloe.enrollment.settings import EnrollmentLimits

FEW = EnrollmentLimits(open_requests_per_source=3, open_requests_per_relay=5)


def ask_for(bench: Bench, address: str, number: int) -> str | None:
    """Ask without a ticket for a name of that number; return a refusal's reason."""
    result, _ = tries(bench, address, "", cn=f"a{number}", number=number + 1)
    return None if result.status_code == 2 else result.reason


def test_one_source_keeps_some_requests_and_leaves_the_room_to_others() -> None:
    bench = signer(limits=FEW)
    reasons = [ask_for(bench, "10.0.0.1", number) for number in range(4)]
    assert reasons == [None, None, None, "limit"]
    assert ask_for(bench, "10.0.0.2", 4) is None
    names = {request.cn for request in bench.ledger.requests()}
    assert names == {"a0", "a1", "a2", "a4"}


def test_who_asks_for_a_request_that_is_there_takes_nothing() -> None:
    bench = signer(limits=FEW)
    for number in range(3):
        ask_for(bench, "10.0.0.1", number)
    assert [ask_for(bench, "10.0.0.1", 1) for _ in range(5)] == [None] * 5


def test_a_signed_request_takes_no_room_any_more() -> None:
    bench = signer(limits=FEW)
    for number in range(10):
        cn = f"a{number}"
        tries(bench, "10.0.0.1", ticket_for(cn), cn=cn, number=number + 1)
    assert len(bench.ledger.requests()) == 10


def test_an_answered_request_takes_no_room_at_a_relay_any_more() -> None:
    bench = relay(limits=FEW)
    bench.parent(icefloe=True)
    for number in range(10):
        posting = request_certificate(f"a{number}", number + 1)
        ordered = bench.ask(at_address(bench, "10.0.0.1"), posting=posting)
        made = issued_certificate(f"a{number}", number + 1, serial=600 + number)
        told = bench.answer_ask(
            only(cmd.Ask, ordered), signed_result(made, request=posting)
        )
        assert answers(told)[0].status_code == 0


def test_what_an_operator_removed_makes_room_in_a_while() -> None:
    """Another process wrote it: it is seen when the share is counted anew."""
    bench = signer(limits=FEW)
    for number in range(3):
        ask_for(bench, "10.0.0.1", number)
    assert ask_for(bench, "10.0.0.1", 3) == "limit"
    bench.remove(bench.request("a0"))
    bench.pass_time(10)
    assert ask_for(bench, "10.0.0.1", 3) is None


def test_what_is_forgotten_makes_room() -> None:
    bench = signer(limits=FEW)
    for number in range(3):
        ask_for(bench, "10.0.0.1", number)
    bench.pass_time(8 * DAY)
    assert ask_for(bench, "10.0.0.1", 3) is None


def test_shares_are_counted_again_after_a_restart() -> None:
    bench = signer(limits=FEW)
    for number in range(3):
        ask_for(bench, "10.0.0.1", number)
    bench.crash()
    assert ask_for(bench, "10.0.0.1", 3) == "limit"
    assert ask_for(bench, "10.0.0.2", 3) is None


def test_a_member_has_a_larger_share_and_no_more() -> None:
    bench = signer(limits=FEW)
    link = bench.child("s1")
    codes = []
    for number in range(6):
        posting = request_certificate(f"a{number}", number + 1)
        ordered = bench.ask(link, posting=posting, call=number)
        codes.append(result_of(only(cmd.Answer, ordered)).status_code)
    assert codes == [2, 2, 2, 2, 2, 1]
    other = bench.ask(bench.child("s2"), posting=request_certificate("b", 9))
    assert result_of(only(cmd.Answer, other)).status_code == 2


def test_a_ticket_that_nobody_looks_at_is_no_way_into_the_reserve() -> None:
    bench = signer(checks_tickets=False, limits=EnrollmentLimits(open_requests_max=4))
    reasons = []
    for number in range(5):
        posting = request_certificate(f"a{number}", number + 1)
        link = at_address(bench, f"10.0.0.{number}")
        told = answers(bench.ask(link, posting=posting, given="anything"))
        reasons.append(told[0].reason)
    assert reasons[3:] == ["awaiting-approval", "limit"]
    told = answers(bench.ask(bench.child("s1"), posting=request_certificate("b", 9)))
    assert told[0].reason == "awaiting-approval"


# -- attempts at one request ------------------------------------------------------------


def test_a_stranger_makes_room_for_its_attempts_among_its_own() -> None:
    """It tries tickets for a certificate that it saw; the owner's attempt stays."""
    bench = signer(checks_tickets=False)
    tries(bench, "10.0.0.9", ticket_for())
    for number in range(40):
        tries(bench, f"10.0.0.{number % 2}", f"{number:040}")
    vias = [attempt.via.partition(":")[0] for attempt in bench.attempts()]
    assert vias.count("10.0.0.9") == 1
    assert len(vias) == 9


def test_strangers_behind_a_relay_do_not_evict_the_owners_attempt() -> None:
    """At the signer both come through the same member; the owner made its certificate
    anew, and the strangers have an older one of it."""
    bench = signer(checks_tickets=False)
    link = bench.child("s1")
    old, new = (request_certificate(serial=serial) for serial in (1, 2))
    bench.ask(link, given=ticket_for(), posting=new, call="owner")
    for number in range(40):
        bench.ask(link, given=f"{number:040}", posting=old, call=number)
        bench.pass_time(700)
    fresh = [a for a in bench.attempts() if a.ticket == ticket_for()]
    assert [a.state for a in fresh] == [AttemptState.PENDING]
    assert len(bench.attempts()) == EnrollmentLimits().attempts_max


# -- certificates for one name ----------------------------------------------------------


def test_tickets_sign_only_so_many_keys_of_a_name_in_a_day_then_a_person_does() -> None:
    bench = signer(limits=EnrollmentLimits(certificates_per_name_and_day=3))
    codes = [
        tries(bench, "10.0.0.1", ticket_for(), number=number)[0].status_code
        for number in range(1, 5)
    ]
    assert codes == [0, 0, 0, 2]
    waiting, _ = tries(bench, "10.0.0.1", ticket_for(), number=4)
    assert waiting.reason == "too-many-certificates"
    request = bench.request_for(request_certificate(number=4))
    assert "3 keys" in request.note
    bench.approve(request)
    assert tries(bench, "10.0.0.1", "", number=4)[0].status_code == 0


def test_another_day_tickets_sign_again() -> None:
    bench = signer(limits=EnrollmentLimits(certificates_per_name_and_day=2))
    for number in range(1, 4):
        tries(bench, "10.0.0.1", ticket_for(), number=number)
    bench.pass_time(DAY / 2)
    assert tries(bench, "10.0.0.1", ticket_for(), number=3)[0].status_code == 0
    assert tries(bench, "10.0.0.1", ticket_for(), number=4)[0].status_code == 2


def test_other_names_are_not_counted_with_it() -> None:
    bench = signer(limits=EnrollmentLimits(certificates_per_name_and_day=1))
    for number in range(1, 6):
        cn = f"a{number}"
        result, _ = tries(bench, "10.0.0.1", ticket_for(cn), cn=cn, number=number)
        assert result.status_code == 0


def test_limits_of_a_reload_are_taken_at_once() -> None:
    bench = signer(limits=FEW)
    for number in range(3):
        ask_for(bench, "10.0.0.1", number)
    assert ask_for(bench, "10.0.0.1", 3) == "limit"
    limits = replace(FEW, open_requests_per_source=4, wrong_tickets_per_minute=1)
    bench.core.reconfigure(replace(bench.settings, limits=limits), bench.now)
    assert ask_for(bench, "10.0.0.1", 3) is None
    tries(bench, "10.0.0.2", WRONG, cn="x")
    result, _ = tries(bench, "10.0.0.2", WRONG, cn="x")
    assert result.reason == "too-many-wrong-tickets"
