"""A gateway as a process, with the harness of a node."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from tests.peers import IcefloeNode, NodeUnderTest


class GatewayUnderTest(IcefloeNode):
    """`icefloe gateway`; its options are the node's `daemon_options`.

    Clients take it for a parent: it has a host, a port, and a certificate to pin.
    """

    product: ClassVar[str] = "icefloe gateway"

    def argv(self, *words: str) -> list[str]:
        """Return the command line; `daemon` means the gateway."""
        if words[:1] != ("daemon",):
            return super().argv(*words)
        program = super().argv()[0]
        return [
            *(program, "gateway", "--name", self.name, "--listen", str(self.address)),
            *("--data-dir", str(self.gateway_dir), *words[1:]),
        ]

    @property
    def gateway_dir(self) -> Path:
        """The gateway's own directory."""
        return self.root / "gateway"

    @property
    def own_certificate(self) -> Path:
        """The certificate it has."""
        return self.gateway_dir / "certs" / f"{self.name}.crt"


def options(*upstreams: NodeUnderTest, extra: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the options of a gateway to these nodes, which believes their CA."""
    places = [word for up in upstreams for word in ("--upstream", str(up.address))]
    return (*places, "--ca", str(upstreams[0].ca_path), *extra)
