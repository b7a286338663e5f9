"""What nodes run and what concerns them: by what they told, or as somebody thinks of them.

Pure: what was seen, whose role it is, and the advisories go in; nodes come out.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from icefloe.node.fleet.advisories import BEFORE_TELLING, Advisories, Role
from icefloe.node.fleet.releases import Range, Release, parse_told
from icefloe.node.fleet.sightings import Look, Presented
from icefloe.node.fleet.targets import Target, TargetInvalid
from icefloe.node.fleet.upgrades import Running

__all__ = ["Node", "Roles", "of_looks", "of_releases", "parse_roles"]

_GROUP: Final = "group:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node as far as it told what it runs.

    Attributes:
        running: Label, release, role, and what concerns it; None when it told nothing,
            or runs Icefloe, which these advisories are not about.
        label: What the operator calls it.
        runs: What it runs, in words.
        why_unknown: Why nothing is known; "" otherwise.
        is_newer: Its release came after the advisories were last compared.
    """

    running: Running | None
    label: str
    runs: str
    why_unknown: str = ""
    is_newer: bool = False


Roles: TypeAlias = Sequence[tuple[Role, str]]
"""Whose role it is: a pattern of names, or `group:NAME`; the first that fits counts."""


def parse_roles(words: Sequence[str]) -> Roles:
    """Read `--role`.

    Raises:
        TargetInvalid: One is not of the form ROLE=HOSTS.
    """
    found = []
    for word in words:
        name, equals, patterns = word.partition("=")
        if not equals or name not in set(Role) or not patterns:
            known = ", ".join(Role)
            raise TargetInvalid(
                f"--role '{word}': it has the form ROLE=HOSTS ({known})"
            )
        found += [(Role(name), each.strip()) for each in patterns.split(",")]
    return found


def _role_of(target: Target, roles: Roles) -> Role | None:
    """Return a node's role: by --role, else by `icefloe_role` of the inventory."""
    names = {target.label, target.host, target.name or target.label}
    for role, pattern in roles:
        if pattern.startswith(_GROUP):
            if pattern.removeprefix(_GROUP) in target.groups:
                return role
        elif any(fnmatch.fnmatchcase(name, pattern) for name in names):
            return role
    told = target.variables.get("icefloe_role", target.variables.get("icinga2_role"))
    return Role(told) if isinstance(told, str) and told in set(Role) else None


def of_looks(looks: Sequence[Look], roles: Roles, known: Advisories) -> list[Node]:
    """Return what nodes told in their Hello."""
    return [_of_look(each, _role_of(each.target, roles), known) for each in looks]


def _of_look(look: Look, role: Role | None, known: Advisories) -> Node:
    label = look.target.label
    if not isinstance(look.sighting, Presented):
        cause = look.sighting.cause
        why = f"{cause.words} ({look.sighting.detail})"
        return Node(running=None, label=label, runs="", why_unknown=why)
    greeting = look.sighting.greeting
    if greeting is None:
        why = look.sighting.no_greeting
        return Node(running=None, label=label, runs="", why_unknown=why)
    if greeting.icefloe is not None:
        return Node(
            running=None, label=label, runs=f"Icefloe {greeting.icefloe}".strip()
        )
    if greeting.version is None:
        runs = "Icinga 2.12 or older (it says Hello without a version)"
        return _node(label, BEFORE_TELLING, runs, role, known)
    release = Release.from_wire(greeting.version)
    return _node(label, release, f"Icinga {release}", role, known)


def of_releases(words: Sequence[str], roles: Roles, known: Advisories) -> list[Node]:
    """Return nodes that somebody thinks of: what concerns them in their role.

    Args:
        words: Releases.
        roles: Whose role it is; the name of such a node is its release, as written or
            plain.  In any role, where nobody says.
        known: The advisories.

    Raises:
        ReleaseUnreadable: A word is no release.
    """
    nodes = []
    for word in words:
        told = parse_told(word)
        thought_of = Target(label=word.strip(), host=told.release.numbers)
        role = _role_of(thought_of, roles)
        nodes.append(
            _node(thought_of.label, told.release, f"Icinga {told}", role, known)
        )
    return nodes


def _node(
    label: str,
    release: Release | Range,
    runs: str,
    role: Role | None,
    known: Advisories,
) -> Node:
    running = Running(
        label=label,
        release=release,
        role=role,
        concerns=known.concerning(release, role),
    )
    newer = isinstance(release, Release) and known.is_newer(release)
    return Node(running=running, label=label, runs=runs, is_newer=newer)
