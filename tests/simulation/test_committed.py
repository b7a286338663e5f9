"""What may be spoken of: what stands in a ledger, and what the same batch forgot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from icefloe.doors import WallTime
from icefloe.enrollment.ledger import (
    ForgetAttempt,
    ForgetCanary,
    ForgetRequest,
    StoreAttempt,
    StoreRequest,
    Write,
)
from icefloe.enrollment.model import (
    AttemptRecord,
    AttemptState,
    Origin,
    RequestRecord,
    RequestState,
    ticket_digest,
)
from icefloe.simulation.committed import CommittedView

DIGEST = ticket_digest("wrong")
REQUEST = RequestRecord(
    request_id="r",
    cn="agent",
    key_id="k",
    renews="",
    state=RequestState.RECEIVED,
    created_at=WallTime(0.0),
    updated_at=WallTime(0.0),
)
REFUSED = AttemptRecord(
    attempt_id="a",
    request_id="r",
    fingerprint="f",
    certificate=b"",
    ticket="",
    ticket_digest=DIGEST,
    requestor_ca="",
    origin=Origin.POSTED,
    via="",
    state=AttemptState.REFUSED,
    asked_at=WallTime(0.0),
)
FORGETTING = [ForgetAttempt("a"), ForgetRequest("r")]


def kept(view: CommittedView, *writes: Write) -> None:
    """Begin a batch and keep its transaction."""
    view.all_was_said()
    for write in writes:
        assert view.take(write) == []


@pytest.fixture
def view() -> CommittedView:
    return CommittedView("relay", signs=False, parents=frozenset())


@pytest.mark.parametrize("forgetting", FORGETTING)
def test_a_refusal_that_the_same_batch_records_and_forgets_may_be_told(
    view: CommittedView, forgetting: Write
) -> None:
    """Seeds 2769, 2990, 5519: another asking of the same batch needed the room."""
    kept(view, StoreRequest(REQUEST), StoreAttempt(REFUSED), forgetting)
    assert view.attempt_of("f", DIGEST) == REFUSED
    assert view.attempt("a") == REFUSED
    assert view.was_refused(REFUSED)
    assert not view.attempts_of("r")


@pytest.mark.parametrize("forgetting", FORGETTING)
def test_what_an_earlier_batch_forgot_may_not_be_spoken_of(
    view: CommittedView, forgetting: Write
) -> None:
    kept(view, StoreRequest(REQUEST), StoreAttempt(REFUSED))
    kept(view, forgetting)
    view.all_was_said()
    assert view.attempt_of("f", DIGEST) is None
    assert view.attempt("a") is None


def test_what_no_batch_recorded_may_not_be_spoken_of(view: CommittedView) -> None:
    kept(view, StoreRequest(REQUEST), ForgetAttempt("a"))
    assert view.attempt("a") is None


def test_only_a_canary_may_be_forgotten_with_what_was_signed(
    view: CommittedView,
) -> None:
    canary = replace(REQUEST, cn="icefloe-canary-1")
    kept(view, StoreRequest(canary), StoreAttempt(REFUSED), ForgetCanary("r"))
    assert view.requests == {}
    kept(view, StoreRequest(REQUEST))
    ((promise, _),) = view.take(ForgetCanary("r"))
    assert promise == "no_certificate_without_decision"
