"""That a guide which does not hold is found: the suite's own ways to be fooled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guides.comparing import difference
from tests.guides.reading import GuideError, read_guide
from tests.guides.running import Outcome, follow
from tests.guides.shells import Machines


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    made = Machines(tmp_path)
    try:
        yield made
    finally:
        made.end()


def guide(*blocks: str) -> str:
    """Return Markdown; each block is `language: text`, after its marks."""
    made = []
    for block in blocks:
        marks, _, rest = block.rpartition("-->")
        language, _, text = rest.strip().partition(": ")
        lines = [*([f"{marks}-->"] if marks else []), f"```{language}", text, "```"]
        made.append("\n".join(lines))
    return "\n\nWords.\n\n".join(made) + "\n"


def run(machines: Machines, *blocks: str, **values: str) -> Outcome:
    return follow(read_guide(guide(*blocks)), machines, values)


def test_one_shell_remembers_what_was_typed_before(machines: Machines) -> None:
    outcome = run(machines, "sh: A=1; cd /", "sh: echo $A; pwd", "text: 1\n/")
    assert outcome.wrong == []
    assert (outcome.ran, outcome.compared) == (2, 1)


@pytest.mark.parametrize(
    "text",
    ["false", "false\ntrue", "f() { false; }; f; true", "no-such-command; true"],
)
def test_a_command_that_fails_anywhere_in_a_block_is_found(
    machines: Machines, text: str
) -> None:
    assert "it ended with" in run(machines, f"sh: {text}").wrong[0]


def test_a_condition_may_fail(machines: Machines) -> None:
    assert run(machines, "sh: until [ -e x ]; do touch x; done").wrong == []


def test_an_expected_failure_has_to_happen(machines: Machines) -> None:
    marked = "<!-- exit: 3 -->\nsh: "
    assert run(machines, f"{marked}(exit 3)").wrong == []
    assert run(machines, f"{marked}true").wrong != []


def test_other_output_than_is_shown_is_found_and_ends_the_run(
    machines: Machines,
) -> None:
    outcome = run(machines, "sh: echo no", "text: yes", "sh: touch later")
    assert "the guide shows" in outcome.wrong[0]
    assert not (machines["here"].home / "later").exists()


def test_machines_are_apart_and_a_word_goes_from_one_to_the_other(
    machines: Machines,
) -> None:
    outcome = run(
        machines,
        "<!-- on: a -->\nsh: echo secret-$$ | tee kept",
        "text: <ticket>",
        "<!-- on: b -->\nsh: echo <ticket> > got; [ ! -e kept ]",
    )
    assert outcome.wrong == []
    kept, got = (machines[n].home / f for n, f in (("a", "kept"), ("b", "got")))
    assert got.read_text() == kept.read_text()


def test_values_are_edited_everywhere_and_read_as_the_guide_has_them(
    machines: Machines,
) -> None:
    blocks = (
        "<!-- values -->\nsh: HOST=sat1.example.org",
        "sh: echo $HOST",
        "text: sat1.example.org",
        "<!-- on: b -->\nsh: echo $HOST > got",
    )
    assert run(machines, *blocks, HOST="127.0.0.9").wrong == []
    assert (machines["b"].home / "got").read_text() == "127.0.0.9\n"
    assert "the values are" in run(machines, *blocks, PORT="1").wrong[0]


def test_what_cannot_be_run_is_counted_with_its_reason(machines: Machines) -> None:
    outcome = run(machines, "<!-- not run: Windows -->\npowershell: Stop-It")
    assert outcome.not_run == ["Windows"]
    assert outcome.ran == 0


@pytest.mark.parametrize(
    "blocks",
    [
        ["powershell: Stop-It"],
        ["text: nobody printed this"],
        ["sh: echo 1", "text: 1", "text: 1"],
        ["<!-- not run -->\nsh: true"],
        ["<!-- values: A -->\nsh: A=1"],
        ["<!-- runs: never -->\nsh: true"],
    ],
    ids=["unmarked", "unprinted", "twice", "no reason", "argument", "unknown mark"],
)
def test_a_guide_that_cannot_be_read_is_refused(blocks: list[str]) -> None:
    with pytest.raises(GuideError):
        read_guide(guide(*blocks))


def test_a_mark_that_strays_from_its_block_is_refused() -> None:
    with pytest.raises(GuideError):
        read_guide("<!-- not run: Windows -->\nSome words.\n```sh\ntrue\n```\n")
    with pytest.raises(GuideError):
        read_guide("```sh\ntrue\n```\n<!-- not run: Windows -->\n")


FINGERPRINTS = ["AA " * 31 + "AA", "BB " * 31 + "BB", "CC " * 31 + "CC"]


@pytest.mark.parametrize(
    "shown, printed",
    [
        ("a\n...\nc", "a\nb\nb\nc"),
        ("a\n...\nc", "a\nc"),
        ("a\n...", "a"),
        ("a ... c", "a b b c"),
        ("in 0.12 s", "in 14 s"),
        ("2026-11-23T01:41:52.642374 x", "2027-01-01T00:00:00.000001 x"),
        ("<a> <a>", "1 1"),
        (FINGERPRINTS[0], FINGERPRINTS[1]),
    ],
)
def test_what_may_differ(shown: str, printed: str) -> None:
    assert difference(shown, printed, {}) == ""


@pytest.mark.parametrize(
    "shown, printed",
    [
        ("a\n...\nc", "a\nb"),
        ("a", "a\nb"),
        ("a\nb", "a"),
        ("a.c", "abc"),
        ("in 0.12 s", "in no time"),
        ("<a> <a>", "1 2"),
        ("\n".join(FINGERPRINTS[0] for _ in "12"), "\n".join(FINGERPRINTS[1:])),
    ],
)
def test_what_may_not_differ(shown: str, printed: str) -> None:
    assert difference(shown, printed, {}) != ""


def test_a_fingerprint_stays_what_it_was_in_an_earlier_block() -> None:
    words: dict[str, str] = {}
    assert difference(FINGERPRINTS[0], FINGERPRINTS[1], words) == ""
    assert difference(FINGERPRINTS[0], FINGERPRINTS[2], words) != ""
    assert difference(FINGERPRINTS[0], FINGERPRINTS[1], words) == ""
