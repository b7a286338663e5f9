"""The variables of hosts that are nodes of one machine, each with its own directories."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.peers import Address, IcefloeNode, NodeUnderTest, free_port
from tests.peers.fixtures import Nodes

EXECUTABLE = str(Path(sys.executable).with_name("icefloe"))

Variables = dict[str, Any]


class Hosts:
    """Makes the variables of hosts, and nodes of what the role has made of them."""

    def __init__(self, root: Path, nodes: Nodes) -> None:
        """Let the nodes live below `root`, where `nodes` looks for them, too."""
        self._root = root
        self._nodes = nodes
        self._ports: dict[str, int] = {}

    def variables(self, name: str, **own: Any) -> Variables:
        """Return what the role has to know of a node: the program, places, a port."""
        return {
            "icefloe_install": "none",
            "icefloe_executable": EXECUTABLE,
            "icefloe_service": False,
            "icefloe_config_dir": str(self.node_root(name) / "etc"),
            "icefloe_data_dir": str(self.node_root(name) / "data"),
            "icefloe_listen_host": "127.0.0.1",
            "icefloe_listen_port": self.address(name).port,
            **{f"icefloe_{key}": value for key, value in own.items()},
        }

    def signer(self, name: str) -> Variables:
        """Return the variables that name the host with the CA, to take a ticket from."""
        return {
            "signer": name,
            "signer_config_dir": str(self.node_root(name) / "etc"),
            "signer_data_dir": str(self.node_root(name) / "data"),
        }

    def parent(self, name: str) -> Variables:
        """Return an entry of `icefloe_parents`."""
        address = self.address(name)
        return {"name": name, "host": address.host, "port": address.port}

    def address(self, name: str) -> Address:
        """Return where a node listens."""
        if name not in self._ports:
            self._ports[name] = free_port()
        return Address("127.0.0.1", self._ports[name])

    def node_root(self, name: str) -> Path:
        """Return the directory of a node."""
        return self._root / name

    def adopt(self, name: str) -> IcefloeNode:
        """Return the node that the role has made, not started; it ends with the test."""
        port = self.address(name).port
        return self._nodes.adopt(
            IcefloeNode(name, self._root, port=port, existing=True)
        )

    def master(self, name: str = "master1") -> IcefloeNode:
        """Return a running master with a CA, set up without Ansible."""
        port = self.address(name).port
        master = self._nodes.adopt(IcefloeNode(name, self._root, port=port))
        result = master.node_setup_master()
        assert result.returncode == 0, result.stdout + result.stderr
        master.start()
        return master


def children(names: Iterable[str]) -> list[Variables]:
    """Return `icefloe_child_zones` with a zone for each agent."""
    return [{"name": name, "endpoints": [{"name": name}]} for name in names]


def key_and_certificate(node: NodeUnderTest) -> tuple[bytes, bytes]:
    """Return a node's identity, to see whether it changes."""
    return node.key_path.read_bytes(), node.certificate_path.read_bytes()
