"""Events that come late, twice, or from nowhere: no harm and no noise."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.enrollment.playbook import (
    DAY,
    Bench,
    answers,
    issued_certificate,
    only,
    pending_result,
    relay,
    request_certificate,
    signed_result,
    signer,
    ticket_for,
)

from icefloe.cluster.peer import Peer, Standing
from icefloe.cluster.zones import Relation
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.model import RequestState
from icefloe.enrollment.settings import EnrollmentLimits
from icefloe.pki.certificates import to_pem
from icefloe.wire.catalogue import RequestCertificate, UpdateCertificate

NOBODY = ev.LinkId(12_345)
REQUEST = request_certificate()


def events_of(link: ev.LinkId) -> list[ev.Event]:
    params = RequestCertificate(cert_request=to_pem(REQUEST))
    update = UpdateCertificate(
        cert=to_pem(REQUEST), ca="", fingerprint_request="ab", status_code=None
    )
    return [
        ev.CertificateAsked(link, ev.CallId(1), params),
        ev.ParentAnswered(link, "call", pending_result()),
        ev.ParentAnswered(link, "own.1", pending_result()),
        ev.ParentFailed(link, "call", "gone"),
        ev.ParentFailed(link, "own.1", "gone"),
        ev.CertificateUpdated(link, update),
        ev.PeerIsIcefloe(link),
        ev.LinkDown(link, clean=True),
    ]


@pytest.mark.parametrize("make", [relay, signer])
@pytest.mark.parametrize(
    "event", events_of(NOBODY), ids=lambda event: type(event).__name__
)
def test_nothing_comes_of_an_event_of_a_link_that_is_gone(
    make: Callable[[], Bench], event: ev.Event
) -> None:
    bench = make()
    assert bench.tell(event) == []
    assert bench.ledger.requests() == []


@pytest.mark.parametrize("certificate", [None, b"junk"])
def test_a_member_without_a_readable_certificate_confirms_nothing(
    certificate: bytes | None,
) -> None:
    bench = signer()
    peer = Peer(
        standing=Standing.MEMBER,
        common_name="s1",
        certificate=certificate,
        key_id="k",
        verified=True,
        relation=Relation.CHILD,
    )
    assert bench.tell(ev.LinkUp(ev.LinkId(7), peer)) == []


def test_a_clean_close_does_not_take_a_confirmation_back() -> None:
    """The new connection may come before the old one has ended."""
    bench = relay()
    bench.parent()
    link = bench.stranger(REQUEST)
    ask = only(cmd.Ask, bench.ask(link, given=ticket_for()))
    certificate = issued_certificate()
    bench.answer_ask(ask, signed_result(certificate))
    bench.member("agent", relation=Relation.CHILD, certificate=certificate)
    bench.tell(ev.LinkDown(link, clean=True))
    assert bench.request().state is RequestState.CONFIRMED


def test_another_certificate_with_the_same_serial_number_confirms_nothing() -> None:
    bench = relay()
    bench.parent()
    ask = only(cmd.Ask, bench.ask(bench.stranger(REQUEST), given=ticket_for()))
    bench.answer_ask(ask, signed_result(issued_certificate(serial=500)))
    impostor = issued_certificate("agent", 9, serial=500)
    bench.member("agent", relation=Relation.CHILD, certificate=impostor)
    assert bench.request().state is RequestState.ANSWERED


def test_a_waiter_of_a_request_that_was_forgotten_waits_out_its_time() -> None:
    """A member may be pushed to for longer than its request is kept."""
    limits = EnrollmentLimits(request_lifetime=60, hold_member_silent=DAY)
    bench = signer(limits=limits)
    bench.ask(bench.child("s1"), posting=REQUEST, call=None)
    bench.pass_time(2 * 3600)
    assert bench.ledger.requests() == []
    assert bench.tell(ev.LedgerChanged()) == []
    assert bench.core.census().waiters == 1
    bench.pass_time(DAY)
    assert bench.core.census().waiters == 0


def test_whose_request_was_forgotten_is_told_all_the_same() -> None:
    limits = EnrollmentLimits(request_lifetime=60, hold_member=DAY)
    bench = signer(limits=limits)
    bench.hold_work = True
    satellite = bench.child("s1")
    bench.ask(satellite, posting=REQUEST, given=ticket_for())
    bench.pass_time(2 * 3600)
    assert bench.ledger.requests() == []
    (told,) = answers(bench.pass_time(DAY))
    assert told.status_code == 2
