"""Published defects of Icinga 2 that touch enrollment, and whom they concern.

The data is `advisories.toml`, beside this module, with its sources.  A defect sits in a
*seat* of the tree: the cut-off answers of 2.14.4 hurt behind a satellite and nowhere
else.  Whether a node is concerned follows from its release, its role if known, and what
the advisory says besides; what cannot be seen from outside is a *condition*.
"""

from __future__ import annotations

import enum
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from icefloe.errors import IcefloeError
from icefloe.node.fleet.releases import Range, Release, ReleaseUnreadable, parse_range

__all__ = [
    "BEFORE_TELLING",
    "SEATS",
    "Advisories",
    "AdvisoriesInvalid",
    "Advisory",
    "Concern",
    "Role",
    "Seat",
    "Severity",
    "parse_advisories",
]

BEFORE_TELLING: Final = Range(None, Release(2, 13, 0))
"""What a node runs whose Hello names no version (protocol: since 2.13.0 it does)."""


class AdvisoriesInvalid(IcefloeError):
    """The data file is not as it has to be: a bug of the package."""


class Severity(enum.StrEnum):
    """How bad, the worst first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """Zero for the worst."""
        return list(Severity).index(self)


class Role(enum.StrEnum):
    """What a node is in the tree."""

    MASTER = "master"
    SATELLITE = "satellite"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Seat:
    """Where in the tree a defect hurts.

    Attributes:
        words: The seat in words.
        roles: Who sits there.
        perhaps: Who may sit there, and when.
    """

    words: str
    roles: frozenset[Role]
    perhaps: Mapping[Role, str] = field(default_factory=dict)


_HAS_SALT: Final = "its configuration has the ticket salt"

SEATS: Final[Mapping[str, Seat]] = {
    "any": Seat("any node", frozenset(Role)),
    "parent": Seat(
        "a node that others connect to", frozenset({Role.MASTER, Role.SATELLITE})
    ),
    "relay": Seat(
        "a node that forwards requests",
        frozenset({Role.SATELLITE}),
        {Role.MASTER: "it has no CA key and forwards, as a second master does"},
    ),
    "signer": Seat(
        "the node with the CA's key",
        frozenset(),
        {Role.MASTER: "it holds the CA's key"},
    ),
    "salt": Seat(
        "a node with the ticket salt",
        frozenset(),
        {Role.MASTER: _HAS_SALT, Role.SATELLITE: _HAS_SALT},
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """One published defect.

    Attributes:
        id: As it is known: CVE, GHSA, or `icinga2-NUMBER` of the issue or change.
        aliases: Other ids.
        title: One line.
        touches: What it does to enrollment.
        seat: Key of `SEATS`.
        stops_enrollment: Whether new nodes fail because of it, without an attacker.
        only_if: What must hold besides, which cannot be seen from outside; "" if
            nothing.
        severity: How bad.
        severity_by: `published`, or `icefloe` where the publisher gave none.
        published: The day.
        affected: Ranges of releases.
        affected_note: What is not known about them; "" if nothing.
        fixed: First mended release of each mended branch.
        until_then: What helps before the upgrade.
        sources: Addresses.
    """

    id: str
    aliases: tuple[str, ...]
    title: str
    touches: str
    seat: str
    stops_enrollment: bool
    only_if: str
    severity: Severity
    severity_by: str
    published: date
    affected: tuple[Range, ...]
    affected_note: str
    fixed: tuple[Release, ...]
    until_then: str
    sources: tuple[str, ...]

    def affects(self, release: Release) -> bool:
        """Say whether a release has the defect."""
        return any(release in each for each in self.affected)

    def may_affect(self, releases: Range) -> bool:
        """Say whether one of a range of releases has the defect."""
        return any(each.meets(releases) for each in self.affected)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Advisories that were looked at and have nothing to do with enrollment."""

    ids: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Concern:
    """A defect that a node has, or may have.

    Attributes:
        advisory: Which one.
        conditions: What would have to hold and cannot be seen from here; empty when
            the node is concerned for certain, as far as its release tells.
    """

    advisory: Advisory
    conditions: tuple[str, ...] = ()

    @property
    def certain(self) -> bool:
        """Whether nothing speaks against it but a packager's own fix."""
        return not self.conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisories:
    """The data file.

    Attributes:
        checked: When it was last compared with what is published.
        checked_against: With what.
        newest: The newest release of each branch then, ascending.
        advisories: In the file's order.
        left_out: What is published and not about enrollment.
    """

    checked: date
    checked_against: str
    newest: tuple[Release, ...]
    advisories: tuple[Advisory, ...]
    left_out: tuple[LeftOut, ...]

    def concerning(
        self, releases: Release | Range, role: Role | None
    ) -> tuple[Concern, ...]:
        """Return what concerns a node, the worst first.

        Args:
            releases: Its release; a range when only that is known.
            role: What it is; None when nobody said.
        """
        found = []
        for advisory in self.advisories:
            conditions: list[str] = []
            if isinstance(releases, Range):
                if not advisory.may_affect(releases):
                    continue
                conditions.append("its release, which it does not tell, is affected")
            elif not advisory.affects(releases):
                continue
            place = _condition_of_seat(SEATS[advisory.seat], role)
            if place is None:
                continue
            conditions += [text for text in (place, advisory.only_if) if text]
            found.append(Concern(advisory, tuple(conditions)))
        return tuple(sorted(found, key=_worst_first))

    def is_newer(self, release: Release) -> bool:
        """Say whether a release came after this data."""
        same = [each for each in self.newest if each.branch == release.branch]
        return release > (same[0] if same else self.newest[-1])


def _condition_of_seat(seat: Seat, role: Role | None) -> str | None:
    """Return "" if the role sits there, None if not, else when it would."""
    if role is None:
        return "" if len(seat.roles) == len(Role) else f"it is {seat.words}"
    return "" if role in seat.roles else seat.perhaps.get(role)


def _worst_first(concern: Concern) -> tuple[bool, bool, int, str]:
    advisory = concern.advisory
    return (
        not (advisory.stops_enrollment and concern.certain),
        not concern.certain,
        advisory.severity.rank,
        advisory.id,
    )


# --- Reading --------------------------------------------------------------------------


def parse_advisories(text: str) -> Advisories:
    """Read the data file.

    Args:
        text: TOML.

    Raises:
        AdvisoriesInvalid: An entry lacks something, or says what nobody understands.
    """
    try:
        top = tomllib.loads(text)
        return Advisories(
            checked=top["checked"],
            checked_against=top["checked_against"],
            newest=tuple(sorted(map(Release.parse, top["newest"]))),
            advisories=tuple(map(_advisory, top["advisory"])),
            left_out=tuple(
                LeftOut(tuple(each["ids"]), each["why"]) for each in top["left_out"]
            ),
        )
    except tomllib.TOMLDecodeError as error:
        raise AdvisoriesInvalid(f"the advisories are no TOML: {error}") from error
    except (KeyError, ValueError, TypeError, ReleaseUnreadable) as error:
        raise AdvisoriesInvalid(f"the advisories cannot be used: {error}") from error


def _advisory(entry: Mapping[str, Any]) -> Advisory:
    strange = entry.keys() - set(Advisory.__dataclass_fields__)
    if strange or entry["seat"] not in SEATS:
        raise ValueError(f"{entry['id']}: {', '.join(sorted(strange)) or 'its seat'}")
    return Advisory(
        id=entry["id"],
        aliases=tuple(entry.get("aliases", ())),
        title=entry["title"],
        touches=entry["touches"],
        seat=entry["seat"],
        stops_enrollment=entry.get("stops_enrollment", False),
        only_if=entry.get("only_if", ""),
        severity=Severity(entry["severity"]),
        severity_by=entry["severity_by"],
        published=entry["published"],
        affected=tuple(map(parse_range, entry["affected"])),
        affected_note=entry.get("affected_note", ""),
        fixed=tuple(map(Release.parse, entry["fixed"])),
        until_then=entry["until_then"],
        sources=tuple(entry["sources"]),
    )
