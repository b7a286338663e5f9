"""Which nodes to upgrade, to what, and in which order.

Icinga's rule: masters first, then satellites, agents last; no child has a newer *branch*
(2.14, 2.15) than its parent.  Releases of one branch go together in any order.  So a
satellite that keeps others from enrolling may be mended before everything else, within
its branch: it breaks no rule, and every new host behind it waits for it.  Only a master
that stops enrollment itself goes before it.

Source: Icinga 2's documentation, "Versions and Upgrade" of distributed monitoring.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from icefloe.node.fleet.advisories import Advisories, Concern, Role
from icefloe.node.fleet.releases import Range, Release

__all__ = ["Running", "Step", "upgrade_steps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A node and what it runs.

    Attributes:
        label: What the operator calls it.
        release: Of Icinga 2; a range when only that is known.
        role: None when nobody said.
        concerns: What concerns it, the worst first.
    """

    label: str
    release: Release | Range
    role: Role | None
    concerns: tuple[Concern, ...]

    @property
    def stopping(self) -> tuple[Concern, ...]:
        """What keeps new nodes from enrolling, as far as that is certain."""
        return tuple(
            each
            for each in self.concerns
            if each.certain and each.advisory.stops_enrollment
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One node's upgrade.

    Attributes:
        node: Which one.
        within_branch: Newest release of its own branch; None when there is none that
            mends anything, or its branch is not known.
        left_open: Ids of what that release leaves open.
        to: The newest release of all, which mends everything listed.
        reason: Why it stands at this place.
    """

    node: Running
    within_branch: Release | None
    left_open: tuple[str, ...]
    to: Release
    reason: str


_RANKS: Final = {Role.MASTER: 1, Role.SATELLITE: 2, None: 3, Role.AGENT: 4}

_REASONS: Final = {
    Role.MASTER: (
        "masters come first: no child may have a newer branch than its parent"
    ),
    Role.SATELLITE: "satellites come after their masters and before what is below them",
    None: (
        "its role was not told: if others connect to it, it goes before them; tell it "
        "with --role"
    ),
    Role.AGENT: "agents come last: their parents have to be at least as new",
}

_FIRST: Final = (
    "every new node behind it fails until it is mended; within its own branch it need "
    "not wait for its master"
)
_STOPS: Final = "it keeps new nodes from enrolling"


def upgrade_steps(nodes: Iterable[Running], advisories: Advisories) -> list[Step]:
    """Return the concerned nodes in the order in which to upgrade them."""
    concerned = [node for node in nodes if node.concerns]
    a_master_stops = any(
        node.stopping for node in concerned if node.role is Role.MASTER
    )
    steps = []
    for node in concerned:
        within, left_open = _within_branch(node, advisories)
        first = (
            node.role is Role.SATELLITE
            and not a_master_stops
            and _is_cured_within(node, within)
        )
        reason = _FIRST if first else _REASONS[node.role]
        if node.stopping and not first:
            reason = f"{reason}; {_STOPS}"
        step = Step(
            node=node,
            within_branch=within,
            left_open=left_open,
            to=advisories.newest[-1],
            reason=reason,
        )
        steps.append((0 if first else _RANKS[node.role], step))
    steps.sort(key=lambda each: (each[0], *_urgency(each[1].node)))
    return [step for _, step in steps]


def _within_branch(
    node: Running, advisories: Advisories
) -> tuple[Release | None, tuple[str, ...]]:
    if isinstance(node.release, Range):
        return None, ()
    now_open = [concern.advisory for concern in node.concerns]
    for release in advisories.newest:
        if release.branch == node.release.branch and release > node.release:
            left = tuple(each.id for each in now_open if each.affects(release))
            return (release, left) if len(left) < len(now_open) else (None, ())
    return None, ()


def _is_cured_within(node: Running, within: Release | None) -> bool:
    """Say whether what stops enrollment is mended without leaving the branch."""
    if not node.stopping or within is None:
        return False
    return not any(each.advisory.affects(within) for each in node.stopping)


def _urgency(node: Running) -> tuple[bool, int, Release, str]:
    certain = [each.advisory.severity.rank for each in node.concerns if each.certain]
    possible = [each.advisory.severity.rank for each in node.concerns]
    # What is only possible weighs less than anything certain.
    worst = min(certain) if certain else min(possible) + len(_RANKS)
    release = node.release if isinstance(node.release, Release) else Release(0, 0, 0)
    return not node.stopping, worst, release, node.label
