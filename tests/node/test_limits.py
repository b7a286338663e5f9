"""The operator's limits reach the parts of a node, and fit the system's."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import fields

import pytest
from tests.node.cluster import Logs

from icefloe.cluster.settings import SessionSettings
from icefloe.config.limits import LIMITS, Limits
from icefloe.enrollment.renewal import RenewalPolicy
from icefloe.enrollment.settings import EnrollmentLimits
from icefloe.node import limits as mapping
from icefloe.node.askings import AskingLimits
from icefloe.node.descriptors import (
    available,
    fitted,
    fitted_aloud,
    raise_to_hard_limit,
)
from icefloe.node.log_gate import LogLimits
from icefloe.node.tls.listener import ListenerLimits

BASE = SessionSettings(node_name="n")


def parts(limits: Limits) -> list[object]:
    return [
        mapping.enrollment_limits(limits),
        mapping.session_settings(limits, BASE),
        mapping.listener_limits(limits),
        mapping.asking_limits(limits),
        mapping.log_limits(limits),
        mapping.renewal_policy(limits),
    ]


def test_the_defaults_are_those_of_the_parts() -> None:
    assert parts(Limits()) == [
        EnrollmentLimits(),
        BASE,
        ListenerLimits(),
        AskingLimits(),
        LogLimits(),
        RenewalPolicy(),
    ]


@pytest.mark.parametrize("name", [entry.name for entry in LIMITS])
def test_every_limit_reaches_a_part(name: str) -> None:
    (entry,) = (entry for entry in LIMITS if entry.name == name)
    other = entry.default + 1
    changed = parts(Limits(**{name: other}))
    seen = [
        getattr(after, each.name)
        for before, after in zip(parts(Limits()), changed, strict=True)
        for each in fields(before)  # type: ignore[arg-type]
        if getattr(before, each.name) != getattr(after, each.name)
    ]
    assert seen, "nothing feels it"
    assert all(value in (other, other * 86_400.0) for value in seen)


def test_the_listeners_own_attribute_goes_first() -> None:
    limits = mapping.listener_limits(Limits(), anonymous_clients=7)
    assert limits.strangers_max == 7


@pytest.mark.parametrize(
    "descriptors, members, most, reserve",
    [
        (1_000_000, 100, 4096, 512),
        (1024, 100, 501, 167),
        (1024, 10_000, 192, 64),
        (100, 5, 48, 16),
    ],
)
def test_strangers_get_the_descriptors_that_members_leave(
    descriptors: int, members: int, most: int, reserve: int
) -> None:
    fit = fitted(ListenerLimits(), descriptors=descriptors, members=members)
    assert (fit.strangers_max, fit.strangers_reserve) == (most, reserve)


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard, 512), hard))
        assert raise_to_hard_limit() == available()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("wished, said", [(10**9, 1), (64, 0)])
def test_too_few_descriptors_are_said_aloud(
    monkeypatch: pytest.MonkeyPatch, wished: int, said: int
) -> None:
    few: Callable[[], int] = lambda: 1024  # noqa: E731
    monkeypatch.setattr("icefloe.node.descriptors.available", few)
    log = Logs("m1")
    fitted_aloud(ListenerLimits(strangers_max=wished), members=0, log=log)
    assert len(log.events) == said
