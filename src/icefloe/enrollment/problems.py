"""Every way in which an enrollment can end or wait: one stable code for each.

`pki request`, `node setup`, `node wizard`, the daemon and the gateway all speak of these
and of no others.  A code never changes its meaning and never goes away; the words
beside it are for people and may change.  A refusal's code is its `Reason`: one word,
one meaning.  docs/problems.md lists them all; a test holds the two alike.

Errors of files and of configuration get theirs in `node.commands.error_codes`: they are
not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from icefloe.enrollment.problem import Code, Outlook, Problem, fill
from icefloe.enrollment.problem_texts import GROUPS
from icefloe.enrollment.reasons import Reason
from icefloe.enrollment.requester import AskResult, Came

__all__ = [
    "GROUPS",
    "PROBLEMS",
    "Code",
    "Outlook",
    "Problem",
    "codes",
    "fill",
    "problem_for",
    "problem_of",
    "problem_of_result",
]

PROBLEMS: Final[Mapping[str, Problem]] = MappingProxyType(
    {problem.code: problem for group in GROUPS.values() for problem in group}
)
"""By code, in the order of the document."""

_OF_CAME: Final = {
    Came.SIGNED: Code.SIGNED,
    Came.PENDING: Code.PENDING,
    Came.REFUSED: Reason.REFUSED_BY_PARENT.value,
    Came.NOTHING_TO_DO: Reason.NOTHING_TO_DO.value,
    Came.CUT_OFF: Code.CUT_OFF,
    Came.UNREACHABLE: Code.UNREACHABLE,
    Came.UNTRUSTED: Code.TRUST_MISMATCH,
    Came.INVALID: Code.INVALID_CERTIFICATE,
}

_REASONS: Final = frozenset(reason.value for reason in Reason)


def problem_of(came: Came, reason: str = "", code: str = "") -> Problem:
    """Say which problem one ask's outcome is.

    Args:
        came: the kind of outcome.
        reason: what a parent gave as its reason; anything may stand here.  It counts
            for a refusal and a pending answer, when it is a `Reason` that we know.
        code: what we found out ourselves (`AskResult.code`); it goes before both.
    """
    if code in PROBLEMS:
        return PROBLEMS[code]
    if came in {Came.REFUSED, Came.PENDING} and reason in _REASONS:
        return PROBLEMS[reason]
    return PROBLEMS[_OF_CAME[came]]


def problem_of_result(result: AskResult) -> Problem:
    """Say which problem an ask's result is."""
    reason = result.facts.get("reason")
    return problem_of(
        result.came, reason if isinstance(reason, str) else "", result.code
    )


def problem_for(code: str) -> Problem | None:
    """Return the problem with this code; None when there is none, as for ""."""
    return PROBLEMS.get(code)


def codes() -> tuple[str, ...]:
    """Return all codes, in the order of the document."""
    return tuple(PROBLEMS)
