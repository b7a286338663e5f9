"""What an operator decides about requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.enrollment.playbook import (
    Bench,
    only,
    request_certificate,
    result_of,
    signer,
    ticket_for,
)

from icefloe.enrollment import administration
from icefloe.enrollment import commands as cmd
from icefloe.enrollment.administration import DecisionError
from icefloe.enrollment.ledger import StoreRequest, Write
from icefloe.enrollment.model import RequestState
from icefloe.pki.certificates import fingerprint

FINGERPRINT = fingerprint(request_certificate())


@pytest.fixture
def bench() -> Bench:
    """A signer with one request that awaits approval."""
    bench = signer()
    bench.ask(bench.stranger(request_certificate()))
    return bench


def commit(bench: Bench, writes: Sequence[Write]) -> None:
    bench.ledger.begin()
    bench.ledger.apply(writes)
    bench.ledger.commit()


def approve(bench: Bench) -> Sequence[Write]:
    return administration.approve(
        bench.ledger,
        bench.request(),
        actor="root",
        at=bench.now.wall,
        reserved=False,
        reserved_names=frozenset(),
        node_name="m1",
    )


def test_a_request_is_found_by_its_fingerprint_in_any_case_and_by_its_id(
    bench: Bench,
) -> None:
    request = bench.request()
    for name in (FINGERPRINT, FINGERPRINT.upper(), request.request_id):
        assert administration.find_request(bench.ledger, name) == request


def test_an_unknown_fingerprint_is_an_error_that_says_where_to_look(
    bench: Bench,
) -> None:
    with pytest.raises(DecisionError, match="ca list"):
        administration.find_request(bench.ledger, "0" * 64)


def test_the_undecided_request_of_a_certificate_is_preferred() -> None:
    bench = signer()
    bench.ask(bench.stranger(request_certificate()), given=ticket_for())
    bench.pass_time(390 * 86_400)  # the certificate is due: another request begins
    bench.ask(bench.stranger(request_certificate()))
    found = administration.find_request(bench.ledger, FINGERPRINT)
    assert found.state is RequestState.AWAITING_APPROVAL


def test_approving_twice_changes_nothing(bench: Bench) -> None:
    commit(bench, approve(bench))
    assert approve(bench) == ()


def test_a_signed_request_needs_no_approval() -> None:
    bench = signer()
    bench.ask(bench.stranger(request_certificate()), given=ticket_for())
    assert approve(bench) == ()


def test_a_removed_request_must_be_restored_before_it_is_approved(
    bench: Bench,
) -> None:
    removal = administration.remove(bench.request(), actor="root", at=bench.now.wall)
    commit(bench, removal)
    with pytest.raises(DecisionError, match="restore"):
        approve(bench)


def test_removing_twice_changes_nothing(bench: Bench) -> None:
    removal = administration.remove(bench.request(), actor="root", at=bench.now.wall)
    commit(bench, removal)
    again = administration.remove(bench.request(), actor="root", at=bench.now.wall)
    assert again == ()


def test_a_signed_request_cannot_be_removed() -> None:
    bench = signer()
    bench.ask(bench.stranger(request_certificate()), given=ticket_for())
    with pytest.raises(DecisionError, match="cannot be removed"):
        administration.remove(bench.request(), actor="root", at=bench.now.wall)


def test_only_a_removed_request_can_be_restored(bench: Bench) -> None:
    with pytest.raises(DecisionError, match="not removed"):
        administration.restore(bench.request(), at=bench.now.wall)


def test_the_list_shows_requests_with_their_newest_attempt(bench: Bench) -> None:
    bench.pass_time(1)
    bench.ask(bench.stranger(request_certificate(serial=9)))
    (listed,) = administration.list_requests(bench.ledger, None)
    assert listed.attempt.fingerprint == fingerprint(request_certificate(serial=9))
    assert listed.certificate is None


def test_the_list_can_be_narrowed_to_states(bench: Bench) -> None:
    signed = frozenset({RequestState.ISSUED})
    assert administration.list_requests(bench.ledger, signed) == []
    link = bench.stranger(request_certificate())
    answer = only(cmd.Answer, bench.ask(link, given=ticket_for()))
    assert result_of(answer).status_code == 0
    (listed,) = administration.list_requests(bench.ledger, signed)
    assert listed.certificate is not None


def test_a_request_nobody_asks_with_is_not_listed(bench: Bench) -> None:
    """Its attempts were evicted, or are being imported."""
    orphan = replace(bench.request(), request_id="0" * 32)
    bench.decide([StoreRequest(orphan)])
    listed = administration.list_requests(bench.ledger, None)
    assert [each.request.cn for each in listed] == ["agent"]
