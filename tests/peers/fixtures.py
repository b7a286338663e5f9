"""Fixtures for tests with real nodes; a `conftest.py` imports them by name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.peers.figures import Figures
from tests.peers.node import NodeUnderTest
from tests.peers.prepared import PreparedPKI

Node = TypeVar("Node", bound=NodeUnderTest)

LOG_TAIL_BYTES = 4000


class Nodes:
    """Makes nodes for one test and ends all of them afterwards."""

    def __init__(self, root: Path) -> None:
        """Let all nodes live below `root`."""
        self._root = root
        self._made: list[NodeUnderTest] = []

    def make(
        self, product: type[Node], name: str, *, daemon_options: tuple[str, ...] = ()
    ) -> Node:
        """Return a new node of a product, not started."""
        return self.adopt(product(name, self._root, daemon_options=daemon_options))

    def adopt(self, node: Node) -> Node:
        """Return a node that somebody else made; it ends with the others."""
        self._made.append(node)
        return node

    def in_place_of(
        self,
        node: NodeUnderTest,
        product: type[Node],
        *,
        daemon_options: tuple[str, ...] = (),
    ) -> Node:
        """Return another product's node on the same files and port, not started."""
        return self.adopt(
            product(
                node.name,
                self._root,
                host=node.host,
                port=node.port,
                daemon_options=daemon_options,
                existing=True,
            )
        )

    def end(self) -> None:
        """Kill what still runs; write the logs, which pytest shows on failure."""
        for node in reversed(self._made):
            node.kill()
            tail = node.log()[-LOG_TAIL_BYTES:]
            sys.stdout.write(f"--- log of {node!r}\n{tail}\n")


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Return a maker of nodes whose processes end with the test."""
    maker = Nodes(tmp_path)
    try:
        yield maker
    finally:
        maker.end()


@pytest.fixture(scope="session")
def prepared_pki(tmp_path_factory: pytest.TempPathFactory) -> PreparedPKI:
    """Return the run's ready-made CA, for tests marked `real_peer`."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        # A worker's directory lies in the run's.
        base = base.parent
    return PreparedPKI(base / "prepared")


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Return where a test notes what it measured."""
    return Figures(request.node.name)
