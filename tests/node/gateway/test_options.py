"""What an operator tells a gateway about limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from icefloe.config.limits import Limits
from icefloe.node.gateway.options import (
    GATEWAY_DEFAULTS,
    GatewayProblem,
    parse_limits,
)


def test_limits_are_named_one_by_one() -> None:
    given = ["open_requests=500", "wrong_tickets_per_minute=5"]
    assert parse_limits(given) == Limits(open_requests=500, wrong_tickets_per_minute=5)


def test_one_client_cannot_use_up_what_the_node_above_allows_the_gateway() -> None:
    above = Limits()
    assert parse_limits([]) == replace(above, wrong_tickets_per_minute=10)
    assert parse_limits([]) == GATEWAY_DEFAULTS
    assert 3 * GATEWAY_DEFAULTS.wrong_tickets_per_minute <= (
        above.wrong_tickets_per_minute
    )


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
