from __future__ import annotations

from itertools import islice

import pytest

from icefloe.lab.chaos_schedule import (
    TARGETS,
    UNPRIVILEGED,
    Blow,
    Trouble,
    schedule,
)


def blows(seed: int, *troubles: Trouble, count: int = 400) -> list[Blow]:
    return list(islice(schedule(seed, troubles or tuple(Trouble)), count))


def test_a_seed_makes_the_same_blows_again_and_another_one_others() -> None:
    assert blows(1) == blows(1)
    assert blows(1) != blows(2)


def test_a_longer_run_begins_as_a_shorter_one() -> None:
    assert blows(7)[:10] == blows(7, count=10)


def test_every_trouble_comes_to_everybody_it_may_come_to() -> None:
    seen = {(blow.trouble, blow.target) for blow in blows(3, count=2000)}
    assert seen == {(t, target) for t in Trouble for target in TARGETS[t]}


def test_only_what_was_asked_for_comes() -> None:
    assert {blow.trouble for blow in blows(1, Trouble.KILL)} == {Trouble.KILL}


@pytest.mark.parametrize("trouble", Trouble)
def test_what_lasts_ends_and_what_does_not_is_over_at_once(trouble: Trouble) -> None:
    at_once = {Trouble.KILL, Trouble.TERM, Trouble.HUP, Trouble.BREAK}
    for blow in blows(1, trouble, count=50):
        assert (blow.seconds == 0) == (trouble in at_once)
        assert blow.seconds < 30
        assert (blow.step != 0) == (trouble is Trouble.CLOCK)


def test_a_process_is_stopped_for_longer_than_its_peers_wait_for_a_stranger() -> None:
    assert max(blow.seconds for blow in blows(1, Trouble.PAUSE)) > 10


def test_nothing_that_needs_privileges_comes_unasked() -> None:
    assert set(Trouble) - set(UNPRIVILEGED) == {Trouble.CLOCK, Trouble.DISK}
