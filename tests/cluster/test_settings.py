"""Times and limits that follow from who the peer is."""

from __future__ import annotations

import pytest

from icefloe.cluster.settings import (
    ANONYMOUS_OUTBOUND_BYTES_MAX,
    KEPT_BYTES_MAX,
    MEMBER_OUTBOUND_BYTES_MAX,
    STREAM_BYTES_MIN,
    SessionSettings,
    message_bytes_max,
    outbound_bytes_max,
)
from icefloe.cluster.zones import Relation
from tests.cluster.helpers import member, stranger


@pytest.mark.parametrize(
    "relation,expected",
    [
        (Relation.PARENT, 999_999_999),
        (Relation.SAME_ZONE, 999_999_999),
        (Relation.ANCESTOR, 999_999_999),
        (Relation.CHILD, 16_777_216),
        (Relation.DESCENDANT, 16_777_216),
        (Relation.UNRELATED, 16_777_216),
    ],
)
def test_size_a_member_may_send_follows_from_its_place(
    relation: Relation, expected: int
) -> None:
    assert message_bytes_max(member(relation)) == expected


def test_strangers_have_the_smallest_limits() -> None:
    for peer in (stranger(), stranger(verified=True)):
        assert message_bytes_max(peer) == 1_048_576
        assert outbound_bytes_max(peer) == ANONYMOUS_OUTBOUND_BYTES_MAX
    assert outbound_bytes_max(member()) == MEMBER_OUTBOUND_BYTES_MAX
    assert ANONYMOUS_OUTBOUND_BYTES_MAX < MEMBER_OUTBOUND_BYTES_MAX
    assert STREAM_BYTES_MIN < KEPT_BYTES_MAX


def test_node_without_facts_of_its_own_still_shows_that_it_is_icefloe() -> None:
    assert SessionSettings(node_name="n").hello_facts == {}
