"""The replay: every seed and every committed input, without atheris."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import corpus, targets
from tests.fuzz.coverage_of import fewest, steps
from tests.fuzz.shrinking import failure_of, shrunk
from tests.fuzz.targets import Target

BYTES_MAX = 1024 * 1024

TARGETS = {name: targets.load(name) for name in targets.NAMES}

SEEDS = [
    pytest.param(target, data, id=f"{target.name}-{name}")
    for target in TARGETS.values()
    for name, data in target.seeds.items()
]
FOUND = [
    pytest.param(target, path, id=f"{target.name}-{path.name}")
    for target in TARGETS.values()
    for path in corpus.files(target.name)
]


@pytest.mark.parametrize("target, data", SEEDS)
def test_what_was_made_by_hand_holds(target: Target, data: bytes) -> None:
    target.check(data)


@pytest.mark.parametrize("target, path", FOUND)
def test_what_was_found_holds(target: Target, path: Path) -> None:
    target.check(path.read_bytes())


def test_the_corpus_is_small_and_belongs_to_targets() -> None:
    files = [path for path in corpus.ROOT.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} <= set(targets.NAMES)
    assert len(files) < 500
    assert sum(path.stat().st_size for path in files) < BYTES_MAX


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_target_reaches_the_code_it_is_about(target: Target) -> None:
    """A target that returns at once would hold for ever."""
    reached = frozenset[object]().union(
        *(steps(target.check, data) for data in list(target.seeds.values())[:10])
    )
    assert len(reached) > 30


# -- the tools themselves --------------------------------------------------------------


def _fails_at_seven(data: bytes) -> None:
    if b"7" in data:
        raise ValueError("seven")


def test_a_failing_input_is_made_small() -> None:
    assert shrunk(_fails_at_seven, b"abc" * 50 + b"7" + b"def" * 50) == b"7"


def test_an_input_that_does_not_fail_stays_as_it_is() -> None:
    assert failure_of(_fails_at_seven, b"8") is None
    assert shrunk(_fails_at_seven, b"8") == b"8"


def test_of_inputs_that_do_the_same_the_smallest_is_kept() -> None:
    check = TARGETS["netstrings"].check
    seeds = TARGETS["netstrings"].seeds
    long = seeds["one"] + b"5:hello,"
    inputs, _ = fewest(check, [long, seeds["one"]], covered=[])
    assert inputs == [seeds["one"]]


def test_what_is_covered_already_is_not_kept() -> None:
    check = TARGETS["netstrings"].check
    seeds = TARGETS["netstrings"].seeds
    inputs, _ = fewest(check, [seeds["one"]], covered=[seeds["two"]])
    assert inputs == []
