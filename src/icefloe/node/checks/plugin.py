"""What a monitoring plugin says: a state, one line, performance data, details.

Source: the Monitoring Plugins' development guidelines (exit codes 0 to 3, ranges of
thresholds, `label=value[unit];warn;crit;min;max` behind a bar).  Icinga reads both the
state and the line.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from icefloe.errors import IcefloeError

__all__ = ["Outcome", "Perf", "PluginState", "Range", "RangeInvalid", "worst"]

TEXT_CHARACTERS_MAX: Final = 1000
"""Of the one line: Icinga keeps more, but nobody reads it in a list."""


class PluginState(enum.IntEnum):
    """The exit code of a plugin."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


_WEIGHT: Final = {
    PluginState.OK: 0,
    PluginState.UNKNOWN: 1,
    PluginState.WARNING: 2,
    PluginState.CRITICAL: 3,
}


def worst(states: Iterable[PluginState]) -> PluginState:
    """Return the state that somebody has to look at first; OK for none."""
    return max(states, key=_WEIGHT.__getitem__, default=PluginState.OK)


class RangeInvalid(IcefloeError):
    """A threshold has not the form of a range."""


@dataclass(frozen=True, slots=True)
class Range:
    """A threshold: `[@]start:end`; it alerts outside of it, with `@` inside.

    `10` is `0:10`, `10:` is from 10 on, `~:10` has no lower end.

    Attributes:
        text: as it was given.
        start: the lower end, `-inf` for none.
        end: the upper end, `inf` for none.
        inside: it alerts inside, ends included.
    """

    text: str
    start: float
    end: float
    inside: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a threshold.

        Raises:
            RangeInvalid: it has another form, or begins behind its end.
        """
        words = text.strip()
        body = words.removeprefix("@")
        before, colon, behind = body.rpartition(":")
        try:
            start = -math.inf if before == "~" else float(before) if before else 0.0
            end = math.inf if colon and not behind else float(behind)
        except ValueError:
            problem = f"'{text}' is no range; such are 10, 10: and 5:10"
            raise RangeInvalid(problem) from None
        if math.isnan(start) or math.isnan(end) or start > end:
            raise RangeInvalid(f"'{text}' is no range: it begins behind its end")
        return cls(words, start, end, inside=body != words)

    def alerts(self, value: float) -> bool:
        """Say whether a value is to be told of."""
        return (self.start <= value <= self.end) is self.inside

    def __str__(self) -> str:
        """Return it as it was given."""
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Perf:
    """One number for graphs.

    Attributes:
        label: letters, digits and underscores.
        value: the number.
        unit: `s` for seconds, "" for a count.
        warning: the threshold, or None.
        critical: the same.
    """

    label: str
    value: float
    unit: str = ""
    warning: Range | None = None
    critical: Range | None = None

    @property
    def state(self) -> PluginState:
        """What the thresholds say."""
        if self.critical is not None and self.critical.alerts(self.value):
            return PluginState.CRITICAL
        if self.warning is not None and self.warning.alerts(self.value):
            return PluginState.WARNING
        return PluginState.OK

    def __str__(self) -> str:
        """Return it in the plugins' form; the least value is 0."""
        number = f"{self.value:.3f}".rstrip("0").rstrip(".")
        thresholds = (self.warning, self.critical)
        return ";".join(
            (
                f"{self.label}={number}{self.unit}",
                *("" if each is None else str(each) for each in thresholds),
                "0" if self.value >= 0 else "",
            )
        ).rstrip(";")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a plugin found.

    Attributes:
        name: the plugin's, in capitals.
        state: the exit code.
        kind: which of the documented states it is: stable, kebab-case.
        text: one sentence or two.
        perf: numbers.
        details: lines for `-v`.
        facts: more for `--json`.
    """

    name: str
    state: PluginState
    kind: str
    text: str
    perf: tuple[Perf, ...] = ()
    details: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The one line."""
        words = _one_line(self.text)[:TEXT_CHARACTERS_MAX]
        said = f"{self.name} {self.state.name} - {words}"
        return f"{said} | {' '.join(map(str, self.perf))}" if self.perf else said

    def lines(self, *, verbose: bool) -> list[str]:
        """Return what is printed."""
        return [self.line, *(map(_one_line, self.details) if verbose else ())]

    def as_json(self) -> dict[str, object]:
        """Return it for `--json`."""
        told = {
            "plugin": self.name.lower(),
            "state": self.state.name,
            "exit_code": int(self.state),
            "kind": self.kind,
            "text": self.text,
            "performance": {each.label: each.value for each in self.perf},
            "details": list(self.details),
            **self.facts,
        }
        return {label: _encodable(value) for label, value in told.items()}


def _one_line(text: str) -> str:
    """A bar begins the numbers, a line break the details."""
    return " ".join(_encoded(text).replace("|", "/").split())


def _encodable(value: object) -> object:
    """Return what JSON can hold, of words that came from a command line or a disk."""
    match value:
        case str():
            return _encoded(value)
        case Mapping():
            return {_encoded(str(key)): _encodable(each) for key, each in value.items()}
        case list() | tuple():
            return [_encodable(each) for each in value]
    return value


def _encoded(text: str) -> str:
    """Show bytes that are no UTF-8, which Python keeps as lone surrogates."""
    return text.encode(errors="backslashreplace").decode()
