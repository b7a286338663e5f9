"""Every problem of the catalogue is brought about; its words name hop, reason and step."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.cli.command import Command
from tests.cli.provoking import PROVOKED, SECRET, WRONG, Stage

from icefloe.enrollment.problems import PROBLEMS, codes

TOLD_BY_STATUS = {"code", "next", "detail"}
TOLD_BY_REQUEST = TOLD_BY_STATUS | {"hop", "reason", "retry_after"}


@pytest.fixture
def stage(icefloe: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Return where problems are brought about."""
    found = Stage(icefloe, monkeypatch)
    with found.undo:
        yield found


def test_every_code_is_provoked() -> None:
    assert set(PROVOKED) == set(codes())


@pytest.mark.parametrize("code", codes())
def test_a_problem_is_told_with_hop_reason_and_next_step(
    stage: Stage, code: str
) -> None:
    told = PROVOKED[code](stage)
    facts, problem = told.facts, PROBLEMS[code]
    assert facts["code"] == code, facts
    if set(facts) >= TOLD_BY_REQUEST:
        assert facts["hop"] == told.hop
    else:  # a status is of this node: its words say which hop
        assert set(facts) >= TOLD_BY_STATUS
        assert "hop" not in facts
    # In words: the hop, the reason (its code), what to do.
    text = " ".join(told.text.split())
    if problem.code != "signed":
        assert told.hop in text
        assert code in text
        assert "Next" in text
        assert facts["next"] in text
        assert facts["next"].split()[0] == problem.next_step.split()[0]
    assert SECRET not in text
    assert WRONG not in text
