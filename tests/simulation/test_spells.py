"""Faults that last for a while, one kind at a time, in a small world."""

from __future__ import annotations

import pytest

from icefloe.simulation import FaultPlan, Report, simulate
from icefloe.simulation.cluster import chain
from icefloe.simulation.faults import FAULT_KINDS, SPELLS, STRIKES, Spell
from icefloe.simulation.reached import struck

HOUR = 3600.0
KINDS = ("valid", "wrong", "approval", "renewal", "daemon-approval", "agent-ticket")


def live(*spells: Spell, kinds: tuple[str, ...] = KINDS, seed: int = 1) -> Report:
    plan = FaultPlan(until=0.0, notice_late=0.0, spells=spells)
    report = simulate(seed, faults=plan, cluster=chain(1), kinds=kinds)
    assert report.kept, report.story()
    return report


def lines(report: Report, text: str) -> list[str]:
    return [line for line in report.trace if text in line]


@pytest.mark.parametrize("who", ["signer", "relay-1"])
@pytest.mark.parametrize("at", [4.9, 5.05, 5.2, 6.0])
def test_whoever_comes_while_a_node_stops_is_answered(who: str, at: float) -> None:
    report = live(Spell("stop_every", at, 2.0, who))
    assert report.figures[struck("stopped")] == 1
    assert lines(report, f"{who}: has stopped")
    assert lines(report, f"{who}: starts, life 2")


@pytest.mark.parametrize("who", ["signer", "relay-1", "agent-ticket-1.example"])
def test_a_reload_closes_no_connection_that_still_stands(who: str) -> None:
    spells = [Spell("reload_every", 4.0 + n / 7, 0.0, who) for n in range(20)]
    report = live(*spells, kinds=("valid", "agent-ticket"))
    assert not lines(report, "closes")
    assert report.figures["asks"] == 2


@pytest.mark.parametrize("way", [("signer", "relay-1"), ("relay-1", "signer")])
def test_one_direction_that_is_a_black_hole_delays_and_loses_nothing(
    way: tuple[str, str],
) -> None:
    report = live(Spell("one_way_every", 5.0, 25.0, *way))
    assert report.figures[struck("one-way")] == 1
    assert report.figures["max.seconds to finish after the faults"] > 0.0


def test_a_slow_reader_is_waited_for() -> None:
    report = live(Spell("slow_reader_every", 4.0, 20.0, "relay-1", amount=400.0))
    assert report.figures[struck("slow-reader")] == 1


@pytest.mark.parametrize("name", ["disk-full", "disk-io-error"])
@pytest.mark.parametrize("who", ["signer", "relay-1", "agent-ticket-5.example"])
def test_a_node_recovers_by_itself_when_its_disk_works_again(
    who: str, name: str
) -> None:
    report = live(Spell("disk_every", 5.0, 20.0, who, name=name))
    assert report.figures[struck(name)] == 1


def test_a_node_that_cannot_start_for_its_disk_starts_when_it_can() -> None:
    spells = (
        Spell("disk_every", 5.0, 30.0, "relay-1", name="disk-io-error"),
        Spell("stop_every", 5.1, 1.0, "relay-1"),
    )
    failed = 0
    for seed in range(6):
        report = live(*spells, seed=seed)
        failed += int(report.figures.get(struck("start-failed"), 0))
    assert failed > 0


# -- clocks ----------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["signer", "relay-1", "agent-ticket-5.example"])
@pytest.mark.parametrize("hours", [-30.0, -1.0])
def test_a_clock_that_is_set_back_for_a_while_ends_no_request(
    who: str, hours: float
) -> None:
    report = live(Spell("clock_step_every", 4.0, 60.0, who, amount=hours * HOUR))
    assert report.figures[struck("clock-backward")] == 1


@pytest.mark.parametrize("who", ["relay-1", "agent-ticket-5.example"])
def test_a_clock_that_is_set_forward_for_a_while_ends_no_request(who: str) -> None:
    report = live(Spell("clock_step_every", 4.0, 60.0, who, amount=30 * HOUR))
    assert report.figures[struck("clock-forward")] == 1


def test_a_signer_may_be_ahead_by_less_than_certificates_are_backdated() -> None:
    report = live(Spell("clock_step_every", 4.0, 60.0, "signer", amount=200.0))
    assert report.figures["ended.signed"] == len(KINDS) - 1


def test_what_a_signer_far_ahead_signs_is_not_believed_before_its_time() -> None:
    """Whoever looks says why; once its clock is right it signs one that is valid."""
    spell = Spell("clock_step_every", 4.0, 60.0, "signer", amount=2 * HOUR)
    report = live(spell, kinds=("valid",))
    told = lines(report, "certificate from parent is not passed on")
    assert "compare the clocks of this machine" in told[0]
    issued = [line.rpartition("serial=")[2] for line in lines(report, "issued")]
    assert len(issued) == len(set(issued)) == 2


def test_a_relay_that_is_a_year_behind_believes_nobody_and_recovers() -> None:
    """Its parent's certificate is not valid yet; when the clock is right, it is."""
    year = 365 * 24 * HOUR
    report = live(Spell("clock_step_every", 1.0, 30.0, "relay-1", amount=-year))
    assert report.figures["ended.signed"] == len(KINDS) - 1


# -- an older copy of the ledger -------------------------------------------------------


@pytest.mark.parametrize("who", ["signer", "relay-1"])
@pytest.mark.parametrize("after", [0.1, 0.3, 0.8])
def test_whoever_was_forgotten_by_an_older_ledger_finishes_by_asking_again(
    who: str, after: float
) -> None:
    report = live(Spell("restore_every", 4.95, after, who))
    assert report.figures[struck("restored")] == 1


def test_a_signer_on_an_older_ledger_signs_again_under_another_number() -> None:
    spells = (
        Spell("restore_every", 5.0, 1.0, "signer"),
        # The relay keeps nothing either, so that it has to ask the signer again.
        Spell("restore_every", 5.0, 1.0, "relay-1"),
        Spell("away_every", 5.19, 5.0, "valid-0.example", "relay-1"),
    )
    report = live(*spells, kinds=("valid",))
    issued = [line.rpartition("serial=")[2] for line in lines(report, "issued")]
    assert len(issued) == len(set(issued))


# -- all of them -----------------------------------------------------------------------


def test_every_field_that_draws_faults_is_known_as_one() -> None:
    """Otherwise a plan could call itself harmless and not be."""
    for name in (*STRIKES, *SPELLS):
        assert getattr(FaultPlan.none(), name) == 0.0
    harmful = {*STRIKES, *SPELLS} - {"fragment"}
    for name in harmful:
        changes = {name: 0.5}
        assert not FaultPlan(until=9.0, **changes).is_harmless  # type: ignore[arg-type]
    assert FaultPlan(until=9.0, fragment=0.5).is_harmless
    drawn = {
        field for field in FaultPlan.__dataclass_fields__ if field.endswith("_every")
    }
    assert drawn == set(SPELLS)


def test_every_spell_counts_under_a_known_kind() -> None:
    plan = FaultPlan(
        until=60.0,
        **dict.fromkeys(SPELLS, 3.0),  # type: ignore[arg-type]
    )
    report = simulate(2, faults=plan, cluster=chain(2), kinds=KINDS)
    known = {struck(kind) for kind in FAULT_KINDS}
    found = {name for name in report.figures if name.startswith(struck(""))}
    assert found <= known
    assert len(found) > 10
