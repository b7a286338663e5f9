"""Releases, the data of published defects, and the order of upgrades."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest
from tests.source_tree import ROOT

from icefloe.node.fleet.advisories import (
    BEFORE_TELLING,
    SEATS,
    Advisories,
    AdvisoriesInvalid,
    Role,
    Severity,
    parse_advisories,
)
from icefloe.node.fleet.reading import known_advisories
from icefloe.node.fleet.releases import (
    Range,
    Release,
    ReleaseUnreadable,
    parse_range,
    parse_told,
)
from icefloe.node.fleet.upgrades import Running, upgrade_steps

KNOWN = known_advisories()
DATA = (ROOT / "src/icefloe/node/fleet/advisories.toml").read_text(encoding="utf-8")
CUT_OFF = "icinga2-10330"
TAKEOVER = "GHSA-vj39-ww8j-vvx5"

SECURITY_HISTORY = {
    # The advisories of Icinga 2 since 2.8.2, in the order of their publication.
    *("CVE-2017-16933", "CVE-2018-6532", "CVE-2018-6533", "CVE-2018-6534"),
    *("CVE-2018-6535", "CVE-2018-6536", "CVE-2020-29663", "CVE-2021-32739"),
    *("CVE-2021-32743", "GHSA-cxfm-8j5v-5qr2", "CVE-2024-49369", "CVE-2025-48057"),
    *("CVE-2025-61907", "CVE-2025-61908", "CVE-2025-61909", "CVE-2026-24413"),
    *("GHSA-vj39-ww8j-vvx5", "GHSA-wh38-wg57-5w7g", "GHSA-jgqj-x5j9-vgcm"),
    *("GHSA-wm63-p2jg-5665", "GHSA-v265-w3gm-99vg"),
}


def advisory(name: str) -> Any:
    return next(each for each in KNOWN.advisories if each.id == name)


def release(text: str) -> Release:
    return Release.parse(text)


def ids(version: str | Range, role: Role | None = None) -> set[str]:
    given = version if isinstance(version, Range) else release(version)
    return {each.advisory.id for each in KNOWN.concerning(given, role)}


# --- Releases -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, told, decoration",
    [
        ("2.14.4", "2.14.4", ""),
        ("v2.14.4", "2.14.4", ""),
        ("r2.13.6-1", "2.13.6", "-1"),
        ("r2.13.6-2+deb12u2", "2.13.6", "-2+deb12u2"),
        ("2.14.3-1.el9", "2.14.3", "-1.el9"),
        ("r2.14.0-63-gb2e1ad0", "2.14.0", "-63-gb2e1ad0"),
        ("2.15", "2.15.0", ""),
        ("Icinga/r2.16.5", "2.16.5", ""),
        ("icinga2 2.14.4~bookworm1", "2.14.4", "~bookworm1"),
        (" 2.14.10 ", "2.14.10", ""),
    ],
)
def test_a_release_is_read_as_packages_spell_it(
    text: str, told: str, decoration: str
) -> None:
    found = parse_told(text)
    assert (str(found.release), found.decoration) == (told, decoration)
    assert str(found) == told + decoration


@pytest.mark.parametrize(
    "text, told",
    [
        ("2.14.5~rc1-1", "2.14.5-rc1"),
        ("r2.14.5-rc2", "2.14.5-rc2"),
        ("v2.12.0-RC1", "2.12.0-rc1"),
        ("2.14.5-0.rc1.el9", "2.14.5-rc1"),
        ("2.14.5~beta1", "2.14.5-pre"),
        ("2.14.5~rc", "2.14.5-pre"),
        ("2.14.5~git20250131.81f7bce-1", "2.14.5-pre"),
        ("2.14.5-dev", "2.14.5-pre"),
    ],
)
def test_what_comes_before_a_release_is_older_than_it(text: str, told: str) -> None:
    found = parse_told(text)
    assert str(found.release) == told
    assert str(found) == text.removeprefix("r").removeprefix("v")
    assert found.release < found.release.out
    assert found.release.branch == found.release.out.branch


def test_release_candidates_are_in_their_order() -> None:
    told = [parse_told(f"2.14.5{end}").release for end in ("~dev", "-rc1", "-rc10", "")]
    assert told == sorted(told)
    assert release("2.14.4") < told[0]
    assert len(set(told)) == len(told)


@pytest.mark.parametrize(
    "text", ["2.14.5-1", "2.14.5~bookworm1", "2.14.5+git63", "2.14.5-1.rcos", "2.14.5"]
)
def test_what_only_looks_like_it_is_the_release(text: str) -> None:
    assert parse_told(text).release == release("2.14.5")


@pytest.mark.parametrize(
    "text", ["", "2", "two", "2.14.4.5", "2.14.4 or so", "x2.14.4", "2.14.4-\x1b[2J"]
)
def test_what_is_no_release_is_refused(text: str) -> None:
    with pytest.raises(ReleaseUnreadable) as caught:
        parse_told(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "number, told",
    [(21306, "2.13.6"), (21404, "2.14.4"), (21410, "2.14.10"), (30000, "3.0.0")],
)
def test_a_hello_says_a_release(number: int, told: str) -> None:
    assert str(Release.from_wire(number)) == told


@pytest.mark.parametrize(
    "text, inside, outside",
    [
        ("=2.14.4", ["2.14.4"], ["2.14.3", "2.14.5", "2.15.0"]),
        (">=2.14.0, <2.14.5", ["2.14.0", "2.14.4"], ["2.13.14", "2.14.5"]),
        ("<2.13.10", ["2.13.9", "2.4.0"], ["2.13.10", "2.14.0"]),
        (">=2.14.0,<=2.14.4", ["2.14.4"], ["2.14.5"]),
        (">=2.16.2", ["2.16.2", "3.0.0"], ["2.16.1"]),
        # A candidate has what its release has, and what its release mended.
        (
            ">=2.14.0, <2.14.5",
            ["2.14.0-rc1", "2.14.4-rc1", "2.14.5-rc1"],
            ["2.14.6-rc1", "2.13.14-rc1"],
        ),
        ("=2.14.4", ["2.14.4-rc1", "2.14.5-rc1"], ["2.14.3-rc1"]),
        (">=2.12.0-rc1, <2.12.0", ["2.12.0-rc1"], ["2.12.0", "2.11.12"]),
    ],
)
def test_a_range_holds_what_it_says(
    text: str, inside: list[str], outside: list[str]
) -> None:
    found = parse_range(text)
    assert all(release(each) in found for each in inside)
    assert not any(release(each) in found for each in outside)


@pytest.mark.parametrize("text", ["", "2.14.4", "~2.14.0", ">=2.14", "<2.1.0,>=2.2.0"])
def test_a_range_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ReleaseUnreadable):
        parse_range(text)


# --- The data -------------------------------------------------------------------------


@pytest.mark.parametrize("each", KNOWN.advisories, ids=lambda each: each.id)
def test_every_advisory_is_complete(each: Any) -> None:
    assert each.seat in SEATS
    assert each.affected
    assert each.fixed
    assert each.severity_by in {"published", "icefloe"}
    assert isinstance(each.published, date)
    assert each.published <= KNOWN.checked
    for text in (each.id, each.title, each.touches, each.until_then):
        assert text.strip() == text != ""
        assert "\n" not in text
    assert not each.until_then.endswith(".")
    assert each.sources
    assert all(re.fullmatch(r"https://[\w./#-]+", source) for source in each.sources)
    assert any("icinga" in source for source in each.sources)


@pytest.mark.parametrize("each", KNOWN.advisories, ids=lambda each: each.id)
def test_a_mended_release_is_not_affected_and_the_one_before_it_is(each: Any) -> None:
    for fixed in each.fixed:
        assert not each.affects(fixed)
        if fixed.patch:
            assert each.affects(fixed._replace(patch=fixed.patch - 1))
    ends = {found.end for found in each.affected}
    assert ends == set(each.fixed)
    assert not each.affects(KNOWN.newest[-1])


def test_no_id_is_there_twice() -> None:
    named = [name for each in KNOWN.advisories for name in (each.id, *each.aliases)] + [
        name for each in KNOWN.left_out for name in each.ids
    ]
    assert len(named) == len(set(named))


def test_every_published_advisory_is_in_or_left_out_with_a_reason() -> None:
    entered = {each.id for each in KNOWN.advisories}
    left_out = {name for each in KNOWN.left_out for name in each.ids}
    assert entered | left_out >= SECURITY_HISTORY
    assert all(each.why for each in KNOWN.left_out)


def test_every_key_of_the_data_is_needed() -> None:
    for key in ("checked", "newest", "severity", "sources", "affected", "seat"):
        broken = re.sub(rf"^{key} = ", f"{key}_ = ", DATA, count=1, flags=re.MULTILINE)
        assert broken != DATA
        with pytest.raises(AdvisoriesInvalid):
            parse_advisories(broken)
    with pytest.raises(AdvisoriesInvalid):
        parse_advisories(DATA.replace('seat = "relay"', 'seat = "sofa"'))
    with pytest.raises(AdvisoriesInvalid):
        parse_advisories("[")


# --- Whom it concerns -----------------------------------------------------------------


def test_the_cut_off_answers_are_of_2_14_4_in_a_relays_seat_alone() -> None:
    assert CUT_OFF in ids("2.14.4", Role.SATELLITE)
    assert CUT_OFF in ids("2.14.5-rc1", Role.SATELLITE)
    for other in ("2.14.3", "2.14.5", "2.13.14", "2.15.0", "2.16.5"):
        assert CUT_OFF not in ids(other, Role.SATELLITE)
    assert CUT_OFF not in ids("2.14.4", Role.AGENT)


@pytest.mark.parametrize(
    "name, role, has, has_not",
    [
        (
            "icinga2-7680",
            Role.MASTER,
            ["2.11.0", "2.11.5"],
            ["2.10.7", "2.11.6", "2.12.0-rc1", "2.12.0"],
        ),
        ("icinga2-7970", Role.MASTER, ["2.12.0-rc1"], ["2.11.6", "2.11.12", "2.12.0"]),
        (
            "icinga2-7997",
            Role.SATELLITE,
            ["2.11.3", "2.12.0-rc1"],
            ["2.10.7", "2.11.4", "2.12.0"],
        ),
        ("icinga2-7650", Role.AGENT, ["2.11.0", "2.11.12"], ["2.10.7", "2.12.0"]),
        ("icinga2-6566", Role.SATELLITE, ["2.8.2", "2.9.3"], ["2.8.1", "2.10.0"]),
    ],
)
def test_what_stopped_enrollment_before_2_13_is_of_the_releases_that_had_it(
    name: str, role: Role, has: list[str], has_not: list[str]
) -> None:
    assert all(name in ids(each, role) for each in has)
    assert not any(name in ids(each, role) for each in has_not)


def concern(name: str, version: str, role: Role | None) -> Any:
    found = KNOWN.concerning(release(version), role)
    return next(each for each in found if each.advisory.id == name)


def test_what_cannot_be_seen_is_a_condition() -> None:
    assert concern(CUT_OFF, "2.14.4", Role.SATELLITE).certain
    assert "no CA key" in concern(CUT_OFF, "2.14.4", Role.MASTER).conditions[0]
    assert "forwards" in concern(CUT_OFF, "2.14.4", None).conditions[0]
    windows = concern("CVE-2026-24413", "2.14.4", Role.AGENT)
    assert windows.conditions == ("the node runs on Windows",)
    assert len(concern("CVE-2025-48057", "2.14.4", Role.MASTER).conditions) == 2


def test_debians_release_is_judged_by_its_numbers() -> None:
    told = parse_told("r2.13.6-1").release
    found = {each.advisory.id for each in KNOWN.concerning(told, Role.AGENT)}
    assert found >= {"CVE-2024-49369", TAKEOVER}
    assert CUT_OFF not in found


def test_a_release_that_was_not_told_may_be_anything_before_2_13() -> None:
    concerns = KNOWN.concerning(BEFORE_TELLING, Role.SATELLITE)
    assert concerns
    assert not any(each.certain for each in concerns)
    assert CUT_OFF not in {each.advisory.id for each in concerns}


def test_the_newest_release_is_concerned_by_nothing() -> None:
    for role in (*Role, None):
        assert ids(str(KNOWN.newest[-1]), role) == set()


def test_the_worst_comes_first() -> None:
    found = KNOWN.concerning(release("2.14.4"), Role.SATELLITE)
    assert found[0].advisory.id == CUT_OFF
    certain = [each.certain for each in found[1:]]
    assert certain == sorted(certain, reverse=True)
    severities = [each.advisory.severity.rank for each in found[1:] if each.certain]
    assert severities == sorted(severities)
    assert Severity.CRITICAL.rank == 0


@pytest.mark.parametrize(
    "text, newer",
    [
        ("2.16.5", False),
        ("2.16.6", True),
        ("2.17.0", True),
        ("2.14.11", True),
        ("2.14.10", False),
        ("2.10.0", False),
    ],
)
def test_a_release_after_the_data_is_known_as_such(text: str, *, newer: bool) -> None:
    assert KNOWN.is_newer(release(text)) is newer


# --- The order of upgrades ------------------------------------------------------------


def running(label: str, version: str | Range, role: Role | None) -> Running:
    given = version if isinstance(version, Range) else release(version)
    return Running(
        label=label,
        release=given,
        role=role,
        concerns=KNOWN.concerning(given, role),
    )


def order(*nodes: Running, known: Advisories = KNOWN) -> list[str]:
    return [step.node.label for step in upgrade_steps(nodes, known)]


def test_masters_come_before_satellites_before_agents() -> None:
    assert order(
        running("agent", "2.14.2", Role.AGENT),
        running("sat", "2.14.2", Role.SATELLITE),
        running("what", "2.14.2", None),
        running("master", "2.14.2", Role.MASTER),
    ) == ["master", "sat", "what", "agent"]


def test_a_satellite_that_cuts_answers_off_comes_first_of_all() -> None:
    """Within 2.14 it breaks no rule, and every new host behind it waits for it."""
    nodes = (
        running("master", "2.14.4", Role.MASTER),
        running("sat1", "2.14.3", Role.SATELLITE),
        running("sat2", "2.14.4", Role.SATELLITE),
    )
    assert order(*nodes) == ["sat2", "master", "sat1"]
    (first, *_) = upgrade_steps(nodes, KNOWN)
    assert first.within_branch == release("2.14.10")
    assert "every new node behind it fails" in first.reason


def test_a_master_that_stops_enrollment_comes_before_its_satellites() -> None:
    nodes = (
        running("sat", "2.14.4", Role.SATELLITE),
        running("master", "2.11.5", Role.MASTER),
    )
    assert order(*nodes) == ["master", "sat"]
    assert "keeps new nodes from enrolling" in upgrade_steps(nodes, KNOWN)[0].reason


def test_among_equals_the_more_urgent_comes_first() -> None:
    assert order(
        running("b", "2.16.4", Role.SATELLITE),
        running("d", "2.16.1", Role.SATELLITE),
        running("c", "2.14.4", Role.SATELLITE),
        running("a", "2.13.6", Role.SATELLITE),
    ) == ["c", "a", "d", "b"]


def test_what_a_branch_leaves_open_is_said() -> None:
    (step,) = upgrade_steps([running("sat", "2.13.6", Role.SATELLITE)], KNOWN)
    assert step.within_branch == release("2.13.14")
    assert TAKEOVER in step.left_open
    assert step.to == release("2.16.5")


def test_the_last_release_of_a_branch_has_to_leave_it() -> None:
    (step,) = upgrade_steps([running("sat", "2.13.14", Role.SATELLITE)], KNOWN)
    assert step.within_branch is None
    (step,) = upgrade_steps([running("sat", BEFORE_TELLING, Role.SATELLITE)], KNOWN)
    assert step.within_branch is None


def test_who_is_not_concerned_is_not_in_the_order() -> None:
    assert order(running("sat", "2.16.5", Role.SATELLITE)) == []
