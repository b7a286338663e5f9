"""Fixtures of the tests that run Ansible."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ansible.controller import Controller
from tests.peers.fixtures import figures, nodes, prepared_pki

__all__ = ["controller", "figures", "nodes", "prepared_pki"]


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    """Return a control node with an inventory of its own."""
    root = tmp_path / "controller"
    root.mkdir()
    return Controller(root)
