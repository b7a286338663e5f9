"""One turn sees its own writes."""

from __future__ import annotations

import pytest
from tests.enrollment.playbook import relay, request_certificate

from icefloe.enrollment.model import RequestState
from icefloe.enrollment.turn import Turn


def test_a_state_that_the_table_does_not_allow_is_a_bug() -> None:
    bench = relay()
    bench.ask(bench.stranger(request_certificate()))
    turn = bench.core._turn(bench.now, bench.entropy)
    with pytest.raises(AssertionError, match=r"RECEIVED -> .*DELIVERED"):
        turn.move(bench.request(), RequestState.DELIVERED)
    assert turn.writes == []


def test_a_forgotten_attempt_is_gone_at_once() -> None:
    bench = relay()
    bench.ask(bench.stranger(request_certificate()))
    turn: Turn = bench.core._turn(bench.now, bench.entropy)
    (attempt,) = bench.attempts()
    turn.forget_attempt(attempt)
    assert turn.attempt(attempt.attempt_id) is None
    assert turn.attempts(attempt.request_id) == []
    assert turn.forgotten == {attempt.attempt_id}
