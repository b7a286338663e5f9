"""What an operator tells a gateway about limits."""

from __future__ import annotations

import pytest

from icefloe.config.limits import Limits
from icefloe.node.gateway.options import GatewayProblem, parse_limits


def test_limits_are_named_one_by_one() -> None:
    given = ["open_requests=500", "wrong_tickets_per_minute=5"]
    assert parse_limits(given) == Limits(open_requests=500, wrong_tickets_per_minute=5)
    assert parse_limits([]) == Limits()


@pytest.mark.parametrize(
    "given, said",
    [
        ("open_requests", "NAME=NUMBER"),
        ("open_request=5", "there is no limit 'open_request'"),
        ("open_requests=0", "must be from 1"),
    ],
)
def test_what_cannot_be_taken_is_said_with_the_option(given: str, said: str) -> None:
    with pytest.raises(GatewayProblem, match="--limit") as caught:
        parse_limits([given])
    assert said in str(caught.value)
