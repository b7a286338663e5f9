"""Icinga's releases: reading them, and ranges of them.

A release is three numbers.  Packages decorate them: `v2.14.4`, `r2.13.6-1` (Debian),
`2.14.3-1.el9`, `r2.14.4-1+debian12`.  What stands behind the numbers is the packager's:
it may stand for mended defects that the numbers do not show, so it is kept and told.

What comes before a release bears its numbers too: `2.14.5~rc1-1`, `v2.12.0-rc1`.  It is
older than the release, and nobody says which of its defects it has: it counts as having
those that the release mended, and those that the release has.  A Hello bears numbers
alone, so it does not tell one from the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from icefloe.errors import IcefloeError

__all__ = ["Range", "Release", "ReleaseUnreadable", "Told", "parse_range", "parse_told"]

_TOLD: Final = re.compile(
    r"(?:icinga2?[ /-])?[vr]?(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?([-+~].{0,60})?",
    re.IGNORECASE,
)
_BEFORE: Final = re.compile(
    r"[-~.](?:rc[-.]?(\d{1,3})?|alpha|beta|dev|pre)(?![a-z])|~(?:git|snapshot)(?![a-z])",
    re.IGNORECASE,
)
"""What marks a release that is not yet out.  `~bookworm1` and the like do not: they name
whom a package is for."""
_PLAIN: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:-rc(\d{1,3}))?")
_BOUND: Final = re.compile(rf"(>=|<=|<|=)\s*({_PLAIN.pattern})")
_OUT: Final = 1_000
"""Sorts after every number that a release candidate may have."""


class ReleaseUnreadable(IcefloeError):
    """A text is no release, or no range of releases."""


class Release(NamedTuple):
    """A release of Icinga 2, or what came before it; compares as releases do.

    Attributes:
        major: First number.
        minor: Second number.
        patch: Third number.
        candidate: Number of the release candidate, 0 for anything else before the
            release; left out for the release itself.
    """

    major: int
    minor: int
    patch: int
    candidate: int = _OUT

    def __str__(self) -> str:
        """As people write it."""
        if self.candidate == _OUT:
            return self.numbers
        return f"{self.numbers}-{f'rc{self.candidate}' if self.candidate else 'pre'}"

    @property
    def numbers(self) -> str:
        """What a release has in common with what came before it."""
        return f"{self.major}.{self.minor}.{self.patch}"

    @property
    def out(self) -> Release:
        """The release itself."""
        return self._replace(candidate=_OUT)

    @property
    def branch(self) -> tuple[int, int]:
        """What gets fixes of its own: 2.14."""
        return self.major, self.minor

    @classmethod
    def from_wire(cls, version: int) -> Release:
        """Read what a Hello says: 21404 is 2.14.4."""
        major, rest = divmod(version, 10_000)
        return cls(major, *divmod(rest, 100))

    @classmethod
    def parse(cls, text: str) -> Release:
        """Read three plain numbers, or `2.12.0-rc1`.

        Raises:
            ReleaseUnreadable: It is not that.
        """
        found = _PLAIN.fullmatch(text)
        if found is None:
            raise ReleaseUnreadable(f"{text!r} is no release such as 2.14.4")
        candidate = _OUT if found[4] is None else int(found[4])
        return cls(int(found[1]), int(found[2]), int(found[3]), candidate)


@dataclass(frozen=True, slots=True)
class Told:
    """A release as a package or a person names it.

    Attributes:
        release: What the numbers stand for.
        decoration: What stands behind them, such as `-1+deb12u2`; "" for none.
    """

    release: Release
    decoration: str = ""

    def __str__(self) -> str:
        """The numbers with what stands behind them."""
        return f"{self.release.numbers}{self.decoration}"


def parse_told(text: str) -> Told:
    """Read a release as packages and `icinga2 --version` spell it.

    Raises:
        ReleaseUnreadable: There is none in it.
    """
    found = _TOLD.fullmatch(text.strip())
    if found is None or not (found[4] or "").isprintable():
        shown = text[:80]
        raise ReleaseUnreadable(f"{shown!r} is no release such as 2.14.4 or r2.13.6-1")
    release = Release(int(found[1]), int(found[2]), int(found[3] or 0))
    decoration = found[4] or ""
    before = _BEFORE.search(decoration)
    if before is not None:
        release = release._replace(candidate=int(before[1] or 0))
    return Told(release, decoration)


@dataclass(frozen=True, slots=True)
class Range:
    """Releases from one on, up to before another one.

    Attributes:
        first: The first one in it; None from the beginning.
        end: The first one no longer in it; None without end.
    """

    first: Release | None
    end: Release | None

    def __contains__(self, release: Release) -> bool:
        """Say whether a release is in it; what came before `first` counts as `first`."""
        if self.first is not None and release.out < self.first:
            return False
        return self.end is None or release < self.end

    def meets(self, other: Range) -> bool:
        """Say whether a release may be in both."""
        return _before(self.first, other.end) and _before(other.first, self.end)


def _before(first: Release | None, end: Release | None) -> bool:
    return first is None or end is None or first < end


def parse_range(text: str) -> Range:
    """Read `>=2.14.0, <2.14.5`, `<2.13.10`, `=2.14.4` or `>=2.12.0-rc1, <2.12.0`.

    Raises:
        ReleaseUnreadable: It is not of that form, or nothing can be in it.
    """
    first: Release | None = None
    end: Release | None = None
    for part in text.split(","):
        found = _BOUND.fullmatch(part.strip())
        if found is None:
            raise ReleaseUnreadable(f"{text!r} is no range of releases")
        sign, release = found[1], Release.parse(found[2])
        if sign in {">=", "="}:
            first = release
        if sign == "<":
            end = release
        elif sign in {"<=", "="}:
            end = release.out._replace(patch=release.patch + 1)
    if not _before(first, end):
        raise ReleaseUnreadable(f"{text!r} holds no release")
    return Range(first, end)
