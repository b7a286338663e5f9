"""What a history came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from icefloe.errors import IcefloeError

TRACE_LINES_SHOWN = 60


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
        figures: what the history held, by name.
        boundaries: effect boundaries passed by each node until all had finished.
        commits: commits tried by each node until all had finished.
        chunks: chunks of bytes sent until all had finished.
        trace: the history, a line for each thing that happened.
        trace_hash: hex SHA-256 of the trace; the same seed gives the same one.
    """

    seed: int
    violations: tuple[Violation, ...]
    figures: Mapping[str, float]
    boundaries: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    commits: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    chunks: int = 0
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
        told += [str(violation) for violation in self.violations[:10]]
        first = self.violations[0].at
        before = [line for line in self.trace if float(line[:9]) <= first]
        if before:
            left_out = max(0, len(before) - lines)
            told.append(f"the history before it ({left_out} lines left out):")
            told += before[-lines:]
        again = f"simulate({self.seed}).story()"
        told.append(f"again: icefloe.simulation.{again}")
        return "\n".join(told)


class PromiseBroken(IcefloeError):
    """A seed broke a promise; the text tells its story.

    Attributes:
        report: all of it.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(report.story())


@dataclass(slots=True)
class Summary:
    """Many seeds.

    Attributes:
        seeds: how many were run.
        failed: the reports with violations.
        totals: figures added up.
        largest: figures whose largest value says more than their sum.
    """

    seeds: int = 0
    failed: list[Report] = field(default_factory=list)
    totals: Counter[str] = field(default_factory=Counter)
    largest: dict[str, float] = field(default_factory=dict)

    def add(self, report: Report) -> None:
        """Count a report in."""
        self.seeds += 1
        if not report.kept:
            self.failed.append(report)
        for name, value in report.figures.items():
            if name.startswith("max."):
                self.largest[name] = max(value, self.largest.get(name, value))
            else:
                self.totals[name] += value  # type: ignore[assignment]

    def lines(self) -> Sequence[str]:
        """Return it as lines of text."""
        told = [f"{self.seeds} seeds, {len(self.failed)} broke a promise"]
        told += [f"  {name:<34} {value:>12,.0f}" for name, value in self._totals()]
        told += [f"  {name:<34} {self.largest[name]:>12,.3f}" for name in self._largest]
        told += [
            f"  seed {report.seed}: {report.violations[0]}" for report in self.failed
        ]
        return told

    def raise_if_failed(self) -> None:
        """Raise for the first seed that broke a promise.

        Raises:
            PromiseBroken: with its story.
        """
        if self.failed:
            raise PromiseBroken(self.failed[0])

    def _totals(self) -> list[tuple[str, float]]:
        return sorted(self.totals.items())

    @property
    def _largest(self) -> list[str]:
        return sorted(self.largest)
