"""The table of a session's moves."""

from __future__ import annotations

from icefloe.cluster.session import Session
from icefloe.cluster.states import TRANSITIONS, Action, Signal, State

ENDINGS = {Action.FINISH, Action.FINISH_BRIEFLY, Action.REFUSE_HTTP}


def test_every_state_signal_and_action_is_used() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State)
    assert {signal for _, signal in TRANSITIONS} == set(Signal)
    assert {move.action for move in TRANSITIONS.values()} == set(Action)


def test_every_action_is_carried_out_by_the_session() -> None:
    assert set(Session._ACTIONS) == set(Action)


def test_what_the_world_can_do_is_legal_from_the_start_on() -> None:
    anytime = {Signal.SEND, Signal.DRAIN, Signal.PEER_FINISHED, Signal.LOST}
    for state in State:
        assert anytime <= {signal for at, signal in TRANSITIONS if at is state}


def test_session_finishes_exactly_where_it_enters_finishing() -> None:
    """So `Finish` comes at most once: there is no way back from `FINISHING`."""
    for (state, _), (action, after) in TRANSITIONS.items():
        enters = state is not State.FINISHING and after is State.FINISHING
        assert (action in ENDINGS) == enters


def test_no_way_leads_back() -> None:
    order = list(State)
    for (state, _), (_, after) in TRANSITIONS.items():
        assert order.index(after) >= order.index(state)


def test_lost_connection_closes_from_every_state() -> None:
    for state in State:
        assert TRANSITIONS[state, Signal.LOST].state is State.CLOSED
