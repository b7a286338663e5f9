"""The simulator's twins of the shell wait as long, and take as much, as the shell."""

from __future__ import annotations

from types import ModuleType

import pytest

from icefloe.node import hub, installer, link, runner, stopping
from icefloe.node.tls import listener
from icefloe.node.tls.stream_interface import TransportLimits
from icefloe.simulation import hub as hub_twin
from icefloe.simulation import installing as installer_twin
from icefloe.simulation import link as link_twin
from icefloe.simulation import network, scale
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


def test_the_simulated_network_has_the_limits_of_a_transport() -> None:
    limits = TransportLimits()
    assert limits.answer_seconds_max == network.ANSWER_SECONDS
    assert limits.connect_seconds_max == network.CONNECT_SECONDS_MAX
    assert limits.outbound_bytes_max == network.OUTBOUND_BYTES_MAX
