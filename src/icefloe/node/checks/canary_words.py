"""The numbers, details and facts of a canary's run; its judgement is `canary_verdict`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from icefloe.enrollment.problems import problem_of_result
from icefloe.enrollment.requester import AskResult, Came
from icefloe.node.acceptance import tidy
from icefloe.node.checks.canary_run import CanaryRun
from icefloe.node.checks.plugin import Perf
from icefloe.pki.canaries import CANARY_LIFETIME
from icefloe.wire.catalogue import format_version

__all__ = [
    "details_of",
    "facts_of",
    "hop_of",
    "parent_of",
    "performance_of",
    "signed_at",
    "words_of",
]

WORDS_MAX: Final = 300
"""Of a peer's words in one line."""

_HOPS_SHOWN_MAX: Final = 32


def words_of(result: AskResult) -> str:
    """Return what a peer said, fit for a line."""
    words = tidy(result.detail).rstrip(".")
    return words if len(words) <= WORDS_MAX else f"{words[:WORDS_MAX]}..."


def parent_of(run: CanaryRun) -> str:
    """Name the parent, and what it is."""
    if _is_icefloe(run):
        return f"{run.parent} (Icefloe)"
    version = _version(run)
    known = f" {format_version(version)}" if version else ""
    asked = any(each.steps.asked is not None for each in run.attempts)
    return f"{run.parent} (Icinga{known})" if asked else str(run.parent)


def hop_of(run: CanaryRun) -> str:
    """Name the node that the last answer is about."""
    hop = run.last.result.facts.get("hop")
    return tidy(hop) if isinstance(hop, str) and hop else str(run.parent)


def signed_at(run: CanaryRun) -> float:
    """Return the seconds from the beginning to the certificate."""
    heard = run.last.steps.heard
    return run.seconds if heard is None else heard


def performance_of(run: CanaryRun) -> Iterator[Perf]:
    """Yield seconds since the run began, for each step of the first attempt."""
    first = run.attempts[0].steps
    steps = {
        "connect": first.connected,
        "tls": first.secured,
        "sent": first.asked,
        "first_answer": first.heard,
    }
    for label, value in steps.items():
        if value is not None:
            yield Perf(label=label, value=value, unit="s")
    yield Perf(label="attempts", value=len(run.attempts))


def details_of(run: CanaryRun) -> Iterator[str]:
    """Yield what `-v` shows."""
    yield f"Canary: {run.cn}, through {parent_of(run)}"
    for number, attempt in enumerate(run.attempts, 1):
        heard = attempt.steps.heard
        until = f" to {heard:.2f}" if heard is not None else ""
        words = words_of(attempt.result)
        said = f": {words}" if words else ""
        came = attempt.result.came.value
        yield f"Attempt {number}, {attempt.steps.began:.2f}{until} s: {came}{said}"
    hops = list(_hops(run.last.result.facts))
    if hops:
        yield f"Way: {' -> '.join(hops)}"
    if run.last.result.came is not Came.SIGNED:
        problem = problem_of_result(run.last.result)
        step = problem.fill(hop=hop_of(run), parent=str(run.parent), cn=run.cn)
        yield f"Next: {step}"
    yield f"Left behind: {_left_behind(run)}"


def facts_of(run: CanaryRun) -> dict[str, object]:
    """Return what `--json` has beside the rest."""
    last, version = run.last.result, _version(run)
    return {
        "common_name": run.cn,
        "parent": str(run.parent),
        "parent_is_icefloe": _is_icefloe(run),
        "parent_version": format_version(version) if version else None,
        "code": problem_of_result(last).code,
        "hop": hop_of(run),
        "seconds": round(run.seconds, 3),
        "attempts": [
            {
                "came": each.result.came.name.lower(),
                "detail": tidy(each.result.detail),
                "began": _rounded(each.steps.began),
                "connected": _rounded(each.steps.connected),
                "secured": _rounded(each.steps.secured),
                "sent": _rounded(each.steps.asked),
                "heard": _rounded(each.steps.heard),
            }
            for each in run.attempts
        ],
    }


def _left_behind(run: CanaryRun) -> str:
    """Say what the nodes on the way keep of it."""
    forget = f"Icefloe nodes forget it after {CANARY_LIFETIME // 60} minutes"
    if all(each.steps.asked is None for each in run.attempts):
        return "nothing, no request was sent"
    if _is_icefloe(run):
        return (
            f"{forget}; a real Icinga satellite behind them keeps a request file for "
            "7 days"
        )
    return (
        "each real Icinga satellite on the way keeps a request file for 7 days, with "
        f"the ticket; {forget}"
    )


def _hops(facts: Mapping[str, object]) -> Iterator[str]:
    hops = facts.get("hops")
    for hop in (hops if isinstance(hops, list) else [])[:_HOPS_SHOWN_MAX]:
        if isinstance(hop, dict):
            yield tidy(f"{hop.get('node', '?')} {hop.get('did', '?')}")


def _version(run: CanaryRun) -> int:
    return next((each.version for each in run.attempts if each.version), 0)


def _is_icefloe(run: CanaryRun) -> bool:
    return any(each.result.icefloe for each in run.attempts)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
