from __future__ import annotations

import pytest

from icefloe.lab.proxy_faults import (
    EveryConnection,
    Fault,
    FaultInvalid,
    FaultKind,
    SeededFaults,
    Way,
)


@pytest.mark.parametrize(
    "text, fault",
    [
        ("cut", Fault(kind=FaultKind.CUT)),
        ("cut:down@700", Fault(kind=FaultKind.CUT, way=Way.DOWN, at=700)),
        ("reset@0", Fault(kind=FaultKind.RESET)),
        ("half-close:up@90", Fault(kind=FaultKind.HALF_CLOSE, way=Way.UP, at=90)),
        ("black-hole:down", Fault(kind=FaultKind.BLACK_HOLE, way=Way.DOWN)),
        ("stall@300=15", Fault(kind=FaultKind.STALL, at=300, amount=15.0)),
        ("delay:up=0.2", Fault(kind=FaultKind.DELAY, way=Way.UP, amount=0.2)),
        ("throttle=2000", Fault(kind=FaultKind.THROTTLE, amount=2000.0)),
        ("refuse", Fault(kind=FaultKind.REFUSE)),
    ],
)
def test_a_fault_is_read_as_it_is_written(text: str, fault: Fault) -> None:
    assert Fault.parse(text) == fault
    assert Fault.parse(str(fault)) == fault


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "is no fault"),
        ("burn", "KIND is one of cut, reset"),
        ("cut:sideways", "is no fault"),
        ("cut@-1", "is no fault"),
        ("cut@1e9", "is no fault"),
        ("cut=5", "cut takes no amount"),
        ("stall@5", "stall needs an amount: =seconds"),
        ("stall=0", "stall needs an amount"),
        ("stall=999999", "more than 86400 s"),
        ("throttle", "throttle needs an amount: =bytes a second"),
        ("delay=inf", "is no fault"),
    ],
)
def test_what_is_no_fault_is_told_with_the_form(text: str, told: str) -> None:
    with pytest.raises(FaultInvalid, match=told):
        Fault.parse(text)


def test_a_fault_without_a_direction_concerns_both() -> None:
    assert all(Fault.parse("cut").concerns(way) for way in Way)
    assert not Fault.parse("cut:up").concerns(Way.DOWN)


def test_every_connection_has_the_same_faults() -> None:
    plan = EveryConnection((Fault.parse("cut"),))
    assert plan.faults_for(1) == plan.faults_for(99) == (Fault.parse("cut"),)


def test_a_seed_draws_the_same_faults_again_and_another_one_others() -> None:
    def drawn(seed: int) -> list[object]:
        plan = SeededFaults(seed=seed, share=0.5)
        return [plan.faults_for(number) for number in range(1, 200)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_drawn_faults_are_of_the_kinds_and_the_share_asked_for() -> None:
    plan = SeededFaults(seed=3, share=0.5, kinds=(FaultKind.CUT, FaultKind.STALL))
    drawn = [plan.faults_for(number) for number in range(1, 1001)]
    kinds = {fault.kind for faults in drawn for fault in faults}
    assert kinds == {FaultKind.CUT, FaultKind.STALL}
    assert 400 < sum(bool(faults) for faults in drawn) < 600
    for faults in drawn:
        for fault in faults:
            assert Fault.parse(str(fault)) == fault


def test_a_share_of_none_or_all_means_just_that() -> None:
    numbers = range(1, 100)
    nobody = SeededFaults(seed=1, share=0.0)
    everybody = SeededFaults(seed=1, share=1.0)
    assert not any(nobody.faults_for(number) for number in numbers)
    assert all(everybody.faults_for(number) for number in numbers)
