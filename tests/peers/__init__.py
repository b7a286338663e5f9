"""Real nodes for tests: Debian's icinga2, and Icefloe, in any seat of a cluster.

Nothing here is simulated.  Each node is a private instance with directories of its own
under a temporary path, a port of its own on loopback, and processes that this test run
started and that only this test run ends.

Start reading at `node.py` (what every node can do), then `real_icinga.py`.
"""

from __future__ import annotations

from tests.peers.api import IcingaAPI, checked_hosts
from tests.peers.figures import Figures, Stopwatch
from tests.peers.icefloe_node import IcefloeNode
from tests.peers.layout import Address, ZoneSpec, three_levels
from tests.peers.node import CommandFailed, NodeUnderTest
from tests.peers.prepared import PreparedPKI
from tests.peers.real_icinga import RealIcinga, why_no_icinga2
from tests.peers.waiting import (
    GENEROUS_SECONDS,
    DeadlineMissed,
    free_port,
    observation_seconds,
    wait_until,
    watch,
)

__all__ = [
    "GENEROUS_SECONDS",
    "Address",
    "CommandFailed",
    "DeadlineMissed",
    "Figures",
    "IcefloeNode",
    "IcingaAPI",
    "NodeUnderTest",
    "PreparedPKI",
    "RealIcinga",
    "Stopwatch",
    "ZoneSpec",
    "checked_hosts",
    "free_port",
    "observation_seconds",
    "three_levels",
    "wait_until",
    "watch",
    "why_no_icinga2",
]
