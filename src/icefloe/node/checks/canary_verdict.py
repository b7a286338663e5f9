"""What a canary's run means: one state, one line, numbers, and what to do.

Pure functions.  Which states there are stands in `CanaryKind`; docs/checks.md has an
example of each line, and a test holds the two together.

What is known and what is not: an Icefloe parent says which node refused, and for whom
a request waits.  A real Icinga satellite passes no refusal on and says "pending" for
everything, so that a wrong ticket and a lost link look alike behind it; the line says
so.  Its Hello tells its version, by which 2.14.4 is named.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from icefloe.enrollment.problems import Code, problem_of_result
from icefloe.enrollment.reasons import Reason
from icefloe.enrollment.requester import Came
from icefloe.node.acceptance import tidy
from icefloe.node.checks.canary_run import Attempt, CanaryRun
from icefloe.node.checks.canary_words import (
    details_of,
    facts_of,
    hop_of,
    parent_of,
    performance_of,
    signed_at,
    words_of,
)
from icefloe.node.checks.plugin import Outcome, Perf, PluginState, Range, worst

__all__ = ["NAME", "CanaryKind", "CanaryThresholds", "canary_outcome"]

NAME: Final = "ENROLLMENT"

CUTS_ANSWERS: Final = 21404
"""The release whose satellites cut every pending answer off (Icinga issue 10330)."""


class CanaryKind(enum.StrEnum):
    """What a run came to. The values never change their meaning."""

    SIGNED = "signed"
    SLOW = "slow"
    CUT_OFF_FIRST = "first-answer-cut-off"
    PENDING_FIRST = "pending-first"
    REFUSED = "refused"
    LATER = "told-to-come-later"
    UNREACHABLE = "unreachable"
    TLS_FAILED = "tls-failed"
    LINK_DOWN = "link-to-signer-down"
    AWAITS_APPROVAL = "awaits-approval"
    PENDING = "pending"
    PENDING_AT_ICINGA = "pending-behind-icinga"
    CUT_OFF = "cut-off"
    NO_ANSWER = "no-answer"
    WRONG_CA = "wrong-ca"
    BAD_CERTIFICATE = "bad-certificate"
    BAD_ANSWER = "bad-answer"
    CLOCK_WRONG = "clock-wrong"
    NOTHING_TO_DO = "nothing-to-do"


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryThresholds:
    """What is well.

    Attributes:
        warning: of the seconds until it was signed.
        critical: the same.
        first_connection: it has to be signed on the first connection.
    """

    warning: Range
    critical: Range
    first_connection: bool = False

    def perf(self, run: CanaryRun) -> Perf:
        """Return the seconds until a run was signed, with the thresholds."""
        return Perf(
            label="signed",
            value=signed_at(run),
            unit="s",
            warning=self.warning,
            critical=self.critical,
        )


def canary_outcome(run: CanaryRun, thresholds: CanaryThresholds) -> Outcome:
    """Judge a run."""
    kind, state, text = _judged(run, thresholds)
    signed = run.last.result.came is Came.SIGNED
    return Outcome(
        name=NAME,
        state=state,
        kind=kind.value,
        text=text,
        perf=(
            *((thresholds.perf(run),) if signed else ()),
            *performance_of(run),
        ),
        details=tuple(details_of(run)),
        facts=facts_of(run),
    )


_Judged = tuple[CanaryKind, PluginState, str]


def _judged(run: CanaryRun, thresholds: CanaryThresholds) -> _Judged:
    match run.last.result.came:
        case Came.SIGNED:
            return _signed(run, thresholds)
        case Came.REFUSED:
            return _refused(run)
        case Came.UNREACHABLE:
            return _unreachable(run)
        case Came.UNTRUSTED | Came.INVALID:
            return _not_believed(run)
        case Came.PENDING:
            return _pending(run)
        case Came.CUT_OFF:
            return _unanswered(run)
        case Came.NOTHING_TO_DO:
            words = words_of(run.last.result)
            text = f"{run.parent} says that there is nothing to do: {words}"
            return CanaryKind.NOTHING_TO_DO, PluginState.UNKNOWN, text


def _signed(run: CanaryRun, thresholds: CanaryThresholds) -> _Judged:
    speed = thresholds.perf(run).state
    slow = ", slower than it may be" if speed is not PluginState.OK else ""
    after = f"after {signed_at(run):.2f} s{slow}"
    first, count = run.attempts[0], len(run.attempts)
    if _was_cut(first):
        cuts = sum(map(_was_cut, run.attempts))
        text = (
            f"first attempts are lost: {parent_of(run)} cut off {_times(cuts)} before "
            f"it answered{_culprit(first)}; signed on attempt {count}, {after}"
        )
        return CanaryKind.CUT_OFF_FIRST, worst([PluginState.WARNING, speed]), text
    done = f"signed through {parent_of(run)} {after}"
    if first.result.came is Came.PENDING:
        state = PluginState.WARNING if thresholds.first_connection else PluginState.OK
        wanted = ", not on the first" if thresholds.first_connection else ""
        usual = "" if first.result.icefloe else ", as with every Icinga satellite"
        text = f"{done}, on attempt {count}{wanted}: it was 'pending' first{usual}"
        return CanaryKind.PENDING_FIRST, worst([state, speed]), text
    if count > 1:
        done += f", on attempt {count}"
    kind = CanaryKind.SIGNED if speed is PluginState.OK else CanaryKind.SLOW
    return kind, speed, done


def _refused(run: CanaryRun) -> _Judged:
    result = run.last.result
    reason, words = problem_of_result(result).code, words_of(result)
    if result.temporary:
        text = f"{hop_of(run)} looks at no request now, reason {reason}: {words}"
        return CanaryKind.LATER, PluginState.CRITICAL, text
    text = f"refused by {hop_of(run)}, reason {reason}: {words}"
    return CanaryKind.REFUSED, PluginState.CRITICAL, text


def _unreachable(run: CanaryRun) -> _Judged:
    result = run.last.result
    if result.code == Code.TLS_FAILED:
        text = f"no TLS with {run.parent}: {words_of(result)}"
        return CanaryKind.TLS_FAILED, PluginState.CRITICAL, text
    text = f"cannot reach {run.parent}: {words_of(result)}"
    return CanaryKind.UNREACHABLE, PluginState.CRITICAL, text


def _not_believed(run: CanaryRun) -> _Judged:
    result, where = run.last.result, run.parent
    words, code = words_of(result), problem_of_result(result).code
    if code == Code.CLOCK_WRONG:
        text = f"a clock is wrong, here or at the signer: {words}"
        return CanaryKind.CLOCK_WRONG, PluginState.CRITICAL, text
    if result.came is Came.UNTRUSTED:
        text = f"wrong CA or name: {words}"
        return CanaryKind.WRONG_CA, PluginState.CRITICAL, text
    if code == Code.INVALID_CERTIFICATE:
        text = f"what came through {where} is not from the expected CA: {words}"
        return CanaryKind.BAD_CERTIFICATE, PluginState.CRITICAL, text
    text = f"the answer of {where} cannot be used: {words}"
    return CanaryKind.BAD_ANSWER, PluginState.CRITICAL, text


def _pending(run: CanaryRun) -> _Judged:
    result = run.last.result
    critical, time = PluginState.CRITICAL, f"{run.seconds:.0f} s"
    reason = result.facts.get("reason")
    if not result.icefloe:
        text = (
            f"still pending after {time} at {parent_of(run)}, which tells no reason: "
            f"{_unknown_reasons(run)}"
        )
        return CanaryKind.PENDING_AT_ICINGA, critical, text
    if reason == Reason.PARENT_UNREACHABLE.value:
        text = (
            f"{hop_of(run)} has no connection to its parent: the way to the signer is "
            f"down; not signed after {time}"
        )
        return CanaryKind.LINK_DOWN, critical, text
    if reason in _APPROVAL:
        text = f"not signed: {hop_of(run)} awaits approval, reason {reason}"
        return CanaryKind.AWAITS_APPROVAL, critical, f"{text}: {words_of(result)}"
    known = f", reason {tidy(reason)}" if isinstance(reason, str) else ""
    text = f"not decided after {time}, it waits at {hop_of(run)}{known}"
    return CanaryKind.PENDING, critical, f"{text}: {words_of(result)}"


_APPROVAL: Final = frozenset(
    {
        Reason.AWAITING_APPROVAL.value,
        Reason.RESERVED_NAME.value,
        Reason.OUTSIDE_SUBTREE.value,
        Reason.REVOKED_KEY.value,
        Reason.TOO_MANY_CERTIFICATES.value,
    }
)


def _unanswered(run: CanaryRun) -> _Judged:
    cuts = [each for each in run.attempts if _was_cut(each)]
    time = f"{run.seconds:.0f} s"
    if not cuts:
        text = f"{run.parent} took the request and gave no answer in {time}"
        return CanaryKind.NO_ANSWER, PluginState.CRITICAL, text
    text = (
        f"{parent_of(run)} cut off {_times(len(cuts))} before it answered"
        f"{_culprit(cuts[0])}; not signed after {time}"
    )
    if not cuts[0].result.icefloe:
        text += f": {_unknown_reasons(run)}"
    return CanaryKind.CUT_OFF, PluginState.CRITICAL, text


def _unknown_reasons(run: CanaryRun) -> str:
    return (
        "its link to the signer is down, or the ticket is wrong, or somebody has to "
        f"approve '{run.cn}'"
    )


def _was_cut(attempt: Attempt) -> bool:
    return attempt.result.came is Came.CUT_OFF and not attempt.gave_up


def _culprit(attempt: Attempt) -> str:
    """Name the defect, if its release is known by its Hello."""
    if attempt.version == CUTS_ANSWERS:
        return ", the defect of Icinga 2.14.4 (#10330): upgrade it to 2.14.5 or later"
    return "" if attempt.result.icefloe else ", as Icinga 2.14.4 does (#10330)"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
