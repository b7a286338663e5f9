"""`icefloe check requests`: do certificate requests lie at a node and go nowhere?"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from icefloe.doors import WallTime
from icefloe.node.acceptance import tidy
from icefloe.node.checks.plugin import Outcome, Perf, PluginState, Range, worst
from icefloe.node.checks.requests_read import KEPT_DAYS, Lying, RequestsSeen
from icefloe.pki.spans import span_text

__all__ = ["NAME", "RequestsKind", "RequestsThresholds", "requests_outcome"]

NAME: Final = "REQUESTS"

SHOWN_MAX: Final = 20
"""Requests of each kind that `-v` lists, the oldest."""


class RequestsKind(enum.StrEnum):
    """What was found. The values never change their meaning."""

    CLEAR = "clear"
    UNANSWERED = "unanswered"
    UNFETCHED = "unfetched"
    BROKEN = "broken-files"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestsThresholds:
    """What is well.

    Attributes:
        warning: of the seconds that the oldest unanswered one has waited.
        critical: the same.
        unfetched_warning: of the seconds that the oldest answer has lain.
        unfetched_critical: the same, or None.
        count_warning: of the number of unanswered ones, or None.
        count_critical: the same.
    """

    warning: Range
    critical: Range
    unfetched_warning: Range
    unfetched_critical: Range | None = None
    count_warning: Range | None = None
    count_critical: Range | None = None


def requests_outcome(
    seen: RequestsSeen, thresholds: RequestsThresholds, at: WallTime
) -> Outcome:
    """Judge what lies at a node."""
    perf = _performance(seen, thresholds, at)
    waiting = worst([perf["oldest_unanswered"].state, perf["unanswered"].state])
    lying = perf["oldest_unfetched"].state
    broken = PluginState.WARNING if seen.broken else PluginState.OK
    states = {
        RequestsKind.UNANSWERED: waiting,
        RequestsKind.UNFETCHED: lying,
        RequestsKind.BROKEN: broken,
    }
    state = worst(states.values())
    kind = RequestsKind.CLEAR
    if state is not PluginState.OK:
        kind = next(each for each in states if states[each] is state)
    return Outcome(
        name=NAME,
        state=state,
        kind=kind.value,
        text="; ".join(_texts(seen, at)),
        perf=tuple(perf.values()),
        details=tuple(_details(seen, at)),
        facts=_facts(seen, at),
    )


def _performance(
    seen: RequestsSeen, thresholds: RequestsThresholds, at: WallTime
) -> dict[str, Perf]:
    numbers = (
        Perf(
            label="unanswered",
            value=len(seen.unanswered),
            warning=thresholds.count_warning,
            critical=thresholds.count_critical,
        ),
        Perf(
            label="oldest_unanswered",
            value=_oldest(seen.unanswered, at),
            unit="s",
            warning=thresholds.warning,
            critical=thresholds.critical,
        ),
        Perf(label="unfetched", value=len(seen.unfetched)),
        Perf(
            label="oldest_unfetched",
            value=_oldest(seen.unfetched, at),
            unit="s",
            warning=thresholds.unfetched_warning,
            critical=thresholds.unfetched_critical,
        ),
        Perf(label="broken", value=len(seen.broken)),
    )
    return {each.label: each for each in numbers}


def _texts(seen: RequestsSeen, at: WallTime) -> Iterator[str]:
    if seen.unanswered:
        first = seen.unanswered[0]
        yield (
            f"{_count(len(seen.unanswered), 'request')} unanswered, the oldest for "
            f"{span_text(at - first.since)} ('{tidy(first.cn)}')"
        )
    else:
        yield "no request unanswered"
    if seen.unfetched:
        first = seen.unfetched[0]
        yield (
            f"{_count(len(seen.unfetched), 'answer')} not fetched, the oldest for "
            f"{span_text(at - first.since)} ('{tidy(first.cn)}')"
        )
    if seen.broken:
        yield f"{_count(len(seen.broken), 'file')} cannot be understood"


def _details(seen: RequestsSeen, at: WallTime) -> Iterator[str]:
    yield f"Node: {_role(seen)}"
    for what, requests in (
        ("Unanswered", seen.unanswered),
        ("Not fetched", seen.unfetched),
    ):
        for each in requests[:SHOWN_MAX]:
            note = f" ({tidy(each.note)})" if each.note else ""
            yield (
                f"{what}: {tidy(each.cn)}, {span_text(at - each.since)}, "
                f"{each.fingerprint}{note}"
            )
        if len(requests) > SHOWN_MAX:
            yield f"{what}: and {len(requests) - SHOWN_MAX} more"
    yield from (f"Broken: {tidy(each)}" for each in seen.broken[:SHOWN_MAX])
    if not seen.fetching_is_known:
        yield (
            "Not fetched: unknown here, the file system does not note when a file was "
            "read (noatime)"
        )
    if seen.unanswered:
        yield f"Next: {_next_step(seen)}"
    if not seen.icefloe:
        yield f"Icinga deletes a request that nobody asked for in {KEPT_DAYS} days."


def _next_step(seen: RequestsSeen) -> str:
    name = seen.unanswered[0].fingerprint
    if seen.signs:
        program = "icefloe" if seen.icefloe else "icinga2"
        return f"approve it here with '{program} ca sign {name}', or decline it"
    if seen.icefloe:
        return (
            "run 'icefloe enrollment explain CN' here: it tells which node it waits for"
        )
    return (
        "see that this satellite is connected to its parent; look on the signer with "
        "'icinga2 ca list', and whether the ticket was right (a wrong one stays "
        "unanswered here for ever)"
    )


def _role(seen: RequestsSeen) -> str:
    product = "Icefloe" if seen.icefloe else "Icinga"
    if seen.signs is None:
        return f"{product}; whether it signs cannot be seen"
    return f"{product}, {'signs' if seen.signs else 'does not sign'}"


def _facts(seen: RequestsSeen, at: WallTime) -> dict[str, object]:
    return {
        "node": "icefloe" if seen.icefloe else "icinga",
        "signs": seen.signs,
        "unanswered": [_entry(each, at) for each in seen.unanswered],
        "unfetched": [_entry(each, at) for each in seen.unfetched],
        "fetching_is_known": seen.fetching_is_known,
        "answered": seen.answered,
        "removed": seen.removed,
        "canaries": seen.canaries,
        "broken": list(seen.broken),
    }


def _entry(each: Lying, at: WallTime) -> dict[str, object]:
    return {
        "common_name": each.cn,
        "fingerprint": each.fingerprint,
        "age": round(max(0.0, at - each.since), 1),
        "note": each.note or None,
    }


def _oldest(requests: Sequence[Lying], at: WallTime) -> float:
    return max(0.0, at - requests[0].since) if requests else 0.0


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
