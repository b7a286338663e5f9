"""The wizard's validators: they run at each key, and say what is wrong."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from icefloe.cli.wizard_asking import Choice, LineAsker, NoAnswer
from icefloe.cli.wizard_questions import (
    QUESTIONS,
    Question,
    address_problem,
    global_zone_problem,
    host_problem,
    name_problem,
    parent_name_problem,
    port_problem,
    ticket_hint,
    yes_or_no,
    zone_problem,
)

NARROW = 79
QUESTION = Question("What?", "So that we know.")
YES = Question("Really?", "So that we know.", default=True)
NO = Question("Really?", "So that we know.", default=False)


@pytest.mark.parametrize("question", QUESTIONS.values())
def test_every_question_says_why_in_one_line(question: Question) -> None:
    assert question.why.endswith((".", "FILE", "NAME"))
    assert len(question.why) <= NARROW
    assert len(question.text) <= NARROW - 30, "there has to be room for the answer"


@pytest.mark.parametrize(
    "validate,good",
    [
        (name_problem, ["web1", "web1.example.org", "web_1"]),
        (host_problem, ["sat1", "sat1.example.org", "10.0.0.7", "::1", "fe80::1%eth0"]),
        (address_problem, ["", "127.0.0.1", "::"]),
        (port_problem, ["", "1", "5665", "65535"]),
        (zone_problem, ["master", "web1.example.org", "zone with blanks"]),
    ],
)
def test_good_answers_are_taken(
    validate: Callable[[str], str], good: list[str]
) -> None:
    assert [validate(each) for each in good] == [""] * len(good)


@pytest.mark.parametrize(
    "validate,bad,why",
    [
        (name_problem, "web/1", "a file name"),
        (name_problem, "w" * 65, "65 bytes"),
        (name_problem, "a,b", "comma"),
        (name_problem, "icefloe-canary-web1", "are canaries'"),
        (host_problem, "", "needed"),
        (host_problem, "a b", "a blank"),
        (host_problem, "sat1,5665", "','"),
        (host_problem, "10.0.0.700", "no address"),
        (host_problem, "a" * 254, "253"),
        (port_problem, "http", "a number"),
        (port_problem, "0", "from 1"),
        (port_problem, "65536", "65535"),
        (port_problem, "9" * 5000, "65535"),
        (port_problem, "\N{SUPERSCRIPT TWO}", "a number"),
        (zone_problem, "", "a name"),
        (zone_problem, "a!b", "'!'"),
        (zone_problem, "a\x07b", "printed"),
        (zone_problem, "z" * 256, "255"),
    ],
)
def test_bad_answers_are_refused_with_the_reason(
    validate: Callable[[str], str], bad: str, why: str
) -> None:
    assert why in validate(bad)


def test_a_parent_is_another_node_and_named_once() -> None:
    assert "this node itself" in parent_name_problem("a", own="a", others=[])
    assert "already" in parent_name_problem("b", own="a", others=["b"])
    assert not parent_name_problem("c", own="a", others=["b"])


def test_a_zone_is_not_named_twice() -> None:
    assert "another one" in zone_problem("a", taken=("a",))
    assert "by default" in global_zone_problem("director-global", taken=())
    assert "another one" in global_zone_problem("a", taken=("a",))


def test_a_ticket_of_odd_length_is_remarked_on_and_other_secrets_are_not() -> None:
    assert "39 characters" in ticket_hint("0" * 39)
    assert not ticket_hint("0" * 40)
    assert not ticket_hint("a-token_of-another-kind")
    assert not ticket_hint("")


@pytest.mark.parametrize(
    "text,meant",
    [("y", True), ("Yes", True), ("n", False), ("NO", False), ("", None), ("j", None)],
)
def test_yes_and_no_are_read(text: str, *, meant: bool | None) -> None:
    assert yes_or_no(text) is meant


# --- Line by line ---------------------------------------------------------------------


def piped(text: str) -> LineAsker:
    return LineAsker(patient=False, stream=io.StringIO(text))


def typed(text: str) -> LineAsker:
    return LineAsker(patient=True, stream=io.StringIO(text))


def test_an_empty_line_and_a_missing_one_take_the_default() -> None:
    asker = piped("\n")
    for _ in range(2):
        assert asker.text(QUESTION, default="d", validate=name_problem) == "d"
    assert asker.yes(YES)
    assert not asker.yes(NO)


def test_a_required_answer_is_read_from_the_next_line() -> None:
    asker = piped("\n\nweb1\n")
    assert asker.text(QUESTION, default=None, validate=name_problem) == "web1"


def test_a_required_answer_that_never_comes_ends_the_wizard() -> None:
    """Icinga's asks for ever."""
    with pytest.raises(NoAnswer, match=r"'What\?'.*has ended"):
        piped("\n\n").text(QUESTION, default=None, validate=name_problem)


def test_a_wrong_answer_of_a_pipe_ends_the_wizard() -> None:
    with pytest.raises(NoAnswer, match="a file name"):
        piped("a/b\nweb1\n").text(QUESTION, default=None, validate=name_problem)


def test_a_wrong_answer_of_a_person_is_asked_for_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asker = typed("a/b\nweb1\n")
    assert asker.text(QUESTION, default=None, validate=name_problem) == "web1"
    assert "not possible: it holds a '/'" in capsys.readouterr().out


@pytest.mark.parametrize(
    "question,line,meant",
    [
        (YES, "n", False),
        (YES, "nope", False),
        (YES, "Y", True),
        (YES, "whatever", True),
        (NO, "y", True),
        (NO, "yep", True),
        (NO, "whatever", False),
    ],
)
def test_yes_and_no_of_a_pipe_are_read_as_icinga_reads_them(
    question: Question, line: str, *, meant: bool
) -> None:
    assert piped(f"{line}\n").yes(question) is meant


@pytest.mark.parametrize("line,meant", [("y", True), ("yep", False), ("", False)])
def test_a_strict_question_wants_a_plain_yes(line: str, *, meant: bool) -> None:
    assert piped(f"{line}\n").yes(NO, strict=True) is meant


def test_ctrl_d_of_a_person_is_the_end() -> None:
    with pytest.raises(EOFError):
        typed("").text(QUESTION, default="d", validate=name_problem)


def test_one_of_several_is_chosen() -> None:
    choices = (Choice("a", "again"), Choice("s", "stop"))
    assert typed("x\nS\n").choose("What now?", choices) == "s"
    assert typed("\n").choose("What now?", choices) == "a"
