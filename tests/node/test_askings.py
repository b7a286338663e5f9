"""Which askings wait for the core, and which ids of calls are taken."""

from __future__ import annotations

import pytest

from icefloe.cluster.peer import Peer, Standing
from icefloe.enrollment import events as ev
from icefloe.node.askings import (
    ID_BYTES_MAX,
    AskingLimits,
    AskingsUnderWay,
    is_usable_id,
)
from icefloe.wire.catalogue import RequestCertificate

LIMITS = AskingLimits(per_connection=2, per_source=3, strangers=4, per_member=5)


def up(link: int, address: str = "", *, member: str = "") -> ev.LinkUp:
    standing = Standing.MEMBER if member else Standing.ANONYMOUS
    peer = Peer(standing=standing, common_name=member or None, address=address)
    return ev.LinkUp(ev.LinkId(link), peer)


def asked(link: int) -> ev.CertificateAsked:
    return ev.CertificateAsked(ev.LinkId(link), None, RequestCertificate())


def test_a_connection_a_source_and_all_strangers_have_their_shares() -> None:
    askings = AskingsUnderWay(LIMITS)
    for link, address in ((1, "10.0.0.1:1"), (2, "10.0.0.1:2"), (3, "10.0.0.2:1")):
        assert askings.admit(up(link, address))
    assert [askings.admit(asked(1)) for _ in range(3)] == [True, True, False]
    assert [askings.admit(asked(2)) for _ in range(2)] == [True, False], "of a source"
    assert [askings.admit(asked(3)) for _ in range(2)] == [True, True]
    askings.admit(up(4, "10.0.0.3:1"))
    assert not askings.admit(asked(4)), "of all"
    askings.handled([asked(2)])
    assert askings.admit(asked(4))
    assert not askings.admit(asked(2))


def test_a_few_sources_do_not_take_the_room_of_who_asks_once() -> None:
    limits = AskingLimits()
    askings = AskingsUnderWay(limits)
    for source in range(2 * limits.strangers // limits.per_source):
        for number in range(limits.per_source):
            link = 100_000 * source + number
            askings.admit(up(link, f"10.0.0.{source}:{number}"))
            askings.admit(asked(link))
    askings.admit(up(1_000_000, "10.0.1.1:1"))
    assert askings.admit(asked(1_000_000))


def test_a_members_share_is_its_own() -> None:
    askings = AskingsUnderWay(LIMITS)
    askings.admit(up(1, "10.0.0.1:1"))
    askings.admit(up(2, member="s1"))
    for _ in range(9):
        askings.admit(asked(1))
    assert [askings.admit(asked(2)) for _ in range(6)] == [True] * 5 + [False]


def test_what_was_handled_after_its_connection_ended_takes_no_place_any_more() -> None:
    askings = AskingsUnderWay(LIMITS)
    for link in range(100):
        askings.admit(up(link, "10.0.0.1:1"))
        assert askings.admit(asked(link))
        askings.admit(ev.LinkDown(ev.LinkId(link)))
        askings.handled([asked(link)])


@pytest.mark.parametrize(
    "value", [None, True, 0, -1, 2**63, 1.5, "", "x", "ü" * (ID_BYTES_MAX // 2)]
)
def test_short_scalars_are_usable(value: object) -> None:
    assert is_usable_id(value)


@pytest.mark.parametrize(
    "value",
    [[], {}, [[], []], "x" * (ID_BYTES_MAX + 1), "ü" * ID_BYTES_MAX, 10**4000],
)
def test_containers_and_long_values_are_not(value: object) -> None:
    assert not is_usable_id(value)
