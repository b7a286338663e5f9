"""The rules of trust, as a table."""

from __future__ import annotations

import pytest
from tests.enrollment.playbook import START, tree

from icefloe.enrollment.model import KnownKey, Origin
from icefloe.enrollment.policy import gate, reserved_gate
from icefloe.enrollment.reasons import Reason

RESERVED = frozenset({"m2", "api"})


def known(cn: str, key_id: str) -> KnownKey:
    return KnownKey(cn=cn, key_id=key_id, how="issued", at=START)


@pytest.mark.parametrize(
    "cn, before, waits",
    [
        ("agent", None, False),
        ("agent", "other", False),
        ("m2", None, False),
        ("m2", "same", False),
        ("m2", "other", True),
        ("api", "other", True),
    ],
)
def test_only_another_key_of_a_reserved_name_needs_reserved(
    cn: str, before: str | None, *, waits: bool
) -> None:
    needs = reserved_gate(
        cn=cn,
        key_id="same",
        known_key=known(cn, before) if before else None,
        reserved_names=RESERVED,
    )
    assert (needs is not None) == waits
    if needs is not None:
        assert needs.needs_reserved
        assert needs.reason is Reason.RESERVED_NAME


@pytest.mark.parametrize(
    "cn, origin, zone, before, waits",
    [
        # Below the forwarder, or its own zone.
        ("agent", Origin.RELAYED, "sat", None, False),
        ("agent", Origin.RELAYED, "agent", None, False),
        # Elsewhere, above, beside.
        ("agent", Origin.RELAYED, "other", None, True),
        ("s2", Origin.RELAYED, "agent", None, True),
        ("agent", Origin.RELAYED, "other", "other key", True),
        # The key is known for that name.
        ("agent", Origin.RELAYED, "other", "same", False),
        # No endpoint: an agent that is only monitored through its satellite.
        ("unknown.example", Origin.RELAYED, "other", None, False),
        # Nobody forwarded it.
        ("agent", Origin.DIRECT, "other", None, False),
        ("agent", Origin.POSTED, None, None, False),
        # A forwarder without a zone (it left the configuration meanwhile).
        ("agent", Origin.RELAYED, None, None, False),
    ],
)
def test_an_endpoint_outside_the_forwarders_subtree_waits_for_a_person(
    cn: str, origin: Origin, zone: str | None, before: str | None, *, waits: bool
) -> None:
    needs = gate(
        cn=cn,
        key_id="same",
        origin=origin,
        forwarder_zone=zone,
        known_key=known(cn, before) if before else None,
        reserved_names=frozenset(),
        tree=tree("m1"),
    )
    assert (needs is not None) == waits
    if needs is not None:
        assert not needs.needs_reserved
        assert needs.reason is Reason.OUTSIDE_SUBTREE


def test_without_zones_there_is_no_subtree() -> None:
    needs = gate(
        cn="agent",
        key_id="same",
        origin=Origin.RELAYED,
        forwarder_zone=None,
        known_key=None,
        reserved_names=frozenset(),
        tree=None,
    )
    assert needs is None


def test_a_reserved_name_from_outside_is_told_as_reserved() -> None:
    """The stricter word wins: it takes more of the approval."""
    needs = gate(
        cn="m2",
        key_id="same",
        origin=Origin.RELAYED,
        forwarder_zone="other",
        known_key=known("m2", "other"),
        reserved_names=RESERVED,
        tree=tree("m1"),
    )
    assert needs is not None
    assert needs.needs_reserved
