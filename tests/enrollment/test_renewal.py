"""When a certificate is renewed, how that travels, and how loud it is when it fails."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from tests.enrollment.playbook import (
    DAY,
    START,
    Bench,
    answers,
    asks,
    ca,
    issued_certificate,
    key,
    none_of,
    only,
    own_asks,
    refused_result,
    relay,
    request_certificate,
    revoking,
    signed_result,
    signer,
)

from icefloe.doors import MonotonicTime, Now, WallTime
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment import own
from icefloe.enrollment.commands import Level
from icefloe.enrollment.ledger import RememberKey
from icefloe.enrollment.model import DecisionKind, KnownKey
from icefloe.enrollment.renewal import (
    RenewalPolicy,
    alarm_level,
    asks_again_at,
    days_left,
    is_due,
    is_wanted_early,
    window_of,
    wish_to_renew,
)
from icefloe.enrollment.settings import OwnIdentity
from icefloe.pki.certificates import key_id, load_pem, to_pem
from icefloe.pki.profiles import assemble, leaf_tbs, sign_tbs
from icefloe.wire.catalogue import CertificateResult, RequestCertificate

POLICY = RenewalPolicy()
YEAR = 397 * DAY
FRESH = issued_certificate(serial=600, days_left=700)


def born(
    *, life: float = YEAR, cn: str = "agent", number: int = 1, serial: int = 500
) -> x509.Certificate:
    """Return a certificate of the CA that begins at START."""
    tbs = leaf_tbs(
        cn=cn,
        public_key=key(number).public_key(),
        issuer=ca(),
        serial=serial,
        not_before=START,
        not_after=WallTime(START + life),
    )
    return assemble(tbs, sign_tbs(key(9_000), tbs), key(9_000).public_key())


def later(bench: Bench, age: float) -> Bench:
    """Return the same node, so many seconds after START."""
    now = Now(wall=WallTime(START + age), mono=MonotonicTime(1_000.0))
    return Bench(bench.settings, now=now)


# -- the window ----------------------------------------------------------------------------


def test_a_window_begins_at_two_thirds_and_ends_30_days_before_the_end() -> None:
    window = window_of(born(), POLICY)
    assert window.begins == pytest.approx(START + 0.66 * YEAR)
    assert window.closes == pytest.approx(START + YEAR - 30 * DAY)
    assert window.critical == pytest.approx(START + YEAR - 7 * DAY)
    assert window.begins <= window.due <= window.closes


@pytest.mark.parametrize("days", [1, 10, 60, 299])
def test_a_short_lived_certificate_keeps_a_tenth_of_its_life(days: int) -> None:
    window = window_of(born(life=days * DAY), POLICY)
    assert window.closes == pytest.approx(START + 0.9 * days * DAY)
    assert window.begins <= window.due <= window.closes < window.critical < window.ends


def test_the_window_is_as_configured() -> None:
    policy = RenewalPolicy(begins_percent=90, ends_days=10)
    window = window_of(born(), policy)
    assert window.begins == pytest.approx(START + 0.9 * YEAR)
    assert window.closes == pytest.approx(START + YEAR - 10 * DAY)


def test_a_window_that_would_end_before_it_begins_is_a_moment() -> None:
    policy = RenewalPolicy(begins_percent=95, ends_days=300)
    window = window_of(born(), policy)
    assert window.begins == window.due == window.closes


def test_the_moment_follows_from_the_certificate_alone() -> None:
    one, same, other = born(), born(), born(serial=501)
    assert window_of(one, POLICY).due == window_of(same, POLICY).due
    assert window_of(one, POLICY).due != window_of(other, POLICY).due
    assert not is_due(one, POLICY, WallTime(window_of(one, POLICY).due - 1))
    assert is_due(one, POLICY, window_of(one, POLICY).due)


def test_the_levels_rise_with_the_days() -> None:
    window = window_of(born(), POLICY)
    assert alarm_level(window, WallTime(window.due + 0.9 * DAY)) is None
    assert alarm_level(window, WallTime(window.due + DAY)) is Level.WARNING
    assert alarm_level(window, window.closes) is Level.ERROR
    assert alarm_level(window, window.critical) is Level.CRITICAL
    assert days_left(born(), window.closes) == 30


def test_nothing_to_do_is_come_back_to_a_day_later_until_it_is_no_excuse() -> None:
    window = window_of(born(), POLICY)
    assert asks_again_at(window, window.begins) == window.begins + DAY
    late = WallTime(window.closes - 100)
    assert asks_again_at(window, late) == window.closes
    assert asks_again_at(window, window.closes) is None


# -- asking early ---------------------------------------------------------------------------


def test_only_who_names_the_serial_it_shows_asks_early_and_not_in_its_youth() -> None:
    old, at = born(), WallTime(START + 0.6 * YEAR)
    assert is_wanted_early(old, wish_to_renew(old), at)
    assert not is_wanted_early(old, wish_to_renew(born(serial=9)), at)
    assert not is_wanted_early(old, {"renew": 5}, at)
    assert not is_wanted_early(old, None, at)
    young = WallTime(START + 0.4 * YEAR)
    assert not is_wanted_early(old, wish_to_renew(old), young)
    assert wish_to_renew(request_certificate()) is None


def ask_early(bench: Bench, certificate, *, posting: bool = False, wish: bool = True):
    """Ask with a certificate that has a while to go."""
    link = bench.child() if posting else bench.stranger(certificate, verified=True)
    return bench.tell(
        ev.CertificateAsked(
            link,
            ev.CallId("c1"),
            RequestCertificate(
                cert_request=to_pem(certificate) if posting else "",
                icefloe=wish_to_renew(certificate) if wish else None,
            ),
        )
    )


@pytest.mark.parametrize("posting", [False, True], ids=["direct", "by a relay"])
def test_a_signer_renews_early_what_is_asked_for_early_once(*, posting: bool) -> None:
    bench, old = later(signer(), 0.7 * YEAR), born()
    (first,) = answers(ask_early(bench, old, posting=posting))
    assert first.status_code == 0
    assert bench.request().renews == f"{500:04x}"
    assert bench.decided() is DecisionKind.RENEWAL
    (again,) = answers(ask_early(bench, old))
    assert again.cert == first.cert
    new = load_pem(first.cert)
    (nothing,) = answers(ask_early(bench, new))
    assert nothing.reason == "nothing-to-do"


def test_a_signer_leaves_who_merely_reconnects_alone() -> None:
    (answer,) = answers(ask_early(later(signer(), 0.7 * YEAR), born(), wish=False))
    assert answer.reason == "nothing-to-do"


def test_a_relay_carries_the_wish_on() -> None:
    bench, old = later(relay(), 0.7 * YEAR), born()
    bench.parent()
    ask = only(cmd.Ask, ask_early(bench, old))
    assert ask.params.icefloe == {"renew": f"{500:04x}"}
    assert load_pem(ask.params.cert_request) == old
    answer = bench.answer_ask(ask, signed_result(FRESH, request=old))
    assert answers(answer)[0].status_code == 0


def test_a_relay_hands_down_that_a_real_parent_has_nothing_to_do() -> None:
    bench = later(relay(), 0.7 * YEAR)
    bench.parent()
    ask = only(cmd.Ask, ask_early(bench, born()))
    bare = CertificateResult(status_code=1, error="valid and not due for renewal")
    ordered = bench.answer_ask(ask, bare)
    assert answers(ordered)[0].reason == "nothing-to-do"
    assert all(c.level < Level.WARNING for c in ordered if isinstance(c, cmd.Log))


# -- a node's own ----------------------------------------------------------------------------


def due_node(*, left: float = 60 * DAY, **changes: object) -> Bench:
    """A node whose certificate is due, and more than 30 days from its end."""
    for serial in range(500, 900):
        old = born(cn="s1", number=40, serial=serial)
        if window_of(old, POLICY).due < START + YEAR - left - 2 * DAY:
            bench = relay(own=OwnIdentity(certificate=old), **changes)
            return later(bench, YEAR - left)
    raise AssertionError("no serial has such a moment")


def logged(commands) -> list[tuple[Level, object]]:
    return [
        (c.level, c.fields["days_left"])
        for c in commands
        if isinstance(c, cmd.Log) and c.event == "own certificate could not be renewed"
    ]


BARE = CertificateResult(status_code=1, error="valid and not due for renewal")


def test_a_due_node_asks_early_and_says_so() -> None:
    bench = due_node()
    bench.parent()
    ask = own_asks(bench.said)[0]
    own_identity = bench.settings.own
    assert own_identity is not None
    assert ask.params.icefloe == wish_to_renew(own_identity.certificate)


@pytest.mark.parametrize(
    "result",
    [BARE, refused_result(reason="nothing-to-do")],
    ids=["of a real signer", "of ours"],
)
def test_nothing_to_do_is_no_alarm_and_comes_back_a_day_later(
    result: CertificateResult,
) -> None:
    bench = due_node()
    bench.parent()
    ordered = bench.answer_ask(own_asks(bench.said)[0], result)
    assert none_of(cmd.Ask, ordered)
    quiet = bench.pass_time(DAY - 60)
    bench.parent("m2")  # whoever connects meanwhile
    assert own_asks(bench.said) == own_asks(bench.said)[:1]
    assert own_asks(bench.pass_time(120))
    loud = [c for c in ordered + quiet if isinstance(c, cmd.Log)]
    assert all(each.level < Level.WARNING for each in loud)
    told = [c.status for c in bench.said if isinstance(c, cmd.TellOwnStatus)][-1]
    assert (told.state, told.code, told.parent) == ("due", "", "m1")


@pytest.mark.parametrize(
    "reason, seconds",
    [("refused-by-parent", own.RETRY_RENEWAL), ("signer-fault", own.RETRY_REFUSED)],
)
def test_a_refused_renewal_has_time_and_a_fault_is_over_soon(
    reason: str, seconds: float
) -> None:
    bench = due_node()
    bench.parent()
    bench.answer_ask(own_asks(bench.said)[0], refused_result(reason=reason))
    assert own_asks(bench.pass_time(seconds - 1)) == []
    assert own_asks(bench.pass_time(2))


def test_a_renewal_that_pends_for_long_is_asked_about_rarely() -> None:
    bench = due_node()
    bench.parent()
    pending = CertificateResult(status_code=2, error="wait")
    for ask in own_asks(bench.said):
        bench.answer_ask(ask, pending)
    asked = 0
    for _ in range(3_600):
        for ask in own_asks(bench.pass_time(1.0)):
            asked += 1
            bench.answer_ask(ask, pending)
    assert 600 <= asked <= 610


def test_from_30_days_before_the_end_nothing_to_do_is_a_refusal() -> None:
    bench = due_node(left=29 * DAY)
    bench.parent()
    bench.answer_ask(own_asks(bench.said)[0], BARE)
    told = [c.status for c in bench.said if isinstance(c, cmd.TellOwnStatus)][-1]
    assert told.code == "renewal-failing"
    assert logged(bench.said)[-1][0] is Level.ERROR


def test_without_a_parent_the_alarm_comes_rises_and_is_said_once_a_day() -> None:
    bench = due_node(left=33 * DAY)
    assert logged(bench.pass_time(599)) == []  # a life that has only begun
    said = logged(bench.pass_time(33 * DAY + 7_200))
    assert said[0] == (Level.WARNING, 32)
    levels = [level for level, _ in said]
    assert levels == sorted(levels)
    assert set(levels) == {Level.WARNING, Level.ERROR, Level.CRITICAL}
    assert len(said) <= 33 + 3
    told = [c.status for c in bench.said if isinstance(c, cmd.TellOwnStatus)][-1]
    assert (told.state, told.code) == ("expired", "certificate-expired")


def test_a_certificate_that_does_not_verify_is_never_installed() -> None:
    bench = due_node()
    bench.parent()
    ask = own_asks(bench.said)[0]
    for bad in (
        issued_certificate("s1", 41),
        issued_certificate("s2", 40),
        issued_certificate("s1", 40, ca_number=1),
        issued_certificate("s1", 40, days_left=-1),
        request_certificate("s1", 40),
    ):
        result = replace(signed_result(bad), ca="")
        assert none_of(cmd.InstallIdentity, bench.answer_ask(ask, result))
        ask = own_asks(bench.pass_time(2 * own.RETRY_RENEWAL))[-1]
        assert none_of(cmd.InstallIdentity, bench.update(ask.link, bad, request="ab"))


def test_a_record_that_only_waits_is_not_told_at_each_asking() -> None:
    bench = relay(own=OwnIdentity(certificate=request_certificate("s1", 40)))
    link = bench.parent()
    for _ in range(100):
        pending = [a for a in asks(bench.pass_time(1)) if a.link == link]
        for ask in pending:
            result = CertificateResult(status_code=2, error="wait")
            bench.answer_ask(ask, result)
    told = [c for c in bench.said if isinstance(c, cmd.TellOwnStatus)]
    assert 2 <= len(told) <= 5
    assert told[-1].status.next_attempt is not None


# -- what expired while its node was off -------------------------------------------------------


def expired_signer(days: int, *, known: int = 1, **changes: object) -> Bench:
    policy = RenewalPolicy(renew_expired_days=days)
    bench = later(signer(renewal=policy, **changes), YEAR + 5 * DAY)
    record = KnownKey(
        "agent", key_id(request_certificate(number=known)), "issued", START
    )
    bench.ledger.begin()
    bench.ledger.apply([RememberKey(record)])
    bench.ledger.commit()
    return bench


EXPIRED = born()


def comes_back(bench: Bench, certificate=EXPIRED, *, posting: bool = False) -> int:
    link = bench.child() if posting else bench.stranger(certificate)
    result = bench.ask(link, posting=certificate if posting else None)
    bench.pass_time(30)
    return (answers(result) or answers(bench.said))[-1].status_code


@pytest.mark.parametrize("posting", [False, True], ids=["direct", "by a relay"])
def test_what_expired_is_renewed_where_the_policy_says_so(*, posting: bool) -> None:
    bench = expired_signer(10)
    assert comes_back(bench, posting=posting) == 0
    assert bench.decided() is DecisionKind.POLICY
    assert bench.request().renews == f"{500:04x}"


@pytest.mark.parametrize(
    "bench",
    [
        expired_signer(0),
        expired_signer(4),
        expired_signer(10, known=2),
        expired_signer(10, anchor=revoking(EXPIRED)),
    ],
    ids=["off, as by default", "too long ago", "another key is known", "revoked"],
)
def test_what_expired_otherwise_awaits_a_person(bench: Bench) -> None:
    assert comes_back(bench) == 2
    assert bench.decided() is None


def test_what_another_ca_issued_does_not_come_back() -> None:
    foreign = issued_certificate("agent", 1, ca_number=1, days_left=397)
    assert comes_back(expired_signer(10), foreign) == 2


def test_a_name_nobody_knows_does_not_come_back() -> None:
    policy = RenewalPolicy(renew_expired_days=10)
    bench = later(signer(renewal=policy), YEAR + 5 * DAY)
    assert comes_back(bench) == 2


def test_a_stranger_gets_nothing_for_somebody_elses_expired_certificate() -> None:
    bench = expired_signer(10)
    link = bench.stranger(request_certificate("x", 9))
    (answer,) = answers(bench.ask(link, posting=EXPIRED))
    assert answer.reason == "no-possession"


def test_a_next_attempt_that_is_put_off_is_told_at_once() -> None:
    """Seeds 6189 and 8570: one parent has nothing to do, the other one is silent.

    The record said for a day that a parent was to be asked within two seconds.
    """
    bench = due_node()
    bench.parent()
    bench.parent("m2")
    bench.answer_ask(own_asks(bench.said)[0], BARE)
    bench.pass_time(3)
    told = [c.status for c in bench.said if isinstance(c, cmd.TellOwnStatus)][-1]
    assert told.next_attempt is not None
    assert told.next_attempt > bench.now.wall + DAY - 60
