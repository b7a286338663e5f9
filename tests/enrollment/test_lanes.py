"""Whose repeated ask goes to a parent next: no crowd keeps another source back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from tests.enrollment.playbook import (
    Bench,
    asks,
    der,
    issued_certificate,
    key,
    pending_result,
    relay,
    request_certificate,
    signed_result,
    ticket_for,
)

from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.model import AttemptState
from icefloe.enrollment.settings import EnrollmentLimits
from icefloe.node.gateway.gateway import GATEWAY_LIMITS
from icefloe.pki.certificates import common_name, load_pem
from icefloe.pki.profiles import assemble

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

TICKET = ticket_for()
REQUEST = request_certificate()
HONEST = "192.0.2.99"


def pending(bench: Bench, ordered: list[cmd.Command]) -> list[cmd.Ask]:
    """Answer all that is asked of the parent with "pending"."""
    asked = asks(ordered)
    for ask in asked:
        bench.answer_ask(ask, pending_result())
    return asked


def seconds_to_second_ask(bench: Bench) -> float:
    """An honest agent asks with its ticket; its parent first says "pending"."""
    first = bench.ask(bench.stranger(REQUEST, address=HONEST), given=TICKET)
    (ask,) = asks(first)
    begun = bench.now.mono
    bench.answer_ask(ask, pending_result())
    while bench.now.mono - begun < 60.0:
        asked = pending(bench, bench.pass_time(0.05))
        if any(each.params.ticket == TICKET for each in asked):
            return bench.now.mono - begun
    return 60.0


def gateway() -> Bench:
    bench = relay(limits=GATEWAY_LIMITS)
    bench.parent()
    return bench


def satellite() -> Bench:
    bench = relay()
    bench.parent()
    return bench


def many_names(bench: Bench, count: int) -> None:
    """One source asks for many names, without a ticket, each twice."""
    for number in range(count):
        certificate = request_certificate(f"junk{number}", 100)
        link = bench.stranger(certificate, address="192.0.2.66")
        pending(bench, bench.ask(link))
        pending(bench, bench.ask(link, call="again"))


@pytest.mark.parametrize("node", [gateway, satellite])
def test_one_source_that_asks_again_for_many_names_keeps_no_other_back(
    node: Callable[[], Bench],
) -> None:
    bench = node()
    many_names(bench, 400)
    assert seconds_to_second_ask(bench) < 1.0


@pytest.mark.parametrize("node", [gateway, satellite])
def test_an_attempt_that_ended_costs_no_turn(node: Callable[[], Bench]) -> None:
    """Each leaves a turn behind that it waited for: nobody else waits for that one."""
    bench = node()
    for serial in range(300):
        again: x509.Certificate = request_certificate("junk", 100, serial=1 + serial)
        link = bench.stranger(again, address=f"192.0.2.{serial % 50}")
        pending(bench, bench.ask(link))
        pending(bench, bench.ask(link, call="again"))
        bench.tell(ev.LinkDown(link))
    assert seconds_to_second_ask(bench) < 1.0
    assert bench.core.census().reminders < 1000


def test_another_certificate_of_the_same_key_is_nothing_new_to_a_parent() -> None:
    bench = satellite()
    passed_on = 0
    for serial in range(50):
        again = request_certificate("junk", 100, serial=1 + serial)
        link = bench.stranger(again)
        passed_on += len(pending(bench, bench.ask(link)))
        bench.tell(ev.LinkDown(link))
    assert passed_on <= 3


def test_what_waits_for_its_turn_is_not_called_forwarded() -> None:
    bench = satellite()
    pending(bench, bench.ask(bench.stranger(request_certificate("junk", 100))))
    for serial in range(2, 9):
        again = request_certificate("junk", 100, serial=serial)
        bench.ask(bench.stranger(again, address=f"192.0.2.{serial}"))
    states = [attempt.state for attempt in bench.attempts("junk")]
    assert AttemptState.RECEIVED in states


def test_who_asks_again_after_a_restart_is_asked_for_at_once() -> None:
    """This life has asked nothing yet: nobody has been told anything by the parent."""
    bench = relay()
    certificates = [request_certificate(f"a{number}", 100) for number in range(50)]
    for number, certificate in enumerate(certificates):
        link = bench.stranger(certificate)
        bench.ask(link, given=ticket_for(f"a{number}"))
        bench.tell(ev.LinkDown(link))
    bench.pass_time(20.0)
    bench.crash()
    bench.parent()
    asked = []
    for number, certificate in enumerate(certificates):
        link = bench.stranger(certificate)
        asked += asks(bench.ask(link, given=ticket_for(f"a{number}")))
    assert len(asked) == 50


def test_without_a_parent_nobody_waits_for_a_turn_there() -> None:
    bench = relay()
    parent = bench.parent()
    link = bench.stranger(REQUEST)
    pending(bench, bench.ask(link, given=TICKET))
    for _ in range(5):
        many_names(bench, 2)
    bench.tell(ev.LinkDown(parent))
    bench.ask(link, given=TICKET, call="c2")
    ordered = bench.pass_time(4.0)
    assert [c for c in ordered if isinstance(c, cmd.Answer)]


def test_members_and_strangers_have_every_other_turn() -> None:
    limits = EnrollmentLimits(polls_per_second=12, polls_unwaited_per_second=2)
    bench = relay(limits=limits)
    bench.parent()
    child = bench.child("s2")
    for number in range(20):
        posted = request_certificate(f"b{number}", 200)
        pending(bench, bench.ask(child, posting=posted, call=f"b{number}"))
    for number in range(20):
        link = bench.stranger(
            request_certificate(f"c{number}", 100), address=f"192.0.2.{number}"
        )
        pending(bench, bench.ask(link))
    for number in range(20):
        posted = request_certificate(f"b{number}", 200)
        pending(bench, bench.ask(child, posting=posted, call=f"again{number}"))
        link = bench.stranger(
            request_certificate(f"c{number}", 100), address=f"192.0.2.{number}"
        )
        pending(bench, bench.ask(link, call="again"))
    asked = asks(bench.pass_time(1.0))
    names = [common_name(load_pem(ask.params.cert_request)) for ask in asked]
    members = sum(name.startswith("b") for name in names)
    assert len(names) >= 8
    assert abs(2 * members - len(names)) <= 3, names


@pytest.mark.parametrize("limits", [EnrollmentLimits(), GATEWAY_LIMITS])
def test_who_waits_has_most_of_the_turns(limits: EnrollmentLimits) -> None:
    assert 2 * limits.polls_unwaited_per_second < limits.polls_per_second


def test_a_second_form_of_a_signature_does_not_break_the_batch() -> None:
    """ECDSA: (r, n - s) verifies as well; the serial number is the same."""
    bench = satellite()
    link = bench.stranger(REQUEST)
    (ask,) = asks(bench.ask(link, given=TICKET))
    bench.answer_ask(ask, signed_result(issued_certificate(serial=501)))
    surplus = issued_certificate(serial=502)
    for given in (surplus, other_form(surplus)):
        bench.answer_ask(ask, signed_result(given))
    kept = bench.ledger.certificate_by_serial("01f6")
    assert kept is not None
    assert kept.certificate == der(surplus)


def other_form(certificate: x509.Certificate) -> x509.Certificate:
    """Return the certificate with the other signature that verifies as well."""
    r, s = decode_dss_signature(certificate.signature)
    signature = encode_dss_signature(r, P256_ORDER - s)
    tbs = certificate.tbs_certificate_bytes
    return assemble(tbs, signature, key(9_000).public_key())
