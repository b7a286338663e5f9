"""Fixtures of the tests of TLS."""

from __future__ import annotations

from tests.peers.fixtures import figures, nodes, prepared_pki

__all__ = ["figures", "nodes", "prepared_pki"]
