"""What holds for all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.peer_gate import PeerGate, peers_are_required
from tests.peers.real_icinga import why_no_icinga2

# The suite gives the same verdict twice: examples follow from the test, and a slow
# machine is no counter-example.  `--hypothesis-profile=explore` searches further.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=5000, deadline=None)
settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    """Put the guard over the tests with real peers."""
    gate = PeerGate(
        missing=why_no_icinga2(),
        required=peers_are_required(),
        is_worker=hasattr(config, "workerinput"),
    )
    config.pluginmanager.register(gate, "icefloe-peer-gate")
