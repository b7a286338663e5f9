"""What many simulated histories came to, in words and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from icefloe.lab.simulating import SeedsRun
from icefloe.simulation.coverage import AREAS, UNREACHABLE, never_reached
from icefloe.simulation.report import Summary, replay

WIDTH: Final = 100


def lines(run: SeedsRun, *, version: str) -> Iterator[str]:
    """Tell a run, a line at a time.

    Args:
        run: what happened.
        version: of the code that ran.
    """
    summary = run.summary
    ended = "interrupted: " if run.interrupted else ""
    yield (
        f"{ended}{summary.seeds:,} seeds in {run.seconds:,.0f} s"
        f" ({run.rate:.1f} a second): {_broken_words(summary)}"
    )
    for area, told in AREAS.items():
        yield from _area(told, _of_area(summary.totals, area))
    yield from _area("all together", _of_area(summary.totals, ""))
    for name, value in sorted(summary.largest.items()):
        yield f"  {'most':<14} {value:,.1f} {name.removeprefix('max.')}"
    yield from _missing(summary)
    if summary.failed:
        yield from _failures(summary, version)


def smallest(shrunk: str) -> Iterator[str]:
    """Tell what a failure was made to: a small test, as text."""
    yield ""
    yield "the smallest history found that breaks the same promise, as a test:"
    yield ""
    yield shrunk


def as_json(run: SeedsRun, *, version: str, shrunk: str = "") -> str:
    """Return the same as one JSON object.

    Args:
        run: what happened.
        version: of the code that ran.
        shrunk: a small test of the first failure, or "".
    """
    summary = run.summary
    told: dict[str, Any] = {
        "version": version,
        "seeds": summary.seeds,
        "seconds": round(run.seconds, 3),
        "seeds_per_second": round(run.rate, 3),
        "interrupted": run.interrupted,
        "broken": summary.broken,
        "failed": [
            {
                "seed": failure.seed,
                "replay": replay(failure.seed),
                "violations": [
                    {"promise": v.promise, "at": v.at, "who": v.who, "detail": v.detail}
                    for v in failure.violations
                ],
            }
            for failure in summary.failed
        ],
        "shrunk": shrunk,
        "reached": dict(sorted(summary.totals.items())),
        "largest": dict(sorted(summary.largest.items())),
        "never_reached": never_reached(summary.totals),
        "unreachable": dict(UNREACHABLE),
    }
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()


def _broken_words(summary: Summary) -> str:
    if not summary.broken:
        return "every promise was kept"
    return f"{summary.broken:,} BROKE A PROMISE"


def _of_area(totals: Mapping[str, float], area: str) -> dict[str, float]:
    """Return the figures of an area by their short names; "": those of none."""
    found = {}
    for name, count in sorted(totals.items()):
        head, dot, rest = name.partition(".")
        if (head == area and dot) or (not area and not (dot and head in AREAS)):
            found[rest if area else name] = count
    return found


def _area(told: str, counts: Mapping[str, float]) -> Iterator[str]:
    words = [f"{name} {count:,.0f}" for name, count in counts.items()]
    if not words:
        return
    # What belongs together is not broken: a blank is none until the lines are.
    text = " · ".join(word.replace(" ", "\0") for word in words)
    for number, line in enumerate(textwrap.wrap(text, WIDTH - 17)):
        yield f"  {told if not number else '':<14} {line}".replace("\0", " ")


def _missing(summary: Summary) -> Iterator[str]:
    missing = never_reached(summary.totals)
    if not missing:
        yield "every fault, state, transition, event, command and reason was reached"
    else:
        yield f"NEVER REACHED ({len(missing)}):"
        yield from (f"  {name}" for name in missing)
    for name, why in UNREACHABLE.items():
        yield f"  not to be reached: {name}: {why}"


def _failures(summary: Summary, version: str) -> Iterator[str]:
    yield ""
    for failure in summary.failed:
        yield f"seed {failure.seed}: {failure.violations[0]}"
    if summary.broken > len(summary.failed):
        yield f"... and {summary.broken - len(summary.failed):,} more"
    yield ""
    yield summary.failed[0].story
    yield f"with: {version}"
