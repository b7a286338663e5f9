"""The daemon's own certificate."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.enrollment.playbook import (
    DAY,
    START,
    Bench,
    asks,
    ca,
    issued_certificate,
    key,
    none_of,
    only,
    pending_result,
    refused_result,
    relay,
    request_certificate,
    signed_result,
    signer,
    ticket_for,
)

from icefloe.doors import WallTime
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.ledger import LedgerUnavailableError
from icefloe.enrollment.own import RETRY_RENEWAL
from icefloe.enrollment.settings import OwnIdentity
from icefloe.pki.certificates import load_pem, to_pem
from icefloe.pki.profiles import ca_certificate
from icefloe.wire.catalogue import CertificateResult, UpdateCertificate

OWN = request_certificate("s1", 40)
NEW = issued_certificate("s1", 40, serial=900)


def unsigned(**changes: object) -> Bench:
    own = OwnIdentity(certificate=OWN, ticket=ticket_for("s1"))
    return relay(own=own, **changes)


def up(bench: Bench, *, icefloe: bool = False) -> cmd.Ask:
    bench.parent(icefloe=icefloe)
    return next(c for c in bench.said if isinstance(c, cmd.Ask))


def test_a_self_signed_daemon_asks_its_parent_with_its_ticket() -> None:
    ask = up(unsigned())
    assert ask.params.ticket == ticket_for("s1")
    assert ask.params.cert_request == ""


def test_a_signed_daemon_asks_nothing() -> None:
    own = OwnIdentity(certificate=NEW)
    bench = relay(own=own)
    bench.parent()
    assert none_of(cmd.Ask, bench.said)


def test_a_due_certificate_is_asked_for_anew() -> None:
    old = issued_certificate("s1", 40, days_left=10)
    assert up(relay(own=OwnIdentity(certificate=old))).params.ticket == ""


def test_the_answer_is_installed() -> None:
    bench = unsigned()
    ordered = bench.answer_ask(up(bench), signed_result(NEW))
    install = only(cmd.InstallIdentity, ordered)
    assert load_pem(install.certificate) == NEW
    assert to_pem(NEW)[40:80] not in repr(install)


def test_a_pushed_certificate_for_our_key_is_installed_once() -> None:
    bench = unsigned()
    parent = up(bench).link
    only(cmd.InstallIdentity, bench.update(parent, NEW, request="ab"))
    assert none_of(cmd.InstallIdentity, bench.update(parent, NEW, request="ab"))


def test_a_certificate_pushed_by_a_stranger_is_never_installed() -> None:
    bench = unsigned()
    up(bench)
    for link in (bench.stranger(), bench.child("s2")):
        assert none_of(cmd.InstallIdentity, bench.update(link, NEW, request="ab"))


def test_a_certificate_with_another_name_is_not_installed() -> None:
    bench = unsigned()
    other = issued_certificate("agent", 40)
    ordered = bench.answer_ask(up(bench), signed_result(other))
    assert none_of(cmd.InstallIdentity, ordered)


def test_a_certificate_of_a_foreign_ca_is_not_installed() -> None:
    bench = unsigned()
    foreign = issued_certificate("s1", 40, ca_number=1)
    ask = up(bench)
    ordered = bench.answer_ask(ask, replace(signed_result(foreign), ca=to_pem(ca(1))))
    assert none_of(cmd.InstallIdentity, ordered)


def test_a_renewed_ca_certificate_is_taken_over_with_it() -> None:
    bench = unsigned()
    heir = ca_certificate(
        key(9_000),
        serial=7_777,
        not_before=WallTime(START - DAY),
        not_after=WallTime(START + 9_000 * DAY),
    )
    ordered = bench.answer_ask(up(bench), replace(signed_result(NEW), ca=to_pem(heir)))
    assert load_pem(only(cmd.InstallIdentity, ordered).ca) == heir


def test_a_pending_answer_is_asked_again_soon() -> None:
    bench = unsigned()
    assert none_of(cmd.Ask, bench.answer_ask(up(bench), pending_result()))
    only(cmd.Ask, bench.pass_time(1.0))


def test_an_icefloe_parent_is_asked_again_rarely() -> None:
    bench = unsigned()
    bench.answer_ask(up(bench, icefloe=True), pending_result())
    assert none_of(cmd.Ask, bench.pass_time(9.0))
    only(cmd.Ask, bench.pass_time(1.1))


def test_after_long_waiting_a_real_parent_is_asked_rarely_too() -> None:
    bench = unsigned()
    up(bench)
    ask = asks(bench.pass_time(700))[-1]
    only(cmd.Log, bench.answer_ask(ask, pending_result()))
    assert none_of(cmd.Ask, bench.pass_time(9.0))
    only(cmd.Ask, bench.pass_time(1.1))


def test_a_refusal_is_logged_with_what_to_do_and_asked_again_later() -> None:
    bench = unsigned()
    ordered = bench.answer_ask(up(bench), refused_result(text="wrong ticket"))
    log = only(cmd.Log, ordered)
    assert log.level is cmd.Level.ERROR
    assert log.fields["detail"] == "wrong ticket"
    assert none_of(cmd.Ask, bench.pass_time(59))
    only(cmd.Ask, bench.pass_time(2))


@pytest.mark.parametrize(
    "answer, state", [(pending_result(), "pending"), (refused_result(), "refused")]
)
def test_what_a_parent_said_stands_until_it_is_dialled_in_vain(
    answer: CertificateResult, state: str
) -> None:
    """An Icinga 2 ends the connection after each answer; it can be reached."""
    bench = unsigned()
    ask = up(bench)
    bench.answer_ask(ask, answer)
    bench.tell(ev.LinkDown(ask.link))
    assert last_state(bench) == state
    bench.tell(ev.DialFailed("m1", refused=False, detail="nobody is there"))
    assert last_state(bench) == "unreachable"


def last_state(bench: Bench) -> str:
    told = [c.status for c in bench.said if isinstance(c, cmd.TellOwnStatus)]
    return told[-1].state


def test_a_failed_ask_is_tried_again() -> None:
    bench = unsigned()
    ask = up(bench)
    bench.tell(ev.ParentFailed(ask.link, ask.call, "closed"))
    only(cmd.Ask, bench.pass_time(1.1))


def test_a_parent_that_went_away_is_not_waited_for() -> None:
    bench = unsigned()
    ask = up(bench)
    bench.tell(ev.LinkDown(ask.link))
    again = [c for c in bench.tell(ev.Started()) if isinstance(c, cmd.Ask)]
    assert again == []
    bench.parent("m2")
    assert len([c for c in bench.said if isinstance(c, cmd.Ask)]) == 2


def test_an_answer_to_nothing_is_ignored() -> None:
    bench = unsigned()
    link = up(bench).link
    assert bench.tell(ev.ParentAnswered(link, "own.99", signed_result(NEW))) == []


def test_a_new_identity_ends_the_asking() -> None:
    bench = unsigned()
    bench.answer_ask(up(bench), pending_result())
    settings = replace(bench.settings, own=OwnIdentity(certificate=NEW))
    bench.core.reconfigure(settings, bench.now)
    assert none_of(cmd.Ask, bench.pass_time(60))


def test_after_a_reload_a_call_that_is_under_way_is_not_made_twice() -> None:
    """Seed 1106: the second one came on a connection that the first answer closed."""
    bench = unsigned()
    ask = up(bench)
    bench.core.reconfigure(bench.settings, bench.now)
    assert none_of(cmd.Ask, bench.pass_time(60))
    only(cmd.InstallIdentity, bench.answer_ask(ask, signed_result(NEW)))


def test_an_unusable_certificate_in_an_answer_is_not_installed() -> None:
    bench = unsigned()
    result = CertificateResult(status_code=0, cert="junk", ca="junk")
    assert none_of(cmd.InstallIdentity, bench.answer_ask(up(bench), result))


def test_an_answer_without_a_ca_stands_on_the_ca_we_trust() -> None:
    bench = unsigned()
    ordered = bench.answer_ask(up(bench), replace(signed_result(NEW), ca=""))
    assert load_pem(only(cmd.InstallIdentity, ordered).ca) == ca()


def test_the_certificate_that_we_have_is_not_installed_again() -> None:
    bench = relay(own=OwnIdentity(certificate=NEW))
    assert bench.update(bench.parent(), NEW, request="ab") == []


def test_without_a_trusted_ca_nothing_is_asked_or_installed() -> None:
    """Setup fetches the CA certificate first; a daemon does not guess one."""
    bench = unsigned(anchor=None)
    parent = bench.parent()
    assert none_of(cmd.Ask, bench.said)
    assert bench.update(parent, NEW, request="ab") == []


def test_an_unreadable_pushed_certificate_is_nobodys() -> None:
    bench = unsigned()
    parent = up(bench).link
    params = UpdateCertificate(cert="junk", ca="", fingerprint_request="ab")
    ordered = bench.tell(ev.CertificateUpdated(parent, params))
    assert only(cmd.Log, ordered).event == "certificate for no request of ours ignored"


def test_a_pushed_refusal_is_no_certificate() -> None:
    bench = unsigned()
    parent = up(bench).link
    params = UpdateCertificate(
        cert=to_pem(NEW), ca=to_pem(ca()), fingerprint_request="ab", status_code=1
    )
    assert bench.tell(ev.CertificateUpdated(parent, params)) == []


def test_a_failure_of_a_call_that_is_over_is_ignored() -> None:
    bench = unsigned()
    ask = up(bench)
    bench.answer_ask(ask, pending_result())
    assert bench.tell(ev.ParentFailed(ask.link, ask.call, "late")) == []


def test_one_parent_is_asked_and_the_other_one_after_two_seconds_of_silence() -> None:
    """Behind two parents there may be two signers, and each that is asked signs."""
    bench = unsigned()
    ask = up(bench)
    other = bench.parent("m2")
    assert asks(bench.said) == [ask]
    assert none_of(cmd.Ask, bench.pass_time(1.9))
    assert only(cmd.Ask, bench.pass_time(0.2)).link == other


def test_after_pending_the_other_parent_is_asked_at_once_and_then_there_is_a_rest() -> (
    None
):
    bench = unsigned()
    ask = up(bench, icefloe=True)
    bench.parent("m2", icefloe=True)
    second = only(cmd.Ask, bench.answer_ask(ask, pending_result()))
    assert none_of(cmd.Ask, bench.answer_ask(second, pending_result()))
    assert none_of(cmd.Ask, bench.pass_time(9.9))
    assert only(cmd.Ask, bench.pass_time(0.2)).link == ask.link


def test_a_parent_whose_certificate_is_unusable_is_passed_over() -> None:
    bench = unsigned()
    ask = up(bench)
    other = bench.parent("m2")
    result = CertificateResult(status_code=0, cert="junk", ca="junk")
    assert only(cmd.Ask, bench.answer_ask(ask, result)).link == other


def test_when_a_parent_goes_away_with_our_call_the_other_one_is_asked() -> None:
    bench = unsigned()
    ask = up(bench)
    other = bench.parent("m2")
    bench.tell(ev.LinkDown(ask.link))
    assert only(cmd.Ask, bench.pass_time(0.1)).link == other


def test_only_a_parent_that_has_answered_is_asked_again() -> None:
    bench = unsigned()
    ask = up(bench)
    silent = bench.parent("m2")
    bench.answer_ask(ask, pending_result())
    again = asks(bench.pass_time(5.0))
    assert [each.link for each in again] == [ask.link]
    assert asks(bench.said).count(again[0]) == 1
    assert [each.link for each in asks(bench.said)].count(silent) == 1


def test_a_signer_asks_nobody_for_its_own_certificate() -> None:
    own = OwnIdentity(certificate=request_certificate("m1", 40))
    bench = signer(own=own)
    bench.parent("m2")
    bench.pass_time(2 * DAY)
    assert none_of(cmd.Ask, bench.said)


def test_who_gave_a_certificate_that_is_not_in_use_is_asked_first() -> None:
    """The other parent may be behind another signer, which would sign once more."""
    bench = unsigned()
    first = up(bench, icefloe=True)
    bench.parent("m2", icefloe=True)
    only(cmd.InstallIdentity, bench.answer_ask(first, signed_result(NEW)))
    assert none_of(cmd.Ask, bench.pass_time(59))
    again = only(cmd.Ask, bench.pass_time(2))
    assert again.link == first.link


def test_once_who_gave_a_certificate_is_gone_the_others_are_asked() -> None:
    bench = unsigned()
    first = up(bench, icefloe=True)
    other = bench.parent("m2", icefloe=True)
    only(cmd.InstallIdentity, bench.answer_ask(first, signed_result(NEW)))
    bench.tell(ev.LinkDown(first.link))
    ask = only(cmd.Ask, bench.pass_time(65))
    assert ask.link == other


def test_nobody_is_asked_while_a_certificate_is_installed() -> None:
    bench = unsigned()
    only(cmd.InstallIdentity, bench.answer_ask(up(bench), signed_result(NEW)))
    bench.said.clear()
    bench.parent("m2", icefloe=True)
    bench.pass_time(59)
    assert none_of(cmd.Ask, bench.said)
    assert not none_of(cmd.Ask, bench.pass_time(2))


def test_a_parent_that_gives_back_what_is_in_use_is_left_alone_for_a_while() -> None:
    due = issued_certificate("s1", 40, days_left=10)
    bench = relay(own=OwnIdentity(certificate=due))
    bench.answer_ask(up(bench, icefloe=True), signed_result(due))
    assert none_of(cmd.Ask, bench.pass_time(RETRY_RENEWAL - 1))
    only(cmd.Ask, bench.pass_time(2))


def test_a_parent_whose_coming_met_a_failing_ledger_is_asked_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = OwnIdentity(certificate=issued_certificate("s1", 40, days_left=1, serial=1))
    bench = relay(own=own)

    def fails(cn: str) -> None:
        raise LedgerUnavailableError(cn)

    with monkeypatch.context() as patch:
        patch.setattr(bench.ledger, "known_key", fails)
        with pytest.raises(LedgerUnavailableError):
            bench.parent()
        bench.ledger.rollback()
    # What was asked in that turn was not carried out.
    assert asks(bench.pass_time(120))
