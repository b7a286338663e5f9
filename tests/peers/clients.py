"""New agents, with all that `pki request` needs."""

from __future__ import annotations

from tests.peers.fixtures import Node, Nodes
from tests.peers.icefloe_node import IcefloeNode
from tests.peers.node import NodeUnderTest
from tests.peers.prepared import PreparedPKI
from tests.peers.real_icinga import RealIcinga

PRODUCTS: dict[str, type[NodeUnderTest]] = {
    "icefloe": IcefloeNode,
    "icinga": RealIcinga,
}
"""What can take a seat, by the name in a test's parameters."""

WRONG_TICKET = "0" * 40

CALLS_MAX = 12


def new_client(
    nodes: Nodes,
    product: type[Node],
    name: str,
    parent: NodeUnderTest,
    pki: PreparedPKI,
) -> Node:
    """Return an agent with a key, a self-signed certificate and a pinned parent."""
    client = nodes.make(product, name)
    if issubclass(product, RealIcinga):
        client.install_newcomer(pki)
    else:
        client.new_certificate()
    client.save_parent_certificate(parent)
    return client


def calls_until_signed(
    client: NodeUnderTest, parent: NodeUnderTest, ticket: str, *options: str
) -> int:
    """Repeat `pki request` as a person would; return how many calls it took.

    Raises:
        AssertionError: A call failed, or left no `ca.crt`, or there were too many.
    """
    for call in range(1, CALLS_MAX + 1):
        result = client.request_certificate(parent, ticket, options=options)
        assert result.returncode == 0, result.stdout + result.stderr
        if client.is_signed:
            return call
        assert client.ca_path.exists()
    raise AssertionError(f"not signed in {CALLS_MAX} calls")
