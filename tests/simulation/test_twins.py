"""The simulator's twins of the shell wait as long, and take as much, as the shell."""

from __future__ import annotations

from types import ModuleType

import pytest

from icefloe.enrollment import upstream
from icefloe.enrollment.settings import EnrollmentLimits
from icefloe.node import hub, installer, link, runner, stopping
from icefloe.node.gateway.gateway import GATEWAY_LIMITS
from icefloe.node.gateway.options import GATEWAY_DEFAULTS
from icefloe.node.gateway.upstream import ForwarderLimits
from icefloe.node.limits import enrollment_limits
from icefloe.node.tls import listener
from icefloe.node.tls.stream_interface import TransportLimits
from icefloe.simulation import gateway as gateway_twin
from icefloe.simulation import hub as hub_twin
from icefloe.simulation import installing as installer_twin
from icefloe.simulation import link as link_twin
from icefloe.simulation import network, promises, running, scale
from icefloe.simulation import process as process_twin
from icefloe.simulation import stopping as stopping_twin


@pytest.mark.parametrize(
    "name, here, there",
    [
        ("ASK_SOON_SECONDS", hub, hub_twin),
        ("ASKED_SECONDS", link, link_twin),
        ("RETRY_SECONDS_FIRST", installer, installer_twin),
        ("RETRY_SECONDS_MAX", installer, installer_twin),
        ("BATCH_EVENTS_MAX", runner, process_twin),
        ("BATCH_EVENTS_MAX", runner, scale),
        ("FAILING_PAUSE_SECONDS", runner, process_twin),
        ("QUIET_SECONDS", listener, stopping_twin),
        ("ANSWER_SECONDS", stopping, stopping_twin),
        ("PARK_SECONDS", stopping, stopping_twin),
        ("DRAIN_SECONDS", stopping, stopping_twin),
        ("LAST_SECONDS", stopping, stopping_twin),
    ],
)
def test_a_number_is_the_same_in_daemon_and_simulator(
    name: str, here: ModuleType, there: ModuleType
) -> None:
    assert getattr(here, name) == getattr(there, name)


def test_the_simulated_gateway_has_the_limits_of_one_that_runs_by_default() -> None:
    by_default = enrollment_limits(GATEWAY_DEFAULTS, GATEWAY_LIMITS)
    assert by_default == gateway_twin.LIMITS
    answer_seconds_max = ForwarderLimits().answer_seconds_max
    assert answer_seconds_max == gateway_twin.ANSWER_SECONDS_MAX


def test_the_judge_expects_the_numbers_of_the_core() -> None:
    """It has numbers of its own, so that no mistake in the judged one is its own too."""
    assert EnrollmentLimits().attempts_max == promises.ATTEMPTS_MAX
    assert upstream.CALLS_MAX == running.CALLS_EACH


def test_the_simulated_network_has_the_limits_of_a_transport() -> None:
    limits = TransportLimits()
    assert limits.answer_seconds_max == network.ANSWER_SECONDS
    assert limits.connect_seconds_max == network.CONNECT_SECONDS_MAX
    assert limits.outbound_bytes_max == network.OUTBOUND_BYTES_MAX
