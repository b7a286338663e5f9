"""Fixtures of the tests that talk to real nodes."""

from __future__ import annotations

from tests.peers.fixtures import figures, nodes, prepared_pki

__all__ = ["figures", "nodes", "prepared_pki"]
