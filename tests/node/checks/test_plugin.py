"""The form that the Monitoring Plugins ask for."""

from __future__ import annotations

import pytest

from icefloe.node.checks.plugin import (
    Outcome,
    Perf,
    PluginState,
    Range,
    RangeInvalid,
    worst,
)


@pytest.mark.parametrize(
    "text, well, alerting",
    [
        # The table of the Monitoring Plugins' guidelines.
        ("10", [0, 10], [-0.1, 10.1]),
        ("10:", [10, 1e9], [9.9, -1]),
        ("~:10", [-1e9, 10], [10.1]),
        ("10:20", [10, 20], [9.9, 20.1]),
        ("@10:20", [9.9, 20.1], [10, 20]),
        (" 0.5:2.5 ", [0.5], [2.6]),
    ],
)
def test_a_range_alerts_outside_of_it(
    text: str, well: list[float], alerting: list[float]
) -> None:
    threshold = Range.parse(text)
    assert not any(map(threshold.alerts, well))
    assert all(map(threshold.alerts, alerting))
    assert str(threshold) == text.strip()


@pytest.mark.parametrize("text", ["", "ten", "20:10", "1:2:3", "nan", "@", "10:x"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(RangeInvalid):
        Range.parse(text)


def test_a_number_is_written_with_its_thresholds() -> None:
    warning, critical = Range.parse("10"), Range.parse("20:")
    whole = Perf(
        label="a", value=12.34567, unit="s", warning=warning, critical=critical
    )
    assert str(whole) == "a=12.346s;10;20:;0"
    assert whole.state is PluginState.CRITICAL
    assert str(Perf(label="b", value=3)) == "b=3;;;0"
    assert str(Perf(label="c", value=0)) == "c=0;;;0"
    assert str(Perf(label="d", value=-1)) == "d=-1"
    assert Perf(label="e", value=11, warning=warning).state is PluginState.WARNING


def test_the_line_is_one_line_and_its_bar_begins_the_numbers() -> None:
    outcome = Outcome(
        name="X",
        state=PluginState.WARNING,
        kind="k",
        text="a peer's\nwords | with a bar",
        perf=(Perf(label="n", value=1),),
        details=("one\ntwo",),
    )
    assert outcome.line == "X WARNING - a peer's words / with a bar | n=1;;;0"
    assert outcome.lines(verbose=True)[1:] == ["one two"]
    assert outcome.lines(verbose=False) == [outcome.line]
    assert outcome.as_json()["exit_code"] == 1


def test_the_worst_state_is_what_somebody_has_to_look_at() -> None:
    ok, warning, critical, unknown = PluginState
    assert worst([]) is ok
    assert worst([ok, unknown]) is unknown
    assert worst([unknown, warning]) is warning
    assert worst([warning, critical, unknown]) is critical
