"""Chains of relays, in both directions of dialling: signed on the first connection."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.peers import (
    Figures,
    IcefloeNode,
    NodeUnderTest,
    PreparedPKI,
    RealIcinga,
    Stopwatch,
    ZoneSpec,
)
from tests.peers.clients import PRODUCTS, calls_until_signed, new_client
from tests.peers.fixtures import Nodes

pytestmark = [pytest.mark.real_peer, pytest.mark.timeout(400)]

CHILD_DIALS, PARENT_DIALS = "child dials", "parent dials"


@pytest.mark.parametrize(
    "master_product, relays, dialling",
    [
        pytest.param("icefloe", 2, CHILD_DIALS, id="two-relays"),
        pytest.param("icefloe", 2, PARENT_DIALS, id="two-relays-dialled"),
        pytest.param("icinga", 2, CHILD_DIALS, id="two-relays-below-icinga"),
        pytest.param("icefloe", 1, PARENT_DIALS, id="dialled"),
        pytest.param("icinga", 1, PARENT_DIALS, id="dialled-by-icinga"),
    ],
)
def test_a_real_client_is_signed_on_its_first_connection(
    nodes: Nodes,
    prepared_pki: PreparedPKI,
    figures: Figures,
    *,
    master_product: str,
    relays: int,
    dialling: str,
) -> None:
    """Whoever dials whom, and through however many relays of ours."""
    chain = start_chain(
        nodes, prepared_pki, PRODUCTS[master_product], relays, dialling=dialling
    )
    client = new_client(nodes, RealIcinga, "agent1", chain[-1], prepared_pki)
    watch = Stopwatch()
    ticket = chain[0].ticket_for(client.name)
    assert calls_until_signed(client, chain[-1], ticket) == 1
    figures.note("signed_in_s", watch.seconds)


def start_chain(
    nodes: Nodes,
    pki: PreparedPKI,
    master_product: type[NodeUnderTest],
    relays: int,
    *,
    dialling: str,
) -> list[NodeUnderTest]:
    """Return a running master and relays of ours below it, connected.

    A node that is to be dialled is started first: real nodes look every 10 s only.
    """
    names = ["master1", *(f"satellite{number}" for number in range(1, relays + 1))]
    zones = [
        ZoneSpec(name=f"zone{number}", endpoints=(name,), parent=parent)
        for number, name in enumerate(names)
        for parent in [f"zone{number - 1}" if number else None]
    ]
    chain: list[NodeUnderTest] = [nodes.make(master_product, names[0])]
    chain += [nodes.make(IcefloeNode, name) for name in names[1:]]
    for node in chain:
        node.install_identity(pki, signer=node is chain[0])
    dials: dict[str, NodeUnderTest] = {}
    for parent, child in pairwise(chain):
        upwards = dialling == CHILD_DIALS
        dials[(child if upwards else parent).name] = parent if upwards else child
    for node in chain:
        target = dials.get(node.name)
        node.configure(
            zones,
            dials={target.name: target.address} if target else {},
            salt=pki.salt if node is chain[0] else "",
        )
    for node in chain if dialling == CHILD_DIALS else reversed(chain):
        node.start()
    for parent, child in pairwise(chain):
        child.wait_until_connected(parent)
        parent.wait_until_connected(child)
    return chain
