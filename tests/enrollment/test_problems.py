"""The catalogue of problems: complete, fit to be read, and alike in its document."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from icefloe.cluster.zones import Endpoint, Zone, ZoneTree
from icefloe.doors import WallTime
from icefloe.enrollment import policy
from icefloe.enrollment.model import KnownKey, Origin
from icefloe.enrollment.problems import (
    GROUPS,
    PROBLEMS,
    Code,
    Outlook,
    Problem,
    codes,
    fill,
    problem_for,
    problem_of,
    problem_of_result,
)
from icefloe.enrollment.reasons import Reason, reason_in_note, reason_in_words
from icefloe.enrollment.requester import AskResult, Came

DOCUMENT = Path(__file__).parents[2] / "docs" / "problems.md"
LINE_MAX = 100


# --- Which problem it is --------------------------------------------------------------


@pytest.mark.parametrize("came", Came)
def test_every_outcome_has_a_problem(came: Came) -> None:
    assert problem_of(came).code in PROBLEMS


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("came", [Came.REFUSED, Came.PENDING])
def test_every_reason_of_a_parent_is_its_own_code(came: Came, reason: Reason) -> None:
    assert problem_of(came, reason.value).code == reason.value


@pytest.mark.parametrize(
    "code", [each for name, each in vars(Code).items() if name.isupper()]
)
def test_every_code_with_a_name_stands_in_the_catalogue(code: str) -> None:
    assert code in PROBLEMS
    assert code not in set(Reason)


def test_a_code_that_is_no_reason_has_a_name() -> None:
    named = {each for name, each in vars(Code).items() if name.isupper()}
    assert set(codes()) == named | {reason.value for reason in Reason}


@pytest.mark.parametrize("words", ["", "disk-full", "signed", "of a later release"])
def test_what_a_parent_calls_its_reason_cannot_name_another_problem(words: str) -> None:
    """A peer must not make us say that our disk is full."""
    assert problem_of(Came.REFUSED, words).code == Reason.REFUSED_BY_PARENT.value
    assert problem_of(Came.PENDING, words).code == Code.PENDING


def test_what_we_found_out_goes_before_what_the_parent_says() -> None:
    result = AskResult(
        Came.UNREACHABLE, facts={"reason": "declined"}, code=Code.NAME_NOT_RESOLVED
    )
    assert problem_of_result(result).code == Code.NAME_NOT_RESOLVED


def test_a_reason_of_a_strange_type_is_none() -> None:
    result = AskResult(Came.REFUSED, facts={"reason": ["wrong-ticket"]})
    assert problem_of_result(result).code == Reason.REFUSED_BY_PARENT.value


def test_no_code_is_no_problem() -> None:
    assert problem_for("") is None


@pytest.mark.parametrize(
    "words, reason",
    [
        ("Invalid ticket for CN 'a1'.", Reason.WRONG_TICKET),
        ("Ticket for CN a1 declined by administrator.", Reason.DECLINED),
        ("No.", Reason.REFUSED_BY_PARENT),
    ],
)
def test_the_words_of_a_real_signer_have_a_reason(words: str, reason: Reason) -> None:
    assert reason_in_words(words) is reason


def test_the_note_of_a_reserved_name_is_understood() -> None:
    known = KnownKey(cn="m1", key_id="one", how="issued", at=WallTime(0.0))
    gate = policy.reserved_gate(
        cn="m1", key_id="two", known_key=known, reserved_names=frozenset({"m1"})
    )
    assert gate is not None
    assert reason_in_note(gate.text) is gate.reason


def test_the_note_of_a_name_outside_the_subtree_is_understood() -> None:
    tree = ZoneTree(
        zones=[
            Zone("master", ("m1",)),
            Zone("left", ("sat1",), "master"),
            Zone("right", ("a1",), "master"),
        ],
        endpoints=[Endpoint("m1"), Endpoint("sat1"), Endpoint("a1")],
        node_name="m1",
    )
    gate = policy.gate(
        cn="a1",
        key_id="one",
        origin=Origin.RELAYED,
        forwarder_zone="left",
        known_key=None,
        reserved_names=frozenset(),
        tree=tree,
    )
    assert gate is not None
    assert reason_in_note(gate.text) is gate.reason is Reason.OUTSIDE_SUBTREE


@pytest.mark.parametrize(
    "note, reason",
    [
        ("", Reason.AWAITING_APPROVAL),
        ("something new", Reason.AWAITING_APPROVAL),
        ("the last certificate of this key for 'a1' was revoked", Reason.REVOKED_KEY),
        (
            "tickets have had 20 keys signed for 'a1' within a day",
            Reason.TOO_MANY_CERTIFICATES,
        ),
    ],
)
def test_a_note_is_understood(note: str, reason: Reason) -> None:
    assert reason_in_note(note) is reason


# --- How it reads ---------------------------------------------------------------------


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=codes())
def test_a_problem_says_everything(problem: Problem) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", problem.code)
    assert problem.title[0].isupper()
    assert problem.title[-1] != "."
    for sentence in (problem.meaning, problem.next_step):
        assert sentence[0].isupper() or sentence.startswith("HOP"), sentence
        assert sentence.endswith("."), sentence
    if problem.outlook is not Outlook.WELL:
        assert problem.cause.endswith(".")
        assert problem.commands


def test_a_next_step_is_filled_with_what_is_known() -> None:
    problem = PROBLEMS[Reason.WRONG_TICKET]
    step = problem.fill(hop="master1", cn="CNN")
    assert "on master1 ('icefloe pki ticket --cn CNN')" in step


def test_what_is_not_known_stays_as_it_stands() -> None:
    assert fill("HOP, PARENT, HOST, CN", parent="sat1:5665") == (
        "HOP, sat1:5665, sat1, CN"
    )


def test_what_is_filled_in_is_not_filled_again() -> None:
    assert fill("HOP CN", hop="CN", cn="HOP") == "CN HOP"


# --- The document ---------------------------------------------------------------------


def test_document_and_catalogue_are_alike() -> None:
    """Else: PYTHONPATH=src:. python -m tests.enrollment.test_problems"""
    assert DOCUMENT.read_text() == document()


def document() -> str:
    """Return what docs/problems.md has to be."""
    parts = [INTRODUCTION.strip(), _overview()]
    for heading, group in GROUPS.items():
        parts.append(f"## {heading}")
        parts += map(_section, group)
    return "\n\n".join(parts) + "\n"


INTRODUCTION = """
# Problems

Every way in which an enrollment can end or wait, with one stable code for each. `icefloe pki request`,
`icefloe node setup`, `icefloe node wizard`, the daemon and the gateway use these codes and no others. A code
never changes its meaning and never goes away; the words beside it may change.

    icefloe enrollment status          # how this node stands
    icefloe enrollment explain CN      # what a name waits for; run it on the node that is named as hop
    icefloe enrollment problems CODE   # one entry of this page, in the terminal

With `--json` a command prints, among other things:

| key | what it is |
|---|---|
| `code` | one of this page |
| `hop` | the node it is about: the name it gave itself, else `host:port` as it was asked, else `this node` |
| `reason` | the code that a node gave for its answer; `null` when there was none |
| `detail` | what was said, or what failed, for a person |
| `next` | what to do, with names filled in |
| `retry_after` | seconds after which asking again may help; `null` when nobody said |

Words in capitals stand for what a case knows. HOP is the node that refused or is to be looked at, PARENT
the parent that was asked, with its port, HOST the same without it, CN this node's name, FINGERPRINT that of the
certificate that is the request. A command after `on HOP` or `on PARENT` is to be run there.

*Outlook* says whether somebody has to act: `well`: nothing is wrong. `waits`: it goes on by itself.
`needs-a-person`: it stays so until somebody does what is said.

This page is made from the program's own catalogue; a test holds the two alike.
"""


def _overview() -> str:
    rows = [
        f"| [`{p.code}`](#{p.code}) | {p.title} | `{p.outlook.value}` |"
        for p in PROBLEMS.values()
    ]
    return "\n".join(["| code | what | outlook |", "|---|---|---|", *rows])


def _section(problem: Problem) -> str:
    lines = [f"### {problem.code}", "", f"**{problem.title}.**"]
    lines[-1] += f" {problem.meaning}"
    facts = [("Typical cause", problem.cause), ("What to do", problem.next_step)]
    commands = "; ".join(map(_command, problem.commands))
    facts += [("Run", commands), ("Outlook", f"`{problem.outlook.value}`")]
    lines += ["", *(f"* {name}: {text}" for name, text in facts if text)]
    return "\n".join(
        textwrap.fill(
            line,
            LINE_MAX,
            subsequent_indent="  " if line.startswith("* ") else "",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines
    )


def _command(command: str) -> str:
    place, mark, rest = command.partition("$ ")
    return f"on {place} `{rest}`" if mark else f"`{command}`"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
