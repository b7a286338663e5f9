"""The signer, from an asking to its answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from tests.enrollment.playbook import (
    SALT,
    WRONG,
    Bench,
    ca,
    der,
    hops_of,
    issued_certificate,
    key,
    none_of,
    only,
    relay,
    request_certificate,
    result_of,
    signer,
    ticket_for,
)

from icefloe.doors import WallTime
from icefloe.enrollment import administration
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.model import AttemptState, DecisionKind, RequestState
from icefloe.enrollment.settings import OwnIdentity
from icefloe.pki.certificates import (
    common_name,
    fingerprint,
    key_id,
    load_pem,
    to_pem,
)
from icefloe.pki.profiles import sign_tbs
from icefloe.wire.catalogue import RequestCertificate


def enroll(bench: Bench, **asking: Any) -> cmd.Answer:
    """Ask as a new agent and return the answer."""
    link = bench.stranger(request_certificate())
    return only(cmd.Answer, bench.ask(link, **asking))


def approve(
    bench: Bench, cn: str = "agent", *, reserved: bool = False
) -> list[cmd.Command]:
    writes = administration.approve(
        bench.ledger,
        bench.request(cn),
        actor="root",
        at=bench.now.wall,
        reserved=reserved,
        reserved_names=bench.settings.reserved_names,
        node_name="m1",
    )
    bench.ledger.begin()
    bench.ledger.apply(writes)
    bench.ledger.commit()
    return bench.tell(ev.LedgerChanged())


def test_a_valid_ticket_is_signed_on_the_first_asking() -> None:
    bench = signer()
    result = result_of(enroll(bench, given=ticket_for()))
    assert result.status_code == 0
    certificate = load_pem(result.cert)
    assert common_name(certificate) == "agent"
    assert key_id(certificate) == key_id(request_certificate())
    assert result.ca == to_pem(ca())
    assert bench.request().state is RequestState.ISSUED
    decision = bench.ledger.decision(bench.request().request_id)
    assert decision is not None
    assert decision.kind is DecisionKind.TICKET


def test_an_anonymous_asker_is_drained_after_its_answer() -> None:
    bench = signer()
    link = bench.stranger(request_certificate())
    ordered = bench.ask(link, given=ticket_for())
    kinds = [type(c) for c in ordered if isinstance(c, cmd.Answer | cmd.Drain)]
    assert kinds == [cmd.Answer, cmd.Drain]


def test_a_wrong_ticket_is_refused_with_its_reason_and_without_a_ca() -> None:
    bench = signer()
    result = result_of(enroll(bench, given=WRONG))
    assert result.status_code == 1
    assert result.reason == "wrong-ticket"
    assert result.hop == "m1"
    assert "pki ticket" in result.error
    assert not result.ca
    assert WRONG not in repr(bench.attempts())
    assert bench.attempts()[0].state is AttemptState.REFUSED
    assert bench.attempts()[0].ticket == ""


def test_a_corrected_ticket_with_the_same_key_is_signed() -> None:
    bench = signer()
    enroll(bench, given=WRONG)
    assert result_of(enroll(bench, given=ticket_for())).status_code == 0


def test_a_wrong_ticket_asked_again_is_judged_again() -> None:
    bench = signer()
    enroll(bench, given=WRONG)
    ordered = bench.ask(bench.stranger(request_certificate()), given=WRONG)
    only(cmd.CheckTicket, ordered)


def test_asking_again_with_the_same_key_yields_the_same_certificate() -> None:
    bench = signer()
    first = result_of(enroll(bench, given=ticket_for()))
    again = request_certificate(serial=2)  # remade: another fingerprint, same key
    link = bench.stranger(again)
    second = result_of(only(cmd.Answer, bench.ask(link, given=ticket_for())))
    assert second.cert == first.cert
    assert second.fingerprint_request != first.fingerprint_request
    assert none_of(cmd.Sign, bench.ask(bench.stranger(again)))


def test_another_key_for_a_plain_name_is_signed_with_a_ticket() -> None:
    bench = signer()
    enroll(bench, given=ticket_for())
    link = bench.stranger(request_certificate(number=2))
    result = result_of(only(cmd.Answer, bench.ask(link, given=ticket_for())))
    assert result.status_code == 0


def test_without_a_ticket_the_request_awaits_approval_and_says_so() -> None:
    bench = signer()
    result = result_of(enroll(bench))
    assert result.status_code == 2
    assert result.ca == to_pem(ca())
    assert result.reason == "awaiting-approval"
    assert bench.request().state is RequestState.AWAITING_APPROVAL


def test_without_a_salt_a_ticket_cannot_sign() -> None:
    bench = signer(checks_tickets=False)
    assert result_of(enroll(bench, given=ticket_for())).status_code == 2


def test_an_approval_signs_and_the_next_asking_is_answered() -> None:
    bench = signer()
    enroll(bench)
    approve(bench)
    assert bench.request().state is RequestState.ISSUED
    assert result_of(enroll(bench)).status_code == 0


def test_an_approval_is_pushed_to_a_daemon_that_waits() -> None:
    bench = signer()
    link = bench.stranger(request_certificate())
    ordered = bench.ask(link, call=None)
    assert only(cmd.Hold, ordered).link == link
    ordered = approve(bench)
    push = only(cmd.Push, ordered)
    assert push.link == link
    assert key_id(load_pem(push.params.cert)) == key_id(request_certificate())
    only(cmd.Release, ordered)


def test_an_approval_is_pushed_to_the_relay_that_was_told_pending() -> None:
    bench = signer()
    link = bench.child(icefloe=True)
    answer = only(cmd.Answer, bench.ask(link, posting=request_certificate()))
    assert result_of(answer).status_code == 2
    assert only(cmd.Push, approve(bench)).link == link


def test_a_removed_request_is_refused_and_a_restored_one_is_not() -> None:
    bench = signer()
    enroll(bench)
    bench.ledger.begin()
    bench.ledger.apply(
        administration.remove(bench.request(), actor="root", at=bench.now.wall)
    )
    bench.ledger.commit()
    result = result_of(enroll(bench, given=ticket_for()))
    assert (result.status_code, result.reason) == (1, "declined")
    bench.ledger.begin()
    bench.ledger.apply(administration.restore(bench.request(), at=bench.now.wall))
    bench.ledger.commit()
    assert result_of(enroll(bench, given=ticket_for())).status_code == 0


def test_a_removal_reaches_those_who_wait() -> None:
    bench = signer()
    bench.hold_work = True
    link = bench.stranger(request_certificate())
    bench.ask(link, given=ticket_for())
    bench.ledger.begin()
    bench.ledger.apply(
        administration.remove(bench.request(), actor="root", at=bench.now.wall)
    )
    bench.ledger.commit()
    answer = only(cmd.Answer, bench.tell(ev.LedgerChanged()))
    assert result_of(answer).reason == "declined"


def test_a_ticket_that_proves_valid_after_a_removal_signs_nothing() -> None:
    bench = signer()
    bench.hold_work = True
    link = bench.stranger(request_certificate())
    check = only(cmd.CheckTicket, bench.ask(link, given=ticket_for()))
    bench.ledger.begin()
    bench.ledger.apply(
        administration.remove(bench.request(), actor="root", at=bench.now.wall)
    )
    bench.ledger.commit()
    assert none_of(cmd.Sign, bench.work(check))


def test_a_strangers_wrong_ticket_does_not_refuse_the_owners_request() -> None:
    bench = signer()
    owner = bench.stranger(request_certificate())
    bench.ask(owner, call=None)
    thief = bench.stranger()
    answer = only(
        cmd.Answer, bench.ask(thief, posting=request_certificate(), given=WRONG)
    )
    assert answer.link == thief
    assert bench.request().state is RequestState.AWAITING_APPROVAL
    assert only(cmd.Push, approve(bench)).link == owner


def test_a_reserved_names_first_key_is_signed_with_a_ticket() -> None:
    bench = signer()
    link = bench.stranger(request_certificate("s2", 5))
    result = result_of(only(cmd.Answer, bench.ask(link, given=ticket_for("s2"))))
    assert result.status_code == 0


def test_a_reserved_names_other_key_awaits_approval_with_reserved() -> None:
    bench = signer()
    bench.ask(bench.stranger(request_certificate("s2", 5)), given=ticket_for("s2"))
    link = bench.stranger(request_certificate("s2", 6))
    result = result_of(only(cmd.Answer, bench.ask(link, given=ticket_for("s2"))))
    assert (result.status_code, result.reason) == (2, "reserved-name")
    with pytest.raises(administration.DecisionError, match="--reserved"):
        approve(bench, "s2")
    approve(bench, "s2", reserved=True)
    assert bench.request("s2").state is RequestState.ISSUED


def test_a_ticket_signs_no_other_key_for_the_signers_own_name() -> None:
    own = OwnIdentity(certificate=issued_certificate("m1", 80))
    bench = signer(own=own)
    link = bench.stranger(request_certificate("m1", 6))
    result = result_of(only(cmd.Answer, bench.ask(link, given=ticket_for("m1"))))
    assert (result.status_code, result.reason) == (2, "reserved-name")


def test_the_same_refusal_again_and_again_adds_no_hops() -> None:
    bench = signer()
    for _ in range(5):
        enroll(bench, given=WRONG)
    hops = bench.ledger.hops(bench.request().request_id)
    assert [hop.did for hop in hops] == ["received", "refused"]


def test_a_members_key_counts_as_the_first_of_its_name() -> None:
    bench = signer()
    bench.child("s1")
    link = bench.stranger(request_certificate("s1", 6))
    result = result_of(only(cmd.Answer, bench.ask(link, given=ticket_for("s1"))))
    assert result.reason == "reserved-name"


def test_a_known_endpoint_outside_the_forwarders_subtree_awaits_approval() -> None:
    bench = signer()
    link = bench.child("o1")
    ordered = bench.ask(link, posting=request_certificate(), given=ticket_for())
    result = result_of(only(cmd.Answer, ordered))
    assert (result.status_code, result.reason) == (2, "outside-subtree")


def test_a_known_endpoint_inside_the_forwarders_subtree_is_signed() -> None:
    bench = signer()
    link = bench.child("s1")
    ordered = bench.ask(link, posting=request_certificate(), given=ticket_for())
    assert result_of(only(cmd.Answer, ordered)).status_code == 0


def test_a_valid_certificate_that_is_not_due_has_nothing_to_do() -> None:
    bench = signer()
    held = issued_certificate()
    result = result_of(only(cmd.Answer, bench.ask(bench.stranger(held))))
    assert (result.status_code, result.reason) == (1, "nothing-to-do")
    assert bench.ledger.requests() == []


def test_nothing_to_do_is_not_said_to_a_daemon_without_an_id() -> None:
    bench = signer()
    ordered = bench.ask(bench.stranger(issued_certificate()), call=None)
    assert all(isinstance(command, cmd.Log) for command in ordered)


def test_a_due_certificate_is_renewed_without_a_ticket_once() -> None:
    bench = signer()
    held = issued_certificate(days_left=20)
    first = result_of(only(cmd.Answer, bench.ask(bench.stranger(held))))
    assert first.status_code == 0
    decision = bench.ledger.decision(bench.request().request_id)
    assert decision is not None
    assert decision.kind is DecisionKind.RENEWAL
    second = result_of(only(cmd.Answer, bench.ask(bench.stranger(held))))
    assert second.cert == first.cert


def test_a_renewal_posted_by_a_stranger_is_refused() -> None:
    bench = signer()
    held = issued_certificate(days_left=20)
    result = result_of(only(cmd.Answer, bench.ask(bench.stranger(), posting=held)))
    assert (result.status_code, result.reason) == (1, "no-possession")


def test_a_renewal_forwarded_by_a_member_is_signed() -> None:
    bench = signer()
    held = issued_certificate(days_left=20)
    result = result_of(only(cmd.Answer, bench.ask(bench.child("s1"), posting=held)))
    assert result.status_code == 0


def test_an_expired_certificate_needs_a_ticket() -> None:
    bench = signer()
    held = issued_certificate(days_left=-1)
    bench.now = replace(bench.now, wall=WallTime(bench.now.wall + 1))
    result = result_of(only(cmd.Answer, bench.ask(bench.stranger(held))))
    assert result.status_code == 2


def test_a_key_whose_certificate_is_due_gets_a_new_one_only_with_a_ticket() -> None:
    bench = signer()
    enroll(bench, given=ticket_for())
    bench.pass_time(380 * 86_400)
    fresh = request_certificate(serial=3)
    pending = result_of(only(cmd.Answer, bench.ask(bench.stranger(fresh))))
    assert pending.status_code == 2
    link = bench.stranger(fresh)
    signed = result_of(only(cmd.Answer, bench.ask(link, given=ticket_for())))
    assert signed.status_code == 0


@pytest.mark.parametrize("life", ["intended", "signed"])
def test_a_crash_between_intent_and_answer_yields_one_serial(life: str) -> None:
    bench = signer()
    bench.hold_work = True
    link = bench.stranger(request_certificate())
    check = only(cmd.CheckTicket, bench.ask(link, given=ticket_for()))
    sign = only(cmd.Sign, bench.work(check))
    intent = bench.ledger.intent(bench.request().request_id)
    assert intent is not None
    if life == "signed":
        bench.work(sign)
    bench.hold_work = False
    bench.crash()
    assert bench.request().state is RequestState.ISSUED
    result = result_of(enroll(bench, given=ticket_for()))
    assert f"{load_pem(result.cert).serial_number:x}".endswith(
        intent.serial.lstrip("0")
    )


def test_a_crash_during_the_ticket_check_is_made_good_at_the_next_start() -> None:
    bench = signer()
    bench.hold_work = True
    bench.ask(bench.stranger(request_certificate()), given=ticket_for())
    bench.hold_work = False
    bench.crash()
    assert bench.request().state is RequestState.ISSUED


def test_a_certificate_that_does_not_verify_is_not_released() -> None:
    bench = signer(issuer=ca(1))  # ca/ and certs/ca.crt do not fit
    bench.hold_work = True
    link = bench.stranger(request_certificate())
    check = only(cmd.CheckTicket, bench.ask(link, given=ticket_for()))
    sign = only(cmd.Sign, bench.work(check))
    ordered = bench.tell(ev.Signed(sign.request_id, sign_tbs(key(9_001), sign.tbs)))
    result = result_of(only(cmd.Answer, ordered))
    assert (result.status_code, result.reason) == (1, "signer-fault")
    assert bench.ledger.certificate(sign.request_id) is None
    assert any(
        isinstance(c, cmd.Log) and c.level is cmd.Level.CRITICAL for c in ordered
    )


def test_a_signing_fault_is_told_and_the_request_is_kept() -> None:
    bench = signer()
    bench.hold_work = True
    link = bench.stranger(request_certificate())
    check = only(cmd.CheckTicket, bench.ask(link, given=ticket_for()))
    sign = only(cmd.Sign, bench.work(check))
    ordered = bench.tell(ev.SigningFailed(sign.request_id, "no key"))
    assert result_of(only(cmd.Answer, ordered)).reason == "signer-fault"
    bench.hold_work = False
    bench.crash()
    assert bench.request().state is RequestState.ISSUED


def test_no_ticket_or_salt_is_ever_in_what_is_logged_or_shown() -> None:
    bench = signer()
    enroll(bench, given=WRONG)
    enroll(bench, given=ticket_for())
    shown = repr(bench.said) + repr(bench.ledger.requests()) + repr(bench.attempts())
    for secret in (WRONG, ticket_for(), SALT):
        assert secret not in shown


def test_an_asker_without_a_certificate_is_told() -> None:
    bench = signer()
    result = result_of(only(cmd.Answer, bench.ask(bench.stranger())))
    assert (result.status_code, result.reason) == (1, "no-certificate")


def test_an_unreadable_certificate_is_refused_with_a_result() -> None:
    bench = signer()
    link = bench.stranger()
    ordered = bench.tell(
        ev.CertificateAsked(
            link, ev.CallId(1), RequestCertificate(cert_request="nonsense")
        )
    )
    assert result_of(only(cmd.Answer, ordered)).reason == "bad-certificate"


def test_a_tampered_self_signature_is_refused() -> None:
    bench = signer()
    raw = bytearray(der(request_certificate()))
    raw[-1] ^= 1  # the last byte of the signature
    tampered = x509.load_der_x509_certificate(bytes(raw))
    ordered = bench.ask(bench.stranger(), posting=tampered)
    assert result_of(only(cmd.Answer, ordered)).reason == "bad-certificate"


def test_the_hops_of_a_direct_enrollment_are_told() -> None:
    bench = signer()
    result = result_of(enroll(bench, given=ticket_for()))
    told = hops_of(result)
    assert told == [("m1", "received"), ("m1", "signed")]


def test_a_relay_never_signs() -> None:
    bench = relay()
    link = bench.stranger(request_certificate())
    assert none_of(cmd.Sign, bench.ask(link, given=ticket_for()))


def test_a_ticket_that_could_not_be_compared_is_not_called_wrong() -> None:
    bench = signer()
    bench.hold_work = True
    link = bench.stranger(request_certificate())
    check = only(cmd.CheckTicket, bench.ask(link, given=ticket_for()))
    ordered = bench.tell(ev.TicketCheckFailed(check.attempt_id))
    result = result_of(only(cmd.Answer, ordered))
    assert (result.status_code, result.reason) == (1, "signer-fault")
    assert result.retry_after == 60
    assert bench.attempts()[0].state is AttemptState.RECEIVED
    bench.hold_work = False
    assert result_of(enroll(bench, given=ticket_for())).status_code == 0


def test_the_comparison_for_a_forgotten_attempt_is_of_no_use() -> None:
    bench = signer()
    assert bench.tell(ev.TicketCheckFailed("gone")) == []
    assert bench.tell(ev.TicketChecked("gone", valid=True)) == []


def test_a_ticket_compared_after_its_refusal_changes_nothing() -> None:
    bench = signer()
    enroll(bench, given=WRONG)
    attempt = bench.attempts()[0].attempt_id
    assert bench.tell(ev.TicketChecked(attempt, valid=True)) == []


def test_two_valid_tickets_for_one_request_are_one_signature() -> None:
    """A self-signed certificate that was remade is another attempt."""
    bench = signer()
    bench.hold_work = True
    checks = [
        only(cmd.CheckTicket, bench.ask(bench.stranger(remade), given=ticket_for()))
        for remade in (request_certificate(), request_certificate(serial=2))
    ]
    sign = only(cmd.Sign, bench.work(checks[0]))
    assert bench.work(checks[1]) == []
    answers = [c for c in bench.work(sign) if isinstance(c, cmd.Answer)]
    assert [result_of(answer).status_code for answer in answers] == [0, 0]


def test_who_asks_while_the_key_signs_shares_the_certificate() -> None:
    bench = signer()
    bench.hold_work = True
    first = bench.ask(bench.stranger(request_certificate()), given=ticket_for())
    sign = only(cmd.Sign, bench.work(only(cmd.CheckTicket, first)))
    again = bench.ask(bench.stranger(request_certificate()), given=ticket_for())
    assert none_of(cmd.CheckTicket, again)
    assert none_of(cmd.Sign, again)
    answers = [c for c in bench.work(sign) if isinstance(c, cmd.Answer)]
    assert len(answers) == 2


def test_a_signature_for_nothing_that_is_intended_is_not_used() -> None:
    bench = signer()
    enroll(bench, given=ticket_for())
    for request in ("gone", bench.request().request_id):
        assert bench.tell(ev.Signed(request, b"signature")) == []
    assert bench.tell(ev.SigningFailed("gone", "no key")) == []


def test_the_cas_own_name_is_refused_and_not_stored() -> None:
    bench = signer()
    name = common_name(ca())
    link = bench.stranger(request_certificate(name))
    ordered = bench.ask(link, given=ticket_for(name))
    assert none_of(cmd.Sign, ordered)
    assert result_of(only(cmd.Answer, ordered)).reason == "bad-name"
    assert bench.ledger.requests() == []


def test_a_daemon_with_a_wrong_ticket_is_let_go() -> None:
    """It asked without an id and cannot be told."""
    bench = signer()
    link = bench.stranger(request_certificate())
    ordered = bench.ask(link, given=WRONG, call=None)
    assert none_of(cmd.Answer, ordered)
    assert only(cmd.Drain, ordered).link == link


def test_an_asker_whose_ticket_is_not_compared_in_time_is_told() -> None:
    bench = signer()
    bench.hold_work = True
    bench.ask(bench.stranger(request_certificate()), given=ticket_for())
    result = result_of(only(cmd.Answer, bench.pass_time(15)))
    assert (result.status_code, result.reason) == (2, "awaiting-approval")


def test_a_signer_forwards_nothing() -> None:
    bench = signer()
    bench.ask(bench.stranger(request_certificate()))
    bench.parent("m2")
    assert none_of(cmd.Ask, bench.pass_time(60))
    assert none_of(cmd.Ask, bench.said)


def test_a_signer_takes_no_certificate_from_another_node() -> None:
    """What it does not sign itself it has not decided."""
    bench = signer()
    enroll(bench)
    other = bench.parent("m2")
    given = issued_certificate()
    ordered = bench.update(other, given, request=fingerprint(request_certificate()))
    only(cmd.Log, ordered)
    assert bench.request().state is RequestState.AWAITING_APPROVAL
