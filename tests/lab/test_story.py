from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import msgspec
import pytest

from icefloe.lab.narrator import Narrator
from icefloe.lab.outcomes import Outcome
from icefloe.lab.stage import Stage
from icefloe.lab.story import EXPECTED_FIRST, ByHandTold, Chapter, Command, Hop, Story

TOLD = {
    "outcome": "signed",
    "asks": 1,
    "hops": [
        {"node": "sat1", "did": "received", "at": 100.0},
        {"node": "master1", "did": "signed", "at": 100.025},
        {"node": "sat1", "did": "answered", "at": 100.03},
    ],
}
AGENT = Command.of(TOLD, seconds=0.5)


def chapter(habits: str | None) -> Chapter:
    return Chapter(
        satellite=f"sat-{habits}",
        habits=habits,
        by_hand=ByHandTold(
            first=EXPECTED_FIRST[habits],
            heard=("Hello 21405", "answer"),
            attempts=2,
            seconds=1.0,
        ),
        one_command=AGENT,
    )


STORY = Story(
    agent=AGENT,
    nodes_on_the_way=("sat1", "master1"),
    chapters=[chapter(habits) for habits in EXPECTED_FIRST],
    pause_seconds=1.0,
    seconds=12.0,
)


def test_hops_are_timed_from_the_first_one() -> None:
    assert AGENT.hops == (
        Hop(node="sat1", did="received", seconds=0.0),
        Hop(node="master1", did="signed", seconds=0.025),
        Hop(node="sat1", did="answered", seconds=0.03),
    )


@pytest.mark.parametrize("hops", [None, "sat1", [], ["sat1"], [{"node": "sat1"}]])
def test_hops_of_another_form_are_none(hops: object) -> None:
    assert Command.of({"hops": hops}, seconds=1).hops == ()


def test_the_story_that_was_to_be_told_has_no_differences() -> None:
    assert STORY.differences() == []


def test_an_agent_that_is_not_signed_at_once_is_a_difference() -> None:
    pending = replace(AGENT, outcome="pending")
    assert replace(STORY, agent=pending).differences() == [
        "the agent's set-up ended pending, not signed"
    ]
    twice = replace(AGENT, asks=2)
    assert replace(STORY, agent=twice).differences() == ["the agent had to ask 2 times"]


def test_a_node_that_is_missing_on_the_way_is_a_difference() -> None:
    silent = replace(AGENT, hops=AGENT.hops[1:2])
    assert replace(STORY, agent=silent).differences() == [
        "the way of the agent's request does not name sat1"
    ]


@pytest.mark.parametrize("habits", EXPECTED_FIRST)
def test_another_outcome_of_a_first_connection_is_a_difference(
    habits: str | None,
) -> None:
    told = chapter(habits)
    other = replace(told, by_hand=replace(told.by_hand, first=Outcome.RESET))
    (difference,) = other.differences()
    assert f"ended reset, not {EXPECTED_FIRST[habits]}" in difference


def test_an_agent_that_stays_without_certificate_is_a_difference() -> None:
    told = chapter("2.14.4")
    never = replace(
        told,
        by_hand=replace(told.by_hand, seconds=None, attempts=8),
        one_command=replace(AGENT, outcome="pending"),
    )
    by_hand, command = never.differences()
    assert "not signed in 8 attempts by hand" in by_hand
    assert "ended pending, not signed" in command


def test_the_story_as_json_says_what_happened_and_what_differs() -> None:
    told = msgspec.json.decode(replace(STORY, nodes_on_the_way=("sat9",)).to_json())
    assert told["story"]["agent"]["hops"][1]["node"] == "master1"
    assert [each["by_hand"]["first"] for each in told["story"]["chapters"]] == [
        "pending",
        "cut-off",
        "pending",
        "signed",
    ]
    assert "sat9" in told["differences"][0]


# How it is told.


def told(story: Story, *, silent: bool = False) -> str:
    out = StringIO()
    narrator = Narrator(out=out, err=StringIO(), silent=silent)
    narrator.tell_way(story.agent)
    narrator.tell_story(story)
    return out.getvalue()


def test_the_way_and_the_table_are_told_in_plain_words_to_a_file() -> None:
    text = told(STORY)
    assert "master1    signed      25 ms" in text
    for habits, first in EXPECTED_FIRST.items():
        assert "Icefloe" in text if habits is None else f"habits of {habits}" in text
        assert first.words in text
    assert "signed on the first connection" in text
    assert "\x1b" not in text


def test_what_differs_is_told() -> None:
    text = told(replace(STORY, agent=replace(AGENT, asks=3)))
    assert "differs: the agent had to ask 3 times" in text
    assert "signed on the first connection" not in text


def test_a_silent_narrator_leaves_standard_output_alone() -> None:
    assert told(STORY, silent=True) == ""


def test_who_keeps_the_cluster_is_told_how_to_end_it(tmp_path: Path) -> None:
    out = StringIO()
    stage = Stage.in_directory(tmp_path, ["2.14.4"])
    Narrator(out=out, err=StringIO(), silent=False).tell_how_to_go_on(stage, tmp_path)
    text = out.getvalue()
    assert f"rm -rf {tmp_path}" in text
    assert f"ICEFLOE_CONFIG_DIR={stage.master.directories.config_dir}\n" in text
    assert f"--parent {stage.satellite.listens}" in text
