"""A crowd that waits for its master is signed, and nothing is left of it but its rows."""

from __future__ import annotations

from icefloe.simulation.scale import AWAY_SECONDS, Grown, grow

AGENTS = 300


def crowd() -> Grown:
    return grow(AGENTS, seed=3)


CROWD = crowd()


def test_everybody_is_signed_soon_after_the_master_is_back() -> None:
    assert CROWD.unsigned == ()
    assert len(CROWD.waits) == AGENTS
    assert CROWD.afterwards[0] > 0.0
    assert CROWD.afterwards[-1] < 120.0
    assert CROWD.waits[-1] < AWAY_SECONDS + 120.0


def test_each_has_one_request_one_attempt_and_one_certificate_wherever_it_passed() -> (
    None
):
    for rows, agents in (
        (CROWD.relay_rows, CROWD.relay_agents),
        (CROWD.signer_rows, AGENTS),
    ):
        assert rows["requests"] == rows["attempts"] == rows["certificates"] == agents
        assert rows["hops"] <= 6 * agents
    assert CROWD.signer_rows["intents"] == CROWD.signer_rows["decisions"] == AGENTS


def test_the_cores_remember_nothing_of_it() -> None:
    assert CROWD.remembered.pop("links") == 20  # between each relay and the signer
    assert set(CROWD.remembered.values()) == {0}


def test_the_same_seed_makes_the_same_crowd() -> None:
    one, other = grow(40, seed=1), grow(40, seed=1)
    assert one.waits == other.waits
    assert one.asks == other.asks
    assert grow(40, seed=2).waits != one.waits
