"""A canary leaves little behind, and nobody else profits from its rules."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.enrollment.playbook import (
    DAY,
    WRONG,
    Bench,
    anchor,
    answers,
    asks,
    issued_certificate,
    key,
    only,
    pending_result,
    relay,
    request_certificate,
    result_of,
    signed_result,
    signer,
    ticket_for,
)

from icefloe.doors import WallTime
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.frequency import CANARIES_PER_NAME_AND_DAY, SignedByTicket
from icefloe.enrollment.model import RequestState
from icefloe.pki.canaries import CANARY_LIFETIME, CANARY_PREFIX, is_canary
from icefloe.pki.certificates import load_pem
from icefloe.pki.profiles import BACKDATE, sign_tbs

CANARY = CANARY_PREFIX + "mon1"
TICKET = ticket_for(CANARY)
REQUEST = request_certificate(CANARY)
HOUR = 3600.0
LONG_ENOUGH = CANARY_LIFETIME + 120.0


def enroll(bench: Bench, *, given: str = TICKET, number: int = 1) -> int:
    """Come with a key of one's own, ask, and go; returns the answer's status."""
    link = bench.stranger(request_certificate(CANARY, number))
    answer = only(cmd.Answer, bench.ask(link, given=given))
    bench.tell(ev.LinkDown(link, clean=True))
    return result_of(answer).status_code


def nothing_is_left(bench: Bench) -> bool:
    """Whether the ledger holds nothing but the keys of members."""
    rows = bench.ledger.rows()
    return not any(rows[kind] for kind in rows if kind != "known keys")


def test_the_prefix_is_taken_byte_for_byte() -> None:
    assert is_canary("icefloe-canary-x")
    assert not is_canary("Icefloe-canary-x")
    assert not is_canary("web-icefloe-canary-x")


def test_its_certificate_lives_for_minutes() -> None:
    bench = signer()
    link = bench.stranger(REQUEST)
    result = result_of(only(cmd.Answer, bench.ask(link, given=TICKET)))
    certificate = load_pem(result.cert)
    begins = certificate.not_valid_before_utc.timestamp()
    ends = certificate.not_valid_after_utc.timestamp()
    assert ends - begins == BACKDATE + CANARY_LIFETIME


def test_a_signer_keeps_no_row_of_it_when_its_certificate_has_ended() -> None:
    bench = signer()
    assert enroll(bench) == 0
    bench.pass_time(CANARY_LIFETIME - 1.0)
    assert bench.request(CANARY).state is RequestState.DELIVERED
    bench.pass_time(121.0)
    assert nothing_is_left(bench)


def test_a_crash_in_between_forgets_it_no_less() -> None:
    bench = signer()
    assert enroll(bench) == 0
    bench.crash()
    bench.pass_time(HOUR + LONG_ENOUGH)
    assert nothing_is_left(bench)


@pytest.mark.parametrize("given", [WRONG, ""])
def test_a_signer_forgets_what_it_refused_or_what_awaits_approval(given: str) -> None:
    bench = signer()
    assert enroll(bench, given=given) != 0
    bench.pass_time(LONG_ENOUGH)
    assert nothing_is_left(bench)


def test_everybody_elses_history_stays() -> None:
    bench = signer()
    link = bench.stranger(request_certificate())
    bench.ask(link, given=ticket_for())
    assert enroll(bench, number=2) == 0
    bench.pass_time(400 * DAY)
    assert bench.request().state is RequestState.ISSUED
    assert bench.ledger.rows()["certificates"] == 1


def test_a_relay_forgets_it_whatever_came() -> None:
    bench = relay()
    bench.parent()
    signed, waiting = (request_certificate(CANARY, number) for number in (1, 2))
    ask = asks(bench.ask(bench.stranger(signed), given=TICKET))[0]
    certificate = issued_certificate(CANARY, 1)
    bench.answer_ask(ask, signed_result(certificate, request=signed))
    link = bench.stranger(waiting)
    ask = asks(bench.ask(link, given=TICKET, call="c2"))[0]
    bench.answer_ask(ask, pending_result())
    bench.tell(ev.LinkDown(link))
    assert len(bench.ledger.requests()) == 2
    bench.pass_time(LONG_ENOUGH)
    assert nothing_is_left(bench)
    # Nobody goes on asking the parent for it.
    assert bench.core.census().errands == 0


def test_who_waits_for_it_is_not_forgotten() -> None:
    bench = signer()
    link = bench.stranger(REQUEST)
    bench.ask(link, call=None)
    bench.pass_time(LONG_ENOUGH)
    assert bench.request(CANARY).state is RequestState.AWAITING_APPROVAL
    bench.tell(ev.LinkDown(link))
    bench.pass_time(HOUR + LONG_ENOUGH)
    assert list(bench.ledger.requests()) == []


def test_its_certificate_is_not_renewed() -> None:
    """Who has one asks again like a stranger: without a ticket it gets nothing."""
    bench = signer()
    young = issued_certificate(CANARY, days_left=0.01)
    link = bench.stranger(young, verified=True)
    result = result_of(only(cmd.Answer, bench.ask(link)))
    assert result.status_code == 2
    assert bench.request(CANARY).state is RequestState.AWAITING_APPROVAL
    result = result_of(only(cmd.Answer, bench.ask(link, given=WRONG)))
    assert result.reason == "wrong-ticket"


def test_each_run_may_have_another_key_all_day_long() -> None:
    now = signer().now.mono
    counted = SignedByTicket()
    for _ in range(CANARIES_PER_NAME_AND_DAY):
        assert counted.gate(CANARY, now, most=20) is None
        counted.count(CANARY, now)
    assert counted.gate(CANARY, now, most=20) is not None
    assert counted.gate("agent", now, most=20) is None


def test_no_key_is_remembered_for_its_name() -> None:
    bench = signer()
    assert enroll(bench, number=1) == 0
    assert enroll(bench, number=2) == 0
    assert bench.ledger.known_key(CANARY) is None


def test_a_signature_that_comes_after_its_time_is_made_anew() -> None:
    bench = signer()
    bench.hold_work = True
    link = bench.stranger(REQUEST)
    check = only(cmd.CheckTicket, bench.ask(link, given=TICKET))
    order = only(cmd.Sign, bench.tell(ev.TicketChecked(check.attempt_id, valid=True)))
    later = WallTime(bench.now.wall + CANARY_LIFETIME + 1.0)
    bench.now = replace(bench.now, wall=later)
    signature = sign_tbs(key(9_000), order.tbs)
    ordered = bench.tell(ev.Signed(order.request_id, signature))
    assert answers(ordered) == []
    again = only(cmd.Sign, ordered)
    signature = sign_tbs(key(9_000), again.tbs)
    (result,) = answers(bench.tell(ev.Signed(again.request_id, signature)))
    anchor().verify(load_pem(result.cert), bench.now.wall)
