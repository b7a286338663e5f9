"""What a history came to, and what many came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from icefloe.errors import IcefloeError

TRACE_LINES_SHOWN: Final = 60
FAILED_KEPT_MAX: Final = 20
"""Failed histories that a summary tells of; of the others it keeps the number."""

VIOLATIONS_SHOWN_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept.

    Attributes:
        promise: name of the function in `promises` that saw it.
        at: virtual seconds.
        who: the node or requester it was seen at.
        detail: one sentence.
    """

    promise: str
    at: float
    who: str
    detail: str

    def __str__(self) -> str:
        """Return it as a line."""
        return f"{self.at:9.3f}  {self.who}: {self.promise}: {self.detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One seed.

    Attributes:
        seed: it.
        violations: every promise seen broken, in order; empty when all is well.
        figures: what the history held, by name; `coverage` says the names of what it
            reached.
        boundaries: effect boundaries passed by each node until all had finished.
        commits: commits tried by each node until all had finished.
        chunks: chunks of bytes sent until all had finished.
        strikes: the faults that struck by chance: kind, and number of the throw.
        trace: the history, a line for each thing that happened; empty when it was
            not to be kept.
        trace_hash: hex SHA-256 of the trace; the same seed gives the same one.
    """

    seed: int
    violations: tuple[Violation, ...]
    figures: Mapping[str, float]
    boundaries: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    commits: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    chunks: int = 0
    strikes: tuple[tuple[str, int], ...] = ()
    trace: tuple[str, ...] = field(default=(), repr=False)
    trace_hash: str = ""

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not self.violations

    def story(self, *, lines: int = TRACE_LINES_SHOWN) -> str:
        """Tell what was broken, and the history up to the first of it.

        Args:
            lines: how many lines of the history to tell at most.
        """
        if not self.violations:
            return f"seed {self.seed}: every promise was kept"
        told = [f"seed {self.seed}: {len(self.violations)} violations"]
        told += [str(each) for each in self.violations[:VIOLATIONS_SHOWN_MAX]]
        first = self.violations[0].at
        before = [line for line in self.trace if float(line[:9]) <= first]
        if before:
            left_out = max(0, len(before) - lines)
            told.append(f"the history before it ({left_out} lines left out):")
            told += before[-lines:]
        told.append(f"again: {replay(self.seed)}")
        return "\n".join(told)


def replay(seed: int) -> str:
    """Return the command that tells a seed's history."""
    return f"icefloe lab simulate --from {seed} --trace"


class PromiseBroken(IcefloeError):
    """A seed broke a promise; the text tells its story.

    Attributes:
        failure: what was broken.
    """

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.story)


@dataclass(frozen=True, slots=True)
class Failure:
    """A seed that broke a promise, as a summary keeps it.

    Attributes:
        seed: it.
        violations: the first ones.
        story: what happened before; "" for all but the first failures.
    """

    seed: int
    violations: tuple[Violation, ...]
    story: str = ""

    @classmethod
    def of(cls, report: Report, *, story: bool = True) -> Failure:
        """Keep what is needed of a report."""
        return cls(
            report.seed,
            report.violations[:VIOLATIONS_SHOWN_MAX],
            report.story() if story else "",
        )


@dataclass(slots=True)
class Summary:
    """Many seeds.  Its size does not grow with their number.

    Attributes:
        seeds: how many were run.
        broken: how many broke a promise.
        failed: the first of these, by seed.
        totals: figures added up.
        largest: figures whose largest value says more than their sum.
    """

    seeds: int = 0
    broken: int = 0
    failed: list[Failure] = field(default_factory=list)
    totals: Counter[str] = field(default_factory=Counter)
    largest: dict[str, float] = field(default_factory=dict)

    def add(self, report: Report) -> None:
        """Count a report in."""
        self.seeds += 1
        if not report.kept:
            self.broken += 1
            self._keep(Failure.of(report, story=not self.failed))
        for name, value in report.figures.items():
            if name.startswith("max."):
                self.largest[name] = max(value, self.largest.get(name, value))
            else:
                self.totals[name] += value  # type: ignore[assignment]

    def merge(self, other: Summary) -> None:
        """Count another summary's seeds in."""
        self.seeds += other.seeds
        self.broken += other.broken
        for failure in other.failed:
            self._keep(failure)
        self.totals.update(other.totals)
        for name, value in other.largest.items():
            self.largest[name] = max(value, self.largest.get(name, value))

    def raise_if_failed(self) -> None:
        """Raise for the first seed that broke a promise.

        Raises:
            PromiseBroken: with its story.
        """
        if self.failed:
            raise PromiseBroken(self.failed[0])

    def _keep(self, failure: Failure) -> None:
        self.failed.append(failure)
        self.failed.sort(key=lambda each: each.seed)
        del self.failed[FAILED_KEPT_MAX:]
