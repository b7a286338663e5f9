"""A satellite and a signer of each kind, for many agents at once."""

from __future__ import annotations

from pathlib import Path

from tests.peers import (
    IcefloeNode,
    NodeUnderTest,
    PreparedPKI,
    RealIcinga,
    three_levels,
)
from tests.peers.fixtures import Nodes
from tests.peers.habitual_node import HabitualNode
from tests.tools.cells import Parent

__all__ = ["Parents"]

_PRODUCTS: dict[Parent, tuple[type[NodeUnderTest], tuple[str, ...]]] = {
    Parent.ICEFLOE: (IcefloeNode, ()),
    Parent.ICINGA: (RealIcinga, ()),
    Parent.HABITS: (HabitualNode, ("2.14.4",)),
}


class Parents:
    """A satellite that runs, and a signer that does not run yet.

    Attributes:
        satellite: Asked by agents.
        signer: Asked by the satellite.
        zones: The tree, with all agents.
    """

    def __init__(
        self, kind: Parent, nodes: Nodes, root: Path, agents: list[str]
    ) -> None:
        """Make both, and start the satellite."""
        product, options = _PRODUCTS[kind]
        maker = RealIcinga if product is RealIcinga else IcefloeNode
        pki = PreparedPKI(root / "pki", product=maker)
        self.zones = three_levels(agents=agents)
        self.signer = nodes.make(product, "master1", daemon_options=options)
        self.satellite = nodes.make(product, "satellite1", daemon_options=options)
        self.signer.install_identity(pki, signer=True)
        self.satellite.install_identity(pki)
        self.signer.configure(self.zones, salt=pki.salt)
        dials = {self.signer.name: self.signer.address}
        self.satellite.configure(self.zones, dials=dials)
        self.satellite.start()

    def start_signer(self) -> None:
        """Start the signer, and wait until the two are connected."""
        self.signer.start()
        self.satellite.wait_until_connected(self.signer)
        self.signer.wait_until_connected(self.satellite)
