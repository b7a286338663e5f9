"""One connection for each endpoint."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.cluster.connections import (
    CROSSING_SECONDS,
    STALE_SECONDS,
    Admit,
    Connections,
    Refuse,
    Replace,
)
from icefloe.cluster.states import Role
from tests.cluster.helpers import mono

LISTENER, DIALLER = Role.LISTENER, Role.DIALLER
# Our own name lies between those of the endpoints.
LARGER, SMALLER = "z-agent", "a-master"


def connections() -> Connections[int]:
    return Connections(node_name="m-satellite")


def with_one(endpoint: str = LARGER, role: Role = LISTENER) -> Connections[int]:
    registry = connections()
    assert registry.admit(1, endpoint, role=role, now=mono(0)) == Admit()
    return registry


def test_first_connection_of_each_endpoint_is_admitted() -> None:
    registry = with_one()
    assert registry.admit(2, SMALLER, role=DIALLER, now=mono(0)) == Admit()
    assert registry.links() == {LARGER: 1, SMALLER: 2}
    assert registry.link_of(LARGER) == 1


def test_unknown_links_and_endpoints_are_none() -> None:
    registry = with_one()
    assert registry.link_of("nobody") is None
    assert registry.forget(9) is None


@pytest.mark.parametrize("first", Role)
@pytest.mark.parametrize("second", Role)
@pytest.mark.parametrize("endpoint", [LARGER, SMALLER])
def test_second_connection_is_refused_while_the_first_is_alive(
    first: Role, second: Role, endpoint: str
) -> None:
    registry = with_one(endpoint, first)
    verdict = registry.admit(
        2,
        endpoint,
        role=second,
        now=mono(100),
        incumbent_seen=mono(100 - STALE_SECONDS),
    )
    assert verdict == Refuse("duplicate")
    assert registry.link_of(endpoint) == 1
    assert 2 not in registry.links().values()


@pytest.mark.parametrize("role", Role)
def test_second_connection_replaces_one_that_has_been_silent(role: Role) -> None:
    registry = with_one()
    verdict = registry.admit(
        2, LARGER, role=role, now=mono(100), incumbent_seen=mono(74.9)
    )
    assert verdict == Replace(1, "stale")
    assert registry.links() == {LARGER: 2}
    assert registry.forget(1) is None
    assert registry.link_of(LARGER) == 2


def test_connection_never_heard_counts_from_its_admission() -> None:
    registry = with_one()
    late = mono(STALE_SECONDS)
    assert registry.admit(2, LARGER, role=LISTENER, now=late) == Refuse("duplicate")
    later = mono(STALE_SECONDS + 0.1)
    assert registry.admit(2, LARGER, role=LISTENER, now=later) == Replace(1, "stale")


def test_endpoint_can_come_back_after_its_link_was_forgotten() -> None:
    registry = with_one()
    assert registry.forget(1) == LARGER
    assert registry.links() == {}
    assert registry.admit(1, LARGER, role=LISTENER, now=mono(1)) == Admit()


@pytest.mark.parametrize(
    "endpoint,first,second,stays_first",
    [
        # The node with the smaller name dialled: that connection stays.
        (LARGER, DIALLER, LISTENER, True),
        (LARGER, LISTENER, DIALLER, False),
        (SMALLER, LISTENER, DIALLER, True),
        (SMALLER, DIALLER, LISTENER, False),
        # Both from one end: the peer has two processes, or lost count.
        (LARGER, DIALLER, DIALLER, True),
        (SMALLER, LISTENER, LISTENER, True),
    ],
)
def test_of_connections_that_cross_the_one_dialled_by_the_smaller_name_stays(
    endpoint: str, first: Role, second: Role, *, stays_first: bool
) -> None:
    registry = with_one(endpoint, first)
    verdict = registry.admit(
        2,
        endpoint,
        role=second,
        now=mono(CROSSING_SECONDS),
        incumbent_seen=mono(CROSSING_SECONDS),
    )
    expected = Refuse("duplicate") if stays_first else Replace(1, "crossing")
    assert verdict == expected


def test_connections_do_not_cross_after_a_while() -> None:
    registry = with_one(LARGER, LISTENER)
    now = mono(CROSSING_SECONDS + 0.1)
    verdict = registry.admit(2, LARGER, role=DIALLER, now=now, incumbent_seen=now)
    assert verdict == Refuse("duplicate")


@given(
    a_first=st.booleans(),
    b_first=st.booleans(),
    delay=st.floats(0, CROSSING_SECONDS),
)
def test_two_ends_that_dial_each_other_keep_the_same_connection(
    *, a_first: bool, b_first: bool, delay: float
) -> None:
    """Whatever the order in which each end sees the two."""
    kept = []
    for own, other, first_is_by_a in (("a", "b", a_first), ("b", "a", b_first)):
        registry: Connections[str] = Connections(node_name=own)
        order = ["by-a", "by-b"] if first_is_by_a else ["by-b", "by-a"]
        for link, moment in zip(order, (0.0, delay), strict=True):
            role = DIALLER if link == f"by-{own}" else LISTENER
            now = mono(moment)
            registry.admit(link, other, role=role, now=now, incumbent_seen=now)
        kept.append(registry.link_of(other))
    assert kept == ["by-a", "by-a"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["admit", "forget"]),
            st.sampled_from(["a", "b", "c"]),
            st.integers(0, 5),
            st.sampled_from(Role),
            st.floats(0, 40),
        ),
        max_size=40,
    )
)
def test_registry_is_always_one_to_one(
    steps: list[tuple[str, str, int, Role, float]],
) -> None:
    registry = connections()
    now = 0.0
    for step, endpoint, link, role, seconds in steps:
        now += seconds
        if step == "forget":
            registry.forget(link)
        elif link not in registry.links().values():
            registry.admit(link, endpoint, role=role, now=mono(now))
        links = registry.links()
        assert len(set(links.values())) == len(links)
        assert all(registry.link_of(name) == links[name] for name in links)
