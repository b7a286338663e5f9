"""A problem of the catalogue in one case: which hop, which reason, what to do next.

A hop is a node.  A parent that only handed on what another node said is named with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec
import typer

from icefloe.cli.app import EXIT_FAILED, EXIT_INTERRUPTED
from icefloe.cli.output import Output
from icefloe.enrollment.problems import Problem, fill, problem_of_result
from icefloe.enrollment.requester import AskResult, Came, Parent
from icefloe.errors import IcefloeError
from icefloe.node.acceptance import tidy
from icefloe.node.commands.enrolling import Outcome
from icefloe.node.commands.error_codes import problem_of_error
from icefloe.pki.certificates import fingerprint

__all__ = [
    "THIS_NODE",
    "Case",
    "case_of_error",
    "case_of_outcome",
    "case_of_result",
    "fact",
    "telling_problems",
]

THIS_NODE: Final = "this node"
"""What `hop` says for trouble of this machine."""

_NAME_CHARACTERS_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One problem in one case.

    Attributes:
        problem: Which one.
        hop: The node it is about: the name that it gave itself, else the parent as it
            was asked, `host:port`, else `THIS_NODE`.
        parent: The parent that was asked, `host:port`; "" for trouble of this machine.
        reason: The code a node gave for its answer; "" without one.
        detail: What was said, or what failed.
        next_step: What to do.
        retry_after: Seconds after which asking again may help; None when nobody said.
    """

    problem: Problem
    hop: str
    parent: str
    reason: str
    detail: str
    next_step: str
    retry_after: float | None = None

    def facts(self) -> dict[str, object]:
        """Return what `--json` says about it."""
        return {
            "code": self.problem.code,
            "hop": self.hop,
            "reason": self.reason or None,
            "detail": self.detail,
            "next": self.next_step,
            "retry_after": self.retry_after,
        }

    @property
    def where(self) -> str:
        """The hop in words: `master1`, with the parent that was asked if another."""
        if not self.parent or self.hop == self.parent:
            return self.hop
        return f"{self.hop}, asked through {self.parent}"


def case_of_result(
    result: AskResult, parent: Parent, *, cn: str, fingerprint: str = ""
) -> Case:
    """Return the case that one ask's result is.

    Args:
        result: What came.
        parent: Who was asked.
        cn: This node's name.
        fingerprint: Of the certificate that is the request.
    """
    problem = problem_of_result(result)
    asked, hop = str(parent), fact(result.facts, "hop") or str(parent)
    after = result.facts.get("retry_after")
    return Case(
        problem=problem,
        hop=hop,
        parent=asked,
        reason=fact(result.facts, "reason"),
        detail=result.detail,
        next_step=fill(
            problem.next_step, hop=hop, parent=asked, cn=cn, fingerprint=fingerprint
        ),
        retry_after=after if isinstance(after, int | float) else None,
    )


def case_of_outcome(outcome: Outcome) -> Case:
    """Return the case that the end of an enrollment is."""
    identity = outcome.identity
    case = case_of_result(
        outcome.ended.outcome,
        outcome.ended.parent,
        cn=identity.node_name,
        fingerprint=fingerprint(identity.certificate),
    )
    if case.detail or outcome.came is not Came.SIGNED:
        return case
    return Case(
        problem=case.problem,
        hop=case.hop,
        parent=case.parent,
        reason=case.reason,
        detail=f"The certificate for '{identity.node_name}' is signed.",
        next_step=case.next_step,
    )


def case_of_error(error: BaseException, *, cn: str = "") -> Case:
    """Return the case that an error of this machine is."""
    problem = problem_of_error(error)
    detail = "interrupted"
    if isinstance(error, IcefloeError):
        detail = error.public
    elif isinstance(error, OSError):
        where = f"'{error.filename}': " if error.filename else ""
        detail = f"{where}{error.strerror or error}"
    return Case(
        problem=problem,
        hop=THIS_NODE,
        parent="",
        reason="",
        detail=detail,
        next_step=fill(problem.next_step, cn=cn),
    )


@contextmanager
def telling_problems(
    output: Output, *, as_json: bool = False, cn: str = ""
) -> Iterator[None]:
    """Tell an error with its hop, its reason and the next step, and end the command.

    Args:
        output: Where to.
        as_json: Print the case as the one result, too.
        cn: This node's name, as far as it is known.

    Raises:
        typer.Exit: An `IcefloeError`, an `OSError` or Ctrl-C came out of the block.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except (IcefloeError, OSError, KeyboardInterrupt) as error:
        case = case_of_error(error, cn=cn)
        output.critical(case.detail)
        output.critical(f"On {THIS_NODE}, problem: {case.problem.code}.")
        output.critical(f"Next: {case.next_step}")
        if as_json:
            output.result(msgspec.json.encode(case.facts()).decode())
        stopped = isinstance(error, KeyboardInterrupt)
        raise typer.Exit(EXIT_INTERRUPTED if stopped else EXIT_FAILED) from error


def fact(facts: Mapping[str, object], name: str) -> str:
    """Return a word that a node said about itself, fit for a terminal; "" if none."""
    value = facts.get(name)
    return tidy(value)[:_NAME_CHARACTERS_MAX] if isinstance(value, str) else ""
