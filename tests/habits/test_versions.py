from __future__ import annotations

import pytest

from icefloe.habits import HABITS, AfterPending, UnknownVersion, habits_of


def test_the_rows_say_what_the_releases_do() -> None:
    """Protocol: 6.9, 6.7, 6.5, 1.4, 1.8 and the milestones."""
    facts = {
        version: (
            habits.after_pending,
            habits.close_drops_queue,
            habits.update_needs_member,
            habits.knows_requestor_ca,
            habits.keeps_verified_strangers,
        )
        for version, habits in HABITS.items()
    }
    then_close, stay = AfterPending.REPLY_THEN_CLOSE, AfterPending.REPLY_AND_STAY
    assert facts == {
        "2.13.6": (then_close, False, False, False, True),
        "2.14.3": (then_close, False, False, True, True),
        "2.14.4": (AfterPending.CUT, True, False, True, True),
        "2.14.5": (stay, True, False, True, True),
        "2.16.5": (stay, True, True, True, False),
    }


def test_the_hello_follows_from_the_version() -> None:
    for version, habits in HABITS.items():
        major, minor, patch = map(int, version.split("."))
        assert habits.hello.version == 10000 * major + 100 * minor + patch
        assert habits.hello.capabilities == {13: 1, 14: 3, 16: 7}[minor]


def test_a_version_is_found_by_its_name() -> None:
    assert habits_of("2.14.4").version == "2.14.4"


def test_a_version_without_a_row_is_an_error_that_lists_the_rows() -> None:
    with pytest.raises(UnknownVersion, match=r"2\.13\.6.*2\.16\.5") as caught:
        habits_of("2.15.0")
    assert caught.value.version == "2.15.0"
