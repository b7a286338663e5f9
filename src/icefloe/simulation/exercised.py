"""The names of the figures about who was there: what drawn worlds may reach.

A history counts under these names, in `World.counts`; the summary of many histories
names what none of them reached.
"""

from __future__ import annotations

from typing import Final

from icefloe.simulation.cluster import VERSIONS
from icefloe.simulation.rude import MANNERS
from icefloe.simulation.rude_child import CHILD_MANNERS

CLUSTERS: Final = (
    *(f"cluster.signers-{count}" for count in (1, 2, 3)),
    *(f"cluster.relays-{count}" for count in (0, 1, 2, 3)),
)
"""How many signers share a CA key, and how many relays stand in a row."""

SEATS: Final = (
    *(f"seat.{seat}.{v}" for seat in ("signer", "relay", "agent") for v in VERSIONS),
    *("seat.command", "seat.rude-signer", "seat.rude-relay", "seat.rude-child"),
    "seat.gateway",
)
"""Who is not one of our members, and where."""

RUDENESS: Final = (
    *(f"rude.{manner}" for manner in MANNERS),
    *(f"rude-child.{manner}" for manner in CHILD_MANNERS),
    "rude-child.half-a-frame",
)
"""What rude nodes do."""

EXEMPTIONS: Final = (
    "exempt.a-member-s-second-connection",
    "exempt.a-parent-not-ours-cuts-an-answer-off",
    "exempt.a-real-agent-asks-every-parent",
    "exempt.a-real-agent-believes-a-liar",
    "exempt.a-real-client-believes-its-parent",
    "exempt.a-real-node-closes-on-a-good-stranger",
    "exempt.a-real-node-takes-a-stranger-s-update",
    "exempt.a-real-relay-keeps-what-has-not-begun",
    "exempt.a-real-signer-renews-nothing-early",
    "exempt.a-real-signer-signs-anew",
    "exempt.a-renewal-near-a-rude-node-waits",
    "exempt.a-refusal-is-swallowed-by-a-real-relay",
    "exempt.a-refusal-near-a-rude-node-is-not-final",
    "exempt.a-lie-about-a-ticket-is-passed-on",
    "exempt.a-stranger-asks-where-its-victim-does",
    "exempt.certificate-of-a-clock-ahead",
)
"""What is not promised, most of it beside nodes that are not ours; each is counted where
it is made use of, and its reason stands there."""

NAMES: Final = (*CLUSTERS, *SEATS, *RUDENESS, *EXEMPTIONS)
